//! Buffers that come from outside: every claim about them is checked before they are used.
//!
//! Another process hands over file descriptors and says what picture is in them. It may be wrong,
//! or lie, and drivers believe what they are told: llvmpipe imports a buffer that is too small, and
//! crashes later. So a [`Claim`] becomes a [`Dmabuf`] only if
//!
//! - its format is known, its modifier is told, and its planes are as many as the format has;
//! - its strides, offsets and sizes make a picture, in arithmetic that does not overflow;
//! - each descriptor belongs to a plane, and each plane to a descriptor;
//! - each descriptor is a dma-buf, as the kernel says, or else a memfd that can no longer shrink:
//!   whoever can shrink a file can kill all who have mapped it (`SIGBUS`);
//! - each is as large as its planes need.
//!
//! What cannot be checked is whether the pixels are what they should be, or hold still: a peer that
//! keeps a descriptor can write at any time. The fences of the dma-buf order those who play fair.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io;
use serde::{Deserialize, Serialize};
use vcam_uapi::memfd::SealFlags;
use vcam_uapi::{dma_buf, memfd};

use crate::dmabuf::{Dmabuf, MAX_PLANES, WrapError};
use crate::format::{Fourcc, Modifier};
use crate::layout::{Layout, LayoutError, PlaneLayout};

/// What the heap of a buffer from outside is called.
pub const HEAP: &str = "foreign";

/// What somebody says of a buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The pixel format.
    pub format: Fourcc,
    /// How pixels are arranged within a plane.
    pub modifier: Modifier,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Where each plane lies.
    pub planes: Vec<PlaneClaim>,
}

/// What somebody says of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaneClaim {
    /// The index of the descriptor that holds it.
    pub descriptor: u8,
    /// Bytes from the start of that memory to the plane's first sample.
    pub offset: u64,
    /// Bytes from one row to the next.
    pub stride: u64,
}

/// Why a buffer from outside is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// Without its modifier nobody but the allocating driver can use the buffer.
    #[error("the modifier is not told (INVALID), so the pixels cannot be found")]
    Modifier,
    /// Fewer planes than the format has, or more than there can be.
    #[error("{given} planes are claimed, and {format} has {expected} to {MAX_PLANES}")]
    PlaneCount {
        /// The format.
        format: Fourcc,
        /// Planes that it has at least.
        expected: usize,
        /// Planes that were claimed.
        given: usize,
    },
    /// The claims make no picture.
    #[error("the claimed layout is not one of a picture")]
    Layout(#[from] LayoutError),
    /// The kernel does not answer for a descriptor.
    #[error("could not ask the kernel about descriptor {index}")]
    Stat {
        /// Index of the descriptor.
        index: usize,
        /// What the kernel said.
        source: io::Errno,
    },
    /// A descriptor is neither a dma-buf nor a memfd.
    #[error("descriptor {index} is neither a dma-buf nor a memfd")]
    NotMemory {
        /// Index of the descriptor.
        index: usize,
    },
    /// A memfd may still be shrunk, under whoever has mapped it.
    #[error("descriptor {index} is a memfd without F_SEAL_SHRINK, so it can shrink while in use")]
    NotSealed {
        /// Index of the descriptor.
        index: usize,
    },
    /// The descriptors do not hold what was claimed.
    #[error("the descriptors do not hold the claimed picture")]
    Wrap(#[from] WrapError),
}

impl Claim {
    /// What is true of one of our own buffers, to be told to others.
    pub fn of(buffer: &Dmabuf) -> Self {
        let layout = buffer.layout();
        let planes = layout
            .planes()
            .iter()
            .enumerate()
            .map(|(index, plane)| PlaneClaim {
                // A buffer has at most `MAX_PLANES` memories.
                descriptor: buffer.plane_memory(index).unwrap_or(0) as u8,
                offset: plane.offset,
                stride: plane.stride,
            })
            .collect();
        Self {
            format: layout.format(),
            modifier: layout.modifier(),
            width: layout.width(),
            height: layout.height(),
            planes,
        }
    }

    fn layout(&self) -> Result<Layout, ForeignError> {
        let &Self { format, modifier, width, height, ref planes } = self;
        if modifier == Modifier::INVALID {
            return Err(ForeignError::Modifier);
        }
        let expected = format.planes().ok_or(LayoutError::UnknownFormat(format))?.len();
        if !(expected..=MAX_PLANES).contains(&planes.len()) {
            return Err(ForeignError::PlaneCount { format, expected, given: planes.len() });
        }
        let planes = planes
            .iter()
            .map(|&PlaneClaim { offset, stride, .. }| PlaneLayout { offset, stride })
            .collect();
        Ok(Layout::given(format, modifier, width, height, planes)?)
    }
}

/// Takes over a buffer from outside, if what is claimed of it holds.
///
/// The descriptors are closed when it does not.
pub fn import(name: &str, claim: &Claim, fds: Vec<OwnedFd>) -> Result<Dmabuf, ForeignError> {
    let layout = claim.layout()?;
    for (index, fd) in fds.iter().enumerate() {
        check(index, fd)?;
    }
    let plane_memory = claim.planes.iter().map(|plane| plane.descriptor.into()).collect();
    let heap: Arc<str> = HEAP.into();
    Ok(Dmabuf::spread(heap, name, layout, fds, plane_memory)?)
}

/// Whether a descriptor is memory that stays as large as it is.
fn check(index: usize, fd: &OwnedFd) -> Result<(), ForeignError> {
    let is_dma_buf =
        dma_buf::is_dma_buf(fd.as_fd()).map_err(|source| ForeignError::Stat { index, source })?;
    if is_dma_buf {
        // A dma-buf has the size that it was made with.
        return Ok(());
    }
    // Whatever is not in a memory file system has no seals (EINVAL); a file in one has no
    // F_SEAL_SHRINK, unless it is a memfd whose owner put it there.
    let seals = memfd::seals(fd.as_fd()).map_err(|_| ForeignError::NotMemory { index })?;
    match seals.contains(SealFlags::SHRINK) {
        true => Ok(()),
        false => Err(ForeignError::NotSealed { index }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;
    use crate::heaps::memfd::Memfd;
    use crate::{Alignment, Heap};

    fn ours(format: Fourcc) -> Dmabuf {
        let layout = Layout::linear(format, 64, 48, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    }

    fn descriptors(buffer: &Dmabuf) -> Vec<OwnedFd> {
        buffer.memories().iter().map(|m| m.as_fd().try_clone_to_owned().unwrap()).collect()
    }

    #[test]
    fn what_is_true_is_taken_and_is_the_same_buffer() {
        for format in [Fourcc::R8, Fourcc::XRGB8888, Fourcc::NV12] {
            let buffer = ours(format);
            let taken = import("test", &Claim::of(&buffer), descriptors(&buffer)).unwrap();
            assert_eq!(taken.id(), buffer.id());
            assert_eq!(taken.layout().planes(), buffer.layout().planes());
            assert_eq!(&**taken.heap(), HEAP);
        }
    }

    #[test]
    fn two_descriptors_of_one_memory_become_one() {
        let buffer = ours(Fourcc::NV12);
        let mut claim = Claim::of(&buffer);
        claim.planes[1].descriptor = 1;
        let fds = [descriptors(&buffer), descriptors(&buffer)].into_iter().flatten().collect();
        let taken = import("test", &claim, fds).unwrap();
        assert_eq!((taken.inodes().count(), taken.id()), (1, buffer.id()));
    }

    #[test]
    fn lies_about_the_layout_are_refused() {
        let buffer = ours(Fourcc::NV12);
        let truth = Claim::of(&buffer);
        let refused = |change: &dyn Fn(&mut Claim)| {
            let mut claim = truth.clone();
            change(&mut claim);
            import("test", &claim, descriptors(&buffer)).unwrap_err()
        };
        let too_small = |error| matches!(error, ForeignError::Wrap(WrapError::TooSmall { .. }));
        assert!(too_small(refused(&|claim| claim.height = 4800)));
        assert!(too_small(refused(&|claim| claim.planes[1].offset = 1 << 40)));
        assert!(matches!(
            refused(&|claim| claim.planes[0].offset = u64::MAX),
            ForeignError::Layout(LayoutError::Overflow { .. })
        ));
        assert!(matches!(
            refused(&|claim| claim.planes[0].stride = 1),
            ForeignError::Layout(LayoutError::StrideTooSmall { .. })
        ));
        assert!(matches!(
            refused(&|claim| claim.width = 0),
            ForeignError::Layout(LayoutError::Empty { .. })
        ));
        assert!(matches!(
            refused(&|claim| claim.format = Fourcc::new(*b"ZZZZ")),
            ForeignError::Layout(LayoutError::UnknownFormat(_))
        ));
        assert!(matches!(
            refused(&|claim| claim.planes.truncate(1)),
            ForeignError::PlaneCount { expected: 2, given: 1, .. }
        ));
        // A tiled picture may have more planes, but not fewer, and not any number.
        assert!(matches!(
            refused(&|claim| {
                claim.modifier = Modifier(1);
                claim.planes.truncate(1);
            }),
            ForeignError::PlaneCount { given: 1, .. }
        ));
        assert!(matches!(
            refused(&|claim| {
                claim.modifier = Modifier(1);
                claim.planes = vec![claim.planes[0]; 5];
            }),
            ForeignError::PlaneCount { given: 5, .. }
        ));
        assert!(matches!(
            refused(&|claim| claim.modifier = Modifier::INVALID),
            ForeignError::Modifier
        ));
        for descriptor in [1, 255] {
            assert!(matches!(
                refused(&|claim| claim.planes[1].descriptor = descriptor),
                ForeignError::Wrap(WrapError::MemoryCount { .. })
            ));
        }
    }

    #[test]
    fn descriptors_that_nobody_needs_are_refused() {
        let buffer = ours(Fourcc::R8);
        let fds = [descriptors(&buffer), descriptors(&buffer)].into_iter().flatten().collect();
        assert!(matches!(
            import("test", &Claim::of(&buffer), fds),
            Err(ForeignError::Wrap(WrapError::MemoryCount { planes: 1, memories: 2 }))
        ));
        assert!(import("test", &Claim::of(&buffer), Vec::new()).is_err());
    }

    #[test]
    fn what_is_no_memory_or_can_shrink_is_refused() {
        let claim = Claim::of(&ours(Fourcc::R8));
        let import = |fd: OwnedFd| import("test", &claim, vec![fd]).unwrap_err();
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(1 << 20).unwrap();
        assert!(matches!(import(file.into()), ForeignError::NotMemory { index: 0 }));
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert!(matches!(import(pipe), ForeignError::NotMemory { index: 0 }));
        let unsealed = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 1 << 20).unwrap();
        assert!(matches!(import(unsealed), ForeignError::NotSealed { index: 0 }));
        let unsealable = memfd_create("test", MemfdFlags::empty()).unwrap();
        ftruncate(&unsealable, 1 << 20).unwrap();
        assert!(matches!(import(unsealable), ForeignError::NotSealed { index: 0 }));
    }

    proptest! {
        #[test]
        fn no_claim_makes_it_panic_or_reaches_outside(
            width: u32, height: u32, offset: u64, stride: u64, modifier: u64, descriptor: u8,
            planes in 0usize..6, format in 0usize..4,
        ) {
            let buffer = ours(Fourcc::R8);
            let claim = Claim {
                format: [Fourcc::R8, Fourcc::XRGB8888, Fourcc::NV12, Fourcc(width)][format],
                modifier: Modifier(modifier % 3),
                width: width % 100,
                height: height % 100,
                planes: vec![PlaneClaim { descriptor: descriptor % 2, offset, stride }; planes],
            };
            if let Ok(taken) = import("test", &claim, descriptors(&buffer)) {
                let guard = taken.cpu_access(crate::CpuAccess::Read).unwrap();
                for plane in 0..planes {
                    prop_assert!(guard.plane(plane).len() as u64 <= taken.bytes());
                }
            }
        }
    }
}
