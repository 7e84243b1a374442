//! Pictures into V4L2 nodes, by import and by copy, and read back from the other end of a cable.
//! The machine is booted with the arguments of `output.cmdline`.
//!
//! `cargo xtask test --only uml v4l2_output`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use vcam_allocator::{ColourSpace, Fourcc, Heap, Method, Pool, heaps};
use vcam_sinks::v4l2::{V4l2Error, V4l2Options, V4l2Sink};
use vcam_sinks::{Sink, SinkCounts, SinkError};
use vcam_testing::accounting;
use vcam_testing::command::{self, Child, assert_zero_copy, command, link, vcam};
use vcam_testing::test_pattern::{self, SOON, byte, frame};
use vcam_testing::v4l2_ctl::{ctl, settings};
use vcam_testing::vivid::{CONTIGUOUS, MULTI_PLANAR, Scattered, VMALLOC, heap_of, node};

/// The instance that is unplugged.
const UNPLUGGED: u32 = 3;

const SIZE: (u32, u32) = (320, 180);

fn open(node: &Path, format: Fourcc) -> V4l2Sink {
    let (node, period) = (node.to_owned(), Duration::ZERO);
    let (size, colour_space) = (SIZE, ColourSpace::of(format, SIZE));
    V4l2Sink::open(&V4l2Options { node, size, format, colour_space, period }).unwrap()
}

fn pool(heap: &dyn Heap, format: Fourcc) -> Pool {
    test_pattern::pool(heap, format, SIZE)
}

/// The bytes of a whole frame in a file, as the rule fills it.
fn expected(format: Fourcc, sequence: u64, byte: impl Fn(u64, usize, usize) -> u8) -> Vec<u8> {
    test_pattern::expected(format, SIZE, sequence, byte)
}

/// Lays a cable from an instance's output to its capture node, and has neither end scale.
fn connect(instance: u32, code: &str) -> PathBuf {
    connect_for(instance, code, SIZE)
}

fn connect_for(instance: u32, code: &str, (width, height): (u32, u32)) -> PathBuf {
    let (capture, output) = (node(instance, "cap"), node(instance, "out"));
    let outputs = ctl(&output, "--list-outputs");
    let name = format!("Name        : HDMI {instance:03}-0");
    let index = outputs.split("Output      : ").find(|output| output.contains(&name)).unwrap();
    ctl(&output, &format!("--set-output={}", &index[..1]));
    let inputs = ctl(&capture, "--list-inputs");
    let index = inputs.split("Input       : ").find(|input| input.contains(&name)).unwrap();
    ctl(&capture, &format!("--set-input={}", &index[..1]));
    let control = format!("hdmi_{instance:03}_0_is_connected_to");
    let menus = ctl(&capture, "--list-ctrls-menus");
    let menu = menus.split(&control).nth(1).unwrap();
    let wanted = format!(": Output HDMI {instance:03}-0");
    let item = menu.lines().find_map(|line| line.trim().strip_suffix(&wanted)).unwrap();
    ctl(&capture, &format!("--set-ctrl={control}={item},osd_text_mode=2"));
    let size = format!("width={width},height={height}");
    ctl(&output, &format!("--set-fmt-video-out={size},pixelformat={code}"));
    ctl(&capture, &format!("--set-fmt-video={size},pixelformat={code}"));
    let corner = format!("top=0,left=0,{size}");
    ctl(&output, &format!("--set-selection-output=target=crop,{corner}"));
    ctl(&output, &format!("--set-selection-output=target=compose,{corner}"));
    ctl(&capture, &format!("--set-selection=target=compose,{corner}"));
    ctl(&capture, &format!("--set-selection=target=crop,{corner}"));
    capture
}

/// What `v4l2-ctl` reads of an output's colours: colorspace, transfer function, encoding and
/// quantization.
fn colours(output: &Path) -> [String; 4] {
    let format = ctl(output, "--get-fmt-video-out");
    ["Colorspace", "Transfer Function", "YCbCr/HSV Encoding", "Quantization"].map(|field| {
        let line = format.lines().find_map(|line| line.trim().strip_prefix(field));
        let value = line.unwrap_or_else(|| panic!("{field}: {format}")).trim_start();
        value.trim_start_matches(':').trim().to_owned()
    })
}

/// vivid keeps the colorspace and leaves the rest at its default, of which v4l2-ctl says what it is.
#[test]
fn a_node_is_told_what_colours_are() {
    let output = node(VMALLOC, "out");
    for (size, format, expected, unheard) in [
        ((640, 480), "YUYV", ["sRGB", "sRGB", "601", "Limited"], false),
        ((1280, 720), "YUYV", ["Rec. 709", "Rec. 709", "709", "Limited"], true),
        ((1280, 720), "XR24", ["sRGB", "sRGB", "", "Full"], false),
    ] {
        connect_for(VMALLOC, format, size);
        let before = ctl(&output, "--all");
        let fourcc = format.parse().unwrap();
        let (node, colour_space) = (output.clone(), ColourSpace::of(fourcc, size));
        let period = Duration::ZERO;
        let options = V4l2Options { node, size, format: fourcc, colour_space, period };
        let mut sink = V4l2Sink::open(&options).unwrap();
        let pool = test_pattern::pool(&*heaps::open("udmabuf").unwrap(), fourcc, size);
        sink.prepare(pool.buffers());
        sink.present(frame(&pool, 0, byte)).unwrap();
        let colours = colours(&output);
        for (is, should) in colours.iter().zip(expected) {
            assert!(is.contains(should), "{size:?} {format}: {colours:?}");
        }
        sink.finish().unwrap();
        drop(sink);
        assert_eq!(ctl(&output, "--all"), before);
        let (width, height) = size;
        let ran = vcam(&format!(
            "--isp cpu --heap udmabuf --frames 2 --format {format} --size {width}x{height} \
             --output v4l2:{}",
            output.display()
        ));
        assert_eq!(ran.code, 0, "{ran:?}");
        let told = "a transfer function of Rec. 709 instead of sRGB";
        assert_eq!(ran.stderr.contains(told), unheard, "{ran:?}");
    }
}

/// Presents frames while `v4l2-ctl` reads pictures from the other end, and returns the pictures.
fn watched(sink: &mut V4l2Sink, pool: &Pool, capture: &Path, pictures: usize) -> Vec<Vec<u8>> {
    watched_as(sink, pool, capture, pictures, byte)
}

fn watched_as(
    sink: &mut V4l2Sink,
    pool: &Pool,
    capture: &Path,
    pictures: usize,
    byte: impl Fn(u64, usize, usize) -> u8,
) -> Vec<Vec<u8>> {
    sink.prepare(pool.buffers());
    let size = expected(sink_format(pool), 0, &byte).len();
    for sequence in 0..4 {
        sink.present(frame(pool, sequence, &byte)).unwrap();
    }
    let file =
        Path::new("/tmp").join(format!("watched-{}", capture.file_name().unwrap().display()));
    let mut reader = Command::new("v4l2-ctl")
        .arg("-d")
        .arg(capture)
        .arg("--stream-mmap")
        .arg(format!("--stream-count={pictures}"))
        .arg(format!("--stream-to={}", file.display()))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut sequence = 4;
    while reader.try_wait().unwrap().is_none() {
        sink.present(frame(pool, sequence, &byte)).unwrap();
        sequence += 1;
    }
    assert!(reader.wait().unwrap().success());
    sink.finish().unwrap();
    assert_eq!(sink.counts(), SinkCounts { displayed: sequence, dropped: 0 });
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(file).unwrap();
    assert_eq!(bytes.len(), pictures * size);
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

fn sink_format(pool: &Pool) -> Fourcc {
    pool.buffers()[0].format()
}

/// Asserts that pictures are frames, whole and in order, and not always the same.
fn assert_frames(
    read: &[Vec<u8>],
    format: Fourcc,
    frames: u64,
    byte: impl Fn(u64, usize, usize) -> u8,
) {
    let mut seen = Vec::new();
    for (index, picture) in read.iter().enumerate() {
        let from = seen.last().copied().unwrap_or(0);
        let found = (from..frames).find(|sequence| *picture == expected(format, *sequence, &byte));
        seen.push(
            found.unwrap_or_else(|| panic!("picture {index} is none of ours after {seen:?}")),
        );
    }
    seen.dedup();
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn three_hundred_frames_go_where_they_lie() {
    let output = node(VMALLOC, "out");
    let before = settings(&output);
    let arguments = format!(
        "--isp gpu --heap udmabuf --size 320x180 --frames 300 --fps max --strict --json \
         --output v4l2:{}",
        output.display()
    );
    let ran = vcam(&arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_zero_copy(&report, 300, "udmabuf");
    assert_eq!(link(&report, 1)["to"], "v4l2-output:vivid");
    assert_eq!(report["steady"]["imports_per_frame"], 0.0, "{report:#}");
    assert_eq!(settings(&output), before);
}

#[test]
fn nothing_is_left_of_three_hundred_frames() {
    let output = node(VMALLOC, "out");
    let heap = heaps::open("udmabuf").unwrap();
    let run = |frames: u64| {
        let pool = pool(&*heap, Fourcc::XRGB8888);
        let mut sink = open(&output, Fourcc::XRGB8888);
        sink.prepare(pool.buffers());
        let imports = sink.link_end().imports;
        for sequence in 0..frames {
            sink.present(frame(&pool, sequence, |sequence, _, _| sequence as u8)).unwrap();
        }
        sink.finish().unwrap();
        assert_eq!(sink.counts(), SinkCounts { displayed: frames, dropped: 0 });
        let end = sink.link_end();
        assert_eq!((end.method, end.bytes_copied), (Method::Import, 0), "{end:?}");
        assert_eq!((imports, end.imports), (5, 5), "each buffer once: {end:?}");
        // Every buffer came back.
        let all: Vec<_> = (0..5).map(|_| pool.take(SOON).unwrap()).collect();
        assert_eq!(all.len(), 5);
    };
    let books = accounting::after_warming_up(|| run(3));
    run(300);
    books.assert_unchanged();
    // Nor of a run that has but one frame, which the device would keep.
    run(1);
    run(0);
    books.assert_unchanged();
}

#[test]
fn buffers_are_attached_before_the_first_frame_and_stay_so() {
    let output = node(CONTIGUOUS, "out");
    let pool = pool(&*heaps::open(&heap_of(&output)).unwrap(), Fourcc::XRGB8888);
    let ours: Vec<_> = pool.buffers().iter().flat_map(|buffer| buffer.inodes()).collect();
    let attached = || -> Vec<_> {
        let found = accounting::dma_bufs().into_iter().filter(|one| ours.contains(&one.inode));
        found.map(|one| one.devices.len()).collect()
    };
    let mut sink = open(&output, Fourcc::XRGB8888);
    assert_eq!(attached(), [0; 5]);
    sink.prepare(pool.buffers());
    assert_eq!(attached(), [1; 5]);
    for sequence in 0..7 {
        sink.present(frame(&pool, sequence, byte)).unwrap();
        assert_eq!(attached(), [1; 5]);
    }
    sink.finish().unwrap();
    assert_eq!(attached(), [0; 5]);
}

#[test]
fn what_is_imported_is_what_a_reader_gets() {
    let output = node(VMALLOC, "out");
    let heap = heaps::open("udmabuf").unwrap();
    for (format, code) in
        [(Fourcc::XRGB8888, "XR24"), (Fourcc::YUYV, "YUYV"), (Fourcc::NV12, "NV12")]
    {
        let capture = connect(VMALLOC, code);
        let pool = pool(&*heap, format);
        let mut sink = open(&output, format);
        let read = watched(&mut sink, &pool, &capture, 12);
        assert_eq!(sink.link_end().method, Method::Import, "{:?}", sink.link_end());
        assert_frames(&read, format, sink.counts().displayed, byte);
    }
}

/// A picture in YUV420 of one in NV12.
fn planes_apart(nv12: &[u8], (width, height): (usize, usize)) -> Vec<u8> {
    let (luma, chroma) = nv12.split_at(width * height);
    let of = |which: usize| chroma.iter().skip(which).step_by(2);
    luma.iter().chain(of(0)).chain(of(1)).copied().collect()
}

/// Bytes of a file in `/tmp` that is being written.
fn part_of(name: &str) -> u64 {
    let entries = fs::read_dir("/tmp").unwrap().flatten();
    let is = |entry: &fs::DirEntry| {
        let part = entry.file_name().into_string().unwrap();
        part.starts_with(&format!(".{name}.")) && part.ends_with(".part")
    };
    entries.filter(is).filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

#[test]
fn nv12_whose_luma_has_no_whole_pages_goes_where_it_lies() {
    const SIZE: (u32, u32) = (640, 360);
    let output = node(VMALLOC, "out");
    for isp in ["cpu", "gpu"] {
        let capture = connect_for(VMALLOC, "NV12", SIZE);
        let run = Child::spawn(command(&format!(
            "--isp {isp} --heap udmabuf --format NV12 --size 640x360 --frames 1000000 --strict \
             --json --output v4l2:{} --output file:/tmp/{isp}.yuv",
            output.display()
        )));
        // Before the run's first frames the other end has pictures of its own.
        let bytes = 640 * 360 * 3 / 2;
        while part_of(&format!("{isp}.yuv")) < 8 * bytes as u64 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let read = "--stream-mmap --stream-skip=4 --stream-count=6 --stream-to=/tmp/looped";
        ctl(&capture, read);
        let ended = run.end(Signal::INT);
        assert_eq!(ended.code, 0, "{ended:?}");
        let report = ended.report();
        let link = link(&report, 1);
        assert_eq!(link["to"], "v4l2-output:vivid", "{report:#}");
        let how = (&link["method"], &link["heap"], &link["bytes_copied"]);
        assert_eq!(how, (&"import".into(), &"udmabuf".into(), &0.into()), "{report:#}");
        let [sent, looped] = [format!("/tmp/{isp}.yuv"), "/tmp/looped".to_owned()]
            .map(|path| (fs::read(&path).unwrap(), fs::remove_file(&path).unwrap()).0);
        assert_eq!(looped.len(), 6 * bytes);
        let mut seen = vec![0];
        for picture in looped.chunks(bytes) {
            let picture = planes_apart(picture, (640, 360));
            let after = seen[seen.len() - 1];
            let is = |at: &usize| sent[at * bytes..][..bytes] == picture;
            let found = (after..sent.len() / bytes).find(is);
            seen.push(found.unwrap_or_else(|| panic!("{isp}: none of ours after {seen:?}")));
        }
        seen.dedup();
        assert!(seen.len() > 2, "{isp}: always the same, {seen:?}");
    }
}

#[test]
fn readers_see_a_placeholder_in_a_pause() {
    let output = node(VMALLOC, "out");
    for (heap, method) in [("udmabuf", "import"), ("memfd", "copy")] {
        let capture = connect(VMALLOC, "NV12");
        let before = settings(&output);
        let run = Child::spawn(command(&format!(
            "--isp cpu --heap {heap} --format NV12 --size 320x180 --fps 10 --frames 1000000 \
             --json --output v4l2:{} --output file:/tmp/paused.yuv",
            output.display()
        )));
        // It knows the signal by then, which would end it before.
        while part_of("paused.yuv") < 4 * 320 * 180 * 3 / 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let is_grey = || {
            ctl(&capture, "--stream-mmap --stream-count=1 --stream-to=/tmp/seen");
            fs::read("/tmp/seen").unwrap().iter().all(|byte| *byte == 0x80)
        };
        let wait_for = |grey: bool| {
            assert!((0..100).any(|_| is_grey() == grey), "{heap}: grey was to be {grey}");
        };
        for _ in 0..2 {
            wait_for(false);
            run.signal(Signal::USR1);
            wait_for(true);
            let written = part_of("paused.yuv");
            assert!((0..5).all(|_| is_grey()), "{heap}: it did not stay so");
            assert_eq!(part_of("paused.yuv"), written, "{heap}: no frame is made");
            run.signal(Signal::USR1);
        }
        wait_for(false);
        let ended = run.end(Signal::INT);
        assert_eq!(ended.code, 0, "{ended:?}");
        let report = ended.report();
        assert_eq!(link(&report, 1)["method"], method, "{report:#}");
        let frames = &report["frames"];
        assert_eq!(frames["completed"], frames["displayed"], "{report:#}");
        assert_eq!((&frames["dropped"], &frames["errors"]), (&0.into(), &0.into()), "{report:#}");
        assert_eq!(settings(&output), before);
        fs::remove_file("/tmp/paused.yuv").unwrap();
    }
    // One that ends in the pause, before its first frame is due again.
    let run = Child::spawn(command(&format!(
        "--isp cpu --size 320x180 --fps 10 --frames 1000000 --output v4l2:{} --output \
         file:/tmp/paused.y4m",
        output.display()
    )));
    while part_of("paused.y4m") < 4 * 320 * 180 {
        std::thread::sleep(Duration::from_millis(20));
    }
    run.signal(Signal::USR1);
    let ended = run.end(Signal::INT);
    assert_eq!((ended.code, &*ended.stderr), (0, ""), "{ended:?}");
    fs::remove_file("/tmp/paused.y4m").unwrap();
}

#[test]
fn a_multi_planar_node_gets_planes_in_one_memory() {
    let output = node(MULTI_PLANAR, "out");
    let capture = connect(MULTI_PLANAR, "NV12");
    let pool = pool(&*heaps::open("dma_heap:system").unwrap(), Fourcc::NV12);
    let mut sink = open(&output, Fourcc::NV12);
    let read = watched(&mut sink, &pool, &capture, 8);
    assert_eq!(sink.link_end().method, Method::Import, "{:?}", sink.link_end());
    assert_frames(&read, Fourcc::NV12, sink.counts().displayed, byte);
}

#[test]
fn what_a_node_refuses_is_copied_and_reads_the_same() {
    let (capture, output) = (connect(CONTIGUOUS, "XR24"), node(CONTIGUOUS, "out"));
    let before = settings(&output);
    // Such a buffer is one page over and over, so a frame is of one colour.
    let grey = |sequence: u64, _: usize, _: usize| (sequence % 251) as u8;
    let run = |pictures| {
        let pool = pool(&Scattered, Fourcc::XRGB8888);
        let mut sink = open(&output, Fourcc::XRGB8888);
        let read = watched_as(&mut sink, &pool, &capture, pictures, grey);
        let frames = sink.counts().displayed;
        assert_frames(&read, Fourcc::XRGB8888, frames, grey);
        let end = sink.link_end();
        assert_eq!((end.method, end.since_frame, end.imports), (Method::Copy, 0, 0), "{end:?}");
        assert_eq!(end.bytes_copied, frames * 320 * 180 * 4);
        let reason = end.reason.as_deref().unwrap().to_owned();
        assert!(reason.starts_with("v4l2-output:vivid: VIDIOC_QBUF: EFAULT"), "{reason}");
    };
    let books = accounting::after_warming_up(|| run(4));
    run(8);
    books.assert_unchanged();
    assert_eq!(settings(&output), before);
}

#[test]
fn a_queue_that_is_refused_to_dma_bufs_is_made_of_the_drivers_own() {
    let (capture, output) = (connect(VMALLOC, "XR24"), node(VMALLOC, "out"));
    let refuse = || drop(ctl(&output, "--set-ctrl=inject_vidioc_reqbufs_error=1"));
    // When it is asked whether it takes any, and after it has agreed.
    for asked in [true, false] {
        let pool = pool(&*heaps::open("udmabuf").unwrap(), Fourcc::XRGB8888);
        if asked {
            refuse();
        }
        let mut sink = open(&output, Fourcc::XRGB8888);
        if !asked {
            refuse();
        }
        let read = watched(&mut sink, &pool, &capture, 5);
        let (end, frames) = (sink.link_end(), sink.counts().displayed);
        assert_frames(&read, Fourcc::XRGB8888, frames, byte);
        assert_eq!((end.method, end.since_frame, end.imports), (Method::Copy, 0, 0), "{end:?}");
        assert_eq!(end.bytes_copied, frames * 320 * 180 * 4, "{end:?}");
        let reason = "v4l2-output:vivid: VIDIOC_REQBUFS: EINVAL (Invalid argument)";
        assert_eq!(end.reason.as_deref(), Some(reason));
    }
}

#[test]
fn a_copy_keeps_strides_and_planes_apart() {
    let output = node(VMALLOC, "out");
    for (format, code) in
        [(Fourcc::NV12, "NV12"), (Fourcc::YUV420, "YU12"), (Fourcc::RGB565, "RGBP")]
    {
        let capture = connect(VMALLOC, code);
        // Of a memfd no device takes anything.
        let pool = pool(&*heaps::open("memfd").unwrap(), format);
        let mut sink = open(&output, format);
        let read = watched(&mut sink, &pool, &capture, 6);
        let end = sink.link_end();
        assert_eq!(end.method, Method::Copy, "{end:?}");
        assert!(end.reason.as_deref().unwrap().contains("a memfd is not a dma-buf"), "{end:?}");
        assert_frames(&read, format, sink.counts().displayed, byte);
    }
}

#[test]
fn a_refusal_while_streaming_copies_the_same_frame_and_all_that_follow() {
    let (capture, output) = (connect(VMALLOC, "XR24"), node(VMALLOC, "out"));
    let pool = pool(&*heaps::open("udmabuf").unwrap(), Fourcc::XRGB8888);
    let mut sink = open(&output, Fourcc::XRGB8888);
    sink.prepare(pool.buffers());
    for sequence in 0..7 {
        sink.present(frame(&pool, sequence, byte)).unwrap();
    }
    assert_eq!(sink.link_end().method, Method::Import);
    ctl(&output, "--set-ctrl=inject_vidioc_qbuf_error=1");
    sink.present(frame(&pool, 7, byte)).unwrap();
    let end = sink.link_end();
    assert_eq!(end.method, Method::Copy, "{end:?}");
    assert!(end.reason.as_deref().unwrap().contains("VIDIOC_QBUF: EINVAL"), "{end:?}");
    // The buffers that the device still had go with it.
    let again = 8 - end.since_frame;
    assert!((1..=4).contains(&again), "{end:?}");
    assert_eq!(end.bytes_copied, again * 320 * 180 * 4, "{end:?}");
    // The later frames are right.
    let mut reader = Command::new("v4l2-ctl")
        .arg("-d")
        .arg(&capture)
        .args(["--stream-mmap", "--stream-count=5", "--stream-to=/tmp/after"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut sequence = 8;
    while reader.try_wait().unwrap().is_none() {
        sink.present(frame(&pool, sequence, byte)).unwrap();
        sequence += 1;
    }
    assert!(reader.wait().unwrap().success());
    sink.finish().unwrap();
    assert_eq!(sink.counts(), SinkCounts { displayed: sequence, dropped: 0 });
    let read = fs::read("/tmp/after").unwrap();
    let read: Vec<_> = read.chunks(320 * 180 * 4).map(<[u8]>::to_vec).collect();
    assert_frames(&read, Fourcc::XRGB8888, sequence, byte);
}

#[test]
fn a_buffer_that_nobody_announced_is_imported_or_copied_as_well() {
    let output = node(CONTIGUOUS, "out");
    let own = pool(&*heaps::open(&heap_of(&output)).unwrap(), Fourcc::XRGB8888);
    let scattered = pool(&Scattered, Fourcc::XRGB8888);
    let mut sink = open(&output, Fourcc::XRGB8888);
    for sequence in 0..3 {
        sink.present(frame(&own, sequence, byte)).unwrap();
    }
    let end = sink.link_end();
    assert_eq!((end.method, end.imports > 0), (Method::Import, true), "{end:?}");
    sink.present(frame(&scattered, 3, byte)).unwrap();
    let end = sink.link_end();
    assert_eq!(end.method, Method::Copy, "{end:?}");
    assert!(end.reason.as_deref().unwrap().contains("VIDIOC_QBUF: EFAULT"), "{end:?}");
    sink.finish().unwrap();
    assert_eq!(sink.counts(), SinkCounts { displayed: 4, dropped: 0 });
}

#[test]
fn a_picture_that_the_device_calls_broken_was_dropped() {
    let output = node(VMALLOC, "out");
    let pool = pool(&*heaps::open("udmabuf").unwrap(), Fourcc::XRGB8888);
    let mut sink = open(&output, Fourcc::XRGB8888);
    for sequence in 0..10 {
        if sequence == 5 {
            ctl(&output, "--set-ctrl=inject_v4l2_buf_flag_error=1");
        }
        sink.present(frame(&pool, sequence, byte)).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(sink.counts(), SinkCounts { displayed: 9, dropped: 1 });
}

#[test]
fn a_device_that_goes_is_named_and_nothing_hangs() {
    let output = node(UNPLUGGED, "out");
    let heap = heaps::open("udmabuf").unwrap();
    let pool = pool(&*heap, Fourcc::XRGB8888);
    let mut sink = open(&output, Fourcc::XRGB8888);
    sink.prepare(pool.buffers());
    for sequence in 0..5 {
        sink.present(frame(&pool, sequence, byte)).unwrap();
    }
    ctl(&output, "--set-ctrl=disconnect=1");
    let gone = sink.present(frame(&pool, 5, byte)).unwrap_err();
    assert!(matches!(gone, SinkError::V4l2(V4l2Error::Gone { .. })), "{gone:?}");
    assert_eq!(gone.to_string(), "v4l2-output:vivid is gone");
    sink.finish().unwrap_err();
    let SinkCounts { displayed, dropped } = sink.counts();
    assert_eq!(displayed + dropped, 5);
    drop(sink);
    let all: Vec<_> = (0..5).map(|_| pool.take(SOON).unwrap()).collect();
    assert_eq!(all.len(), 5, "every buffer came back");
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    let (capture, output) = (node(VMALLOC, "cap"), node(VMALLOC, "out"));
    let vcam = |more: &str| vcam(&format!("--isp cpu --heap udmabuf --frames 1 {more}"));
    let names = output.display().to_string();
    let wrong = vcam(&format!("--output v4l2:{}", capture.display()));
    wrong.failed_with(2, &["gives pictures and takes none", &names]);
    vcam("--output v4l2:video99").failed_with(2, &["there is no /dev/video99", &names]);
    vcam("--output v4l2:/dev/null").failed_with(2, &["/dev/null does not answer VIDIOC_QUERYCAP"]);
    let wrong = vcam(&format!("--format XR30 --output v4l2:{names}"));
    wrong.failed_with(4, &["v4l2-output:vivid does not take XR30; it takes: ", "XR24", "NV12"]);
    let (node, size, format) = (output.clone(), (20_000, 100), Fourcc::XRGB8888);
    let (colour_space, period) = (ColourSpace::SRGB, Duration::ZERO);
    let wrong = V4l2Sink::open(&V4l2Options { node, size, format, colour_space, period });
    let wrong = wrong.unwrap_err();
    assert!(matches!(wrong, V4l2Error::Size { .. }), "{wrong:?}");
    let words = "does not take pictures of 20000x100; it takes 16384x100 in their place";
    assert!(wrong.to_string().contains(words), "{wrong}");
    // Another program is there already.
    let mut user = Command::new("v4l2-ctl")
        .arg("-d")
        .arg(&output)
        .args(["--stream-out-mmap", "--stream-count=100000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints a mark for each picture.
    user.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let busy = vcam(&format!("--output v4l2:{names}"));
    busy.failed_with(4, &["another program uses /dev/video"]);
    user.stderr.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(user.try_wait().unwrap(), None, "the user of the node was thrown off");
    user.kill().unwrap();
    user.wait().unwrap();
}

#[test]
fn strict_ends_before_the_first_frame_where_a_node_would_copy() {
    let output = node(VMALLOC, "out");
    let arguments = format!("--isp cpu --heap memfd --strict --output v4l2:{}", output.display());
    let before = settings(&output);
    vcam(&arguments).failed_with(3, &["a memfd is not a dma-buf"]);
    assert_eq!(settings(&output), before);
}

#[test]
fn a_run_that_is_interrupted_leaves_the_node_as_it_was() {
    let output = node(VMALLOC, "out");
    let (before, format) = (settings(&output), ctl(&output, "--get-fmt-video-out"));
    let arguments = format!(
        "--isp cpu --heap udmabuf --size 256x128 --frames 1000000 --output v4l2:{}",
        output.display()
    );
    let run = command::Child::spawn(command(&arguments));
    while ctl(&output, "--get-fmt-video-out") == format {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = run.end(rustix::process::Signal::INT);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(settings(&output), before);
}
