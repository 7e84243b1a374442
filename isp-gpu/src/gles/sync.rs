//! Sync objects: a point in GL's commands, to be polled.

use glow::HasContext;

use super::object::GlObject;
use super::{CurrentContext, GlError};

/// A point in GL's commands. For waits of other devices see
/// [`native_fence`](CurrentContext::native_fence).
pub(crate) struct GlSync(GlObject<glow::Fence>);

impl GlSync {
    /// Inserts a sync behind all commands so far.
    pub(crate) fn new(gl: &CurrentContext<'_>) -> Result<Self, GlError> {
        let create = |gl: &glow::Context| {
            // SAFETY: `GlObject` calls this while a context is current.
            unsafe { gl.fence_sync(glow::SYNC_GPU_COMMANDS_COMPLETE, 0) }
        };
        Ok(Self(GlObject::new(gl, "glFenceSync", create, glow::Context::delete_sync)?))
    }

    /// Whether the commands in front of it are done; does not wait.
    pub(crate) fn is_signalled(&self, gl: &CurrentContext<'_>) -> bool {
        // SAFETY: a context is current, and the sync is one of its objects.
        let status = unsafe { gl.functions().client_wait_sync(self.0.name(), 0, 0) };
        status == glow::ALREADY_SIGNALED || status == glow::CONDITION_SATISFIED
    }
}
