//! The ISP on the GPU.

use std::path::Path;
use std::rc::Rc;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{CpuAccess, Dmabuf, Fence, Fourcc, Importer, LinkEnd, Refusal};

use crate::Isp;
use crate::egl::{Context, EglError};
use crate::frame::{ByteOrder, Frame, IspError, OUTPUT_BYTES, cpu_stride};
use crate::gl::{Current, Program, Target, Texture, Uniform};
use crate::import::{Imports, TargetImporter, TextureImporter, software};
use crate::params::{Cfa, IspParams};

/// Makes pictures with GLES, from imported buffers into imported buffers.
///
/// For each buffer that the driver refuses the pixels are copied: a raw frame by `glTexSubImage2D`
/// from the mapped buffer, a picture by `glReadPixels` into it. That is decided for every buffer by
/// itself, and remembered for its life.
///
/// The ISP stays on the thread that made it, whose current context it is.
pub struct GpuIsp {
    // Dropped in this order; the context goes with the last who holds it.
    textures: Imports<Texture>,
    targets: Imports<Target>,
    upload: Option<Texture>,
    readback: Option<Target>,
    bayer: Bayer,
    max_size: u32,
    raw_end: LinkEnd,
    output_end: LinkEnd,
    context: Rc<Context>,
}

impl GpuIsp {
    /// An ISP on a render node such as `/dev/dri/renderD128`, through GBM; or, without a node, on
    /// what EGL chooses by itself, which may be a program on the CPU.
    pub fn new(node: Option<&Path>) -> Result<Self, EglError> {
        let mut context = Context::new(node)?;
        // On GBM softpipe says that it imports, and crashes when it renders.
        if context.is_on_gbm() && software(context.renderer()) == Some("softpipe") {
            tracing::warn!("softpipe does not work on GBM; it renders without the node");
            context = Context::new(None)?;
        }
        Self::with(Rc::new(context))
    }

    fn with(context: Rc<Context>) -> Result<Self, EglError> {
        let gl = context.make_current()?;
        let bayer = Bayer::new(&context)?;
        let renderer = short_name(context.renderer());
        let isp = Self {
            textures: Imports::textures(&context, renderer),
            targets: Imports::targets(&context, renderer),
            upload: None,
            readback: None,
            bayer,
            max_size: gl.max_size(),
            raw_end: LinkEnd::import(),
            output_end: LinkEnd::import(),
            context: context.clone(),
        };
        gl.check("setting up")?;
        Ok(isp)
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

    /// Renders a frame with what is known of both buffers by now.
    fn render(&mut self, gl: &Current<'_>, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        let Frame { width, height, .. } = job.frame;
        // Asks the driver at most once for each buffer; what it said is found below.
        if self.textures.known(job.raw).is_none() {
            let _ = self.textures.texture(job.raw);
        }
        if self.targets.known(job.output).is_none() {
            let _ = self.targets.target(job.output);
        }
        let texture = match known(&self.textures, job.raw) {
            Ok(texture) => texture,
            Err(refusal) => {
                let same = |texture: &Texture| texture.size() == (width, height);
                if !self.upload.as_ref().is_some_and(same) {
                    self.upload = Some(Texture::new(&self.context, glow::R8, width, height)?);
                }
                let Some(texture) = &self.upload else { unreachable!("it was just made") };
                upload(gl, texture, job.raw).map_err(|error| error.instead_of(refusal))?;
                self.raw_end.copied(job.sequence, refusal, job.raw.layout().payload());
                texture
            }
        };
        let (target, refusal) = match known(&self.targets, job.output) {
            Ok(target) => (target, None),
            Err(refusal) => {
                let same = |target: &Target| target.size() == (width, height);
                if !self.readback.as_ref().is_some_and(same) {
                    let texture = Texture::new(&self.context, glow::RGBA8, width, height)?;
                    self.readback = Some(Target::new(&self.context, texture)?);
                }
                let Some(target) = &self.readback else { unreachable!("it was just made") };
                (target, Some(refusal))
            }
        };
        self.bayer.draw(gl, texture, target, job, refusal.is_some());
        let Some(refusal) = refusal else {
            // Before the fence, so that no frame is passed on that was not rendered.
            gl.check("glDrawArrays")?;
            return Ok(self.fence(gl));
        };
        read(gl, target, job.output).map_err(|error| error.instead_of(refusal))?;
        gl.check("glReadPixels")?;
        self.output_end.copied(job.sequence, refusal, job.output.layout().payload());
        Ok(None)
    }

    /// A fence behind the frame, or a wait for it.
    fn fence(&self, gl: &Current<'_>) -> Option<Fence> {
        match self.context.syncs().and_then(|syncs| syncs.fence(gl)) {
            Some(fd) => Fence::pending(fd),
            None => {
                gl.finish();
                None
            }
        }
    }
}

/// A frame to be rendered.
struct Job<'a> {
    sequence: u64,
    cfa: Cfa,
    raw: &'a Dmabuf,
    output: &'a Dmabuf,
    frame: Frame,
    params: &'a IspParams,
}

impl Isp for GpuIsp {
    fn name(&self) -> String {
        format!("gpu:{}", short_name(self.context.renderer()))
    }

    fn describe(&self) -> String {
        let version = driver_and_version(self.context.version());
        format!("{}, {version}, {}", self.context.renderer(), self.context.describe())
    }

    fn raw_constraints(&self) -> Constraints {
        self.textures.constraints(&[Fourcc::R8])
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
            if let Err(refusal) = self.targets.target(buffer) {
                tracing::debug!(buffer = buffer.name(), %refusal, "pictures are copied");
                self.output_end.copied(0, &refusal, 0);
            }
        }
    }

    fn process(
        &mut self,
        sequence: u64,
        cfa: Cfa,
        raw: &Dmabuf,
        output: &Dmabuf,
        params: &IspParams,
    ) -> Result<Option<Fence>, IspError> {
        let frame = Frame::check(raw, output, params)?;
        let Frame { width, height, .. } = frame;
        if width.max(height) > self.max_size {
            return Err(IspError::TooLarge { width, height, limit: self.max_size });
        }
        let context = self.context.clone();
        let gl = context.make_current()?;
        let job = Job { sequence, cfa, raw, output, frame, params };
        loop {
            match self.render(&gl, &job) {
                // A driver that fails with an imported buffer may do with a copy: the target
                // first, since few buffers can be rendered to of all that can be sampled.
                Err(IspError::Gl(fault))
                    if self.targets.distrust(output, fault)
                        || self.textures.distrust(raw, fault) =>
                {
                    tracing::warn!(sequence, %fault, "a frame is rendered again, with a copy");
                }
                result => return result,
            }
        }
    }

    fn raw_end(&self) -> LinkEnd {
        LinkEnd { imports: self.textures.count(), ..self.raw_end.clone() }
    }

    fn output_end(&self) -> LinkEnd {
        LinkEnd { imports: self.targets.count(), ..self.output_end.clone() }
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
    let stride = cpu_stride(raw)?;
    let from = raw.cpu_access(CpuAccess::Read)?;
    gl.upload(texture, from.plane(0), stride);
    from.end()?;
    Ok(gl.check("glTexSubImage2D")?)
}

/// Copies a picture into its buffer; waits for it to be rendered.
fn read(gl: &Current<'_>, target: &Target, output: &Dmabuf) -> Result<(), IspError> {
    let stride = cpu_stride(output)?;
    let mut to = output.cpu_access(CpuAccess::Write)?;
    gl.read(target, to.plane_mut(0), stride);
    Ok(to.end()?)
}

/// The program that makes a picture of 8-bit Bayer, and where its uniforms live.
struct Bayer {
    program: Program,
    size: Uniform,
    red: Uniform,
    black: Uniform,
    scale: Uniform,
    exponent: Uniform,
    swapped: Uniform,
}

impl Bayer {
    fn new(context: &Rc<Context>) -> Result<Self, EglError> {
        let program = Program::new(
            context,
            ("fullscreen.vert", include_str!("shaders/fullscreen.vert")),
            ("bayer.frag", include_str!("shaders/bayer.frag")),
        )?;
        // The sampler stays at unit 0, where it is from the start.
        Ok(Self {
            size: program.uniform("size"),
            red: program.uniform("red"),
            black: program.uniform("black"),
            scale: program.uniform("scale"),
            exponent: program.uniform("exponent"),
            swapped: program.uniform("swapped"),
            program,
        })
    }

    fn draw(
        &self,
        gl: &Current<'_>,
        texture: &Texture,
        target: &Target,
        job: &Job<'_>,
        read_back: bool,
    ) {
        let (width, height) = target.size();
        let (red_column, red_row) = job.cfa.red();
        let tone = job.params.tone();
        let program = self.program.enter(gl);
        program.set(&self.size, &[width as f32, height as f32]);
        program.set(&self.red, &[red_column as f32, red_row as f32]);
        program.set(&self.black, &[tone.black]);
        program.set(&self.scale, &tone.scale);
        program.set(&self.exponent, &[tone.exponent]);
        // An imported target's format puts the bytes in their order; a read-back gives them as
        // the shader wrote them.
        program.set_flag(&self.swapped, read_back && job.frame.order == ByteOrder::Bgrx);
        gl.bind(texture);
        gl.fill(target);
    }
}

const _: () = assert!(OUTPUT_BYTES == 4, "RGBA and UNSIGNED_BYTE are read back");

/// The renderer's name without what is in brackets after it.
pub(crate) fn short_name(renderer: &str) -> &str {
    renderer.split(" (").next().unwrap_or(renderer).trim()
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
        assert_eq!(
            driver_and_version("OpenGL ES 3.2 Mesa 26.1.0-1"),
            "Mesa 26.1.0-1, OpenGL ES 3.2"
        );
        assert_eq!(driver_and_version("odd"), "odd");
    }
}
