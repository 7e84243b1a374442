//! V4L2 nodes of every kind that vivid plays: with memory from vmalloc or contiguous, single- or
//! multi-planar, capture or output. The machine is booted with the arguments of `nodes.cmdline`.
//!
//! `cargo xtask test --only uml v4l2_nodes`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use vcam_allocator::constraints::{Bounds, Constraints, Requirement, VendorRules};
use vcam_allocator::knowledge::Asked;
use vcam_allocator::plan::{HeapOffer, Planner, Stream};
use vcam_allocator::probe::{Cell, Finding, Outcome, Prober, pattern, probe};
use vcam_allocator::{
    Alignment, CpuAccess, Dmabuf, Fourcc, Heap, Knowledge, Layout, MemoryKind, allocate_split,
    heaps,
};
use vcam_sinks::v4l2::constraints::{self, MEMORIES};
use vcam_sinks::v4l2::probe::probers;
use vcam_testing::accounting;
use vcam_testing::v4l2_ctl::settings;
use vcam_testing::vivid::{CONTIGUOUS, MULTI_PLANAR, Scattered, VMALLOC, heap_of, node};

/// A size that every vivid has, its webcam included.
const SIZE: (u32, u32) = (640, 360);

fn prober(node: &Path) -> Box<dyn Prober> {
    let mut probers = probers(node).unwrap();
    assert_eq!(probers.len(), 1, "{}", node.display());
    probers.remove(0)
}

fn cell(node: &Path, heap: &str, format: Fourcc) -> Cell {
    probe(&mut *prober(node), &*heaps::open(heap).unwrap(), format, &mut |_| {})
}

/// Eight buffers of this size.
fn buffers(heap: &str, format: Fourcc, (width, height): (u32, u32), stride: u64) -> Vec<Dmabuf> {
    let heap = heaps::open(heap).unwrap();
    let alignment = Alignment { stride, offset: 1, rows: 1, size: 4096 };
    let layout = Layout::linear(format, width, height, alignment).unwrap();
    (0..8).map(|_| heap.allocate(&layout, "test").unwrap()).collect()
}

fn proven(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| matches!(finding, Finding::Proven(_))).count()
}

/// The ways in which a node takes a format.
fn ways(constraints: &Constraints, format: Fourcc) -> Vec<Requirement> {
    let alternatives = constraints.alternatives().iter();
    let all = alternatives.map(|way| way.resolve(&VendorRules::default()).unwrap());
    all.filter(|need| need.formats.as_ref().unwrap().contains_key(&format)).collect()
}

#[test]
fn a_node_states_what_its_driver_answers() {
    for end in ["cap", "out"] {
        let node = node(VMALLOC, end);
        let before = settings(&node);
        let stated = constraints::of(&node, SIZE).unwrap().unwrap();
        assert_eq!(settings(&node), before);
        let statements: Vec<_> = stated.alternatives()[0].statements().collect();
        let owner = if end == "cap" { "v4l2-capture:vivid" } else { "v4l2-output:vivid" };
        assert!(statements.iter().all(|statement| statement.owner == owner), "{statements:?}");

        let [need] = &ways(&stated, Fourcc::XRGB8888)[..] else { panic!("{stated:?}") };
        assert!(need.dma_buf && need.heaps.is_none(), "{need:?}");
        assert_eq!(need.width, Bounds { min: 640, max: 640 });
        assert_eq!(need.height, Bounds { min: 360, max: 360 });
        // vivid takes every stride that holds a row.
        assert_eq!(need.planes[0].stride, Bounds { min: 640 * 4, ..Bounds::ANY });
        assert_eq!(need.planes[0].stride_multiple, 1);
        assert_eq!(need.size.min, 640 * 4 * 360);
        let [need] = &ways(&stated, Fourcc::NV12)[..] else { panic!("{stated:?}") };
        assert_eq!((&need.vendor[MEMORIES][..], need.adjoining), (&[1][..], true));
        assert_eq!(need.size.min, 640 * 360 * 3 / 2);
        assert!(ways(&stated, Fourcc::GR88).is_empty(), "V4L2 has no such format");

        // A planner finds a heap and a layout by them.
        let heap = heaps::open("udmabuf").unwrap();
        let planner = Planner::new(vec![HeapOffer::from(&*heap)]);
        let (width, height) = SIZE;
        let (formats, parties) = (&[Fourcc::XRGB8888], &[stated]);
        let plan = planner.plan(&Stream { name: "test", width, height, formats, parties }).unwrap();
        assert_eq!(plan.heap, "udmabuf");
    }
    // The webcam's sizes are few: it says which it has instead, and which there are at all.
    let stated = constraints::of(&node(VMALLOC, "cap"), (600, 300)).unwrap().unwrap();
    let [need] = &ways(&stated, Fourcc::R8)[..] else { panic!("{stated:?}") };
    assert_eq!((need.width.min, need.width.max), (640, 640), "{stated:?}");
}

#[test]
fn planes_in_memories_of_their_own_are_another_way() {
    for end in ["cap", "out"] {
        let stated = constraints::of(&node(MULTI_PLANAR, end), SIZE).unwrap().unwrap();
        let ways = ways(&stated, Fourcc::NV12);
        let memories: Vec<_> = ways.iter().map(|need| need.vendor[MEMORIES][0]).collect();
        assert_eq!(memories, [1, 2], "one memory is liked better: {stated:?}");
        let adjoining: Vec<_> = ways.iter().map(|need| need.adjoining).collect();
        assert_eq!(adjoining, [true, false], "{stated:?}");
        for need in &ways {
            assert_eq!(need.planes[0].stride.min, 640, "{need:?}");
            assert_eq!(need.size.min, 640 * 360 * 3 / 2, "{need:?}");
        }
    }
}

#[test]
fn what_an_output_reads_is_seen_through_the_loop() {
    for instance in [VMALLOC, MULTI_PLANAR] {
        let nodes = [node(instance, "cap"), node(instance, "out")];
        let before = nodes.each_ref().map(|node| settings(node));
        for heap in ["udmabuf", "dma_heap:system", &heap_of(&nodes[0]), &heap_of(&nodes[1])] {
            for format in [Fourcc::R8, Fourcc::XRGB8888, Fourcc::NV12] {
                let cell = cell(&nodes[1], heap, format);
                assert_eq!((cell.result, &cell.reason), (Outcome::Ok, &None), "{cell:?}");
            }
        }
        assert_eq!(nodes.each_ref().map(|node| settings(node)), before);
    }
}

#[test]
fn another_picture_in_the_loop_is_noticed() {
    let node = node(VMALLOC, "out");
    let mut prober = prober(&node);
    for (format, size) in [(Fourcc::XRGB8888, (256, 128)), (Fourcc::NV12, (256, 128))] {
        let buffers = buffers("udmabuf", format, size, 256);
        let mut queued = 0;
        let findings = prober.prove(&buffers, &mut |step| {
            queued += u32::from(step == "VIDIOC_QBUF");
            // All are queued once to be imported. The third is changed when it is sent, by a byte:
            // of its pixels, or of its chroma.
            if queued == 8 + 3 {
                let mut guard = buffers[2].cpu_access(CpuAccess::ReadWrite).unwrap();
                let last = guard.plane_mut(buffers[2].layout().planes().len() - 1);
                last[10 * 256 + 12] ^= 0x80;
                guard.end().unwrap();
            }
        });
        assert!(matches!(findings[2], Finding::WrongPixels(..)), "{format}: {findings:?}");
        assert_eq!(proven(&findings), 7, "{format}: {findings:?}");
    }
}

#[test]
fn an_output_whose_other_end_is_in_use_is_not_seen_and_nobody_is_disturbed() {
    let (capture, output) = (node(VMALLOC, "cap"), node(VMALLOC, "out"));
    let before = settings(&capture);
    let mut user = Command::new("v4l2-ctl")
        .arg("-d")
        .arg(&capture)
        .args(["--stream-mmap", "--stream-count=100000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints a mark for each picture.
    user.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let found = cell(&output, "udmabuf", Fourcc::XRGB8888);
    assert_eq!(found.result, Outcome::Ok, "{found:?}");
    assert_eq!(found.reason.as_deref(), Some("accepted; pixels not provable here"), "{found:?}");
    user.stderr.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(user.try_wait().unwrap(), None, "the user of the node was thrown off");
    assert_eq!(settings(&capture), before);
    user.kill().unwrap();
    user.wait().unwrap();
}

#[test]
fn small_buffers_are_contiguous_and_large_ones_by_luck() {
    let node = node(CONTIGUOUS, "out");
    let own = heap_of(&node);
    let mut prober = prober(&node);
    let mut prove = |heap: &str, format, size: (u32, u32)| {
        let findings = prober.prove(&buffers(heap, format, size, 1), &mut |_| {});
        let refused: Vec<_> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Refused(refusal) => Some((refusal.step, refusal.errno)),
                _ => None,
            })
            .collect();
        println!("{heap} {format} {size:?}: {} of {} refused", refused.len(), findings.len());
        let fault = Some(rustix::io::Errno::FAULT.raw_os_error());
        assert!(refused.iter().all(|refused| *refused == ("VIDIOC_QBUF", fault)), "{findings:?}");
        (proven(&findings), refused.len())
    };
    for heap in ["udmabuf", "dma_heap:system"] {
        assert_eq!(prove(heap, Fourcc::R8, (64, 64)), (8, 0), "{heap}: a page is contiguous");
        let (proven, refused) = prove(heap, Fourcc::XRGB8888, (1280, 720));
        // Of 900 pages, whichever happen to be: one that is not is enough to show none.
        assert!(proven == 8 || proven == 0 && refused > 0, "{heap}: {proven}, {refused}");
    }
    // The system heap has 64 KiB in one piece, as long as there are any.
    assert_eq!(prove("dma_heap:system", Fourcc::R8, (256, 256)), (8, 0));
    assert_eq!(prove(&own, Fourcc::XRGB8888, (1280, 720)), (8, 0), "its own memory always is");
}

/// A buffer that is not contiguous even by luck: it is one page over and over.
fn scattered(width: u32, height: u32) -> Dmabuf {
    let alignment = Alignment { stride: 1, offset: 1, rows: 1, size: 4096 };
    let layout = Layout::linear(Fourcc::R8, width, height, alignment).unwrap();
    Scattered.allocate(&layout, "test-scattered").unwrap()
}

#[test]
fn contiguous_by_luck_is_not_believed() {
    let node = node(CONTIGUOUS, "out");
    let mut prober = prober(&node);
    // Two out of eight, wherever they are.
    for (one, other) in [(0, 1), (3, 5), (6, 7)] {
        let mut mixed = buffers(&heap_of(&node), Fourcc::R8, (256, 256), 1);
        (mixed[one], mixed[other]) = (scattered(256, 256), scattered(256, 256));
        let findings = prober.prove(&mixed, &mut |_| {});
        let cell = Cell::unknown("mixed", "test", Fourcc::R8, None, String::new());
        let cell = cell.judged(&findings);
        assert_eq!(cell.result, Outcome::Refused, "{findings:?}");
        assert_eq!(cell.errno.as_deref(), Some("EFAULT"), "{cell:?}");
        let reason = cell.reason.unwrap_or_default();
        assert!(reason.contains("(2 of 8 buffers: that others pass is luck)"), "{reason}");
    }
}

#[test]
fn the_probe_refuses_what_is_not_always_contiguous() {
    for end in ["cap", "out"] {
        let node = node(CONTIGUOUS, end);
        let refused = probe(&mut *prober(&node), &Scattered, Fourcc::XRGB8888, &mut |_| {});
        assert_eq!(refused.result, Outcome::Refused, "{refused:?}");
        assert_eq!(refused.step.as_deref(), Some("VIDIOC_QBUF"), "{refused:?}");
        assert_eq!(refused.errno.as_deref(), Some("EFAULT"), "{refused:?}");
        let reason = refused.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("needs contiguous memory"), "{refused:?}");
        let info = prober(&node).info();
        let mut knowledge = Knowledge::default();
        knowledge.note_cell(&info, &refused);
        let learned = knowledge.verdicts(&Asked::from(&info), Fourcc::XRGB8888, refused.size);
        let statement = learned[0].statement.to_string();
        assert!(statement.contains("needs a heap other than udmabuf"), "{statement}");

        let fits = cell(&node, &heap_of(&node), Fourcc::XRGB8888);
        assert_eq!((fits.result, &fits.reason), (Outcome::Ok, &None), "{fits:?}");
    }
}

#[test]
fn a_multi_planar_node_gives_planes_together_or_apart() {
    for end in ["cap", "out"] {
        let node = node(MULTI_PLANAR, end);
        let layout = Layout::linear(Fourcc::NV12, SIZE.0, SIZE.1, Alignment::default()).unwrap();
        let before = settings(&node);
        for (split, memories) in [("", 1), (":split", 2)] {
            let name = format!("{}{split}", heap_of(&node));
            let allocate = || heaps::open(&name).unwrap().allocate(&layout, "test-planes").unwrap();
            let books = accounting::after_warming_up(|| drop(allocate()));
            let buffer = allocate();
            assert_eq!(buffer.kind(), MemoryKind::DmaBuf);
            assert_eq!(buffer.inodes().count(), memories, "{name}");
            let planes = buffer.layout().planes();
            let chroma = if memories == 2 { 0 } else { planes[0].stride * u64::from(SIZE.1) };
            assert_eq!(planes[1].offset, chroma, "{name}");
            pattern::fill(&buffer, 5).unwrap();
            assert_eq!(pattern::check(&buffer, 5).unwrap(), Ok(()), "{name}");
            drop(buffer);
            books.assert_unchanged();
        }
        assert_eq!(settings(&node), before);
    }
    // A single-planar node has nothing to keep apart, and says so.
    let name = format!("{}:split", heap_of(&node(VMALLOC, "cap")));
    let error = heaps::open(&name).unwrap_err().to_string();
    assert!(error.contains("keep the planes of a picture apart"), "{error}");
}

#[test]
fn a_multi_planar_node_takes_planes_together_or_apart() {
    let heaps = ["udmabuf", "dma_heap:system"].map(|name| heaps::open(name).unwrap());
    for end in ["cap", "out"] {
        let node = node(MULTI_PLANAR, end);
        let mut prober = prober(&node);
        let asked = prober.layout(Fourcc::NV12).unwrap();
        let size = (asked.width(), asked.height());
        let apart = |_| {
            let both = [&*heaps[0], &*heaps[1]];
            allocate_split(&both, Fourcc::NV12, size, Alignment::default(), "test").unwrap()
        };
        let apart: Vec<_> = (0..8).map(apart).collect();
        assert_eq!(apart[0].inodes().count(), 2);
        let together = (0..8).map(|_| heaps[0].allocate(&asked, "test").unwrap()).collect();
        for buffers in [apart, together] {
            let findings = prober.prove(&buffers, &mut |_| {});
            assert_eq!(proven(&findings), 8, "{end}: {findings:?}");
        }
    }
    // To a single-planar node the planes are one memory.
    let mut prober = prober(&node(VMALLOC, "out"));
    let both = [&*heaps[0], &*heaps[1]];
    let apart =
        allocate_split(&both, Fourcc::NV12, (256, 128), Alignment::default(), "test").unwrap();
    let findings = prober.prove(&[apart], &mut |_| {});
    let [Finding::Refused(refusal)] = &findings[..] else { panic!("{findings:?}") };
    assert!(refusal.detail.contains("spread over 2 memories"), "{refusal}");
}
