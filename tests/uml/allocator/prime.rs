//! Handles and framebuffers of a card, with others at the same time. They are run in `qemu`, too,
//! which has two processors.
//!
//! The ideas are those of igt's `prime_self_import` and `kms_addfb_basic`. GEM handles belong to an
//! open file and are not counted: two imports of one dma-buf are one handle, and one close ends
//! both.
//!
//! `cargo xtask test --only uml allocator_prime`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::thread;

use rustix::io::Errno;
use vcam_allocator::foreign::{self, Claim};
use vcam_allocator::probe::Finding;
use vcam_allocator::{Alignment, Dmabuf, Fourcc, Importer, Layout, Modifier, heaps};
use vcam_sinks::{KmsOptions, KmsSink};
use vcam_testing::accounting::{self, BufferUsage};
use vcam_testing::raw::{self, Fields};

const SIZE: (u32, u32) = (640, 480);
/// `DRM_MODE_FB_MODIFIERS`.
const MODIFIERS: u32 = 2;
/// `I915_FORMAT_MOD_X_TILED`, which vkms does not have.
const X_TILED: Modifier = Modifier(1 << 56 | 1);

fn buffer(heap: &str, format: Fourcc) -> Dmabuf {
    let layout = Layout::linear(format, SIZE.0, SIZE.1, Alignment::default()).unwrap();
    heaps::open(heap).unwrap().allocate(&layout, "test-prime").unwrap()
}

/// The same memory under a descriptor of its own, as another owner has it.
fn twin(buffer: &Dmabuf) -> Dmabuf {
    let fd = buffer.planes().next().unwrap().0.try_clone_to_owned().unwrap();
    let twin = foreign::import("test-twin", &Claim::of(buffer), vec![fd]).unwrap();
    assert_eq!(twin.id(), buffer.id());
    twin
}

/// The devices that are attached to a buffer's first memory.
fn attached(buffer: &Dmabuf) -> Vec<String> {
    let inode = buffer.inodes().next().unwrap();
    accounting::dma_bufs().into_iter().find(|known| known.inode == inode).unwrap().devices
}

fn open_display() -> KmsSink {
    let card = Some("vkms".to_owned());
    let options = KmsOptions { card, ..KmsOptions::new(SIZE, Fourcc::XRGB8888) };
    KmsSink::open(&options).unwrap()
}

#[test]
fn a_handle_that_two_threads_import_and_close_is_one_and_leaves_nothing() {
    const ROUNDS: u32 = 2000;
    for driver in ["vkms", "vgem"] {
        let buffer = buffer("udmabuf", Fourcc::XRGB8888);
        let card = raw::card(driver);
        let errno = |error| Errno::from_io_error(&error).unwrap();
        // The number of times that the other one closed first, and the last handle.
        let race = |fd: BorrowedFd<'_>| {
            let (mut late, mut last) = (0, 0);
            for _ in 0..ROUNDS {
                last = drm_ffi::gem::fd_to_handle(card.as_fd(), fd).unwrap().handle;
                thread::yield_now();
                match drm_ffi::gem::close(card.as_fd(), last).map_err(errno) {
                    Ok(_) => {}
                    Err(Errno::INVAL) => late += 1,
                    Err(other) => panic!("{driver}: {other}"),
                }
            }
            (late, last)
        };
        let (one, two) = thread::scope(|scope| {
            let other = scope.spawn(|| race(buffer.planes().next().unwrap().0));
            let one = race(buffer.planes().next().unwrap().0);
            (one, other.join().unwrap())
        });
        // It did happen, which is why each owner opens the node itself.
        assert!(one.0 + two.0 > 0, "{driver}: the threads never met");
        for handle in [one.1, two.1] {
            let closed = drm_ffi::gem::close(card.as_fd(), handle).map_err(errno);
            assert_eq!(closed.err(), Some(Errno::INVAL), "{driver}: handle {handle} was left");
        }
        assert_eq!(attached(&buffer), Vec::<String>::new(), "{driver}");
    }
}

#[test]
fn owners_of_one_card_do_not_close_each_others_handles() {
    const ROUNDS: usize = 100;
    // A display that another program controls is slow; so this one does.
    let (master, node) = raw::card_and_node("vkms");
    drm_ffi::auth::acquire_master(master.as_fd()).unwrap();
    let before = BufferUsage::read();
    let buffer = buffer("udmabuf", Fourcc::XRGB8888);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut probers = vcam_sinks::kms::probe::probers(&node).unwrap();
                for _ in 0..ROUNDS {
                    // Both draw the same pattern, and no test looks at it.
                    for finding in probers[0].prove(&[twin(&buffer)], &mut |_| thread::yield_now())
                    {
                        assert!(matches!(finding, Finding::Accepted(..)), "{finding:?}");
                    }
                }
            });
        }
    });
    drop(buffer);
    before.assert_unchanged();
}

#[test]
fn threads_that_share_a_display_import_the_same_memory_again_and_again() {
    const ROUNDS: u64 = 200;
    let run = || {
        let buffer = buffer("dma_heap:system", Fourcc::XRGB8888);
        let sink = Mutex::new(open_display());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        // Each time another owner's, so that the one before is forgotten, and its
                        // framebuffer removed.
                        let twin = twin(&buffer);
                        assert_eq!(sink.lock().unwrap().try_import(&twin), Ok(()));
                        thread::yield_now();
                    }
                });
            }
        });
        let mut sink = sink.into_inner().unwrap();
        assert_eq!(vcam_sinks::Sink::link_end(&sink).imports, 2 * ROUNDS);
        assert_eq!(sink.try_import(&buffer), Ok(()));
    };
    let before = BufferUsage::read();
    run();
    before.assert_unchanged();
}

#[test]
fn a_framebuffers_modifier_is_that_of_every_plane_it_has_and_of_no_other() {
    let card = raw::card("vkms");
    let (rgb, nv12) = (buffer("udmabuf", Fourcc::XRGB8888), buffer("udmabuf", Fourcc::NV12));
    let add = |buffer: &Dmabuf, change: &dyn Fn(&mut Fields)| {
        let mut fields = Fields::of(buffer);
        change(&mut fields);
        raw::add_framebuffer_of(card.as_fd(), buffer, fields)
    };
    let tiled = X_TILED.0;
    for buffer in [&rgb, &nv12] {
        assert_eq!(add(buffer, &|_| ()), Ok(()));
        assert_eq!(add(buffer, &|fields| fields.flags = MODIFIERS), Ok(()));
        let refused = |words: &str, change: &dyn Fn(&mut Fields)| {
            assert_eq!(add(buffer, change), Err(Errno::INVAL), "{} {words}", buffer.format());
        };
        // As in `framebuffer_check` of drm_framebuffer.c.
        refused("a modifier without the flag", &|fields| fields.modifiers[0] = tiled);
        refused("an unused modifier without the flag", &|fields| fields.modifiers[3] = tiled);
        refused("an unused modifier", &|fields| {
            (fields.modifiers[3], fields.flags) = (tiled, MODIFIERS);
        });
        refused("an unused pitch", &|fields| (fields.pitches[3], fields.flags) = (64, MODIFIERS));
        refused("an unused offset", &|fields| (fields.offsets[3], fields.flags) = (64, MODIFIERS));
        refused("a modifier that the card has not", &|fields| {
            (fields.modifiers, fields.flags) = ([tiled, 0, 0, 0], MODIFIERS);
        });
        refused("a flag that there is not", &|fields| fields.flags = 1 << 7);
        refused("no width", &|fields| fields.size.0 = 0);
        refused("a short pitch", &|fields| fields.pitches[0] = SIZE.0 / 2);
        refused("a picture larger than its memory", &|fields| fields.size.1 *= 2);
        refused("an unknown format", &|fields| fields.format = u32::from_le_bytes(*b"FOO0"));
    }
    assert_eq!(
        add(&nv12, &|fields| (fields.modifiers[1], fields.flags) = (tiled, MODIFIERS)),
        Err(Errno::INVAL),
        "planes of different modifiers"
    );
    assert_eq!(
        add(&nv12, &|fields| fields.pitches[1] = 64),
        Err(Errno::INVAL),
        "a short pitch of the second plane"
    );
    // Programs older than modifiers left random values in fields that they did not use.
    assert_eq!(add(&rgb, &|fields| fields.pitches[3] = 64), Ok(()));
    assert_eq!(add(&rgb, &|fields| fields.offsets[3] = 64), Ok(()));
}

#[test]
fn a_tiled_buffer_is_refused_by_name() {
    let buffer = buffer("udmabuf", Fourcc::XRGB8888);
    let fd = buffer.planes().next().unwrap().0.try_clone_to_owned().unwrap();
    let claim = Claim { modifier: X_TILED, ..Claim::of(&buffer) };
    let tiled = foreign::import("test-tiled", &claim, vec![fd]).unwrap();
    let mut sink = open_display();
    let refusal = sink.try_import(&tiled).unwrap_err();
    assert_eq!((refusal.step, refusal.errno), ("ADDFB2", Some(Errno::INVAL.raw_os_error())));
    assert_eq!(sink.try_import(&buffer), Ok(()));
    drop(sink);
    assert_eq!(attached(&buffer), Vec::<String>::new());
}
