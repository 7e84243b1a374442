//! EGL's imports of dma-bufs, good and bad (Mesa, llvmpipe).
//!
//! The ideas are those of piglit's `ext_image_dma_buf_import`. The expected results are those of
//! `EGL_EXT_image_dma_buf_import`; where Mesa does not check, our own check has to come before the
//! call.
//!
//! `cargo xtask test --only uml isp_egl`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use khronos_egl as egl;
use vcam_allocator::foreign::{self, Claim, ForeignError};
use vcam_allocator::probe::pattern;
use vcam_allocator::probe::{Cell, Finding, Outcome, Prober, probe};
use vcam_allocator::{
    Alignment, ColourSpace, CpuAccess, Dmabuf, Fourcc, Heap, Layout, LayoutError, Range, WrapError,
    YcbcrEncoding, allocate_split, heaps,
};
use vcam_isp_gpu::{GpuIsp, Isp};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::egl::{self as raw, Egl};

const SIZE: (u32, u32) = (64, 48);
const YUYV: Fourcc = Fourcc::new(*b"YUYV");

fn heap(name: &str) -> Box<dyn Heap> {
    heaps::open(name).unwrap()
}

fn buffer(format: Fourcc) -> Dmabuf {
    let layout = Layout::linear(format, SIZE.0, SIZE.1, Alignment::default()).unwrap();
    heap("udmabuf").allocate(&layout, "test-egl").unwrap()
}

fn descriptor(buffer: &Dmabuf) -> OwnedFd {
    buffer.planes().next().unwrap().0.try_clone_to_owned().unwrap()
}

/// Asserts that these are the pixels of the pattern.
fn assert_pattern(pixels: &[[u8; 3]], seed: u32) {
    for (index, pixel) in (0..).zip(pixels) {
        let (x, y) = (index % SIZE.0, index / SIZE.0);
        assert_eq!(*pixel, pattern::value(seed, x, y), "at {x},{y}");
    }
}

/// Asserts that these are the pattern's pixels of NV12, in RGB.
///
/// Both sides convert in floating point, whose errors are a small fraction of a level, and round
/// once: so a level that lies next to a half may come out one apart, and no level more.
fn assert_nv12(pixels: &[[u8; 3]], space: ColourSpace, seed: u32) {
    let to_rgb = space.to_rgb();
    for (index, pixel) in (0..).zip(pixels) {
        let (x, y) = (index % SIZE.0, index / SIZE.0);
        if pattern::is_compared(Fourcc::NV12, x, y) {
            let should = pattern::nv12_rgb(&to_rgb, seed, x, y);
            let off = pixel.iter().zip(should).any(|(is, should)| is.abs_diff(should) > 1);
            assert!(!off, "{pixel:?} instead of {should:?} at {x},{y} in {space}");
        }
    }
}

/// Attributes, with some of them set to something else.
fn with(
    list: &[(egl::Int, egl::Int)],
    changes: &[(egl::Int, egl::Int)],
) -> Vec<(egl::Int, egl::Int)> {
    let kept = list.iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    kept.chain(changes).copied().collect()
}

#[test]
fn an_attribute_that_is_missing_is_a_bad_parameter() {
    let egl = Egl::new();
    for format in [Fourcc::XRGB8888, Fourcc::NV12] {
        let buffer = buffer(format);
        let good = raw::attributes(&buffer);
        assert!(egl.import(&good).is_ok(), "{format}");
        for (missing, _) in &good {
            let list: Vec<_> = good.iter().copied().filter(|(name, _)| name != missing).collect();
            let error = egl.import(&list).err();
            assert_eq!(error, Some(egl::Error::BadParameter), "{format} without {missing:#x}");
        }
    }
}

#[test]
fn what_contradicts_the_extension_is_the_error_that_it_names() {
    use egl::Error::{BadAccess, BadAttribute, BadMatch, BadParameter};
    let egl = Egl::new();
    let buffer = buffer(Fourcc::XRGB8888);
    let good = raw::attributes(&buffer);
    let [_, _, pitch] = raw::PLANES[0];
    let fourcc = |code: &[u8; 4]| (raw::FOURCC, egl::Int::from_le_bytes(*code));
    let fd = buffer.planes().next().unwrap().0.as_raw_fd();
    let [low, high] = raw::MODIFIER;
    // `I915_FORMAT_MOD_X_TILED`, which no renderer on the CPU has.
    let tiled = [(low, 1), (high, 1 << 24)];
    for (changes, error) in [
        (&[fourcc(b"FOO0")][..], BadMatch),
        (&[(raw::FOURCC, 0)], BadMatch),
        (&tiled, BadMatch),
        (&[(pitch, 0)], BadAccess),
        (&[(pitch, -256)], BadAccess),
        // The second plane of a format that has one.
        (&[(raw::PLANES[1][0], fd)], BadAttribute),
        (&[(raw::COLOR_SPACE_HINT, raw::YUV_FULL_RANGE)], BadAttribute),
        (&[(raw::SAMPLE_RANGE_HINT, raw::ITU_REC601)], BadAttribute),
        (&[(low, 0)], BadParameter),
        (&[(high, 0)], BadParameter),
        (&[(egl::WIDTH, 0)], BadParameter),
    ] {
        assert_eq!(egl.import(&with(&good, changes)).err(), Some(error), "{changes:x?}");
    }
    let mut something = 0u64;
    let client_buffer = egl.import_from((&raw mut something).addr(), &good);
    assert_eq!(client_buffer.err(), Some(BadParameter));
    assert_eq!(egl.external_only(Fourcc::new(*b"FOO0")), Err(BadParameter));
    assert!(egl.import(&good).is_ok());
}

/// Mesa imports all of these without an error: docs/devices.md.
#[test]
fn what_mesa_does_not_look_at_does_not_get_as_far() {
    let buffer = buffer(Fourcc::XRGB8888);
    let good = Claim::of(&buffer);
    let claimed = |change: &dyn Fn(&mut Claim)| {
        let mut claim = good.clone();
        change(&mut claim);
        foreign::import("test-claim", &claim, vec![descriptor(&buffer)]).unwrap_err()
    };
    let too_small =
        |error| matches!(error, ForeignError::Wrap(WrapError::TooSmall { plane: 0, .. }));
    // A row that reaches into the next, and memory that ends too early.
    assert!(matches!(
        claimed(&|claim| claim.planes[0].stride = 4),
        ForeignError::Layout(LayoutError::StrideTooSmall { plane: 0, row: 256, stride: 4 })
    ));
    assert!(too_small(claimed(&|claim| claim.planes[0].stride = 1 << 24)));
    assert!(too_small(claimed(&|claim| claim.planes[0].offset = 1 << 28)));
    assert!(too_small(claimed(&|claim| claim.height = 1 << 20)));
    // An offset of -1, as EGL's signed numbers have it.
    assert!(too_small(claimed(&|claim| claim.planes[0].offset = u32::MAX.into())));
    assert!(matches!(
        claimed(&|claim| claim.format = Fourcc::new(*b"FOO0")),
        ForeignError::Layout(LayoutError::UnknownFormat(_))
    ));
    assert!(matches!(
        claimed(&|claim| claim.format = Fourcc::NV12),
        ForeignError::PlaneCount { expected: 2, given: 1, .. }
    ));
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(
        foreign::import("test-claim", &good, vec![null.into()]),
        Err(ForeignError::NotMemory { index: 0 })
    ));

    let mut isp = GpuIsp::new(None).unwrap();
    let importer = isp.raw_importer().unwrap();
    let mut refused = |buffer: &Dmabuf| importer.try_import(buffer).unwrap_err();
    let memfd = heap("memfd").allocate(buffer.layout(), "test-memfd").unwrap();
    let refusal = refused(&memfd);
    assert_eq!(refusal.step, "EGL_EXT_image_dma_buf_import");
    assert_eq!(refusal.detail, "a memfd is not a dma-buf");
    // More than EGL's signed 32 bits, and yet within the memory: the layout has but one row.
    let flat = Claim { height: 1, ..good.clone() };
    let mut wide = flat.clone();
    wide.planes[0].stride = 1 << 31;
    let wide = foreign::import("test-wide", &wide, vec![descriptor(&buffer)]).unwrap();
    let refusal = refused(&wide);
    assert_eq!(refusal.step, "EGL_EXT_image_dma_buf_import");
    assert!(refusal.detail.contains("more than EGL can express"), "{refusal}");
    assert_eq!(importer.try_import(&buffer), Ok(()));
}

#[test]
fn the_descriptor_stays_ours_and_the_image_keeps_the_memory() {
    // The first one loads Mesa, for good.
    drop(Egl::new());
    let before = BufferUsage::read();
    let egl = Egl::new();
    let buffer = buffer(Fourcc::XBGR8888);
    pattern::fill(&buffer, 1).unwrap();
    let copy = descriptor(&buffer);
    let mut list = raw::attributes(&buffer);
    list = with(&list, &[(raw::PLANES[0][0], copy.as_raw_fd())]);
    let image = egl.import(&list).unwrap();
    // The number that Mesa was given becomes another file's: a later use of it would show.
    let number = copy.as_raw_fd();
    drop(copy);
    let other = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(other.as_raw_fd(), number);
    assert_pattern(&image.sample(SIZE).unwrap(), 1);
    let kept = descriptor(&buffer);
    drop(buffer);
    assert_pattern(&image.sample(SIZE).unwrap(), 1);
    drop(image);
    // Neither the other file nor ours was closed with the image.
    assert!(rustix::fs::fstat(&other).is_ok());
    assert!(rustix::fs::fstat(kept.as_fd()).is_ok());
    assert!(BufferUsage::read().dma_bufs > before.dma_bufs);
    // The driver keeps what it sampled last until it samples something else, or ends.
    drop((other, kept, egl));
    before.assert_unchanged();
}

#[test]
fn a_failed_import_leaves_the_descriptor_and_nothing_else() {
    let egl = Egl::new();
    let buffer = buffer(Fourcc::XRGB8888);
    let good = raw::attributes(&buffer);
    drop(egl.import(&good).unwrap());
    let before = BufferUsage::read();
    for bad in [[(raw::FOURCC, 0)], [(raw::PLANES[0][2], 0)], [(raw::PLANES[0][0], -1)]] {
        assert!(egl.import(&with(&good, &bad)).is_err());
        before.assert_unchanged();
    }
    assert!(buffer.cpu_access(CpuAccess::Write).is_ok());
}

#[test]
fn of_two_images_of_a_buffer_one_may_go() {
    let egl = Egl::new();
    let buffer = buffer(Fourcc::XBGR8888);
    pattern::fill(&buffer, 1).unwrap();
    let (one, two) = {
        let list = raw::attributes(&buffer);
        (egl.import(&list).unwrap(), egl.import(&list).unwrap())
    };
    assert_pattern(&one.sample(SIZE).unwrap(), 1);
    assert_pattern(&two.sample(SIZE).unwrap(), 1);
    drop(one);
    pattern::fill(&buffer, 2).unwrap();
    assert_pattern(&two.sample(SIZE).unwrap(), 2);
    assert_pattern(&egl.import(&raw::attributes(&buffer)).unwrap().sample(SIZE).unwrap(), 2);
}

#[test]
fn our_imports_give_back_all_they_took() {
    let buffer = buffer(Fourcc::R8);
    // The first one loads Mesa, for good.
    drop(GpuIsp::new(None).unwrap());
    let before = BufferUsage::read();
    let open = || {
        let mut isp = GpuIsp::new(None).unwrap();
        assert_eq!(isp.raw_importer().unwrap().try_import(&buffer), Ok(()));
        isp
    };
    let (one, mut two) = (open(), open());
    drop(one);
    let again = self::buffer(Fourcc::R8);
    assert_eq!(two.raw_importer().unwrap().try_import(&again), Ok(()));
    assert_eq!(two.raw_importer().unwrap().try_import(&buffer), Ok(()));
    assert!(BufferUsage::read().dma_bufs > before.dma_bufs);
    drop((two, again));
    before.assert_unchanged();
    assert!(buffer.cpu_access(CpuAccess::Write).is_ok());
}

#[test]
fn nv12_is_sampled_with_the_colours_that_are_asked_for() {
    let egl = Egl::new();
    let buffer = buffer(Fourcc::NV12);
    pattern::fill(&buffer, 3).unwrap();
    use YcbcrEncoding::{Rec601, Rec709};
    for (encoding, named) in [(Rec601, raw::ITU_REC601), (Rec709, raw::ITU_REC709)] {
        for (range, hint) in
            [(Range::Limited, raw::YUV_NARROW_RANGE), (Range::Full, raw::YUV_FULL_RANGE)]
        {
            let hints = [(raw::COLOR_SPACE_HINT, named), (raw::SAMPLE_RANGE_HINT, hint)];
            let image = egl.import(&with(&raw::attributes(&buffer), &hints)).unwrap();
            let pixels = image.sample_external(SIZE).unwrap();
            assert_nv12(&pixels, ColourSpace { encoding, range, ..ColourSpace::SRGB }, 3);
        }
    }
}

/// The importer of this kind that `vcam probe` has.
fn prober(kind: &str) -> Box<dyn Prober> {
    let probers = vcam_isp_gpu::probe::probers().unwrap();
    probers.into_iter().find(|prober| prober.info().name.starts_with(kind)).unwrap()
}

fn cell(kind: &str, heap: &str) -> Cell {
    probe(&mut *prober(kind), &*self::heap(heap), Fourcc::NV12, &mut |_| ())
}

#[test]
fn nv12_is_proven_as_a_texture_from_every_heap() {
    assert!(prober("egl-texture").formats().contains(&Fourcc::NV12));
    for heap in ["udmabuf", "dma_heap:system", "dumb:vkms"] {
        let cell = cell("egl-texture", heap);
        assert_eq!((cell.result, &cell.reason), (Outcome::Ok, &None), "{cell:?}");
    }
}

#[test]
fn nv12_is_proven_as_a_texture_with_its_planes_in_different_heaps() {
    let (one, two) = (heap("udmabuf"), heap("dma_heap:system"));
    let mut prober = prober("egl-texture");
    let split = |heaps: [&dyn Heap; 2]| {
        let buffer =
            allocate_split(&heaps, Fourcc::NV12, SIZE, Alignment::default(), "test-split").unwrap();
        assert_eq!(buffer.inodes().count(), 2);
        buffer
    };
    let buffers = [split([&*one, &*two]), split([&*two, &*one]), split([&*one, &*one])];
    for finding in prober.prove(&buffers, &mut |_| ()) {
        assert!(matches!(finding, Finding::Proven(_)), "{finding:?}");
    }
    drop(prober);
    // Proof that both planes are read: another chroma is another picture.
    let egl = Egl::new();
    let image = egl.import(&raw::attributes(&buffers[0])).unwrap();
    assert_nv12(&image.sample_external(SIZE).unwrap(), pattern::COLOUR_SPACE, 1);
    buffers[0].cpu_access(CpuAccess::Write).unwrap().plane_mut(1).fill(128);
    let grey = image.sample_external(SIZE).unwrap();
    let off = |pixel: &[u8; 3]| pixel[0].abs_diff(pixel[1]).max(pixel[1].abs_diff(pixel[2]));
    assert!(grey.iter().all(|pixel| off(pixel) <= 1));
    let levels: std::collections::BTreeSet<u8> = grey.iter().map(|pixel| pixel[0]).collect();
    assert!(levels.len() > 100, "luma is as it was");
}

#[test]
fn what_is_for_external_textures_alone_is_no_target_and_says_why() {
    let egl = Egl::new();
    assert_eq!(egl.external_only(Fourcc::NV12), Ok(true));
    assert_eq!(egl.external_only(YUYV), Ok(true));
    assert_eq!(egl.external_only(Fourcc::XRGB8888), Ok(false));
    drop(egl);
    let refused = cell("egl-target", "udmabuf");
    assert_eq!(refused.result, Outcome::Refused, "{refused:?}");
    assert_eq!(refused.step.as_deref(), Some("eglQueryDmaBufModifiersEXT"), "{refused:?}");
    assert!(refused.reason.as_ref().unwrap().contains("external_only"), "{refused:?}");

    let isp = GpuIsp::new(None).unwrap();
    let stated = |formats: &[Fourcc]| -> Vec<String> {
        let constraints = isp.raw_constraints(formats);
        constraints.alternatives()[0].statements().map(ToString::to_string).collect()
    };
    let says = |formats: &[Fourcc], words: &str| stated(formats).iter().any(|s| s.contains(words));
    assert!(says(&[Fourcc::XRGB8888, YUYV], "external_only for YUYV"), "{:?}", stated(&[YUYV]));
    assert!(!says(&[Fourcc::XRGB8888], "external_only"));
}
