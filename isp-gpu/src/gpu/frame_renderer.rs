//! The renderer of frames: all that lives in one context, and is lost with it.

use std::rc::Rc;

use vcam_allocator::{Dmabuf, Fence, LinkEnd};

use super::passes::{DevelopOutput, MosaicVariant, Passes, PlaneKind};
use super::pictures::PictureRender;
use super::scratch::{ScratchTargets, rendered};
use super::statistics::StatisticsRing;
use super::tone_texture::ToneTexture;
use super::{GpuError, explain_copy, known, quads};
use crate::egl::RendererChoice;
use crate::frame::{IspError, Job};
use crate::gles::{CurrentContext, GlError, GlesContext, Texture};
use crate::import::{Imports, PlaneTargets};
use crate::params::Demosaic;
use crate::raw::{Cfa, RawFormat};
use crate::renderer::software_name;
use crate::stats::Statistics;

/// The ISP's two ends of links.
pub(super) struct LinkEnds {
    pub(super) raw: LinkEnd,
    pub(super) output: LinkEnd,
}

/// Renders frames in one context.
pub(super) struct FrameRenderer {
    // Dropped in this order; the context goes with the last that holds it.
    pub(super) textures: Imports<Texture>,
    pub(super) targets: Imports<PlaneTargets>,
    scratch: ScratchTargets,
    passes: Passes,
    tone: ToneTexture,
    statistics: Option<StatisticsRing>,
    max_size: u32,
    context: Rc<GlesContext>,
}

impl FrameRenderer {
    /// Makes a context on a renderer, and all in it that every frame needs.
    pub(super) fn new(choice: &RendererChoice) -> Result<Self, GpuError> {
        let mut context = GlesContext::new(choice)?;
        // On GBM softpipe says that it imports, and crashes when it renders.
        if context.is_on_gbm() && software_name(context.renderer()) == Some("softpipe") {
            tracing::warn!("softpipe does not work on GBM; it renders without the node");
            context = GlesContext::new(&RendererChoice::Any)?;
        }
        let gl = context.make_current()?;
        let mut renderer = Self {
            textures: Imports::new(&context),
            targets: Imports::new(&context),
            scratch: ScratchTargets::default(),
            passes: Passes::default(),
            tone: ToneTexture::new(&gl)?,
            statistics: context.has_compute().then(StatisticsRing::default),
            max_size: gl.max_texture_size(),
            context: context.clone(),
        };
        renderer.compile(&gl, Some(Cfa::Rggb), RawFormat::SRGGB8)?;
        gl.check("setting up")?;
        Ok(renderer)
    }

    /// Compiles what every frame needs, so that a driver whose compiler fails is known at once.
    fn compile(
        &mut self,
        gl: &CurrentContext<'_>,
        cfa: Option<Cfa>,
        format: RawFormat,
    ) -> Result<(), GpuError> {
        let plain = MosaicVariant { format, integer: false, defects: false, shaded: false };
        self.passes.mosaic(gl, plain)?;
        for output in [DevelopOutput::Layers, DevelopOutput::Pairs, DevelopOutput::Yuv] {
            self.passes.develop(gl, cfa, Demosaic::default(), output)?;
        }
        self.passes.view(gl, true)?;
        self.passes.view(gl, false)?;
        for kind in [PlaneKind::Luma, PlaneKind::Chroma, PlaneKind::Yuyv] {
            self.passes.plane(gl, kind, true)?;
        }
        if self.statistics.is_some() {
            self.passes.measure(gl, cfa)?;
        }
        Ok(())
    }

    pub(super) fn context(&self) -> &Rc<GlesContext> {
        &self.context
    }

    /// The longest side of a texture.
    pub(super) fn max_size(&self) -> u32 {
        self.max_size
    }

    /// Whether the renderer is a program on the CPU.
    pub(super) fn is_software(&self) -> bool {
        software_name(self.context.renderer()).is_some()
    }

    /// The latest statistics, and the number of their frame.
    pub(super) fn latest_statistics(&self) -> Option<(u64, &Statistics)> {
        self.statistics.as_ref().and_then(StatisticsRing::latest)
    }

    /// Renders a frame; copies are noted in the ends of links.
    pub(super) fn render(
        &mut self,
        gl: &CurrentContext<'_>,
        job: &Job<'_>,
        ends: &mut LinkEnds,
    ) -> Result<Option<Fence>, IspError> {
        if let Some(statistics) = &mut self.statistics {
            statistics.collect(gl);
        }
        self.import(gl, job);
        self.render_light(gl, job, &mut ends.raw)?;
        let pictures = PictureRender {
            gl,
            job,
            targets: &self.targets,
            tone: self.tone.of_curve(gl, job.params.tone),
            passes: &mut self.passes,
            scratch: &mut self.scratch,
            output_end: &mut ends.output,
        };
        let copied = pictures.render()?;
        if let (true, Some(statistics)) = (job.measure, &mut self.statistics) {
            let pass = self.passes.measure(gl, job.format.cfa())?;
            statistics.measure(gl, pass, rendered(&self.scratch.quads), job)?;
        }
        // Before the fence, so that no frame is passed on that was not rendered.
        gl.check("glDrawArrays")?;
        if copied == job.outputs.len() && copied > 0 {
            return Ok(None);
        }
        Ok(self.fence(gl))
    }

    /// Imports the buffers that are not known yet. The driver is asked at most once for each; its
    /// answer is looked up where it matters.
    fn import(&mut self, gl: &CurrentContext<'_>, job: &Job<'_>) {
        if self.textures.get(job.raw).is_none() {
            let _ = self.textures.get_or_import(gl, job.raw);
        }
        for output in job.outputs {
            if self.targets.get(output.buffer).is_none() {
                let _ = self.targets.get_or_import(gl, output.buffer);
            }
        }
    }

    /// Makes light of a raw frame, which is imported or uploaded.
    fn render_light(
        &mut self,
        gl: &CurrentContext<'_>,
        job: &Job<'_>,
        raw_end: &mut LinkEnd,
    ) -> Result<(), IspError> {
        let Self { textures, scratch, passes, .. } = self;
        let raw = match known(textures, job.raw) {
            Ok(texture) => (texture, false),
            Err(refusal) => {
                let uploaded = quads::upload(gl, &mut scratch.upload, job.raw)
                    .map_err(|error| explain_copy(error, refusal))?;
                raw_end.copied(job.sequence, refusal, job.raw.layout().payload());
                uploaded
            }
        };
        quads::mosaic(gl, job, passes, raw, &mut scratch.quads)?;
        quads::denoise(gl, job, passes, scratch)?;
        quads::green(gl, job, passes, scratch)
    }

    /// Returns a fence behind the frame, or waits for it.
    fn fence(&self, gl: &CurrentContext<'_>) -> Option<Fence> {
        // A software renderer draws on our CPU, so there is nothing to overlap with. llvmpipe's
        // fence is signalled when it is handed out, after ten system calls.
        let fence = if self.is_software() { None } else { gl.native_fence() };
        match fence {
            Some(fd) => Fence::pending(fd),
            None => {
                gl.finish();
                None
            }
        }
    }

    /// Turns an import into a refusal, since rendering failed: of the outputs, or else of the raw
    /// frame. Returns `false` if nothing was imported.
    pub(super) fn distrust(&mut self, job: &Job<'_>, error: GlError) -> bool {
        // Few buffers can be rendered to of all that can be sampled.
        let mut any = false;
        for output in job.outputs {
            any |= self.targets.distrust(output.buffer, error);
        }
        any || self.textures.distrust(job.raw, error)
    }

    /// Imports buffers before they are used; refusals are noted in the ends of links.
    pub(super) fn prepare(
        &mut self,
        gl: &CurrentContext<'_>,
        raw: &[Dmabuf],
        output: &[Dmabuf],
        ends: &mut LinkEnds,
    ) {
        for buffer in raw {
            if let Err(refusal) = self.textures.get_or_import(gl, buffer) {
                tracing::debug!(buffer = buffer.name(), %refusal, "raw frames are copied");
                ends.raw.copied(0, &refusal, 0);
            }
        }
        for buffer in output {
            if let Err(refusal) = self.targets.get_or_import(gl, buffer) {
                tracing::debug!(buffer = buffer.name(), %refusal, "pictures are copied");
                ends.output.copied(0, &refusal, 0);
            }
        }
    }
}
