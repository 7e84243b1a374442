//! Which buffers the GPU takes, and why not.
//!
//! EGL is trusting: Mesa's software renderers import a buffer that is too small, or memory that is
//! no dma-buf, without a word, and crash when they render. So what can be checked here is checked
//! here, before EGL is asked.

use std::collections::BTreeSet;
use std::rc::Rc;

use vcam_allocator::constraints::{self, Constraints, FormatSet, Rule, Statement, exceptions};
use vcam_allocator::{Dmabuf, Fourcc, ImportCache, Importer, MemoryKind, Modifier, Refusal};

use crate::egl::Context;
use crate::external::External;
use crate::gl::{GlFault, Target, Texture};
use crate::image::{Image, ImageFault, Images};
use crate::targets::{Planes, is_imported_as_another, renders_planes};

/// What tells whether a format is for external textures alone.
const QUERY: &str = "eglQueryDmaBufModifiersEXT";

/// What is asked of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    Texture,
    External,
    Target,
    /// A target, or one for each of its planes.
    Planes,
}

/// Imports buffers for one usage; reports name it as `egl-texture:llvmpipe`.
pub(crate) struct Imports<T> {
    context: Rc<Context>,
    usage: Usage,
    device: String,
    cache: ImportCache<T>,
}

/// What software renderers need of a target with 32 bits a pixel: they store four at a time.
pub(crate) const SOFTWARE_ALIGNMENT: u64 = 16;

impl Imports<Texture> {
    pub(crate) fn textures(context: &Rc<Context>, renderer: &str) -> Self {
        let device = format!("egl-texture:{renderer}");
        let cache = ImportCache::default();
        Self { context: context.clone(), usage: Usage::Texture, device, cache }
    }

    /// The texture of a buffer, imported the first time.
    pub(crate) fn texture(&mut self, buffer: &Dmabuf) -> Result<&Texture, Refusal> {
        let Self { context, usage, device, cache } = self;
        cache.get_or_import(buffer, |buffer| texture(context, *usage, device, buffer))
    }
}

impl Imports<External> {
    pub(crate) fn externals(context: &Rc<Context>, renderer: &str) -> Self {
        let device = format!("egl-texture:{renderer}");
        let cache = ImportCache::default();
        Self { context: context.clone(), usage: Usage::External, device, cache }
    }

    /// The external texture of a buffer, imported the first time.
    pub(crate) fn external(&mut self, buffer: &Dmabuf) -> Result<&External, Refusal> {
        let Self { context, usage, device, cache } = self;
        cache.get_or_import(buffer, |buffer| {
            let (image, size) = image(context, *usage, device, buffer)?;
            External::of_image(context, image, size).map_err(|fault| refused(device, fault))
        })
    }
}

impl Imports<Target> {
    pub(crate) fn targets(context: &Rc<Context>, renderer: &str) -> Self {
        let device = format!("egl-target:{renderer}");
        let cache = ImportCache::default();
        Self { context: context.clone(), usage: Usage::Target, device, cache }
    }

    /// The framebuffer of a buffer as it is, imported the first time.
    pub(crate) fn target(&mut self, buffer: &Dmabuf) -> Result<&Target, Refusal> {
        let Self { context, usage, device, cache } = self;
        cache.get_or_import(buffer, |buffer| {
            let texture = texture(context, *usage, device, buffer)?;
            Target::new(context, texture).map_err(|fault| refused(device, fault))
        })
    }
}

impl Imports<Planes> {
    pub(crate) fn outputs(context: &Rc<Context>, renderer: &str) -> Self {
        let device = format!("egl-target:{renderer}");
        let cache = ImportCache::default();
        Self { context: context.clone(), usage: Usage::Planes, device, cache }
    }

    /// What a picture is rendered through into a buffer, imported the first time.
    pub(crate) fn output(&mut self, buffer: &Dmabuf) -> Result<&Planes, Refusal> {
        let Self { context, usage, device, cache } = self;
        cache.get_or_import(buffer, |buffer| {
            if is_imported_as_another(buffer.format()) {
                acceptable(context, *usage, buffer)
                    .map_err(|(step, detail)| Refusal::because(device, step, detail))?;
                return Planes::of_planes(context, device, buffer);
            }
            Planes::of_whole(context, device, buffer, texture(context, *usage, device, buffer)?)
        })
    }
}

impl<T> Imports<T> {
    /// How many imports succeeded.
    pub(crate) fn count(&self) -> u64 {
        self.cache.imports()
    }

    /// What is known of a buffer, without asking the driver.
    pub(crate) fn known(&self, buffer: &Dmabuf) -> Option<Result<&T, &Refusal>> {
        self.cache.get(buffer)
    }

    /// Takes back a success: rendering failed. `false` if there is none to take back.
    pub(crate) fn distrust(&mut self, buffer: &Dmabuf, fault: GlFault) -> bool {
        let imported = matches!(self.known(buffer), Some(Ok(_)));
        if imported {
            self.cache.poison(buffer, refused(&self.device, fault));
        }
        imported
    }
}

impl<T> Imports<T> {
    /// What the GPU needs of a buffer in one of these formats, as far as EGL tells; the rest is
    /// learned by importing one.
    pub(crate) fn constraints(&self, formats: &[Fourcc]) -> Constraints {
        let says = |source: &str, rule| Statement::new(&self.device, source, rule);
        let Some(images) = self.context.images() else {
            let (extension, _) = Images::missing(self.context.extensions());
            return [says(&format!("no {extension}"), Rule::Heaps(BTreeSet::new()))]
                .into_iter()
                .collect();
        };
        let mut statements = vec![says("EGL_EXT_image_dma_buf_import", Rule::DmaBuf)];
        let mut external_only = Vec::new();
        let mut plain = FormatSet::new();
        for format in formats {
            let listed =
                images.modifiers(*format).unwrap_or_else(|| vec![(Modifier::LINEAR, false)]);
            if self.usage == Usage::Planes && is_imported_as_another(*format) {
                // A plane is a picture of its own only where its rows follow each other.
                let linear = BTreeSet::from([Modifier::LINEAR]);
                let renders = renders_planes(images, *format);
                plain.insert(*format, if renders { linear } else { BTreeSet::new() });
                continue;
            }
            if !listed.is_empty() && listed.iter().all(|(_, external_only)| *external_only) {
                external_only.push(format.to_string());
            }
            let usable = listed.into_iter().filter(|(_, external_only)| !external_only);
            plain.insert(*format, usable.map(|(modifier, _)| modifier).collect());
        }
        let source = match external_only[..] {
            [] => QUERY.to_owned(),
            _ => format!("{QUERY}: external_only for {}", external_only.join(", ")),
        };
        statements.push(says(&source, Rule::Formats(plain)));
        let usage = match self.usage {
            Usage::Texture | Usage::External => constraints::Usage::Source,
            Usage::Target | Usage::Planes => constraints::Usage::Target32,
        };
        statements.extend(exceptions(&self.device, self.context.renderer(), usage));
        statements.into_iter().collect()
    }
}

pub(crate) fn refused(device: &str, fault: GlFault) -> Refusal {
    let words = fault.to_string();
    let detail = words.strip_prefix(fault.step).and_then(|rest| rest.strip_prefix(": "));
    Refusal::because(device, fault.step, detail.unwrap_or(&words))
}

pub(crate) fn image_refused(device: &str, fault: ImageFault) -> Refusal {
    match fault {
        ImageFault::TooLarge(what, value) => Refusal::because(
            device,
            "EGL_EXT_image_dma_buf_import",
            format!("a {what} of {value} is more than EGL can express"),
        ),
        ImageFault::Egl(fault) => Refusal::because(device, "eglCreateImageKHR", fault.to_string()),
    }
}

/// Imports a buffer as a texture.
fn texture(
    context: &Rc<Context>,
    usage: Usage,
    device: &str,
    buffer: &Dmabuf,
) -> Result<Texture, Refusal> {
    let (image, (width, height)) = image(context, usage, device, buffer)?;
    Texture::of_image(context, image, width, height).map_err(|fault| refused(device, fault))
}

/// Imports a buffer as an image; the size comes with it.
fn image(
    context: &Rc<Context>,
    usage: Usage,
    device: &str,
    buffer: &Dmabuf,
) -> Result<(Image, (u32, u32)), Refusal> {
    let because = |step, detail: String| Refusal::because(device, step, detail);
    let Some(images) = context.images() else {
        let (extension, words) = Images::missing(context.extensions());
        return Err(because(extension, words.into()));
    };
    acceptable(context, usage, buffer).map_err(|(step, detail)| because(step, detail))?;
    let (format, modifier) = (buffer.format(), buffer.modifier());
    if usage != Usage::External && images.is_external_only(format, modifier) {
        let detail = format!("{format} with {modifier} is external_only: for external textures");
        return Err(because(QUERY, detail));
    }
    let image =
        Image::import(context, images, buffer).map_err(|fault| image_refused(device, fault))?;
    Ok((image, (buffer.layout().width(), buffer.layout().height())))
}

/// What drivers do not check themselves; the step and the reason if the buffer does not pass.
fn acceptable(
    context: &Context,
    usage: Usage,
    buffer: &Dmabuf,
) -> Result<(), (&'static str, String)> {
    if buffer.kind() != MemoryKind::DmaBuf {
        return Err(("EGL_EXT_image_dma_buf_import", "a memfd is not a dma-buf".into()));
    }
    let software = software(context.renderer());
    let four = buffer.format().planes().is_some_and(|planes| planes[0].bytes == 4);
    let target = matches!(usage, Usage::Target | Usage::Planes);
    if target && software.is_some() && four {
        for plane in buffer.layout().planes() {
            for (what, value) in [("a stride", plane.stride), ("an offset", plane.offset)] {
                if !value.is_multiple_of(SOFTWARE_ALIGNMENT) {
                    let renderer = software.unwrap_or_default();
                    let words = format!(
                        "{what} of {value} bytes is no multiple of {SOFTWARE_ALIGNMENT}, on which \
                         {renderer} crashes"
                    );
                    return Err(("EGL_EXT_image_dma_buf_import", words));
                }
            }
        }
    }
    Ok(())
}

/// The renderer's name without what is in brackets after it.
pub(crate) fn short_name(renderer: &str) -> &str {
    renderer.split(" (").next().unwrap_or(renderer).trim()
}

/// The short name of a renderer that is a program on the CPU.
pub(crate) fn software(renderer: &str) -> Option<&str> {
    let name = renderer.split_ascii_whitespace().next()?;
    ["llvmpipe", "softpipe", "swrast", "SwiftShader"].contains(&name).then_some(name)
}

/// Asks whether the GPU can read a buffer: `egl-texture:` and the renderer.
pub struct TextureImporter<'a>(pub(crate) &'a mut Imports<Texture>);

impl Importer for TextureImporter<'_> {
    fn name(&self) -> String {
        self.0.device.clone()
    }

    fn identity(&self) -> String {
        self.0.context.identity()
    }

    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        self.0.cache.poison(buffer, refusal);
    }

    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        current(&self.0.context, &self.0.device)?;
        self.0.texture(buffer).map(|_| ())
    }
}

/// Asks whether the GPU can render into a buffer: `egl-target:` and the renderer.
pub struct TargetImporter<'a>(pub(crate) &'a mut Imports<Planes>);

impl Importer for TargetImporter<'_> {
    fn name(&self) -> String {
        self.0.device.clone()
    }

    fn identity(&self) -> String {
        self.0.context.identity()
    }

    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        self.0.cache.poison(buffer, refusal);
    }

    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        current(&self.0.context, &self.0.device)?;
        self.0.output(buffer).map(|_| ())
    }
}

fn current(context: &Context, device: &str) -> Result<(), Refusal> {
    let refused = |error| Refusal::because(device, "eglMakeCurrent", format!("{error}"));
    context.make_current().map(|_| ()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renderers_are_named_shortly() {
        for (renderer, short) in [
            ("llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe"),
            ("softpipe", "softpipe"),
            ("Mesa Intel(R) UHD Graphics 620 (KBL GT2)", "Mesa Intel(R) UHD Graphics 620"),
            ("", ""),
        ] {
            assert_eq!(short_name(renderer), short);
        }
    }

    #[test]
    fn renderers_on_the_cpu_are_known_by_name() {
        assert_eq!(software("llvmpipe (LLVM 19.1.7, 256 bits)"), Some("llvmpipe"));
        assert_eq!(software("softpipe"), Some("softpipe"));
        assert_eq!(software("Mesa Intel(R) UHD Graphics 620 (KBL GT2)"), None);
        assert_eq!(software(""), None);
    }

    #[test]
    fn a_fault_becomes_a_refusal_that_names_its_step_once() {
        let fault =
            GlFault { step: "glCheckFramebufferStatus", error: glow::FRAMEBUFFER_UNSUPPORTED };
        assert_eq!(
            refused("egl-target:test", fault).to_string(),
            "egl-target:test: glCheckFramebufferStatus: GL_FRAMEBUFFER_UNSUPPORTED (the driver \
             does not render to this format)"
        );
    }
}
