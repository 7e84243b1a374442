//! Probes of the GPU's imports, with pixels as proof.
//!
//! As a texture: the CPU draws a pattern into the buffer, the GPU samples it into a picture of its
//! own, and that is read back; NV12 through an external texture, which turns it into RGB. As a
//! target: the GPU draws the pattern into the buffer, and the CPU reads it.

use std::rc::Rc;
use std::time::Instant;

use vcam_allocator::probe::pattern::{self, compare, value};
use vcam_allocator::probe::{FORMATS, Finding, ImporterInfo, Prober, Steps};
use vcam_allocator::{AccessError, Dmabuf, Fourcc, Modifier, Refusal};

use crate::egl::RendererChoice;
use crate::gles::{
    CurrentContext, ExternalTexture, Framebuffer, GlesContext, Program, ShaderSource, Texture,
    TextureFormat, Uniform,
};
use crate::gpu::GpuError;
use crate::import::{FromDmabuf, Imports, Usage, image, make_current, refused, texture};
use crate::renderer::short_name;

const IMPORT: &str = "eglCreateImageKHR";
const DRAW: &str = "glDrawArrays";
const READ: &str = "glReadPixels";

/// Returns the probers of the GPU that EGL chooses by itself: `egl-texture:` and `egl-target:` with
/// the renderer's name.
///
/// Drivers crash on buffers that they should refuse, so probe in a process of its own.
///
/// # Errors
///
/// If there is no GLES on this machine, or it does not compile the probe's shaders.
pub fn probers() -> Result<Vec<Box<dyn Prober>>, GpuError> {
    let context = GlesContext::new(&RendererChoice::Any)?;
    let gl = context.make_current()?;
    let program =
        |name, source: &'static str| Program::new(&gl, ShaderSource { name, text: source.into() });
    let copy = program("texels.frag", include_str!("shaders/texels.frag"))?;
    let draw = program("pattern.frag", include_str!("shaders/pattern.frag"))?;
    gl.check("setting up")?;
    let seed = draw.uniform(&gl, "seed");
    let mut convert = None;
    if context.samples_external() {
        let program = program("external.frag", include_str!("shaders/external.frag"))?;
        let size = program.uniform(&gl, "size");
        convert = Some(Convert { program, size });
    }
    drop(gl);
    Ok(vec![
        Box::new(TextureProber { context: context.clone(), copy, convert }),
        Box::new(TargetProber { context, draw, seed }),
    ])
}

fn info(usage: Usage, context: &GlesContext) -> ImporterInfo {
    let driver = short_name(context.renderer()).to_owned();
    let identity = context.identity();
    ImporterInfo { name: usage.device(context), driver, node: None, identity }
}

impl FromDmabuf for ExternalTexture {
    const USAGE: Usage = Usage::ExternalTexture;

    fn from_dmabuf(
        gl: &CurrentContext<'_>,
        device: &str,
        buffer: &Dmabuf,
    ) -> Result<Self, Refusal> {
        let image = image(gl, Self::USAGE, device, buffer)?;
        let size = (buffer.layout().width(), buffer.layout().height());
        Self::of_image(gl, image, size).map_err(|error| refused(device, error))
    }
}

impl FromDmabuf for Framebuffer {
    const USAGE: Usage = Usage::Framebuffer;

    fn from_dmabuf(
        gl: &CurrentContext<'_>,
        device: &str,
        buffer: &Dmabuf,
    ) -> Result<Self, Refusal> {
        let texture = texture(gl, Self::USAGE, device, buffer)?;
        Self::new(gl, texture).map_err(|error| refused(device, error))
    }
}

/// The formats that the driver lists as LINEAR. If it has no list, all of them: an import is the
/// only way to ask then.
fn listed(context: &GlesContext, usable: impl Fn(Fourcc, bool) -> bool) -> Vec<Fourcc> {
    let modifiers = |format| context.dmabuf_import().ok().and_then(|one| one.modifiers(format));
    let listed = |format: Fourcc| match modifiers(format) {
        None => usable(format, format.is_yuv()),
        Some(modifiers) => modifiers
            .iter()
            .any(|(modifier, external)| *modifier == Modifier::LINEAR && usable(format, *external)),
    };
    FORMATS.into_iter().filter(|format| listed(*format)).collect()
}

/// The GPU reads a buffer.
struct TextureProber {
    context: Rc<GlesContext>,
    copy: Program,
    /// Present if the driver has external textures.
    convert: Option<Convert>,
}

/// The program that samples external textures.
struct Convert {
    program: Program,
    size: Uniform,
}

/// A buffer that can be sampled.
enum Sampled<'a> {
    Plain(&'a Texture, &'a Program),
    External(&'a ExternalTexture, &'a Convert),
}

impl Sampled<'_> {
    fn size(&self) -> (u32, u32) {
        match self {
            Self::Plain(texture, _) => texture.size(),
            Self::External(texture, _) => texture.size(),
        }
    }

    /// Copies it, pixel by pixel.
    fn copy(&self, gl: &CurrentContext<'_>, to: &Framebuffer) {
        match self {
            Self::Plain(texture, program) => {
                texture.bind(gl, 0);
                program.activate(gl).draw(to);
            }
            Self::External(texture, convert) => {
                let (width, height) = texture.size();
                texture.bind(gl);
                let program = convert.program.activate(gl);
                program.set_floats(&convert.size, &[width as f32, height as f32]);
                program.draw(to);
            }
        }
    }
}

impl Prober for TextureProber {
    fn info(&self) -> ImporterInfo {
        info(Usage::Texture, &self.context)
    }

    fn formats(&self) -> Vec<Fourcc> {
        listed(&self.context, |_, external| !external || self.convert.is_some())
    }

    fn takes_any_size(&self) -> bool {
        true
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        let device = self.info().name;
        let gl = match make_current(&self.context, &device) {
            Ok(gl) => gl,
            Err(refusal) => return vec![Finding::Unknown(refusal)],
        };
        let mut textures = Imports::<Texture>::new(&self.context);
        let mut externals = Imports::<ExternalTexture>::new(&self.context);
        let mut one = |(index, buffer): (usize, &Dmabuf)| {
            let seed = seed_of(index);
            pattern::fill(buffer, seed).map_err(|error| no_access(&device, &error))?;
            steps(IMPORT);
            let begun = Instant::now();
            let sampled = match &self.convert {
                Some(convert) if buffer.format().is_yuv() => externals
                    .get_or_import(&gl, buffer)
                    .map(|texture| Sampled::External(texture, convert)),
                _ => textures
                    .get_or_import(&gl, buffer)
                    .map(|texture| Sampled::Plain(texture, &self.copy)),
            };
            let sampled = sampled.map_err(Finding::Refused)?;
            let time = begun.elapsed();
            let (width, height) = sampled.size();
            steps(DRAW);
            let unknown = |error| Finding::Unknown(refused(&device, error));
            let own = Texture::new(&gl, TextureFormat::RGBA8, (width, height))
                .and_then(|texture| Framebuffer::new(&gl, texture))
                .map_err(unknown)?;
            sampled.copy(&gl, &own);
            gl.check(DRAW).map_err(unknown)?;
            steps(READ);
            let stride = width as usize * 4;
            let mut pixels = vec![0; stride * height as usize];
            own.read_pixels(&gl, &mut pixels);
            gl.check(READ).map_err(unknown)?;
            let to_rgb = pattern::COLOUR_SPACE.to_rgb();
            let should = |seed, x, y| match buffer.format().is_yuv() {
                true => pattern::nv12_rgb(&to_rgb, seed, x, y),
                false => value(seed, x, y),
            };
            let compared = compare(buffer.format(), (width, height), seed, should, |x, y| {
                let at = y as usize * stride + x as usize * 4;
                [pixels[at], pixels[at + 1], pixels[at + 2]]
            });
            Ok(compared
                .map_or_else(|how| Finding::WrongPixels(time, how), |()| Finding::Proven(time)))
        };
        buffers.iter().enumerate().map(|buffer| one(buffer).unwrap_or_else(|other| other)).collect()
    }
}

/// The GPU draws into a buffer.
struct TargetProber {
    context: Rc<GlesContext>,
    draw: Program,
    seed: Uniform,
}

impl Prober for TargetProber {
    fn info(&self) -> ImporterInfo {
        info(Usage::Framebuffer, &self.context)
    }

    fn formats(&self) -> Vec<Fourcc> {
        // Formats for external textures alone are listed as well, to report why they are refused.
        listed(&self.context, |_, _| true)
    }

    fn takes_any_size(&self) -> bool {
        true
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        let device = self.info().name;
        let gl = match make_current(&self.context, &device) {
            Ok(gl) => gl,
            Err(refusal) => return vec![Finding::Unknown(refusal)],
        };
        let mut imports = Imports::<Framebuffer>::new(&self.context);
        let mut one = |(index, buffer): (usize, &Dmabuf)| {
            let seed = seed_of(index);
            // So that old contents are not taken for drawn ones.
            pattern::fill(buffer, !seed).map_err(|error| no_access(&device, &error))?;
            steps(IMPORT);
            let begun = Instant::now();
            let target = imports.get_or_import(&gl, buffer).map_err(Finding::Refused)?;
            let time = begun.elapsed();
            steps(DRAW);
            let program = self.draw.activate(&gl);
            program.set_floats(&self.seed, &[seed as f32]);
            program.draw(target);
            gl.finish();
            gl.check(DRAW).map_err(|error| Finding::Unknown(refused(&device, error)))?;
            let compared =
                pattern::check(buffer, seed).map_err(|error| no_access(&device, &error))?;
            Ok(compared
                .map_or_else(|how| Finding::WrongPixels(time, how), |()| Finding::Proven(time)))
        };
        buffers.iter().enumerate().map(|buffer| one(buffer).unwrap_or_else(|other| other)).collect()
    }
}

/// Each buffer has a picture of its own.
fn seed_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(0) + 1
}

fn no_access(device: &str, error: &AccessError) -> Finding {
    Finding::Unknown(Refusal::because(device, "DMA_BUF_IOCTL_SYNC", error.to_string()))
}
