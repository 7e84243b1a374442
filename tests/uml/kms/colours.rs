//! Properties that other programs left on a display do not change our colours, and are there again
//! in the end.
//!
//! `cargo xtask test --only uml kms_colours`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;

use drm_ffi::mode::{
    create_property_blob, get_plane_resources, get_properties, get_property, get_property_blob,
    get_resources, set_property,
};
use vcam_allocator::{ColourSpace, CpuAccess, Fourcc, Range};
use vcam_sinks::{Frame, KmsOptions, KmsSink, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::display_state;
use vcam_testing::stepped_display::{self, SteppedDisplay};
use vcam_testing::vkms::{Card, Plane};

/// `include/uapi/drm/drm_mode.h` and `drm.h`.
const CRTC: u32 = 0xcccc_cccc;
const PLANE: u32 = 0xeeee_eeee;
const CLIENT_CAPS: [u64; 2] = [2, 3];

/// Another program on the card. The kernel resets displays when the last file is closed, so it
/// stays.
struct Other(File);

impl Other {
    fn open(node: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(node).unwrap();
        for capability in CLIENT_CAPS {
            drm_ffi::set_capability(file.as_fd(), capability, true).unwrap();
        }
        Self(file)
    }

    fn crtc(&self) -> u32 {
        let mut crtcs = Vec::new();
        get_resources(self.0.as_fd(), None, Some(&mut crtcs), None, None).unwrap();
        crtcs[0]
    }

    fn planes(&self) -> Vec<u32> {
        let mut planes = Vec::new();
        get_plane_resources(self.0.as_fd(), Some(&mut planes)).unwrap();
        planes
    }

    /// Number and value of each property of an object, by name.
    fn properties(&self, object: u32, kind: u32) -> BTreeMap<String, (u32, u64)> {
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        let fd = self.0.as_fd();
        get_properties(fd, object, kind, Some(&mut ids), Some(&mut values)).unwrap();
        let name = |id: u32| {
            let (mut values, mut choices) = (Vec::new(), Vec::new());
            let property = get_property(fd, id, Some(&mut values), Some(&mut choices));
            let name = property.unwrap().name;
            let bytes: Vec<u8> =
                name.iter().map(|byte| *byte as u8).take_while(|b| *b > 0).collect();
            String::from_utf8(bytes).unwrap()
        };
        ids.into_iter().zip(values).map(|(id, value)| (name(id), (id, value))).collect()
    }

    /// Sets a property, if the object has it.
    fn set(&self, object: u32, kind: u32, name: &str, value: u64) -> bool {
        let properties = self.properties(object, kind);
        let Some((id, _)) = properties.get(name) else { return false };
        set_property(self.0.as_fd(), *id, object, kind, value)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        true
    }

    /// The bytes of a property that stands for some.
    fn blob(&self, object: u32, kind: u32, name: &str) -> Vec<u8> {
        let (_, blob) = self.properties(object, kind)[name];
        let mut bytes = Vec::new();
        if blob != 0 {
            get_property_blob(self.0.as_fd(), blob as u32, Some(&mut bytes)).unwrap();
        }
        bytes
    }

    /// Leaves a lookup table that turns black to white.
    fn invert(&self) -> Vec<u8> {
        let crtc = self.crtc();
        let (_, size) = self.properties(crtc, CRTC)["GAMMA_LUT_SIZE"];
        let entry = |index: u64| {
            let level = (65_535 - 65_535 * index / (size - 1)) as u16;
            // Red, green, blue, reserved.
            [level, level, level, 0].map(u16::to_le_bytes).concat()
        };
        let mut table: Vec<u8> = (0..size).flat_map(entry).collect();
        let blob = create_property_blob(self.0.as_fd(), &mut table).unwrap().blob_id;
        assert!(self.set(crtc, CRTC, "GAMMA_LUT", blob.into()));
        table
    }

    fn drop_master(&self) {
        drm_ffi::auth::release_master(self.0.as_fd()).unwrap();
    }
}

#[test]
fn what_was_left_does_not_change_our_colours_and_is_put_back() {
    let before = BufferUsage::read();
    let card = Card::new("left", &[Plane::Primary, Plane::Overlay]);
    let other = Other::open(&card.node);
    let table = other.invert();
    // Half transparent, mirrored, and in the wrong place of the stack, as far as vkms has that.
    let left = [("alpha", 0x4000), ("pixel blend mode", 1), ("rotation", 0x11), ("zpos", 1)];
    for plane in other.planes() {
        for (name, value) in left {
            // Some are fixed.
            let properties = other.properties(plane, PLANE);
            if let Some((id, _)) = properties.get(name) {
                let _ = set_property(other.0.as_fd(), *id, plane, PLANE, value);
            }
        }
    }
    let looks = |other: &Other| -> Vec<_> {
        let kept = |plane: u32| {
            let properties = other.properties(plane, PLANE);
            let value = move |(name, _): (&str, u64)| properties.get(name).map(|(_, value)| *value);
            left.map(value)
        };
        other.planes().into_iter().map(kept).collect()
    };
    let (state, looked) = (display_state::of_node(&card.node), looks(&other));
    other.drop_master();

    let mut display = SteppedDisplay::new(&card.node);
    display.sink.enable_capture().unwrap();
    for _ in 0..3 {
        display.frame();
        display.assert_shown();
    }
    assert!(other.blob(other.crtc(), CRTC, "GAMMA_LUT").is_empty());
    display.finish();

    assert_eq!(other.blob(other.crtc(), CRTC, "GAMMA_LUT"), table);
    assert_eq!(looks(&other), looked);
    assert_eq!(display_state::of_node(&card.node), state);
    drop(other);
    drop(card);
    before.assert_unchanged();
}

/// The same bytes of NV12 in each colour space, as ffmpeg's swscale reads them
/// (`-vf scale=in_color_matrix=…:in_range=…`).
#[test]
fn nv12_is_shown_as_the_frame_says() {
    let card = Card::new("spaces", &[Plane::Primary]);
    for (space, expected) in [
        (ColourSpace::of_video(480), [94, 54, 58]),
        (ColourSpace::of_video(720), [97, 58, 58]),
        (ColourSpace::SYCC, [97, 62, 66]),
        (ColourSpace { range: Range::Full, ..ColourSpace::REC709 }, [100, 66, 66]),
    ] {
        let options = KmsOptions {
            format: Fourcc::NV12,
            colour_space: space,
            ..stepped_display::options(&card.node)
        };
        let mut sink = KmsSink::open(&options).unwrap();
        sink.enable_capture().unwrap();
        let pool = stepped_display::pool("udmabuf", Fourcc::NV12, stepped_display::SIZE);
        let buffer = pool.take(std::time::Duration::ZERO).unwrap();
        let mut planes = buffer.cpu_access(CpuAccess::Write).unwrap();
        planes.plane_mut(0).fill(73);
        planes.plane_mut(1).chunks_mut(2).for_each(|pair| pair.copy_from_slice(&[124, 145]));
        planes.end().unwrap();
        let (sequence, timestamp) = (0, std::time::Duration::ZERO);
        let frame = |colour_space| {
            let buffer = buffer.clone();
            Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None }
        };
        let other = sink.present(frame(ColourSpace::RAW)).unwrap_err();
        assert!(other.to_string().contains("640x480 NV12 in RAW"), "{other}");
        sink.present(frame(space)).unwrap();
        let captured = sink.capture().unwrap();
        let pixel = captured.pixel(captured.width / 2, captured.height / 2).unwrap();
        let off = pixel.iter().zip(expected).map(|(is, should)| is.abs_diff(should)).max();
        assert!(off <= Some(1), "{space}: {pixel:?} instead of {expected:?}");
        sink.finish().unwrap();
    }
}
