//! What a V4L2 node needs of the buffers that it streams.
//!
//! A node is asked format by format, because its answers depend on the format: so each is an
//! alternative of its own, in the order of [`FORMATS`]. Nothing is set, and a node that somebody
//! streams from can be asked as well.
//!
//! Over how many memories the planes of a picture are spread is the vendor rule [`MEMORIES`]. Where
//! that is one, they adjoin ([`Rule::Adjoining`]).

use std::collections::BTreeSet;
use std::path::Path;

use rustix::io::Errno;
use vcam_allocator::constraints::{Bounds, Constraints, Rule, Statement};
use vcam_allocator::heaps::v4l2::{PREFIX, PixelFormat, pixel_formats};
use vcam_allocator::probe::FORMATS;
use vcam_allocator::{Fourcc, Modifier};
use vcam_uapi::v4l2::{
    Field, Format, MIN_BUFFERS_FOR_CAPTURE, MIN_BUFFERS_FOR_OUTPUT, PlaneFormat, Sizes,
};

use super::node::{Direction, MemoryKinds, Node, NodeError};

/// The vendor rule with the number of memories of a picture that has several planes.
pub const MEMORIES: &str = "v4l2.memories";

const TRY: &str = "VIDIOC_TRY_FMT";

/// What a node needs of pictures of about this size; `None` if it streams no pictures.
///
/// About: where it does not have the size, it states that which it offers in its place.
pub fn of(path: &Path, size: (u32, u32)) -> Result<Option<Constraints>, NodeError> {
    let Some(node) = Node::open(path)? else { return Ok(None) };
    let listed = node.formats();
    let memory = Memory::of(&node);
    let ways = FORMATS
        .into_iter()
        .flat_map(|format| pixel_formats(format).map(move |pixel| (format, pixel)))
        .filter(|(_, pixel)| listed.contains(&pixel.code))
        .filter_map(|(format, pixel)| Offer::of(&node, format, pixel, size).ok().flatten())
        .map(|offer| offer.statements(&node.name(), &memory));
    Ok(Some(Constraints::any_of(&node.name(), ways.collect::<Vec<_>>())))
}

/// What a node says about buffers, whatever their format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memory {
    /// `None` where the kernel does not tell, or somebody else has buffers there.
    kinds: Option<MemoryKinds>,
    /// The heap of the node's own buffers.
    own_heap: String,
    /// The fewest buffers that it streams with, and the control that says so.
    min_buffers: Option<(&'static str, u32)>,
}

impl Memory {
    pub(super) fn of(node: &Node) -> Self {
        let (control, source) = match node.direction {
            Direction::Capture => (MIN_BUFFERS_FOR_CAPTURE, "V4L2_CID_MIN_BUFFERS_FOR_CAPTURE"),
            Direction::Output => (MIN_BUFFERS_FOR_OUTPUT, "V4L2_CID_MIN_BUFFERS_FOR_OUTPUT"),
        };
        let min_buffers = node.control(control).and_then(|count| u32::try_from(count).ok());
        let name = node.path.file_name().unwrap_or(node.path.as_os_str());
        Self {
            kinds: node.memory_kinds().ok().flatten(),
            own_heap: format!("{PREFIX}{}", name.display()),
            min_buffers: min_buffers.map(|count| (source, count)),
        }
    }
}

/// What a node makes of a format and a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    format: Fourcc,
    /// With the smallest strides.
    pub(super) natural: Format,
    /// The strides of each memory that the node takes.
    pub(super) strides: Vec<Strides>,
    /// All sizes of the format, where the node lists them.
    sizes: Option<Sizes>,
}

impl Offer {
    /// Asks a node; `None` if it does not have the format after all.
    pub(super) fn of(
        node: &Node,
        format: Fourcc,
        pixel: PixelFormat,
        (width, height): (u32, u32),
    ) -> Result<Option<Self>, Errno> {
        let ask = |(width, height), planes| {
            let (pixelformat, field) = (pixel.code, Field::ANY);
            node.try_format(&Format { pixelformat, width, height, field, planes })
        };
        let natural = ask((width, height), vec![PlaneFormat::default(); pixel.memories])?;
        if natural.pixelformat != pixel.code || natural.planes.len() != pixel.memories {
            return Ok(None);
        }
        let longer = |memory: &PlaneFormat| PlaneFormat {
            bytesperline: memory.bytesperline.saturating_add(1),
            sizeimage: 0,
        };
        let size = (natural.width, natural.height);
        let answer = ask(size, natural.planes.iter().map(longer).collect())?;
        let strides = natural
            .planes
            .iter()
            .zip(&answer.planes)
            .map(|(natural, answer)| Strides::of(natural.bytesperline, answer.bytesperline))
            .collect();
        let sizes = node.sizes(pixel.code);
        Ok(Some(Self { format, natural, strides, sizes }))
    }

    /// What it says, as statements of `owner`.
    pub(super) fn statements(&self, owner: &str, memory: &Memory) -> Vec<Statement> {
        let says = |source: &str, rule| Statement::new(owner, source, rule);
        let exactly = |pixels: u32| Bounds { min: pixels.into(), max: pixels.into() };
        let linear = (self.format, BTreeSet::from([Modifier::LINEAR]));
        let mut all = vec![
            says("VIDIOC_ENUM_FMT", Rule::Formats([linear].into())),
            match memory.kinds {
                Some(MemoryKinds { dma_buf: false, .. }) => {
                    says("VIDIOC_REQBUFS", Rule::Heaps([memory.own_heap.clone()].into()))
                }
                Some(_) => says("VIDIOC_REQBUFS", Rule::DmaBuf),
                None => says("V4L2_MEMORY_DMABUF", Rule::DmaBuf),
            },
            says(TRY, Rule::Width(exactly(self.natural.width))),
            says(TRY, Rule::Height(exactly(self.natural.height))),
        ];
        if let Some(Sizes { min, max }) = self.sizes {
            let range = |min: u32, max: u32| Bounds { min: min.into(), max: max.into() };
            all.push(says("VIDIOC_ENUM_FRAMESIZES", Rule::Width(range(min.0, max.0))));
            all.push(says("VIDIOC_ENUM_FRAMESIZES", Rule::Height(range(min.1, max.1))));
        }
        // Where planes share a memory, its stride is the first one's, and the others follow from it.
        for (plane, strides) in (0..).zip(&self.strides) {
            all.extend(strides.rules().into_iter().map(|rule| says(TRY, rule).on_plane(plane)));
        }
        let size = self.natural.planes.iter().map(|memory| u64::from(memory.sizeimage)).sum();
        all.push(says(TRY, Rule::Size(Bounds { min: size, ..Bounds::ANY })));
        if self.format.planes().is_some_and(|planes| planes.len() > 1) {
            let value = vec![self.natural.planes.len() as u64];
            all.push(says(TRY, Rule::Vendor { key: MEMORIES.to_owned(), value }));
            if self.natural.planes.len() == 1 {
                all.push(says("v4l2_pix_format", Rule::Adjoining));
            }
        }
        if let Some((source, count)) = memory.min_buffers {
            all.push(says(source, Rule::MinBuffers(count)));
        }
        all
    }
}

/// The strides of a memory that a device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strides {
    /// One alone.
    Exactly(u32),
    /// Every multiple of `multiple` that is as large as `min`.
    From { min: u32, multiple: u32 },
}

impl Strides {
    /// By what became of the wish for one byte more than the smallest stride.
    fn of(natural: u32, answer: u32) -> Self {
        match answer.checked_sub(natural) {
            None | Some(0) => Self::Exactly(natural),
            Some(step) if natural.is_multiple_of(step) => {
                Self::From { min: natural, multiple: step }
            }
            Some(_) => Self::Exactly(natural),
        }
    }

    /// The stride to ask for: one that other devices like, where this one allows it.
    pub(super) fn wish(self, liked: u32) -> u32 {
        match self {
            Self::Exactly(stride) => stride,
            Self::From { min, multiple } => match min.checked_next_multiple_of(liked) {
                Some(wish) if wish.is_multiple_of(multiple) => wish,
                _ => min,
            },
        }
    }

    fn rules(self) -> Vec<Rule> {
        match self {
            Self::Exactly(stride) => {
                vec![Rule::Stride(Bounds { min: stride.into(), max: stride.into() })]
            }
            Self::From { min, multiple } => {
                let mut rules = vec![Rule::Stride(Bounds { min: min.into(), ..Bounds::ANY })];
                if multiple > 1 {
                    rules.push(Rule::StrideMultiple(multiple.into()));
                }
                rules
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vcam_allocator::constraints::VendorRules;

    use super::*;

    fn offer(format: Fourcc, memories: &[(u32, u32)], strides: &[Strides]) -> Offer {
        let memory =
            |&(bytesperline, sizeimage): &(u32, u32)| PlaneFormat { bytesperline, sizeimage };
        Offer {
            format,
            natural: Format {
                pixelformat: 0,
                width: 320,
                height: 180,
                field: Field::NONE,
                planes: memories.iter().map(memory).collect(),
            },
            strides: strides.to_vec(),
            sizes: Some(Sizes { min: (320, 180), max: (3840, 2160) }),
        }
    }

    fn memory(dma_buf: bool) -> Memory {
        Memory {
            kinds: Some(MemoryKinds { mmap: true, dma_buf }),
            own_heap: "v4l2:video7".to_owned(),
            min_buffers: Some(("V4L2_CID_MIN_BUFFERS_FOR_CAPTURE", 3)),
        }
    }

    #[test]
    fn one_byte_more_tells_which_strides_there_are() {
        assert_eq!(Strides::of(640, 640), Strides::Exactly(640));
        assert_eq!(Strides::of(640, 0), Strides::Exactly(640));
        assert_eq!(Strides::of(640, 641), Strides::From { min: 640, multiple: 1 });
        assert_eq!(Strides::of(640, 704), Strides::From { min: 640, multiple: 64 });
        // 640 is no multiple of 100: who knows what this driver does.
        assert_eq!(Strides::of(640, 740), Strides::Exactly(640));
    }

    #[test]
    fn the_stride_that_others_like_is_asked_for_where_it_may_be() {
        assert_eq!(Strides::Exactly(320).wish(256), 320);
        assert_eq!(Strides::From { min: 320, multiple: 1 }.wish(256), 512);
        assert_eq!(Strides::From { min: 320, multiple: 64 }.wish(256), 512);
        assert_eq!(Strides::From { min: 1280, multiple: 1280 }.wish(256), 1280);
        assert_eq!(Strides::From { min: 1600, multiple: 320 }.wish(256), 1600);
        assert_eq!(Strides::From { min: u32::MAX, multiple: 1 }.wish(256), u32::MAX);
    }

    #[test]
    fn statements_resolve_to_what_the_device_said() {
        let strides = [Strides::From { min: 1280, multiple: 64 }];
        let offer = offer(Fourcc::XRGB8888, &[(1280, 230_400)], &strides);
        let all: Constraints =
            offer.statements("v4l2-capture:test", &memory(true)).into_iter().collect();
        let need = all.alternatives()[0].resolve(&VendorRules::default()).unwrap();
        assert!(need.dma_buf);
        assert_eq!(need.heaps, None);
        assert_eq!((need.planes[0].stride.min, need.planes[0].stride_multiple), (1280, 64));
        assert_eq!(need.size, Bounds { min: 230_400, ..Bounds::ANY });
        assert_eq!(need.width, Bounds { min: 320, max: 320 });
        assert_eq!(need.buffers, 3);
        assert_eq!(need.vendor.get(MEMORIES), None);
        assert!(!need.adjoining);
    }

    #[test]
    fn planes_apart_have_strides_of_their_own() {
        let strides = [Strides::Exactly(320), Strides::Exactly(384)];
        let offer = offer(Fourcc::NV12, &[(320, 57_600), (384, 34_560)], &strides);
        let all: Constraints =
            offer.statements("v4l2-output:test", &memory(true)).into_iter().collect();
        let need = all.alternatives()[0].resolve(&VendorRules::default()).unwrap();
        assert_eq!(need.planes[0].stride, Bounds { min: 320, max: 320 });
        assert_eq!(need.planes[1].stride, Bounds { min: 384, max: 384 });
        assert_eq!(need.size.min, 57_600 + 34_560);
        assert_eq!(need.vendor[MEMORIES], [2]);
        assert!(!need.adjoining);
    }

    #[test]
    fn planes_in_one_memory_adjoin() {
        let offer = offer(Fourcc::NV12, &[(320, 86_400)], &[Strides::Exactly(320)]);
        let all: Constraints =
            offer.statements("v4l2-output:test", &memory(true)).into_iter().collect();
        let need = all.alternatives()[0].resolve(&VendorRules::default()).unwrap();
        assert!(need.adjoining);
        assert_eq!(need.vendor[MEMORIES], [1]);
    }

    #[test]
    fn a_device_without_dma_bufs_needs_its_own_heap() {
        let offer = offer(Fourcc::R8, &[(320, 57_600)], &[Strides::Exactly(320)]);
        let all: Constraints =
            offer.statements("v4l2-output:test", &memory(false)).into_iter().collect();
        let need = all.alternatives()[0].resolve(&VendorRules::default()).unwrap();
        assert!(!need.dma_buf);
        assert_eq!(need.heaps, Some(["v4l2:video7".to_owned()].into()));
    }
}
