//! The lock around renderers that are programs on the CPU.

use parking_lot::{ReentrantMutex, ReentrantMutexGuard};

/// llvmpipe of Mesa 26.1 crashes or hangs when two contexts of one process render at the same time,
/// each on its own thread, as two cameras do (seen in User Mode Linux with one CPU, where it
/// renders on the thread that flushes). So such contexts take turns; the contexts of a GPU do not.
static SOFTWARE_RENDERER: ReentrantMutex<()> = ReentrantMutex::new(());

/// The right to call a renderer that is a program on the CPU.
pub(crate) type SoftwareGuard = ReentrantMutexGuard<'static, ()>;

/// Waits for the right to call a renderer that is a program on the CPU.
///
/// Making and destroying EGL's objects takes it always, since the renderer's name is only known
/// once a context is current.
pub(crate) fn lock_software_renderer() -> SoftwareGuard {
    SOFTWARE_RENDERER.lock()
}
