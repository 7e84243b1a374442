//! The resources that an allocation can run out of.

/// The resource that an allocation ran out of: see [`AllocError::shortage`].
///
/// Which one it is decides what helps: other memory, smaller buffers, or a higher limit.
///
/// [`AllocError::shortage`]: crate::AllocError::shortage
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortage {
    /// Memory of the kind that the heap gives (`ENOMEM`, `ENOSPC`), or of the machine.
    Memory,
    /// What a control group around the process may take (`memory.max`).
    ControlGroup,
    /// The heap's limit for one buffer.
    BufferSize,
    /// The memory or the descriptors that the caller gave the pool.
    PoolBudget,
    /// File descriptors of the process (`RLIMIT_NOFILE`).
    ProcessDescriptors,
    /// File descriptors of the machine (`/proc/sys/fs/file-max`).
    SystemDescriptors,
}
