//! Tries the GPU's imports out, with pixels as proof.
//!
//! As a texture: the CPU draws a pattern into the buffer, the GPU samples it into a picture of its
//! own, and that is read back; NV12 through an external texture, which turns it into RGB. As a
//! target: the GPU draws the pattern into the buffer, and the CPU
//! reads it.

use std::rc::Rc;
use std::time::Instant;

use vcam_allocator::probe::pattern::{self, compare, value};
use vcam_allocator::probe::{FORMATS, Finding, ImporterInfo, Prober, Steps};
use vcam_allocator::{AccessError, Dmabuf, Fourcc, Modifier, Refusal};

use crate::egl::{Context, EglError, Renderer};
use crate::external::External;
use crate::gl::{Current, Program, Shader, Storage, Target, Texture, Uniform};
use crate::import::{Imports, short_name};

const IMPORT: &str = "eglCreateImageKHR";
const DRAW: &str = "glDrawArrays";
const READ: &str = "glReadPixels";

/// The GPU that EGL chooses by itself: `egl-texture:` and `egl-target:` with the renderer's name.
///
/// Drivers crash on what they should refuse, so this belongs into a process of its own.
pub fn probers() -> Result<Vec<Box<dyn Prober>>, EglError> {
    let context = Rc::new(Context::new(&Renderer::Any)?);
    let gl = context.make_current()?;
    let shader = |name, source: &'static str| Shader { name, source: source.into() };
    let copy = shader("texels.frag", include_str!("shaders/texels.frag"));
    let copy = Program::new(&context, copy)?;
    let draw = shader("pattern.frag", include_str!("shaders/pattern.frag"));
    let draw = Program::new(&context, draw)?;
    gl.check("setting up")?;
    let seed = draw.uniform("seed");
    let mut convert = None;
    if context.images().is_some_and(|images| images.sample_external()) {
        let source = shader("external.frag", include_str!("shaders/external.frag"));
        convert = Some(Convert::new(Program::new(&context, source)?));
    }
    Ok(vec![
        Box::new(TextureProber { context: context.clone(), copy, convert }),
        Box::new(TargetProber { context, draw, seed }),
    ])
}

fn info(kind: &str, context: &Context) -> ImporterInfo {
    let driver = short_name(context.renderer()).to_owned();
    let identity = context.identity();
    ImporterInfo { name: format!("{kind}:{driver}"), driver, node: None, identity }
}

/// The formats that the driver lists as LINEAR: all of them where it answers no such question, for
/// then an import is the only way to ask.
fn listed(context: &Context, usable: impl Fn(Fourcc, bool) -> bool) -> Vec<Fourcc> {
    let listed = |format: Fourcc| match context.images().and_then(|images| images.modifiers(format))
    {
        None => usable(format, format.is_yuv()),
        Some(modifiers) => modifiers
            .iter()
            .any(|(modifier, external)| *modifier == Modifier::LINEAR && usable(format, *external)),
    };
    FORMATS.into_iter().filter(|format| listed(*format)).collect()
}

/// The GPU reads a buffer.
struct TextureProber {
    context: Rc<Context>,
    copy: Program,
    /// What samples external textures, if the driver has them.
    convert: Option<Convert>,
}

/// Samples external textures.
struct Convert {
    program: Program,
    size: Uniform,
}

impl Convert {
    fn new(program: Program) -> Self {
        let size = program.uniform("size");
        Self { program, size }
    }
}

/// A buffer that can be sampled.
enum Sampled<'a> {
    Plain(&'a Texture, &'a Program),
    External(&'a External, &'a Convert),
}

impl Sampled<'_> {
    fn size(&self) -> (u32, u32) {
        match self {
            Self::Plain(texture, _) => texture.size(),
            Self::External(texture, _) => texture.size(),
        }
    }

    /// Copies it, pixel by pixel.
    fn copy(&self, gl: &Current<'_>, to: &Target) {
        match self {
            Self::Plain(texture, program) => {
                program.enter(gl);
                gl.bind(0, texture);
            }
            Self::External(texture, convert) => {
                let (width, height) = texture.size();
                convert.program.enter(gl).set(&convert.size, &[width as f32, height as f32]);
                texture.bind(gl);
            }
        }
        gl.fill(to);
    }
}

impl Prober for TextureProber {
    fn info(&self) -> ImporterInfo {
        info("egl-texture", &self.context)
    }

    fn formats(&self) -> Vec<Fourcc> {
        listed(&self.context, |_, external| !external || self.convert.is_some())
    }

    fn takes_any_size(&self) -> bool {
        true
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        let device = self.info().name;
        let gl = match current(&self.context, &device) {
            Ok(gl) => gl,
            Err(refusal) => return vec![Finding::Unknown(refusal)],
        };
        let renderer = short_name(self.context.renderer());
        let mut textures = Imports::textures(&self.context, renderer);
        let mut externals = Imports::externals(&self.context, renderer);
        let mut one = |(index, buffer): (usize, &Dmabuf)| {
            let seed = seed_of(index);
            pattern::fill(buffer, seed).map_err(|error| no_access(&device, &error))?;
            steps(IMPORT);
            let begun = Instant::now();
            let sampled = match &self.convert {
                Some(convert) if buffer.format().is_yuv() => {
                    externals.external(buffer).map(|texture| Sampled::External(texture, convert))
                }
                _ => textures.texture(buffer).map(|texture| Sampled::Plain(texture, &self.copy)),
            };
            let sampled = sampled.map_err(Finding::Refused)?;
            let time = begun.elapsed();
            let (width, height) = sampled.size();
            steps(DRAW);
            let fault = |fault| Finding::Unknown(crate::import::refused(&device, fault));
            let own = Texture::new(&self.context, Storage::RGBA8, (width, height))
                .and_then(|texture| Target::new(&self.context, texture))
                .map_err(fault)?;
            sampled.copy(&gl, &own);
            gl.check(DRAW).map_err(fault)?;
            steps(READ);
            let stride = width as usize * 4;
            let mut pixels = vec![0; stride * height as usize];
            gl.read(&own, &mut pixels);
            gl.check(READ).map_err(fault)?;
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
    context: Rc<Context>,
    draw: Program,
    seed: Uniform,
}

impl Prober for TargetProber {
    fn info(&self) -> ImporterInfo {
        info("egl-target", &self.context)
    }

    fn formats(&self) -> Vec<Fourcc> {
        // What is for external textures alone is listed as well: that it is refused, and why, is
        // what there is to tell.
        listed(&self.context, |_, _| true)
    }

    fn takes_any_size(&self) -> bool {
        true
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        let device = self.info().name;
        let gl = match current(&self.context, &device) {
            Ok(gl) => gl,
            Err(refusal) => return vec![Finding::Unknown(refusal)],
        };
        let mut imports = Imports::targets(&self.context, short_name(self.context.renderer()));
        let mut one = |(index, buffer): (usize, &Dmabuf)| {
            let seed = seed_of(index);
            // So that what was there before is not taken for what is drawn.
            pattern::fill(buffer, !seed).map_err(|error| no_access(&device, &error))?;
            steps(IMPORT);
            let begun = Instant::now();
            let target = imports.target(buffer).map_err(Finding::Refused)?;
            let time = begun.elapsed();
            steps(DRAW);
            let program = self.draw.enter(&gl);
            program.set(&self.seed, &[seed as f32]);
            gl.fill(target);
            gl.finish();
            gl.check(DRAW)
                .map_err(|fault| Finding::Unknown(crate::import::refused(&device, fault)))?;
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

fn current<'a>(context: &'a Context, device: &str) -> Result<Current<'a>, Refusal> {
    context
        .make_current()
        .map_err(|error| Refusal::because(device, "eglMakeCurrent", error.to_string()))
}

fn no_access(device: &str, error: &AccessError) -> Finding {
    Finding::Unknown(Refusal::because(device, "DMA_BUF_IOCTL_SYNC", error.to_string()))
}
