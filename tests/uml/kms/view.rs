//! Pictures on the screen: rotation, mirroring, scaling, the plane, and the choice of frames.
//!
//! `cargo xtask test --only uml kms_view`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use vcam_allocator::{ColourSpace, CpuAccess, Fourcc};
use vcam_sinks::{
    Captured, Frame, KmsError, KmsOptions, KmsSink, Latest, PlaneChoice, Rotate, Sink, Transform,
};
use vcam_testing::command::{self, command};
use vcam_testing::display_state;
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::stepped_display::{self, SteppedDisplay, pool};
use vcam_testing::vkms::{Card, Plane};

/// A picture that looks different from every side.
fn pixel(x: u32, y: u32) -> [u8; 3] {
    [x as u8, y as u8, ((x >> 8) | (y >> 8) << 4) as u8]
}

/// The picture as a display of this card shows it, and the position that the card reports.
fn shown(options: &KmsOptions) -> (Captured, vcam_sinks::kms::Placement) {
    let mut sink = KmsSink::open(options).unwrap();
    sink.enable_capture().unwrap();
    let (width, height) = options.size;
    let buffer = pool("udmabuf", options.format, options.size).take(Duration::ZERO).unwrap();
    let stride = buffer.layout().planes()[0].stride as usize;
    let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
    for (y, row) in (0..height).zip(pixels.plane_mut(0).chunks_mut(stride)) {
        for (x, bytes) in (0..width).zip(row.chunks_exact_mut(4)) {
            let [red, green, blue] = pixel(x, y);
            bytes.copy_from_slice(&[blue, green, red, 255]);
        }
    }
    pixels.end().unwrap();
    sink.present(Frame {
        sequence: 0,
        timestamp: Duration::ZERO,
        buffer,
        colour_space: ColourSpace::SRGB,
        ready: None,
        taken: None,
    })
    .unwrap();
    let captured = sink.capture().unwrap();
    assert_eq!(sink.link_end().bytes_copied, 0);
    (captured, sink.placement())
}

/// The place of a picture's pixel after a transform: mirrored first, then turned counter-clockwise.
fn transformed(transform: Transform, (width, height): (u32, u32), x: u32, y: u32) -> (u32, u32) {
    let x = if transform.reflect_x { width - 1 - x } else { x };
    let y = if transform.reflect_y { height - 1 - y } else { y };
    match transform.rotate {
        Rotate::By0 => (x, y),
        Rotate::By90 => (y, width - 1 - x),
        Rotate::By180 => (width - 1 - x, height - 1 - y),
        Rotate::By270 => (height - 1 - y, x),
    }
}

#[test]
fn a_plane_turns_and_mirrors_pictures() {
    let rig = KmsRig::new("turned");
    for words in [
        "rotate-0",
        "rotate-90",
        "rotate-180",
        "rotate-270",
        "reflect-x",
        "reflect-y",
        "rotate-90,reflect-x",
        "rotate-270,reflect-x,reflect-y",
    ] {
        let transform: Transform = words.parse().unwrap();
        let (width, height) = (324, 240);
        let options =
            KmsOptions { transform, size: (width, height), ..stepped_display::options(rig.node()) };
        let (captured, at) = shown(&options);
        let turned = matches!(transform.rotate, Rotate::By90 | Rotate::By270);
        let size = if turned { (height, width) } else { (width, height) };
        assert_eq!((at.width, at.height), size, "{words}");
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let (to_x, to_y) = transformed(transform, (width, height), x, y);
            let is = captured.pixel(at.x + to_x, at.y + to_y);
            assert_eq!(is, Some(pixel(x, y)), "{words}: {x},{y} at {to_x},{to_y}");
        }
    }
    rig.assert_as_found();
}

/// vkms does not scale, and says so when it is asked.
#[test]
fn a_picture_that_is_not_scaled_is_shown_as_it_is() {
    let card = Card::new("scaled", &[Plane::Primary]);
    let options = KmsOptions { size: (324, 240), ..stepped_display::options(&card.node) };
    let (plain, at) = shown(&options);
    assert_eq!(shown(&KmsOptions { scale: true, ..options.clone() }), (plain, at));
    // Too large for every mode, and so for a display that does not scale.
    let huge = KmsOptions { scale: true, size: (9000, 100), ..options };
    let error = KmsSink::open(&huge).unwrap_err();
    assert!(matches!(error, KmsError::NoMode { .. } | KmsError::Configuration { .. }), "{error:?}");
}

/// The line of a plane in the display's state.
fn framebuffer_of(node: &Path, plane: &str) -> u32 {
    let state = display_state::of_node(node);
    let mut lines = state.lines().skip_while(|line| !line.ends_with(plane));
    let line = lines.find(|line| line.trim_start().starts_with("fb=")).unwrap();
    line.trim_start().trim_start_matches("fb=").parse().unwrap()
}

#[test]
fn an_overlay_shows_frames_alone_and_over_black() {
    let rig = KmsRig::with_planes("over", &[Plane::Primary, Plane::Overlay]);
    for (plane, black) in [
        (PlaneChoice::Any, false),
        (PlaneChoice::Overlay, false),
        (PlaneChoice::OverlayOnBlack, true),
    ] {
        // No mode of exactly this width is made, so that there is a border around the picture.
        let options =
            KmsOptions { plane, size: (324, 240), ..stepped_display::options(rig.node()) };
        let mut display = SteppedDisplay::on(&Default::default(), &options);
        display.sink.enable_capture().unwrap();
        for _ in 0..5 {
            display.frame();
            let captured = display.sink.capture().unwrap();
            let at = display.sink.placement();
            let colour = stepped_display::colour(display.frames - 1);
            assert!(at.x > 0 && at.y > 0, "{at:?}");
            assert_eq!(captured.pixel(at.x, at.y), Some(colour), "{plane:?}");
            let (right, bottom) = (at.x + at.width - 1, at.y + at.height - 1);
            assert_eq!(captured.pixel(right, bottom), Some(colour), "{plane:?}");
            assert_eq!(captured.pixel(0, 0), Some([0; 3]), "{plane:?}");
            assert_eq!(captured.pixel(right + 1, bottom), Some([0; 3]), "{plane:?}");
        }
        let overlay = plane != PlaneChoice::Any;
        assert_eq!(framebuffer_of(rig.node(), "plane-0") != 0, !overlay || black, "{plane:?}");
        assert_eq!(framebuffer_of(rig.node(), "plane-1") != 0, overlay, "{plane:?}");
        assert_eq!(display.sink.link_end().imports, 3);
        assert_eq!(display.finish().dropped, 0);
        rig.assert_state_restored();
    }
    let plain = Card::new("none", &[Plane::Primary]);
    let options =
        KmsOptions { plane: PlaneChoice::Overlay, ..stepped_display::options(&plain.node) };
    let error = KmsSink::open(&options).unwrap_err();
    assert!(matches!(error, KmsError::NoCrtc { .. }), "{error:?}");
    drop(plain);
    rig.assert_as_found();
}

#[test]
fn only_the_latest_frame_waits_for_the_vertical_blank() {
    const FRAMES: u64 = 300;
    let rig = KmsRig::new("latest");
    let options = stepped_display::options(rig.node());
    let mut sink = KmsSink::open(&options).unwrap();
    sink.enable_capture().unwrap();
    let (seen, last) = channel();
    sink.on_finish_capture(Box::new(move |captured| seen.send(captured).unwrap()));
    let mut latest = Latest::new(Box::new(sink));
    // On the screen, on its way there, waiting, and being painted.
    let buffers = {
        let layout = pool("udmabuf", options.format, options.size).buffers()[0].layout().clone();
        let heap = vcam_allocator::heaps::open("udmabuf").unwrap();
        vcam_allocator::Pool::new(&*heap, &layout, "test-latest", 4).unwrap()
    };
    for sequence in 0..FRAMES {
        let buffer = buffers.take(Duration::from_secs(60)).unwrap();
        stepped_display::paint(&buffer, sequence);
        let (timestamp, colour_space) = (Duration::ZERO, ColourSpace::SRGB);
        let frame = Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None };
        latest.present(frame).unwrap();
    }
    latest.finish().unwrap();
    let (counts, passed) = (latest.counts(), latest.passed_over());
    assert_eq!(counts.displayed + passed, FRAMES, "{counts:?}");
    assert_eq!(counts.dropped, 0);
    // It is painted faster than shown.
    assert!(passed > 0 && counts.displayed > 1, "{counts:?}");
    assert_eq!(latest.link_end().bytes_copied, 0);
    let captured = last.recv().unwrap();
    assert_eq!(captured.pixel(320, 240), Some(stepped_display::colour(FRAMES - 1)));
    drop((latest, buffers));
    rig.assert_nothing_held();
}

#[test]
fn the_command_turns_pictures_and_shows_the_latest() {
    let card = Card::new("command", &[Plane::Primary]);
    let arguments = format!(
        "--display --card {} --size 320x240 --frames 40 --fps max --transform rotate-90 --scale \
         --latest --json",
        card.node.display()
    );
    let ran: command::Ran = command(&arguments).output().unwrap().into();
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let count = |name: &str| report["frames"][name].as_u64().unwrap();
    assert_eq!((count("completed"), count("dropped")), (40, 0), "{report:#}");
    assert!((1..=40).contains(&count("displayed")), "{report:#}");
    assert!(report["outputs"][0].as_str().unwrap().ends_with("240x320@60"), "{report:#}");
    let bad = command("--display --transform upside-down").output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
}

#[test]
fn a_format_of_no_plane_is_an_error_that_lists_those_there_are() {
    let card = Card::new("format", &[Plane::Primary, Plane::Overlay]);
    let format = Fourcc::new(*b"YUYV");
    let error =
        KmsSink::open(&KmsOptions { format, ..stepped_display::options(&card.node) }).unwrap_err();
    assert!(matches!(error, KmsError::Format { .. }), "{error:?}");
    assert!(error.to_string().contains("NV12"), "{error}");
}
