//! Fault injection: makes EGL fail on this thread, for tests.
//!
//! A test cannot have a GPU reset, and a renderer that is a program has nothing to reset. Only
//! tests and the feature `fault` have this seam: without it each question is a constant, and
//! compiles to nothing.

#[cfg(any(test, feature = "fault"))]
pub use on_demand::{Faults, set};

#[cfg(any(test, feature = "fault"))]
pub(crate) use on_demand::{context_is_lost, context_is_refused, image_is_refused};

#[cfg(not(any(test, feature = "fault")))]
pub(crate) use never::{context_is_lost, context_is_refused, image_is_refused};

#[cfg(not(any(test, feature = "fault")))]
mod never {
    #[inline(always)]
    pub(crate) const fn context_is_lost() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) const fn context_is_refused() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) const fn image_is_refused() -> bool {
        false
    }
}

#[cfg(any(test, feature = "fault"))]
mod on_demand {
    use std::cell::Cell;

    /// The faults of a thread.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Faults {
        /// How many contexts are lost, one after the other: the frame that is being rendered is
        /// gone, as after `GL_GUILTY_CONTEXT_RESET`.
        pub lost_contexts: u32,
        /// No context is made any more: `eglCreateContext` fails with `EGL_BAD_ALLOC`.
        pub no_contexts: bool,
        /// No dma-buf is imported any more: `eglCreateImageKHR` fails with `EGL_BAD_ALLOC`.
        pub no_images: bool,
    }

    thread_local! {
        static FAULTS: Cell<Faults> = const {
            Cell::new(Faults { lost_contexts: 0, no_contexts: false, no_images: false })
        };
    }

    /// Replaces the faults of this thread.
    pub fn set(faults: Faults) {
        FAULTS.set(faults);
    }

    /// Whether the context of this thread is lost. Each question uses up one loss.
    pub(crate) fn context_is_lost() -> bool {
        let faults = FAULTS.get();
        let left = faults.lost_contexts.checked_sub(1);
        FAULTS.set(Faults { lost_contexts: left.unwrap_or_default(), ..faults });
        left.is_some()
    }

    pub(crate) fn context_is_refused() -> bool {
        FAULTS.get().no_contexts
    }

    pub(crate) fn image_is_refused() -> bool {
        FAULTS.get().no_images
    }
}
