//! The ISP on the GPU.
//!
//! A frame takes two passes, and a count if it is to be measured:
//!
//! 1. `mosaic`: samples become 16-bit light, a quad of sites in a texel, in a texture of our own;
//! 2. `develop`: of nine texels come four pixels, white-balanced, demosaiced, corrected and looked up
//!    in the table of tones. Where the driver renders to the output's rows as pairs of pixels, all
//!    four go straight there, as colours or as luma and chroma; else each goes to its layer of a texture, and `view` or `plane` makes
//!    the outputs of that, cropped, scaled and turned;
//! 3. `measure`: statistics, which are read some frames later.
//!
//! What is off by default (`denoise`, `green` of the directional demosaic, `sharpen`) is a pass each,
//! in between.

mod measure;
mod passes;
mod readback;

use std::path::Path;
use std::rc::Rc;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{CpuAccess, Dmabuf, Fence, Fourcc, Importer, LinkEnd, Refusal};

use self::measure::Measuring;
use self::passes::{Giving, Kind, Mosaic, Passes};
use self::readback::Rendering;
use crate::Isp;
use crate::cpu::CpuIsp;
use crate::egl::{Context, EglError, Renderer};
use crate::frame::{IspError, Job, Output, cpu_stride, size_of};
use crate::gl::{Current, GlFault, Storage, Target, Texture};
use crate::import::{Imports, TargetImporter, TextureImporter, short_name, software};
use crate::params::{Cfa, Demosaic, IspParams, Tone};
use crate::raw::RawFormat;
use crate::stats::{Statistics, WHITE};
use crate::targets::{Planes, has_colours_changed, is_rendered_by_plane};
use crate::tone;
use crate::view::yuv_rows;

/// Makes pictures with GLES, from imported buffers into imported buffers.
///
/// For each buffer that the driver refuses the pixels are copied: a raw frame by `glTexSubImage2D`
/// from the mapped buffer, a picture by `glReadPixels` into it. That is decided for every buffer by
/// itself, and remembered for its life.
///
/// When the GPU is reset, all that is in the context is made anew and the frame is rendered again.
/// If there is no new context to be had, or none that lasts for a frame, the CPU makes that frame's
/// pictures and all that follow, and both ends of the link say so.
///
/// The ISP stays on the thread that made it, whose current context it is.
pub struct GpuIsp {
    // Dropped in this order; the context goes with the last who holds it.
    textures: Imports<Texture>,
    targets: Imports<Planes>,
    own: Own,
    passes: Passes,
    /// The tone curve, and the texture that it is in.
    tones: (Option<Tone>, Texture),
    measuring: Option<Measuring>,
    max_size: u32,
    raw_end: LinkEnd,
    output_end: LinkEnd,
    wanted: Renderer,
    /// Who makes the pictures after all, and why, once the GPU is lost for good.
    instead: Option<(CpuIsp, Refusal)>,
    context: Rc<Context>,
}

/// Contexts that may be lost over one frame.
const MOST_LOSSES: u32 = 2;

/// Textures of our own, each made when it is first needed and again when frames change their size.
#[derive(Default)]
struct Own {
    upload: Option<Texture>,
    quads: Option<Target>,
    denoised: Option<Target>,
    greens: Option<Target>,
    picture: Option<Target>,
    sharpened: Option<Target>,
    /// For each output the picture as it shows it, and what is read back of each plane.
    shown: Vec<Option<Target>>,
    read: Vec<Option<Target>>,
    pixels: Vec<u8>,
}

/// A target with this storage and size, made if it is not there yet.
fn fit<'a>(
    target: &'a mut Option<Target>,
    context: &Rc<Context>,
    storage: Storage,
    size: (u32, u32),
) -> Result<&'a Target, GlFault> {
    if !target.as_ref().is_some_and(|target| target.texture().is(storage, size)) {
        // The old one goes first, so that memory holds only one of them.
        *target = None;
        let texture = Texture::new(context, storage, size)?;
        *target = Some(Target::new(context, texture)?);
    }
    let Some(target) = target else { unreachable!("it was just made") };
    Ok(target)
}

impl GpuIsp {
    /// An ISP on a render node such as `/dev/dri/renderD128`, through GBM; or, without a node, on
    /// what EGL chooses by itself, which may be a program on the CPU.
    pub fn new(node: Option<&Path>) -> Result<Self, EglError> {
        Self::on(node.map_or(Renderer::Any, |node| Renderer::Node(node.to_owned())))
    }

    /// An ISP on the renderer that is a program on the CPU, whatever GPUs there are.
    pub fn software() -> Result<Self, EglError> {
        Self::on(Renderer::Software)
    }

    fn on(wanted: Renderer) -> Result<Self, EglError> {
        let mut context = Context::new(&wanted)?;
        // On GBM softpipe says that it imports, and crashes when it renders.
        if context.is_on_gbm() && software(context.renderer()) == Some("softpipe") {
            tracing::warn!("softpipe does not work on GBM; it renders without the node");
            context = Context::new(&Renderer::Any)?;
        }
        Self::with(Rc::new(context), wanted)
    }

    fn with(context: Rc<Context>, wanted: Renderer) -> Result<Self, EglError> {
        let gl = context.make_current()?;
        let renderer = short_name(context.renderer());
        let size = (tone::STEPS as u32, tone::OCTAVES as u32);
        let mut isp = Self {
            textures: Imports::textures(&context, renderer),
            targets: Imports::outputs(&context, renderer),
            own: Own::default(),
            passes: Passes::new(&context),
            tones: (None, Texture::new(&context, Storage::R32F, size)?),
            measuring: context.computes().then(|| Measuring::new(&context)),
            max_size: gl.max_size(),
            raw_end: LinkEnd::import(),
            output_end: LinkEnd::import(),
            wanted,
            instead: None,
            context: context.clone(),
        };
        isp.compile(Some(Cfa::Rggb), RawFormat::SRGGB8)?;
        gl.check("setting up")?;
        Ok(isp)
    }

    /// Compiles what every frame needs, so that a driver whose compiler fails is known at once.
    fn compile(&mut self, cfa: Option<Cfa>, format: RawFormat) -> Result<(), EglError> {
        let plain = Mosaic { format, integer: false, defects: false, shaded: false };
        self.passes.mosaic(plain)?;
        for giving in [Giving::Layers, Giving::Pairs, Giving::Yuv] {
            self.passes.develop(cfa, Demosaic::default(), giving)?;
        }
        self.passes.view(true)?;
        self.passes.view(false)?;
        for kind in [Kind::Luma, Kind::Chroma, Kind::Yuyv] {
            self.passes.plane(kind, true)?;
        }
        if self.measuring.is_some() {
            self.passes.measure(cfa)?;
        }
        Ok(())
    }

    /// The longest side of a picture, in pixels.
    pub fn max_size(&self) -> u32 {
        self.max_size
    }

    /// Asks whether the GPU can read a buffer.
    pub fn texture_importer(&mut self) -> TextureImporter<'_> {
        TextureImporter(&mut self.textures)
    }

    /// Asks whether the GPU can render into a buffer.
    pub fn target_importer(&mut self) -> TargetImporter<'_> {
        TargetImporter(&mut self.targets)
    }

    /// Whether the renderer is a program on the CPU.
    pub fn is_software(&self) -> bool {
        software(self.context.renderer()).is_some()
    }

    /// Renders a frame with what is known of all buffers by now.
    fn render(&mut self, gl: &Current<'_>, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        // Asks the driver at most once for each buffer; what it said is found below.
        if self.textures.known(job.raw).is_none() {
            let _ = self.textures.texture(job.raw);
        }
        for output in job.outputs {
            if self.targets.known(output.buffer).is_none() {
                let _ = self.targets.output(output.buffer);
            }
        }
        self.make_quads(gl, job)?;
        let copied = self.make_pictures(gl, job)?;
        if let (true, Some(measuring), Some(quads)) =
            (job.measure, &mut self.measuring, &self.own.quads)
        {
            let pass = self.passes.measure(job.format.cfa())?;
            let frame = (job.sequence, job.format, job.size);
            measuring.begin(gl, pass, quads.texture(), frame, job.params.black_level)?;
        }
        // Before the fence, so that no frame is passed on that was not rendered.
        gl.check("glDrawArrays")?;
        if copied == job.outputs.len() && copied > 0 {
            return Ok(None);
        }
        Ok(self.fence(gl))
    }

    /// Samples become light, which is denoised if it is to be; of the directional demosaic, also
    /// green.
    fn make_quads(&mut self, gl: &Current<'_>, job: &Job<'_>) -> Result<(), IspError> {
        let Self { textures, own, passes, raw_end, context, .. } = self;
        let (width, height) = job.size;
        let quads_size = (width.div_ceil(2) + 2, height.div_ceil(2) + 2);
        let (raw, integer) = match known(textures, job.raw) {
            Ok(texture) => (texture, false),
            Err(refusal) => {
                let integer = job.raw.format() == Fourcc::R16;
                let storage = if integer { Storage::R16UI } else { Storage::R8 };
                let size = size_of(job.raw);
                if !own.upload.as_ref().is_some_and(|texture| texture.is(storage, size)) {
                    own.upload = Some(Texture::new(context, storage, size)?);
                }
                let Some(texture) = &own.upload else { unreachable!("it was just made") };
                upload(gl, texture, job.raw).map_err(|error| error.instead_of(refusal))?;
                raw_end.copied(job.sequence, refusal, job.raw.layout().payload());
                (texture, integer)
            }
        };
        let format = job.format;
        let shaded = !job.params.shading.is_none();
        let defects = job.params.defects.is_some();
        let pass = passes.mosaic(Mosaic { format, integer, defects, shaded })?;
        let program = pass.program.enter(gl);
        let [size, full, white, period, threshold, line, shading, middle, _] = &pass.at;
        let between = if format.cfa().is_some() { 2 } else { 1 };
        let black = job.params.black_level;
        let per_sample = f32::from(WHITE) / (f32::from(format.white()) * (1.0 - black));
        let steps = job.params.defects.map(|defects| defects.steps(format) as i32);
        program.set_whole(size, &[width as i32, height as i32]);
        let most =
            if job.raw.format() == Fourcc::R16 { u16::MAX.into() } else { f32::from(u8::MAX) };
        program.set(full, &[most]);
        program.set_whole(white, &[format.white().into()]);
        program.set_whole(period, &[between]);
        program.set_whole(threshold, &[steps.unwrap_or_default()]);
        program.set(line, &[per_sample, f32::from(WHITE) * black / (1.0 - black)]);
        let colour = |site: u32| format.cfa().map_or(1, |cfa| cfa.colour_at(site & 1, site >> 1));
        let coefficients = [0, 1, 2, 3].map(|site| job.params.shading.coefficients[colour(site)]);
        program.set_vectors(shading, &coefficients);
        let half = |count: u32| (count as f32 - 1.0) / 2.0;
        let (across, down) = (half(width), half(height));
        program.set(middle, &[across, down, 1.0 / (across * across + down * down)]);
        gl.bind(0, raw);
        gl.fill(fit(&mut own.quads, context, Storage::RGBA16UI, quads_size)?);

        if let Some(denoise) = job.params.denoise {
            let Some(quads) = &own.quads else { unreachable!("it was just rendered to") };
            let pass = passes.denoise()?;
            let program = pass.program.enter(gl);
            let [size, period, over_range] = &pass.at;
            program.set_whole(size, &[width as i32, height as i32]);
            program.set_whole(period, &[between]);
            program.set(over_range, &[1.0 / (denoise.range * f32::from(WHITE))]);
            gl.bind(0, quads.texture());
            gl.fill(fit(&mut own.denoised, context, Storage::RGBA16UI, quads_size)?);
        }
        if let (Some(cfa), Demosaic::Directional) = (format.cfa(), job.params.demosaic) {
            let pass = passes.green(cfa)?;
            let program = pass.program.enter(gl);
            let [size, gains] = &pass.at;
            program.set_whole(size, &[width as i32, height as i32]);
            program.set(gains, &per_step(job.params));
            gl.bind(0, own.light(job.params));
            gl.fill(fit(&mut own.greens, context, Storage::RG16UI, quads_size)?);
        }
        Ok(())
    }

    /// Light becomes every output; how many of them were copied.
    fn make_pictures(&mut self, gl: &Current<'_>, job: &Job<'_>) -> Result<usize, IspError> {
        let Self { targets, own, passes, tones, output_end, context, .. } = self;
        let (curve, table) = tones;
        if *curve != Some(job.params.tone) {
            let levels: Vec<u8> =
                tone::levels(&job.params.tone).flat_map(f32::to_ne_bytes).collect();
            gl.upload(table, &levels, 4 * tone::STEPS);
            *curve = Some(job.params.tone);
        }
        let quads = match job.outputs {
            [] => return Ok(0),
            [only] if job.params.sharpen == 0.0 => {
                let whole = only.view.is_whole(job.size, size_of(only.buffer));
                let known = targets.known(only.buffer).and_then(Result::ok).filter(|_| whole);
                known.and_then(|planes| planes.quads.as_ref()).map(|quads| (quads, only))
            }
            _ => None,
        };
        let giving = match quads {
            Some((_, output)) if is_rendered_by_plane(output.buffer.format()) => Giving::Yuv,
            Some(_) => Giving::Pairs,
            None => Giving::Layers,
        };
        let pass = passes.develop(job.format.cfa(), job.params.demosaic, giving)?;
        let program = pass.program.enter(gl);
        let [gains, matrix, swapped, rows] = &pass.at;
        program.set(gains, &per_step(job.params));
        program.set_vectors(matrix, &job.params.colour.combined());
        if let Some((_, output)) = quads {
            let format = output.buffer.format();
            let blue_first = matches!(format, Fourcc::XRGB8888 | Fourcc::ARGB8888);
            program.set_whole(swapped, &[blue_first.into()]);
            let [luma, blue, red] = yuv_rows(output.colour_space());
            let chroma = if format == Fourcc::NV21 { [red, blue] } else { [blue, red] };
            program.set_vectors(rows, &[luma, chroma[0], chroma[1]]);
        }
        gl.bind(0, own.light(job.params));
        if let Some(greens) = &own.greens {
            gl.bind(1, greens.texture());
        }
        gl.bind(2, table);
        if let Some((quads, _)) = quads {
            gl.fill(quads);
            return Ok(0);
        }
        let quarter = (job.size.0.div_ceil(2), job.size.1.div_ceil(2));
        let layers = Storage::RGB10_A2.in_layers();
        gl.fill(fit(&mut own.picture, context, layers, quarter)?);
        if job.params.sharpen > 0.0 {
            let Some(picture) = &own.picture else { unreachable!("it was just rendered to") };
            let pass = passes.sharpen()?;
            let program = pass.program.enter(gl);
            let [last, amount] = &pass.at;
            program.set_whole(last, &[job.size.0 as i32 - 1, job.size.1 as i32 - 1]);
            program.set(amount, &[job.params.sharpen]);
            gl.bind(0, picture.texture());
            gl.fill(fit(&mut own.sharpened, context, layers, quarter)?);
        }
        let mut copied = 0;
        for (index, output) in job.outputs.iter().enumerate() {
            match known(targets, output.buffer) {
                Ok(Planes { planes, .. }) => {
                    let swapped = has_colours_changed(output.buffer.format());
                    let plain = Rendering { swapped, ..Rendering::of(Fourcc::ABGR8888) };
                    for (plane, target) in planes.iter().enumerate() {
                        let shown = own.shown(index, gl, context, passes, job, output)?;
                        draw(gl, passes, job, output, plane, &plain, (shown, target))?;
                    }
                }
                Err(refusal) => {
                    let rendering = Rendering::of(output.buffer.format());
                    for plane in 0..output.buffer.layout().planes().len() {
                        own.read_back(gl, context, passes, job, (index, output), plane, &rendering)
                            .map_err(|error| error.instead_of(refusal))?;
                    }
                    let bytes = output.buffer.layout().payload();
                    output_end.copied(job.sequence, refusal, bytes);
                    copied += 1;
                }
            }
        }
        Ok(copied)
    }

    /// A fence behind the frame, or a wait for it.
    fn fence(&self, gl: &Current<'_>) -> Option<Fence> {
        // A program draws on our CPU: there is nobody to leave behind with the work. llvmpipe's
        // fence is signalled when it is handed out, after ten system calls.
        let syncs = self.context.syncs().filter(|_| !self.is_software());
        match syncs.and_then(|syncs| syncs.fence(gl)) {
            Some(fd) => Fence::pending(fd),
            None => {
                gl.finish();
                None
            }
        }
    }

    /// Everything anew, in another context: that of before was lost with all that was in it.
    fn recreate(&mut self) -> Result<(), EglError> {
        let fresh = Self::on(self.wanted.clone())?;
        let old = std::mem::replace(self, fresh);
        // What was copied before is still true; imports are counted anew.
        self.raw_end = old.raw_end.clone();
        self.output_end = old.output_end.clone();
        Ok(())
    }
}

/// Gains for 16-bit light.
fn per_step(params: &IspParams) -> [f32; 3] {
    params.gains.map(|gain| gain / f32::from(WHITE))
}

/// Of a picture, which may be one of our own as an output shows it, the texture and whether its
/// pixels are in layers.
#[derive(Clone, Copy)]
struct Shown<'a> {
    texture: &'a Texture,
    layered: bool,
}

/// Draws a plane of an output.
fn draw(
    gl: &Current<'_>,
    passes: &mut Passes,
    job: &Job<'_>,
    output: &Output<'_>,
    plane: usize,
    rendering: &Rendering,
    (shown, target): (Shown<'_>, &Target),
) -> Result<(), IspError> {
    let size = size_of(output.buffer);
    let format = output.buffer.format();
    if !is_rendered_by_plane(format) {
        return Ok(look(gl, passes, job, output, rendering, (shown.texture, target))?);
    }
    let [luma, blue, red] = yuv_rows(output.colour_space());
    let (kind, rows) = match (format, plane) {
        (Fourcc::YUYV, _) => (Kind::Yuyv, [luma, blue, red]),
        (_, 0) => (Kind::Luma, [luma; 3]),
        (Fourcc::NV21, _) | (Fourcc::YUV420, 2) => (Kind::Chroma, [red, blue, luma]),
        _ => (Kind::Chroma, [blue, red, luma]),
    };
    let pass = passes.plane(kind, shown.layered)?;
    let program = pass.program.enter(gl);
    let [last, rows_at] = &pass.at;
    program.set_whole(last, &[size.0 as i32 - 1, size.1 as i32 - 1]);
    program.set_vectors(rows_at, &rows);
    gl.bind(0, shown.texture);
    gl.fill(target);
    Ok(())
}

/// Draws the picture as an output shows it.
fn look(
    gl: &Current<'_>,
    passes: &mut Passes,
    job: &Job<'_>,
    output: &Output<'_>,
    rendering: &Rendering,
    (picture, target): (&Texture, &Target),
) -> Result<(), EglError> {
    let whole = output.view.is_whole(job.size, size_of(output.buffer));
    let pass = passes.view(whole)?;
    let program = pass.program.enter(gl);
    let [transposed, start_step, reach, crop, scale, swapped] = &pass.at;
    let [across, down] = output.view.mapping(job.size, size_of(output.buffer));
    program.set_whole(transposed, &[output.view.orientation.transpose.into()]);
    program.set(start_step, &[across.start, across.step, down.start, down.step]);
    program.set(reach, &[across.reach, down.reach]);
    let edges = [across.first, down.first, across.last, down.last];
    program.set(crop, &edges.map(|edge| edge as f32));
    program.set(scale, &rendering.scale);
    program.set_whole(swapped, &[rendering.swapped.into()]);
    gl.bind(0, picture);
    gl.fill(target);
    Ok(())
}

impl Own {
    /// The light that is demosaiced.
    fn light(&self, params: &IspParams) -> &Texture {
        let light = if params.denoise.is_some() { &self.denoised } else { &self.quads };
        let Some(light) = light else { unreachable!("it was rendered to before") };
        light.texture()
    }

    /// The picture of which an output is made: the frame's, or for planes of YUV that of the
    /// output's size and place.
    fn shown(
        &mut self,
        index: usize,
        gl: &Current<'_>,
        context: &Rc<Context>,
        passes: &mut Passes,
        job: &Job<'_>,
        output: &Output<'_>,
    ) -> Result<Shown<'_>, IspError> {
        let sharp = job.params.sharpen > 0.0;
        let picture = if sharp { &self.sharpened } else { &self.picture };
        let Some(picture) = picture else { unreachable!("it was rendered to before") };
        let size = size_of(output.buffer);
        let whole = output.view.is_whole(job.size, size);
        if whole || !is_rendered_by_plane(output.buffer.format()) {
            return Ok(Shown { texture: picture.texture(), layered: true });
        }
        if self.shown.len() <= index {
            self.shown.resize_with(index + 1, || None);
        }
        let target = fit(&mut self.shown[index], context, Storage::RGB10_A2, size)?;
        let plain = Rendering::of(Fourcc::ABGR8888);
        look(gl, passes, job, output, &plain, (picture.texture(), target))?;
        Ok(Shown { texture: target.texture(), layered: false })
    }

    /// Draws a plane of an output, waits for it, and copies it there.
    #[allow(clippy::too_many_arguments)]
    fn read_back(
        &mut self,
        gl: &Current<'_>,
        context: &Rc<Context>,
        passes: &mut Passes,
        job: &Job<'_>,
        (index, output): (usize, &Output<'_>),
        plane: usize,
        rendering: &Rendering,
    ) -> Result<(), IspError> {
        let format = output.buffer.format().planes().and_then(|planes| planes.get(plane));
        let (hsub, vsub) = format.map_or((1, 1), |plane| (plane.hsub, plane.vsub));
        let (width, height) = size_of(output.buffer);
        let size = (width.div_ceil(hsub), height.div_ceil(vsub));
        let mut read = std::mem::take(&mut self.read);
        if read.len() <= plane {
            read.resize_with(plane + 1, || None);
        }
        let target = fit(&mut read[plane], context, rendering.storage, size)?;
        let shown = self.shown(index, gl, context, passes, job, output)?;
        draw(gl, passes, job, output, plane, rendering, (shown, target))?;
        self.pixels.resize(4 * size.0 as usize * size.1 as usize, 0);
        gl.read(target, &mut self.pixels);
        gl.check("glReadPixels")?;
        self.read = read;
        readback::copy(output, plane, &self.pixels)
    }
}

impl Isp for GpuIsp {
    fn name(&self) -> String {
        format!("gpu:{}", short_name(self.context.renderer()))
    }

    fn describe(&self) -> String {
        let version = driver_and_version(self.context.version());
        format!("{}, {version}, {}", self.context.renderer(), self.context.describe())
    }

    fn raw_constraints(&self, carriers: &[Fourcc]) -> Constraints {
        self.textures.constraints(carriers)
    }

    fn output_constraints(&self, formats: &[Fourcc]) -> Constraints {
        self.targets.constraints(formats)
    }

    fn raw_importer(&mut self) -> Option<Box<dyn Importer + '_>> {
        Some(Box::new(self.texture_importer()))
    }

    fn output_importer(&mut self) -> Option<Box<dyn Importer + '_>> {
        Some(Box::new(self.target_importer()))
    }

    fn prepare(&mut self, raw: &[Dmabuf], output: &[Dmabuf]) {
        if self.instead.is_some() {
            return;
        }
        if let Err(error) = self.context.make_current() {
            tracing::warn!(%error, "buffers are not imported before they are used");
            return;
        }
        for buffer in raw {
            if let Err(refusal) = self.textures.texture(buffer) {
                tracing::debug!(buffer = buffer.name(), %refusal, "raw frames are copied");
                self.raw_end.copied(0, &refusal, 0);
            }
        }
        for buffer in output {
            if let Err(refusal) = self.targets.output(buffer) {
                tracing::debug!(buffer = buffer.name(), %refusal, "pictures are copied");
                self.output_end.copied(0, &refusal, 0);
            }
        }
    }

    fn process(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        job.check()?;
        let carrier = size_of(job.raw);
        let outputs = job.outputs.iter().map(|output| size_of(output.buffer));
        let limit = self.max_size;
        let too_large = |size: &(u32, u32)| size.0.max(size.1) > limit;
        if let Some((width, height)) = [carrier].into_iter().chain(outputs).find(too_large) {
            return Err(IspError::TooLarge { width, height, limit });
        }
        let mut losses = 0;
        while self.instead.is_none() {
            let Some(result) = self.attempt(job) else {
                losses += 1;
                self.recover(job.sequence, losses);
                continue;
            };
            match result {
                // A driver that fails with an imported buffer may do with a copy: the targets
                // first, since few buffers can be rendered to of all that can be sampled.
                Err(IspError::Gl(fault))
                    if self.distrust_targets(job, fault)
                        || self.textures.distrust(job.raw, fault) =>
                {
                    let sequence = job.sequence;
                    tracing::warn!(sequence, %fault, "a frame is rendered again, with a copy");
                }
                result => return result,
            }
        }
        self.process_instead(job)
    }

    fn statistics(&self) -> Option<(u64, &Statistics)> {
        match &self.instead {
            Some((cpu, _)) => cpu.statistics(),
            None => self.measuring.as_ref().and_then(Measuring::latest),
        }
    }

    fn raw_end(&self) -> LinkEnd {
        LinkEnd { imports: self.textures.count(), ..self.raw_end.clone() }
    }

    fn output_end(&self) -> LinkEnd {
        LinkEnd { imports: self.targets.count(), ..self.output_end.clone() }
    }
}

impl GpuIsp {
    /// Renders a frame in the present context; `None` if the context is lost.
    fn attempt(&mut self, job: &Job<'_>) -> Option<Result<Option<Fence>, IspError>> {
        let context = self.context.clone();
        let gl = match context.make_current() {
            Ok(gl) => gl,
            Err(error) if error.is_loss() => return None,
            Err(error) => return Some(Err(error.into())),
        };
        if let Some(measuring) = &mut self.measuring {
            measuring.collect(&gl);
        }
        let result = self.render(&gl, job);
        // Drivers that do not tell of resets may still fail with them.
        let says_so = matches!(&result, Err(IspError::Gl(fault)) if fault.is_loss());
        (!says_so && !gl.is_lost()).then_some(result)
    }

    /// After the loss of a context, the `losses`-th over this frame: another one, or the CPU.
    fn recover(&mut self, sequence: u64, losses: u32) {
        let name = self.name();
        let gone = |detail| Refusal::because(&name, "glGetGraphicsResetStatus", detail);
        let refusal = match self.recreate() {
            Ok(()) if losses < MOST_LOSSES => {
                tracing::warn!(sequence, "the GPU was reset; all is made anew");
                return;
            }
            Ok(()) => gone("the GPU was reset again and again over one frame".to_owned()),
            Err(error) => gone(format!("the GPU was reset, and does not come back: {error}")),
        };
        tracing::warn!(sequence, %refusal, "from here on the CPU makes the pictures");
        self.instead = Some((CpuIsp::new(), refusal));
    }

    /// Has the CPU make a frame's pictures.
    fn process_instead(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        let Self { instead: Some((cpu, refusal)), raw_end, output_end, .. } = self else {
            unreachable!("only once it is there")
        };
        let made = cpu.process(job).map_err(|error| error.instead_of(refusal))?;
        raw_end.copied(job.sequence, refusal, job.raw.layout().payload());
        for output in job.outputs {
            output_end.copied(job.sequence, refusal, output.buffer.layout().payload());
        }
        Ok(made)
    }

    fn distrust_targets(&mut self, job: &Job<'_>, fault: GlFault) -> bool {
        let mut any = false;
        for output in job.outputs {
            any |= self.targets.distrust(output.buffer, fault);
        }
        any
    }
}

/// What an import made of a buffer that it was asked about.
fn known<'a, T>(imports: &'a Imports<T>, buffer: &Dmabuf) -> Result<&'a T, &'a Refusal> {
    let Some(known) = imports.known(buffer) else { unreachable!("it was asked for just now") };
    known
}

impl IspError {
    /// Says why a copy that failed was made at all. A failure of GL itself stays what it is.
    fn instead_of(self, refusal: &Refusal) -> Self {
        match self {
            Self::Gl(_) => self,
            other => Self::Copy { refusal: refusal.clone(), source: Box::new(other) },
        }
    }
}

/// Copies a raw frame into a texture.
fn upload(gl: &Current<'_>, texture: &Texture, raw: &Dmabuf) -> Result<(), IspError> {
    let stride = cpu_stride(raw, 0)?;
    let from = raw.cpu_access(CpuAccess::Read)?;
    gl.upload(texture, from.plane(0), stride);
    from.end()?;
    Ok(gl.check("glTexSubImage2D")?)
}

/// `OpenGL ES 3.2 Mesa 26.1.0` becomes `Mesa 26.1.0, OpenGL ES 3.2`.
fn driver_and_version(version: &str) -> String {
    let split = version.strip_prefix("OpenGL ES ").and_then(|rest| rest.split_once(' '));
    match split {
        Some((number, driver)) => format!("{driver}, OpenGL ES {number}"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, Heap, Layout, Method};

    use super::*;
    use crate::fault::{self, Faults};
    use crate::reference::{RawImage, off_by};

    /// Makes this many frames, one after the other with these faults; each must be right.
    fn frames_with(faults: &[Faults]) -> Option<GpuIsp> {
        let mut isp = match GpuIsp::new(None) {
            Ok(isp) => isp,
            Err(error) => {
                eprintln!("RAN WITHOUT A GPU ISP: {error}");
                return None;
            }
        };
        let size = (34, 18);
        let allocate = |format| {
            let layout = Layout::linear(format, size.0, size.1, Alignment::default()).unwrap();
            Memfd::new().allocate(&layout, "test").unwrap()
        };
        let (raw, output) = (allocate(Fourcc::R8), allocate(Fourcc::XRGB8888));
        let (params, outputs) = (IspParams::default(), [Output::new(&output)]);
        let format = RawFormat::SRGGB8;
        for (sequence, faults) in (0u8..).zip(faults) {
            let mut bytes = raw.cpu_access(CpuAccess::Write).unwrap();
            let noise = bytes.plane_mut(0).iter_mut().enumerate();
            noise.for_each(|(at, byte)| *byte = (at * 97) as u8 ^ sequence.wrapping_mul(53));
            bytes.end().unwrap();
            let (raw, outputs, params) = (&raw, &outputs, &params);
            let sequence = sequence.into();
            let job = Job { sequence, format, size, raw, outputs, params, measure: true };
            fault::set(*faults);
            isp.process(&job).unwrap();
            fault::set(Faults::default());
            let bytes = raw.cpu_access(CpuAccess::Read).unwrap();
            let stride = cpu_stride(raw, 0).unwrap();
            let image = RawImage { format, size, stride, bytes: bytes.plane(0) };
            assert!(off_by(&image, params, &outputs[0]).unwrap() <= 1, "frame {sequence}");
        }
        Some(isp)
    }

    const FINE: Faults = Faults { lost_contexts: 0, no_contexts: false, no_images: false };

    #[test]
    fn after_a_loss_everything_is_there_again() {
        let lost = Faults { lost_contexts: 1, ..FINE };
        let Some(isp) = frames_with(&[FINE, FINE, lost, FINE]) else { return };
        assert!(isp.instead.is_none());
        let end = isp.raw_end();
        if end.method == Method::Copy {
            // One of the four frames was made twice; what was copied before is still told.
            assert_eq!((end.bytes_copied, end.since_frame), (5 * 34 * 18, 0), "{end:?}");
        }
    }

    #[test]
    fn a_gpu_that_does_not_come_back_leaves_the_work_to_the_cpu() {
        let gone = Faults { lost_contexts: 1, no_contexts: true, ..FINE };
        let Some(isp) = frames_with(&[FINE, gone, FINE]) else { return };
        let (_, refusal) = isp.instead.as_ref().unwrap();
        let said = refusal.to_string();
        assert!(said.contains("does not come back: eglCreateContext failed"), "{said}");
        assert_eq!(isp.statistics().unwrap().0, 2, "they are of the latest frame");
    }

    #[test]
    fn a_gpu_that_is_reset_over_and_over_is_given_up() {
        let lost = Faults { lost_contexts: MOST_LOSSES, ..FINE };
        let Some(isp) = frames_with(&[FINE, lost, FINE]) else { return };
        let (_, refusal) = isp.instead.as_ref().unwrap();
        assert!(refusal.to_string().contains("again and again"), "{refusal}");
    }

    #[test]
    fn versions_begin_with_the_driver() {
        assert_eq!(
            driver_and_version("OpenGL ES 3.2 Mesa 26.1.0-1"),
            "Mesa 26.1.0-1, OpenGL ES 3.2"
        );
        assert_eq!(driver_and_version("odd"), "odd");
    }
}
