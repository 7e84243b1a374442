//! The kernel's interfaces without the allocator in between, for the kernel's own answers.

mod buffer;
mod fence;
mod framebuffer;
mod mapping;
mod signal;

pub use buffer::{FD_FLAGS, heap_alloc, sync, udmabuf_create, udmabuf_create_list};
pub use fence::{SwSyncTimeline, VgemFence};
pub use framebuffer::{
    Fields, add_framebuffer, add_framebuffer_as, add_framebuffer_of, card, card_and_node,
};
pub use mapping::SharedMapping;
pub use signal::{Interruptible, let_signals_interrupt};
