//! The name of a GL object, deleted with its owner.

use std::rc::Rc;

use super::{CurrentContext, GlError, GlesContext};

/// The name of an object, deleted in its context when dropped.
pub(super) struct GlObject<N: Copy> {
    context: Rc<GlesContext>,
    name: N,
    delete: unsafe fn(&glow::Context, N),
}

impl<N: Copy> GlObject<N> {
    /// Creates an object of the current context.
    ///
    /// `create` and `delete` are functions of [`glow::HasContext`] that ask for no more than a
    /// current context and, for `delete`, a name that `create` gave.
    pub(super) fn new(
        gl: &CurrentContext<'_>,
        step: &'static str,
        create: unsafe fn(&glow::Context) -> Result<N, String>,
        delete: unsafe fn(&glow::Context, N),
    ) -> Result<Self, GlError> {
        // SAFETY: a context is current.
        let name = unsafe { create(gl.functions()) }.map_err(|_| GlError { step, code: 0 })?;
        Ok(Self { context: gl.context().clone(), name, delete })
    }

    pub(super) fn name(&self) -> N {
        self.name
    }
}

impl<N: Copy> Drop for GlObject<N> {
    fn drop(&mut self) {
        match self.context.make_current() {
            // SAFETY: the context is current, and the name is one that it gave.
            Ok(gl) => unsafe { (self.delete)(gl.functions(), self.name) },
            // The driver deletes the object with the context then.
            Err(error) => tracing::warn!(%error, "a GL object was not deleted"),
        }
    }
}
