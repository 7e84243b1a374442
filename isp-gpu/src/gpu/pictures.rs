//! The passes that make pictures: light becomes every output.

use vcam_allocator::{Fourcc, LinkEnd};

use super::passes::{DevelopOutput, Passes, PlaneKind};
use super::quads::per_step;
use super::readback::{self, ReadbackFormat};
use super::scratch::{ScratchTargets, entry, fit, rendered};
use super::{explain_copy, known};
use crate::formats::{is_blue_first, is_rendered_swapped};
use crate::frame::{IspError, Job, Output, size_of};
use crate::gles::{CurrentContext, Framebuffer, ShaderError, Texture, TextureFormat};
use crate::import::{Imports, PlaneTargets};
use crate::view::yuv_rows;

/// The rendering of one frame's pictures.
pub(super) struct PictureRender<'a> {
    pub(super) gl: &'a CurrentContext<'a>,
    pub(super) job: &'a Job<'a>,
    pub(super) targets: &'a Imports<PlaneTargets>,
    /// The tone curve.
    pub(super) tone: &'a Texture,
    pub(super) passes: &'a mut Passes,
    pub(super) scratch: &'a mut ScratchTargets,
    pub(super) output_end: &'a mut LinkEnd,
}

impl<'a> PictureRender<'a> {
    /// Renders all outputs, and returns how many of them were copied.
    pub(super) fn render(mut self) -> Result<usize, IspError> {
        if self.job.outputs.is_empty() {
            return Ok(0);
        }
        let direct = self.direct();
        self.develop(direct)?;
        if direct.is_some() {
            return Ok(0);
        }
        if self.job.params.sharpen > 0.0 {
            self.sharpen()?;
        }
        let mut copied = 0;
        for (index, output) in self.job.outputs.iter().enumerate() {
            copied += usize::from(self.output(index, output)?);
        }
        Ok(copied)
    }

    /// The only output and its quads, if quads of its pixels can be rendered directly.
    fn direct(&self) -> Option<(&'a Framebuffer, &'a Output<'a>)> {
        let (job, targets) = (self.job, self.targets);
        let [only] = job.outputs else { return None };
        if job.params.sharpen > 0.0 || !only.view.is_whole(job.size, size_of(only.buffer)) {
            return None;
        }
        let planes = targets.get(only.buffer)?.ok()?;
        planes.quads.as_ref().map(|quads| (quads, only))
    }

    /// Light becomes pixels: those of an output, or of the frame's picture, a layer for each of a
    /// quad.
    fn develop(&mut self, direct: Option<(&Framebuffer, &Output<'_>)>) -> Result<(), IspError> {
        let Self { gl, job, passes, scratch, .. } = self;
        let variant = match direct {
            Some((_, output)) if output.buffer.format().is_yuv() => DevelopOutput::Yuv,
            Some(_) => DevelopOutput::Pairs,
            None => DevelopOutput::Layers,
        };
        let pass = passes.develop(gl, job.format.cfa(), job.params.demosaic, variant)?;
        let program = pass.program.activate(gl);
        let [gains, matrix, swapped, rows] = &pass.at;
        program.set_floats(gains, &per_step(job.params));
        program.set_vectors(matrix, &job.params.colour.combined());
        if let Some((_, output)) = direct {
            let format = output.buffer.format();
            program.set_ints(swapped, &[is_blue_first(format).into()]);
            let [luma, blue, red] = yuv_rows(output.colour_space());
            let chroma = if format == Fourcc::NV21 { [red, blue] } else { [blue, red] };
            program.set_vectors(rows, &[luma, chroma[0], chroma[1]]);
        }
        scratch.light(job.params).bind(gl, 0);
        if let Some(greens) = &scratch.greens {
            greens.texture().bind(gl, 1);
        }
        self.tone.bind(gl, 2);
        match direct {
            Some((quads, _)) => program.draw(quads),
            None => program.draw(fit(&mut scratch.picture, gl, LAYERS, quarter(job))?),
        }
        Ok(())
    }

    fn sharpen(&mut self) -> Result<(), IspError> {
        let Self { gl, job, passes, scratch, .. } = self;
        let pass = passes.sharpen(gl)?;
        let program = pass.program.activate(gl);
        let [last, amount] = &pass.at;
        program.set_ints(last, &[job.size.0 as i32 - 1, job.size.1 as i32 - 1]);
        program.set_floats(amount, &[job.params.sharpen]);
        rendered(&scratch.picture).bind(gl, 0);
        program.draw(fit(&mut scratch.sharpened, gl, LAYERS, quarter(job))?);
        Ok(())
    }

    /// Renders an output from the frame's picture; `true` if it was copied.
    fn output(&mut self, index: usize, output: &Output<'_>) -> Result<bool, IspError> {
        let Self { gl, job, passes, scratch, .. } = self;
        let mut draw = OutputDraw { gl, job, output, index, passes };
        match known(self.targets, output.buffer) {
            Ok(PlaneTargets { planes, .. }) => {
                let swapped = is_rendered_swapped(output.buffer.format());
                let rendering = ReadbackFormat { swapped, ..ReadbackFormat::PLAIN };
                for (plane, target) in planes.iter().enumerate() {
                    draw.plane(scratch, plane, &rendering, target)?;
                }
                Ok(false)
            }
            Err(refusal) => {
                for plane in 0..output.buffer.layout().planes().len() {
                    draw.read_back(scratch, plane).map_err(|error| explain_copy(error, refusal))?;
                }
                let bytes = output.buffer.layout().payload();
                self.output_end.copied(job.sequence, refusal, bytes);
                Ok(true)
            }
        }
    }
}

/// The frame's picture has a layer for each pixel of a quad.
const LAYERS: TextureFormat = TextureFormat::RGB10_A2.in_layers();

/// Width and height of a layer.
fn quarter(job: &Job<'_>) -> (u32, u32) {
    (job.size.0.div_ceil(2), job.size.1.div_ceil(2))
}

/// The drawing of one output.
struct OutputDraw<'a> {
    gl: &'a CurrentContext<'a>,
    job: &'a Job<'a>,
    output: &'a Output<'a>,
    index: usize,
    passes: &'a mut Passes,
}

/// The picture of which an output is made.
struct Shown<'a> {
    texture: &'a Texture,
    /// Whether it is the frame's, whose pixels are in layers.
    layered: bool,
}

impl OutputDraw<'_> {
    /// Draws a plane.
    fn plane(
        &mut self,
        scratch: &mut ScratchTargets,
        plane: usize,
        rendering: &ReadbackFormat,
        target: &Framebuffer,
    ) -> Result<(), IspError> {
        let ScratchTargets { picture, sharpened, shown, .. } = scratch;
        let sharp = self.job.params.sharpen > 0.0;
        let picture = rendered(if sharp { sharpened } else { picture });
        let shown = self.shown(picture, entry(shown, self.index))?;
        let format = self.output.buffer.format();
        if format.is_yuv() {
            self.yuv(plane, &shown, target)?;
        } else {
            self.view(rendering, shown.texture, target)?;
        }
        Ok(())
    }

    /// Returns the frame's picture, or for planes of YUV that of the output's size and place.
    fn shown<'p>(
        &mut self,
        picture: &'p Texture,
        slot: &'p mut Option<Framebuffer>,
    ) -> Result<Shown<'p>, IspError> {
        let size = size_of(self.output.buffer);
        let whole = self.output.view.is_whole(self.job.size, size);
        if whole || !self.output.buffer.format().is_yuv() {
            return Ok(Shown { texture: picture, layered: true });
        }
        let target = fit(slot, self.gl, TextureFormat::RGB10_A2, size)?;
        self.view(&ReadbackFormat::PLAIN, picture, target)?;
        Ok(Shown { texture: target.texture(), layered: false })
    }

    /// Draws the frame's picture, cropped, scaled and rotated.
    fn view(
        &mut self,
        rendering: &ReadbackFormat,
        picture: &Texture,
        target: &Framebuffer,
    ) -> Result<(), ShaderError> {
        let (gl, view) = (self.gl, &self.output.view);
        let (frame, size) = (self.job.size, size_of(self.output.buffer));
        let pass = self.passes.view(gl, view.is_whole(frame, size))?;
        let program = pass.program.activate(gl);
        let [transposed, start_step, reach, crop, scale, swapped] = &pass.at;
        let [across, down] = view.mapping(frame, size);
        program.set_ints(transposed, &[view.orientation.transpose.into()]);
        program.set_floats(start_step, &[across.start, across.step, down.start, down.step]);
        program.set_floats(reach, &[across.reach, down.reach]);
        let edges = [across.first, down.first, across.last, down.last];
        program.set_floats(crop, &edges.map(|edge| edge as f32));
        program.set_floats(scale, &rendering.scale);
        program.set_ints(swapped, &[rendering.swapped.into()]);
        picture.bind(gl, 0);
        program.draw(target);
        Ok(())
    }

    /// Draws a plane of luma or chroma, or both of YUYV.
    fn yuv(
        &mut self,
        plane: usize,
        shown: &Shown<'_>,
        target: &Framebuffer,
    ) -> Result<(), ShaderError> {
        let (gl, size) = (self.gl, size_of(self.output.buffer));
        let [luma, blue, red] = yuv_rows(self.output.colour_space());
        let (kind, rows) = match (self.output.buffer.format(), plane) {
            (Fourcc::YUYV, _) => (PlaneKind::Yuyv, [luma, blue, red]),
            (_, 0) => (PlaneKind::Luma, [luma; 3]),
            (Fourcc::NV21, _) | (Fourcc::YUV420, 2) => (PlaneKind::Chroma, [red, blue, luma]),
            _ => (PlaneKind::Chroma, [blue, red, luma]),
        };
        let pass = self.passes.plane(gl, kind, shown.layered)?;
        let program = pass.program.activate(gl);
        let [last, rows_at] = &pass.at;
        program.set_ints(last, &[size.0 as i32 - 1, size.1 as i32 - 1]);
        program.set_vectors(rows_at, &rows);
        shown.texture.bind(gl, 0);
        program.draw(target);
        Ok(())
    }

    /// Draws a plane, waits for it, and copies it into the buffer.
    fn read_back(&mut self, scratch: &mut ScratchTargets, plane: usize) -> Result<(), IspError> {
        let rendering = ReadbackFormat::of(self.output.buffer.format());
        let format = self.output.buffer.format().planes().and_then(|planes| planes.get(plane));
        let (hsub, vsub) = format.map_or((1, 1), |plane| (plane.hsub, plane.vsub));
        let (width, height) = size_of(self.output.buffer);
        let size = (width.div_ceil(hsub), height.div_ceil(vsub));
        // Taken out as long as the other targets are needed to draw it.
        let mut read = entry(&mut scratch.read, plane).take();
        let target = fit(&mut read, self.gl, rendering.storage, size)?;
        self.plane(scratch, plane, &rendering, target)?;
        scratch.pixels.resize(4 * size.0 as usize * size.1 as usize, 0);
        target.read_pixels(self.gl, &mut scratch.pixels);
        self.gl.check("glReadPixels")?;
        scratch.read[plane] = read;
        readback::copy(self.output, plane, &scratch.pixels)
    }
}
