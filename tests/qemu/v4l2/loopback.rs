//! Pictures into v4l2loopback, which takes no dma-bufs, read by other programs.
//!
//! `cargo xtask test --only qemu v4l2_loopback`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use vcam_allocator::{ColourSpace, Fourcc, Method, Pool, heaps};
use vcam_pipeline::sensor::frame_counter;
use vcam_sinks::v4l2::{V4l2Error, V4l2Options, V4l2Sink};
use vcam_sinks::{Sink, SinkCounts};
use vcam_testing::accounting;
use vcam_testing::command::{Child, command, link, vcam};
use vcam_testing::test_pattern::{self, byte, expected, frame};
use vcam_testing::v4l2_ctl::{ctl, settings};
use vcam_testing::v4l2loopback::{EXCLUSIVE, Reader, nodes};

/// Whole pages in every format: see [`Reader::next`].
const SIZE: (u32, u32) = (256, 128);

const REASON: &str = "v4l2-output:v4l2 loopback: VIDIOC_REQBUFS: EINVAL (Invalid argument)";

fn open_as(node: &Path, format: Fourcc, size: (u32, u32)) -> Result<V4l2Sink, V4l2Error> {
    let (node, period) = (node.to_owned(), Duration::ZERO);
    let colour_space = ColourSpace::of(format, size);
    V4l2Sink::open(&V4l2Options { node, size, format, colour_space, period })
}

/// A sink that is ready for the pool's buffers.
fn open(node: &Path, pool: &Pool) -> V4l2Sink {
    let layout = pool.buffers()[0].layout();
    let mut sink = open_as(node, layout.format(), (layout.width(), layout.height())).unwrap();
    sink.prepare(pool.buffers());
    sink
}

fn pool(format: Fourcc, size: (u32, u32)) -> Pool {
    test_pattern::pool(&*heaps::open("udmabuf").unwrap(), format, size)
}

fn assert_copied(sink: &V4l2Sink, frames: u64, bytes: usize) {
    let end = sink.link_end();
    assert_eq!((end.method, end.since_frame, end.imports), (Method::Copy, 0, 0), "{end:?}");
    assert_eq!(end.reason.as_deref(), Some(REASON));
    assert_eq!(end.bytes_copied, frames * bytes as u64);
    assert_eq!(sink.counts(), SinkCounts { displayed: frames, dropped: 0 });
}

#[test]
fn every_frame_is_copied_and_read_as_it_was() {
    for node in nodes() {
        let before = settings(&node);
        for format in [Fourcc::XRGB8888, Fourcc::RGB565, Fourcc::YUYV, Fourcc::NV12, Fourcc::YUV420]
        {
            let run = || {
                let pool = pool(format, SIZE);
                let mut sink = open(&node, &pool);
                sink.present(frame(&pool, 0, byte)).unwrap();
                let mut reader = Reader::open(&node);
                let bytes = expected(format, SIZE, 0, byte).len();
                for sequence in 0..12 {
                    if sequence > 0 {
                        sink.present(frame(&pool, sequence, byte)).unwrap();
                    }
                    let same = reader.next(bytes) == expected(format, SIZE, sequence, byte);
                    assert!(same, "{format}: frame {sequence} is another one or torn");
                }
                drop(reader);
                sink.finish().unwrap();
                assert_copied(&sink, 12, bytes);
            };
            let books = accounting::after_warming_up(run);
            run();
            books.assert_unchanged();
        }
        assert_eq!(settings(&node), before);
    }
}

#[test]
fn a_frame_stays_whole_while_the_next_is_copied() {
    // More than a pipe holds, so the reader is still writing when its first page has come.
    let bytes = expected(Fourcc::XRGB8888, SIZE, 0, byte).len();
    for node in nodes() {
        let pool = pool(Fourcc::XRGB8888, SIZE);
        let mut sink = open(&node, &pool);
        sink.present(frame(&pool, 0, byte)).unwrap();
        let mut reader = Reader::open(&node);
        for sequence in 0..8 {
            let first = reader.next(4096);
            sink.present(frame(&pool, sequence + 1, byte)).unwrap();
            let whole = [first, reader.next(bytes - 4096)].concat();
            let same = whole == expected(Fourcc::XRGB8888, SIZE, sequence, byte);
            assert!(same, "frame {sequence} is torn");
        }
        drop(reader);
        sink.finish().unwrap();
        assert_copied(&sink, 9, bytes);
    }
}

#[test]
fn rows_that_are_no_whole_words_are_copied_as_well() {
    let size = (322, 182);
    for (node, format) in nodes().iter().zip([Fourcc::NV12, Fourcc::RGB565]) {
        let pool = pool(format, size);
        let mut sink = open(node, &pool);
        for sequence in 0..3 {
            sink.present(frame(&pool, sequence, byte)).unwrap();
        }
        ctl(node, "--stream-mmap --stream-count=1 --stream-to=/tmp/one");
        assert_eq!(fs::read("/tmp/one").unwrap(), expected(format, size, 2, byte));
        sink.finish().unwrap();
    }
}

#[test]
fn readers_come_late_and_go_and_nobody_waits_for_them() {
    for node in nodes() {
        let pool = pool(Fourcc::YUYV, SIZE);
        let bytes = expected(Fourcc::YUYV, SIZE, 0, byte).len();
        let picture = |sequence| expected(Fourcc::YUYV, SIZE, sequence, byte);
        let mut sink = open(&node, &pool);
        let mut sequence = 0;
        let mut present = |sink: &mut V4l2Sink, frames: u64| {
            for _ in 0..frames {
                sink.present(frame(&pool, sequence, byte)).unwrap();
                sequence += 1;
            }
            sequence - 1
        };
        for _ in 0..2 {
            // There is no reader.
            let latest = present(&mut sink, 20);
            let mut late = Reader::open(&node);
            assert!(late.next(bytes) == picture(latest), "who comes late gets the latest frame");
            let next = present(&mut sink, 1);
            assert!(late.next(bytes) == picture(next));
        }
        let frames = present(&mut sink, 5) + 1;
        sink.finish().unwrap();
        assert_copied(&sink, frames, bytes);
    }
}

/// The messages of a reader that gets no picture.
fn no_reader(node: &Path) -> String {
    let mut reader = Command::new("v4l2-ctl");
    reader.arg("-d").arg(node).args(["--stream-mmap", "--stream-count=1"]);
    String::from_utf8(reader.output().unwrap().stderr).unwrap()
}

#[test]
fn the_same_reader_sees_the_next_run() {
    let [node, _] = nodes();
    let said = no_reader(&node);
    assert!(said.contains("VIDIOC_STREAMON returned -1 (Input/output error)"), "{said}");
    let pool = pool(Fourcc::YUYV, SIZE);
    let bytes = expected(Fourcc::YUYV, SIZE, 0, byte).len();
    let mut sink = open(&node, &pool);
    sink.present(frame(&pool, 0, byte)).unwrap();
    let mut reader = Reader::open(&node);
    assert!(reader.next(bytes) == expected(Fourcc::YUYV, SIZE, 0, byte));
    let said = no_reader(&node);
    assert!(said.contains("VIDIOC_REQBUFS returned -1 (Device or resource busy)"), "{said}");
    sink.finish().unwrap();
    drop(sink);
    // Its reader keeps the node in the format that it reads.
    let error = open_as(&node, Fourcc::NV12, SIZE).unwrap_err();
    let words = "v4l2-output:v4l2 loopback does not take NV12; it takes: YUYV";
    assert_eq!(error.to_string(), words);
    let error = open_as(&node, Fourcc::YUYV, (64, 64)).unwrap_err();
    assert!(error.to_string().contains("it takes 256x128 in their place"), "{error}");
    let mut sink = open(&node, &pool);
    for sequence in 1..5 {
        sink.present(frame(&pool, sequence, byte)).unwrap();
        assert!(reader.next(bytes) == expected(Fourcc::YUYV, SIZE, sequence, byte));
    }
    sink.finish().unwrap();
    assert_copied(&sink, 4, bytes);
}

#[test]
fn the_driver_repeats_the_last_frame_where_it_is_told_to() {
    let [node, _] = nodes();
    ctl(&node, "--set-ctrl=sustain_framerate=1");
    let pool = pool(Fourcc::YUYV, SIZE);
    let last = expected(Fourcc::YUYV, SIZE, 0, byte);
    let mut sink = open(&node, &pool);
    sink.present(frame(&pool, 0, byte)).unwrap();
    let mut reader = Reader::open(&node);
    for _ in 0..3 {
        assert!(reader.next(last.len()) == last);
    }
    drop(reader);
    sink.finish().unwrap();
    ctl(&node, "--set-ctrl=sustain_framerate=0");
}

/// The numbers in the strips of pictures in YUYV.
fn numbers(bytes: &[u8], size: (u32, u32)) -> Vec<u32> {
    let [width, height] = [size.0, size.1].map(|pixels| pixels as usize);
    let pictures = bytes.chunks_exact(2 * width * height);
    assert_eq!(pictures.remainder(), [0; 0]);
    pictures
        .map(|rows| frame_counter::read(width, |x| rows[2 * (2 * width + x)]).unwrap())
        .collect()
}

#[test]
fn a_run_is_a_camera_to_other_programs_and_leaves_the_node_as_it_was() {
    let [_, node] = nodes();
    let (before, format) = (settings(&node), ctl(&node, "--get-fmt-video-out"));
    let run = Child::spawn(command(&format!(
        "--isp cpu --heap udmabuf --format YUYV --size 320x180 --fps 5 --frames 1000000 --json \
         --output v4l2:{EXCLUSIVE}"
    )));
    // It is no camera before the first frame.
    let is_camera = || ctl(&node, "--info").contains("\t\tVideo Capture\n");
    while !is_camera() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let read = Command::new("gst-launch-1.0")
        .args(["-q", "v4l2src", "num-buffers=4"])
        .arg(format!("device={EXCLUSIVE}"))
        .args(["!", "video/x-raw,format=YUY2,width=320,height=180"])
        .args(["!", "filesink", "location=/tmp/gst"])
        .output()
        .unwrap();
    assert!(read.status.success(), "{read:?}");
    let seen = numbers(&fs::read("/tmp/gst").unwrap(), (320, 180));
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted(), "{seen:?}");
    // Another run cannot have it.
    let other = vcam(&format!("--isp cpu --frames 1 --output v4l2:{EXCLUSIVE}"));
    other.failed_with(4, &["another program uses /dev/video41"]);
    let ended = run.end(Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.report();
    let link = link(&report, 1);
    assert_eq!(link["to"], "v4l2-output:v4l2 loopback", "{report:#}");
    assert_eq!((&link["method"], &link["reason"]), (&"copy".into(), &REASON.into()), "{report:#}");
    let frames = report["frames"]["displayed"].as_u64().unwrap();
    assert!(frames > u64::from(seen[3]), "{report:#}");
    assert_eq!(report["frames"]["dropped"], 0, "{report:#}");
    assert_eq!(link["bytes_copied"], frames * 320 * 180 * 2, "{report:#}");
    assert!(!is_camera());
    assert_eq!(ctl(&node, "--get-fmt-video-out"), format);
    assert_eq!(settings(&node), before);
}

#[test]
fn strict_ends_before_the_first_frame() {
    for node in nodes() {
        let before = settings(&node);
        let arguments =
            format!("--isp cpu --heap udmabuf --strict --output v4l2:{}", node.display());
        vcam(&arguments).failed_with(3, &[REASON]);
        assert_eq!(settings(&node), before);
    }
}

#[test]
fn its_memory_is_nobody_else_s() {
    let [_, exclusive] = nodes();
    let name = format!("v4l2:{}", exclusive.file_name().unwrap().display());
    let error = heaps::open(&name).unwrap_err().to_string();
    assert_eq!(error, format!("heap '{name}': /dev/video41 cannot export its buffers as dma-bufs"));
    let list = command("list --json").output().unwrap();
    assert!(String::from_utf8(list.stdout).unwrap().contains(&error));
}
