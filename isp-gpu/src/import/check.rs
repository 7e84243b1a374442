//! Checks that drivers do not make themselves, and refusals in words.

use std::rc::Rc;

use vcam_allocator::{Dmabuf, MemoryKind, Refusal};

use super::{IMPORT, Usage};
use crate::egl::{DmabufImport, ImageError};
use crate::gles::{CurrentContext, GlError, GlesContext};
use crate::renderer::software_name;

/// Bytes to whose multiples software renderers need a target with 32 bits a pixel to be aligned:
/// they store four pixels at a time.
pub(super) const SOFTWARE_ALIGNMENT: u64 = 16;

/// Makes the context current, or refuses in the name of a device.
pub(crate) fn make_current<'a>(
    context: &'a Rc<GlesContext>,
    device: &str,
) -> Result<CurrentContext<'a>, Refusal> {
    context
        .make_current()
        .map_err(|error| Refusal::because(device, "eglMakeCurrent", error.to_string()))
}

/// Returns the functions that import dma-bufs, or refuses with the extension that is missing.
pub(super) fn can_import<'a>(
    context: &'a GlesContext,
    device: &str,
) -> Result<&'a Rc<DmabufImport>, Refusal> {
    context
        .dmabuf_import()
        .map_err(|missing| Refusal::because(device, missing.extension, missing.reason))
}

/// Refuses a buffer that a driver would take, and then crash on.
pub(super) fn buffer(
    context: &GlesContext,
    usage: Usage,
    device: &str,
    buffer: &Dmabuf,
) -> Result<(), Refusal> {
    if buffer.kind() != MemoryKind::DmaBuf {
        return Err(Refusal::because(device, IMPORT, "a memfd is not a dma-buf"));
    }
    let Some(renderer) = software_name(context.renderer()) else { return Ok(()) };
    let four = buffer.format().planes().is_some_and(|planes| planes[0].bytes == 4);
    if !four || !matches!(usage, Usage::Framebuffer | Usage::PlaneTargets) {
        return Ok(());
    }
    for plane in buffer.layout().planes() {
        for (what, value) in [("a stride", plane.stride), ("an offset", plane.offset)] {
            if !value.is_multiple_of(SOFTWARE_ALIGNMENT) {
                let detail = format!(
                    "{what} of {value} bytes is no multiple of {SOFTWARE_ALIGNMENT}, on which \
                     {renderer} crashes"
                );
                return Err(Refusal::because(device, IMPORT, detail));
            }
        }
    }
    Ok(())
}

/// An error of GL as a refusal, which names its step once.
pub(crate) fn refused(device: &str, error: GlError) -> Refusal {
    let words = error.to_string();
    let detail = words.strip_prefix(error.step).and_then(|rest| rest.strip_prefix(": "));
    Refusal::because(device, error.step, detail.unwrap_or(&words))
}

/// An error of an image as a refusal.
pub(super) fn image_refused(device: &str, error: ImageError) -> Refusal {
    match error {
        ImageError::TooLarge(what, value) => Refusal::because(
            device,
            IMPORT,
            format!("a {what} of {value} is more than EGL can express"),
        ),
        ImageError::Egl(code) => Refusal::because(device, "eglCreateImageKHR", code.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_refusal_that_names_its_step_once() {
        let error =
            GlError { step: "glCheckFramebufferStatus", code: glow::FRAMEBUFFER_UNSUPPORTED };
        assert_eq!(
            refused("egl-target:test", error).to_string(),
            "egl-target:test: glCheckFramebufferStatus: GL_FRAMEBUFFER_UNSUPPORTED (the driver \
             does not render to this format)"
        );
    }
}
