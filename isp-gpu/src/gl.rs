//! GLES, as safe functions: the few that are needed, and objects that delete themselves.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use glow::HasContext;

use crate::egl::{Context, EglError};
use crate::frame::OUTPUT_BYTES;
use crate::image::Image;

/// GL failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}", words(*.error))]
pub struct GlFault {
    /// What was being done: a call, or what it was for.
    pub step: &'static str,
    /// The code, from `glGetError` or `glCheckFramebufferStatus`.
    pub error: u32,
}

/// The name of an error or status code.
fn words(code: u32) -> Words {
    Words(code)
}

struct Words(u32);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            glow::INVALID_ENUM => "GL_INVALID_ENUM",
            glow::INVALID_VALUE => "GL_INVALID_VALUE",
            glow::INVALID_OPERATION => "GL_INVALID_OPERATION",
            glow::OUT_OF_MEMORY => "GL_OUT_OF_MEMORY",
            glow::INVALID_FRAMEBUFFER_OPERATION => "GL_INVALID_FRAMEBUFFER_OPERATION",
            glow::CONTEXT_LOST => "GL_CONTEXT_LOST",
            glow::FRAMEBUFFER_INCOMPLETE_ATTACHMENT => {
                "GL_FRAMEBUFFER_INCOMPLETE_ATTACHMENT (the driver does not render to this buffer)"
            }
            glow::FRAMEBUFFER_INCOMPLETE_MISSING_ATTACHMENT => {
                "GL_FRAMEBUFFER_INCOMPLETE_MISSING_ATTACHMENT"
            }
            glow::FRAMEBUFFER_UNSUPPORTED => {
                "GL_FRAMEBUFFER_UNSUPPORTED (the driver does not render to this format)"
            }
            0 => "there is no error code",
            other => return write!(f, "error {other:#06x}"),
        })
    }
}

/// A proof that the context is current on this thread: all of GL goes through it.
///
/// Should it be outlived by another context's becoming current, the calls go there; they stay
/// defined, and [`Context::make_current`] at the next frame puts it right.
pub(crate) struct Current<'a> {
    context: &'a Context,
    /// Not for another thread.
    _here: PhantomData<*const ()>,
}

impl<'a> Current<'a> {
    /// For [`Context::make_current`].
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context, _here: PhantomData }
    }

    fn gl(&self) -> &glow::Context {
        self.context.gl()
    }

    /// `glGetString`, lossless or empty.
    pub(crate) fn string(&self, name: u32) -> String {
        // SAFETY: a context is current, and `name` is one of the strings that every context has.
        unsafe { self.gl().get_parameter_string(name) }
    }

    /// The longest side of a texture that can also be rendered to.
    pub(crate) fn max_size(&self) -> u32 {
        // SAFETY: a context is current.
        let size = unsafe { self.gl().get_parameter_i32(glow::MAX_TEXTURE_SIZE) };
        u32::try_from(size).unwrap_or(0)
    }

    /// The first error since the last call; there is no fault if there is none.
    pub(crate) fn check(&self, step: &'static str) -> Result<(), GlFault> {
        // SAFETY: a context is current.
        let error = unsafe { self.gl().get_error() };
        if error == glow::NO_ERROR {
            return Ok(());
        }
        // A flag for each kind of error may be up; the next frame must not find one of them. A
        // lost context reports itself for ever, hence the limit.
        for _ in 0..8 {
            // SAFETY: as above.
            if unsafe { self.gl().get_error() } == glow::NO_ERROR {
                break;
            }
        }
        Err(GlFault { step, error })
    }

    /// Sends all commands on their way.
    pub(crate) fn flush(&self) {
        // SAFETY: a context is current.
        unsafe { self.gl().flush() }
    }

    /// Waits until all commands are done.
    pub(crate) fn finish(&self) {
        // SAFETY: a context is current.
        unsafe { self.gl().finish() }
    }

    /// Copies rows of bytes into a texture of one 8-bit channel.
    pub(crate) fn upload(&self, texture: &Texture, pixels: &[u8], stride: usize) {
        let (width, height) = texture.size;
        assert_rows(pixels.len(), width as usize, height, stride);
        let gl = self.gl();
        let rows = |row: u32, count: u32, pixels: &[u8]| {
            // SAFETY: a context is current; GL reads `count` rows of `width` bytes, `stride`
            // apart, which lie within the slice, as just asserted.
            unsafe {
                gl.tex_sub_image_2d(
                    glow::TEXTURE_2D,
                    0,
                    0,
                    row as i32,
                    width as i32,
                    count as i32,
                    glow::RED,
                    glow::UNSIGNED_BYTE,
                    glow::PixelUnpackData::Slice(Some(pixels)),
                );
            }
        };
        self.bind(texture);
        match i32::try_from(stride) {
            Ok(stride) => {
                // SAFETY: a context is current.
                unsafe {
                    gl.pixel_store_i32(glow::UNPACK_ALIGNMENT, 1);
                    gl.pixel_store_i32(glow::UNPACK_ROW_LENGTH, stride);
                }
                rows(0, height, pixels);
            }
            Err(_) => (0..height).for_each(|row| rows(row, 1, &pixels[row as usize * stride..])),
        }
    }

    /// Copies a framebuffer of four 8-bit channels into rows of pixels.
    pub(crate) fn read(&self, target: &Target, pixels: &mut [u8], stride: usize) {
        let (width, height) = target.texture.size;
        assert_rows(pixels.len(), width as usize * OUTPUT_BYTES, height, stride);
        let gl = self.gl();
        let rows = |row: u32, count: u32, pixels: &mut [u8]| {
            // SAFETY: a context is current; GL writes `count` rows of `width` pixels, `stride`
            // bytes apart, which lie within the slice, as just asserted.
            unsafe {
                gl.read_pixels(
                    0,
                    row as i32,
                    width as i32,
                    count as i32,
                    glow::RGBA,
                    glow::UNSIGNED_BYTE,
                    glow::PixelPackData::Slice(Some(pixels)),
                );
            }
        };
        // SAFETY: a context is current, and the framebuffer is one of its objects.
        unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(target.framebuffer.name));
            gl.pixel_store_i32(glow::PACK_ALIGNMENT, 1);
        }
        // GL counts a row in pixels.
        match i32::try_from(stride / OUTPUT_BYTES) {
            Ok(row_length) if stride.is_multiple_of(OUTPUT_BYTES) => {
                // SAFETY: a context is current.
                unsafe { gl.pixel_store_i32(glow::PACK_ROW_LENGTH, row_length) }
                rows(0, height, pixels);
            }
            _ => {
                // SAFETY: a context is current.
                unsafe { gl.pixel_store_i32(glow::PACK_ROW_LENGTH, 0) }
                (0..height).for_each(|row| rows(row, 1, &mut pixels[row as usize * stride..]));
            }
        }
    }

    /// Makes the texture that of unit 0.
    pub(crate) fn bind(&self, texture: &Texture) {
        self.bind_target(glow::TEXTURE_2D, &texture.object);
    }

    /// Makes the texture that of unit 0, for the samplers of this kind.
    pub(crate) fn bind_target(&self, target: u32, texture: &Object<glow::Texture>) {
        // SAFETY: a context is current, and the texture is one of its objects.
        unsafe { self.gl().bind_texture(target, Some(texture.name)) }
    }

    /// Fills the target with one triangle, through the program that is in use.
    pub(crate) fn fill(&self, target: &Target) {
        let (width, height) = target.texture.size;
        let gl = self.gl();
        // SAFETY: a context is current, and the framebuffer is one of its objects. No attribute
        // is enabled, so that nothing is fetched for the three vertices.
        unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(target.framebuffer.name));
            gl.viewport(0, 0, width as i32, height as i32);
            gl.draw_arrays(glow::TRIANGLES, 0, 3);
        }
    }
}

/// The pixels of a picture must lie within its slice.
fn assert_rows(len: usize, row: usize, height: u32, stride: usize) {
    let rows = (height as usize).saturating_sub(1);
    let needed = stride.checked_mul(rows).and_then(|start| start.checked_add(row));
    assert!(row <= stride || rows == 0, "rows overlap");
    assert!(needed.is_some_and(|needed| needed <= len), "a picture lies outside of its memory");
}

/// An object's name, deleted in the context it belongs to.
pub(crate) struct Object<N: Copy> {
    context: Rc<Context>,
    pub(crate) name: N,
    delete: unsafe fn(&glow::Context, N),
}

impl<N: Copy> Object<N> {
    pub(crate) fn new(
        context: &Rc<Context>,
        step: &'static str,
        create: unsafe fn(&glow::Context) -> Result<N, String>,
        delete: unsafe fn(&glow::Context, N),
    ) -> Result<Self, GlFault> {
        // SAFETY: our callers hold a `Current`, so a context is current.
        let name = unsafe { create(context.gl()) }.map_err(|_| GlFault { step, error: 0 })?;
        Ok(Self { context: context.clone(), name, delete })
    }
}

impl<N: Copy> Drop for Object<N> {
    fn drop(&mut self) {
        match self.context.make_current() {
            // SAFETY: the context is current, and the name is one that it gave.
            Ok(_) => unsafe { (self.delete)(self.context.gl(), self.name) },
            // It goes with the context then.
            Err(error) => tracing::warn!(%error, "a GL object was not deleted"),
        }
    }
}

/// A texture: with storage of its own, or with that of an image.
pub(crate) struct Texture {
    object: Object<glow::Texture>,
    size: (u32, u32),
    // Dropped after the texture.
    _image: Option<Image>,
}

impl Texture {
    /// A texture with storage of its own.
    pub(crate) fn new(
        context: &Rc<Context>,
        format: u32,
        width: u32,
        height: u32,
    ) -> Result<Self, GlFault> {
        let texture = Self::without_storage(context, width, height, None)?;
        // SAFETY: a context is current, and the texture is bound.
        unsafe {
            context.gl().tex_storage_2d(glow::TEXTURE_2D, 1, format, width as i32, height as i32);
        }
        Current::new(context).check("glTexStorage2D")?;
        Ok(texture)
    }

    /// A texture whose pixels are those of an image.
    pub(crate) fn of_image(
        context: &Rc<Context>,
        image: Image,
        width: u32,
        height: u32,
    ) -> Result<Self, GlFault> {
        let texture = Self::without_storage(context, width, height, Some(image))?;
        if let Some(image) = &texture._image {
            image.bind_storage();
        }
        Current::new(context).check("glEGLImageTargetTexture2DOES")?;
        Ok(texture)
    }

    /// The texture is bound, samples the nearest texel, and has no others levels.
    fn without_storage(
        context: &Rc<Context>,
        width: u32,
        height: u32,
        image: Option<Image>,
    ) -> Result<Self, GlFault> {
        context.make_current().map_err(not_current)?;
        let object = Object::new(
            context,
            "glGenTextures",
            glow::Context::create_texture,
            glow::Context::delete_texture,
        )?;
        let gl = context.gl();
        // SAFETY: the context is current, and the texture was made in it.
        unsafe {
            gl.bind_texture(glow::TEXTURE_2D, Some(object.name));
            for (name, value) in [
                (glow::TEXTURE_MIN_FILTER, glow::NEAREST),
                (glow::TEXTURE_MAG_FILTER, glow::NEAREST),
                (glow::TEXTURE_WRAP_S, glow::CLAMP_TO_EDGE),
                (glow::TEXTURE_WRAP_T, glow::CLAMP_TO_EDGE),
            ] {
                gl.tex_parameter_i32(glow::TEXTURE_2D, name, value as i32);
            }
        }
        Ok(Self { object, size: (width, height), _image: image })
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }
}

/// A texture to render to.
pub(crate) struct Target {
    // Deleted before what is attached to it.
    framebuffer: Object<glow::Framebuffer>,
    texture: Texture,
}

impl Target {
    /// Fails with the status of the framebuffer if the driver does not render to the texture.
    pub(crate) fn new(context: &Rc<Context>, texture: Texture) -> Result<Self, GlFault> {
        context.make_current().map_err(not_current)?;
        let framebuffer = Object::new(
            context,
            "glGenFramebuffers",
            glow::Context::create_framebuffer,
            glow::Context::delete_framebuffer,
        )?;
        let gl = context.gl();
        // SAFETY: the context is current, and both objects were made in it.
        let status = unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer.name));
            gl.framebuffer_texture_2d(
                glow::FRAMEBUFFER,
                glow::COLOR_ATTACHMENT0,
                glow::TEXTURE_2D,
                Some(texture.object.name),
                0,
            );
            gl.check_framebuffer_status(glow::FRAMEBUFFER)
        };
        Current::new(context).check("glFramebufferTexture2D")?;
        if status != glow::FRAMEBUFFER_COMPLETE {
            return Err(GlFault { step: "glCheckFramebufferStatus", error: status });
        }
        Ok(Self { framebuffer, texture })
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        self.texture.size
    }
}

pub(crate) fn not_current(_: EglError) -> GlFault {
    GlFault { step: "eglMakeCurrent", error: 0 }
}

/// A linked program; its uniforms are set while it is in use.
pub(crate) struct Program(Object<glow::Program>);

/// Where a uniform lives, looked up once.
pub(crate) struct Uniform(Option<glow::UniformLocation>);

impl Program {
    /// Compiles and links; each shader comes with the name of its file.
    pub(crate) fn new(
        context: &Rc<Context>,
        vertex: (&'static str, &str),
        fragment: (&'static str, &str),
    ) -> Result<Self, EglError> {
        context.make_current()?;
        let gl = context.gl();
        let program = Self(Object::new(
            context,
            "glCreateProgram",
            glow::Context::create_program,
            glow::Context::delete_program,
        )?);
        let name = program.0.name;
        let attach = |kind, (shader, source): (&'static str, &str)| {
            // SAFETY: the context is current, and the program was made in it. A shader that is
            // deleted lives on as long as it is attached.
            unsafe {
                let stage = gl
                    .create_shader(kind)
                    .map_err(|_| GlFault { step: "glCreateShader", error: 0 })?;
                gl.shader_source(stage, source);
                gl.compile_shader(stage);
                let compiled = gl.get_shader_compile_status(stage);
                let log = if compiled { String::new() } else { gl.get_shader_info_log(stage) };
                gl.attach_shader(name, stage);
                gl.delete_shader(stage);
                if compiled { Ok(()) } else { Err(EglError::Shader { shader, log }) }
            }
        };
        attach(glow::VERTEX_SHADER, vertex)?;
        attach(glow::FRAGMENT_SHADER, fragment)?;
        // SAFETY: as above.
        let linked = unsafe {
            gl.link_program(name);
            gl.get_program_link_status(name)
        };
        if !linked {
            // SAFETY: as above.
            let log = unsafe { gl.get_program_info_log(name) };
            return Err(EglError::Shader { shader: "program", log });
        }
        Ok(program)
    }

    /// Looks up a uniform; one that the compiler found useless is there and does nothing.
    pub(crate) fn uniform(&self, name: &str) -> Uniform {
        // SAFETY: our callers hold a `Current`, and the program is linked.
        Uniform(unsafe { self.0.context.gl().get_uniform_location(self.0.name, name) })
    }

    /// Takes the program into use, without dithering: a level is a level.
    pub(crate) fn enter<'a>(&self, gl: &'a Current<'_>) -> InUse<'a> {
        // SAFETY: the context is current, and the program is one of its objects.
        unsafe {
            gl.gl().use_program(Some(self.0.name));
            gl.gl().disable(glow::DITHER);
        }
        InUse(gl.gl())
    }
}

/// The program in use, whose uniforms may be set.
pub(crate) struct InUse<'a>(&'a glow::Context);

impl InUse<'_> {
    pub(crate) fn set(&self, uniform: &Uniform, value: &[f32]) {
        let at = uniform.0.as_ref();
        // SAFETY: the program is in use in the current context; a uniform of another kind is a GL
        // error and nothing worse.
        unsafe {
            match value {
                [x] => self.0.uniform_1_f32(at, *x),
                [x, y] => self.0.uniform_2_f32(at, *x, *y),
                [x, y, z] => self.0.uniform_3_f32(at, *x, *y, *z),
                other => unreachable!("a uniform has one to three numbers, not {}", other.len()),
            }
        }
    }

    pub(crate) fn set_flag(&self, uniform: &Uniform, value: bool) {
        // SAFETY: as in `set`.
        unsafe { self.0.uniform_1_i32(uniform.0.as_ref(), value.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_in_words() {
        let fault = GlFault { step: "glDrawArrays", error: glow::OUT_OF_MEMORY };
        assert_eq!(fault.to_string(), "glDrawArrays: GL_OUT_OF_MEMORY");
        let fault = GlFault { step: "glDrawArrays", error: 0xffff };
        assert_eq!(fault.to_string(), "glDrawArrays: error 0xffff");
    }

    #[test]
    #[should_panic(expected = "outside of its memory")]
    fn a_slice_that_is_too_short_does_not_reach_gl() {
        assert_rows(256 + 31, 32, 2, 256);
    }
}
