//! The ISP on the GPU.
//!
//! A frame takes two passes, and a count if it is measured:
//!
//! 1. `mosaic` ([`quads`]): samples become 16-bit light, a quad of sites in a texel, in a texture
//!    of our own;
//! 2. `develop` ([`pictures`]): of nine texels come four pixels, white-balanced, demosaiced,
//!    corrected and looked up in the table of tones. Where the driver renders to the output's rows
//!    as pairs of pixels, all four go straight there, as colours or as luma and chroma. Else each
//!    goes to its layer of a texture, of which `view` or `plane` makes the outputs, cropped, scaled
//!    and rotated;
//! 3. `measure` ([`statistics`]): statistics, which are read some frames later.
//!
//! The passes that are off by default (`denoise`, `green` of the directional demosaic, `sharpen`)
//! are in between.
//!
//! [`frame_renderer`] holds all that lives in one context and is lost with it; this file recovers
//! from such a loss.

mod error;
mod frame_renderer;
mod passes;
mod pictures;
mod quads;
mod readback;
mod scratch;
mod statistics;
#[cfg(test)]
mod tests;
mod tone_texture;

use std::path::Path;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fence, Fourcc, Importer, LinkEnd, Refusal};

pub use self::error::GpuError;
use self::frame_renderer::{FrameRenderer, LinkEnds};
use crate::cpu::CpuIsp;
use crate::egl::RendererChoice;
use crate::frame::{IspError, Job, size_of};
use crate::import::{FromDmabuf, Imports};
use crate::isp::Isp;
use crate::renderer::short_name;
use crate::stats::Statistics;

/// Makes pictures with GLES, from imported buffers into imported buffers.
///
/// If the driver refuses a buffer, its pixels are copied: a raw frame by `glTexSubImage2D` from the
/// mapped buffer, a picture by `glReadPixels` into it. Each buffer is imported or copied by itself,
/// and the decision is kept for the buffer's life.
///
/// When the GPU is reset, all that was in the context is made again and the frame is rendered
/// again. If there is no new context, or none that lasts for a frame, the CPU makes that frame's
/// pictures and all that follow, and both ends of the link say so.
///
/// # How to use
///
/// Make the ISP on the thread that will use it, since the context is current there: it is neither
/// `Send` nor `Sync`. Then follow [`Isp`]'s four steps. The crate's [root page](crate) has them as
/// code.
///
/// To ask about a single buffer before any frame, use [`texture_importer`](Self::texture_importer)
/// and [`target_importer`](Self::target_importer); the answer is kept, and the frames use it.
pub struct GpuIsp {
    renderer: FrameRenderer,
    ends: LinkEnds,
    choice: RendererChoice,
    /// The ISP that makes the pictures once the GPU is lost for good, and why it is.
    fallback: Option<(CpuIsp, Refusal)>,
}

/// Contexts that may be lost over one frame.
const MAX_LOSSES: u32 = 2;

impl GpuIsp {
    /// Makes an ISP on a render node such as `/dev/dri/renderD128`, through GBM; or, without a
    /// node, on the renderer that EGL chooses by itself, which may be a program on the CPU.
    ///
    /// # Errors
    ///
    /// If EGL, a context of GLES 3 or a shader is not to be had.
    pub fn new(node: Option<&Path>) -> Result<Self, GpuError> {
        Self::on(node.map_or(RendererChoice::Any, |node| RendererChoice::Node(node.to_owned())))
    }

    /// Makes an ISP on the renderer that is a program on the CPU, even if there are GPUs.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn software() -> Result<Self, GpuError> {
        Self::on(RendererChoice::Software)
    }

    fn on(choice: RendererChoice) -> Result<Self, GpuError> {
        let ends = LinkEnds { raw: LinkEnd::import(), output: LinkEnd::import() };
        Ok(Self { renderer: FrameRenderer::new(&choice)?, ends, choice, fallback: None })
    }

    /// The longest side of a picture, in pixels.
    pub fn max_size(&self) -> u32 {
        self.renderer.max_size()
    }

    /// The importer that says whether the GPU can read a buffer: `egl-texture:` and the renderer.
    pub fn texture_importer(&mut self) -> &mut dyn Importer {
        &mut self.renderer.textures
    }

    /// The importer that says whether the GPU can render into a buffer: `egl-target:` and the
    /// renderer.
    pub fn target_importer(&mut self) -> &mut dyn Importer {
        &mut self.renderer.targets
    }

    /// Whether the renderer is a program on the CPU.
    pub fn is_software(&self) -> bool {
        self.renderer.is_software()
    }

    /// Renders a frame in the present context; `None` if the context is lost.
    fn attempt(&mut self, job: &Job<'_>) -> Option<Result<Option<Fence>, IspError>> {
        let context = self.renderer.context().clone();
        let gl = match context.make_current() {
            Ok(gl) => gl,
            Err(error) if error.is_loss() => return None,
            Err(error) => return Some(Err(error.into())),
        };
        let result = self.renderer.render(&gl, job, &mut self.ends);
        // Drivers that do not report resets may still fail with them.
        let says_so = matches!(&result, Err(IspError::Gl(error)) if error.is_loss());
        (!says_so && !gl.is_lost()).then_some(result)
    }

    /// Recovers from the loss of a context, the `losses`-th over this frame: with another one, or
    /// with the CPU.
    fn recover(&mut self, sequence: u64, losses: u32) {
        let name = self.name();
        let gone = |detail| Refusal::because(&name, "glGetGraphicsResetStatus", detail);
        // Copies before the loss still count; imports are counted again from 0.
        let renderer = FrameRenderer::new(&self.choice).map(|fresh| self.renderer = fresh);
        let refusal = match renderer {
            Ok(()) if losses < MAX_LOSSES => {
                tracing::warn!(sequence, "the GPU was reset; the ISP starts again");
                return;
            }
            Ok(()) => gone("the GPU was reset again and again over one frame".to_owned()),
            Err(error) => gone(format!("the GPU was reset, and does not come back: {error}")),
        };
        tracing::warn!(sequence, %refusal, "from here on the CPU makes the pictures");
        self.fallback = Some((CpuIsp::new(), refusal));
    }
}

/// Has the CPU make a frame's pictures, since the GPU is lost.
fn process_on_cpu(
    (cpu, refusal): &mut (CpuIsp, Refusal),
    ends: &mut LinkEnds,
    job: &Job<'_>,
) -> Result<Option<Fence>, IspError> {
    let made = cpu.process(job).map_err(|error| explain_copy(error, refusal))?;
    ends.raw.copied(job.sequence, refusal, job.raw.layout().payload());
    for output in job.outputs {
        ends.output.copied(job.sequence, refusal, output.buffer.layout().payload());
    }
    Ok(made)
}

impl Isp for GpuIsp {
    fn name(&self) -> String {
        format!("gpu:{}", short_name(self.renderer.context().renderer()))
    }

    fn describe(&self) -> String {
        let context = self.renderer.context();
        let version = driver_and_version(context.version());
        format!("{}, {version}, {}", context.renderer(), context.describe_egl())
    }

    fn raw_constraints(&self, carriers: &[Fourcc]) -> Constraints {
        self.renderer.textures.constraints(carriers)
    }

    fn output_constraints(&self, formats: &[Fourcc]) -> Constraints {
        self.renderer.targets.constraints(formats)
    }

    fn raw_importer(&mut self) -> Option<&mut dyn Importer> {
        Some(self.texture_importer())
    }

    fn output_importer(&mut self) -> Option<&mut dyn Importer> {
        Some(self.target_importer())
    }

    fn prepare(&mut self, raw: &[Dmabuf], output: &[Dmabuf]) {
        if self.fallback.is_some() {
            return;
        }
        let context = self.renderer.context().clone();
        match context.make_current() {
            Ok(gl) => self.renderer.prepare(&gl, raw, output, &mut self.ends),
            Err(error) => tracing::warn!(%error, "buffers are not imported before they are used"),
        }
    }

    fn process(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        job.check()?;
        let carrier = size_of(job.raw);
        let outputs = job.outputs.iter().map(|output| size_of(output.buffer));
        let limit = self.max_size();
        let too_large = |size: &(u32, u32)| size.0.max(size.1) > limit;
        if let Some((width, height)) = [carrier].into_iter().chain(outputs).find(too_large) {
            return Err(IspError::TooLarge { width, height, limit });
        }
        let mut losses = 0;
        loop {
            if let Some(fallback) = &mut self.fallback {
                return process_on_cpu(fallback, &mut self.ends, job);
            }
            match self.attempt(job) {
                None => {
                    losses += 1;
                    self.recover(job.sequence, losses);
                }
                // A driver that fails with an imported buffer may do with a copy.
                Some(Err(IspError::Gl(error))) if self.renderer.distrust(job, error) => {
                    let sequence = job.sequence;
                    tracing::warn!(sequence, %error, "a frame is rendered again, with a copy");
                }
                Some(result) => return result,
            }
        }
    }

    fn statistics(&self) -> Option<(u64, &Statistics)> {
        match &self.fallback {
            Some((cpu, _)) => cpu.statistics(),
            None => self.renderer.latest_statistics(),
        }
    }

    fn raw_end(&self) -> LinkEnd {
        LinkEnd { imports: self.renderer.textures.count(), ..self.ends.raw.clone() }
    }

    fn output_end(&self) -> LinkEnd {
        LinkEnd { imports: self.renderer.targets.count(), ..self.ends.output.clone() }
    }
}

/// The result of an import that has been tried before.
fn known<'a, T: FromDmabuf>(
    imports: &'a Imports<T>,
    buffer: &Dmabuf,
) -> Result<&'a T, &'a Refusal> {
    let Some(known) = imports.get(buffer) else { unreachable!("it was imported before") };
    known
}

/// Adds to the error of a copy why the copy was made at all. A failure of GL itself stays what it
/// is.
fn explain_copy(error: IspError, refusal: &Refusal) -> IspError {
    match error {
        IspError::Gl(_) => error,
        other => IspError::Copy { refusal: refusal.clone(), source: Box::new(other) },
    }
}

/// `OpenGL ES 3.2 Mesa 26.1.0` becomes `Mesa 26.1.0, OpenGL ES 3.2`.
fn driver_and_version(version: &str) -> String {
    let split = version.strip_prefix("OpenGL ES ").and_then(|rest| rest.split_once(' '));
    match split {
        Some((number, driver)) => format!("{driver}, OpenGL ES {number}"),
        None => version.to_owned(),
    }
}
