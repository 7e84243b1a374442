//! GLES, as safe functions: the few that are needed, and objects that delete themselves.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use glow::HasContext;

use crate::egl::{Context, EglError, Turn};
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

impl GlFault {
    /// Whether the GPU was reset, and the context and all in it are gone.
    pub(crate) fn is_loss(&self) -> bool {
        self.error == glow::CONTEXT_LOST
    }
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
    _turn: Turn,
    /// Not for another thread.
    _here: PhantomData<*const ()>,
}

impl<'a> Current<'a> {
    /// For [`Context::make_current`].
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context, _turn: context.turn(), _here: PhantomData }
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

    /// Whether the GPU was reset, and this context and all in it are gone. `false` also where the
    /// driver does not tell.
    pub(crate) fn is_lost(&self) -> bool {
        self.context.is_lost()
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

    /// Copies rows of pixels, in the texture's own format, into a texture.
    pub(crate) fn upload(&self, texture: &Texture, pixels: &[u8], stride: usize) {
        let (width, height) = texture.size;
        let Storage { format, kind, bytes, .. } = texture.storage;
        assert_rows(pixels.len(), width as usize * bytes, height, stride);
        let gl = self.gl();
        let rows = |row: u32, count: u32, pixels: &[u8]| {
            // SAFETY: a context is current; GL reads `count` rows of `width` pixels, `stride`
            // bytes apart, which lie within the slice, as just asserted.
            unsafe {
                gl.tex_sub_image_2d(
                    glow::TEXTURE_2D,
                    0,
                    0,
                    row as i32,
                    width as i32,
                    count as i32,
                    format,
                    kind,
                    glow::PixelUnpackData::Slice(Some(pixels)),
                );
            }
        };
        self.bind(SPARE_UNIT, texture);
        // SAFETY: a context is current.
        unsafe { gl.pixel_store_i32(glow::UNPACK_ALIGNMENT, 1) };
        // GL counts a row in pixels.
        match i32::try_from(stride / bytes) {
            Ok(row_length) if stride.is_multiple_of(bytes) => {
                // SAFETY: a context is current.
                unsafe { gl.pixel_store_i32(glow::UNPACK_ROW_LENGTH, row_length) };
                rows(0, height, pixels);
            }
            _ => {
                // SAFETY: a context is current.
                unsafe { gl.pixel_store_i32(glow::UNPACK_ROW_LENGTH, 0) };
                (0..height).for_each(|row| rows(row, 1, &pixels[row as usize * stride..]));
            }
        }
    }

    /// Copies a framebuffer of four bytes a pixel into rows of pixels, one after the other.
    pub(crate) fn read(&self, target: &Target, pixels: &mut [u8]) {
        let (width, height) = target.size;
        let Storage { format, kind, bytes, .. } = target.textures[0].storage;
        assert_rows(pixels.len(), width as usize * bytes, height, width as usize * bytes);
        let gl = self.gl();
        // SAFETY: a context is current, and the framebuffer is one of its objects. GL writes
        // `height` rows of `width` pixels, which are within the slice, as just asserted.
        unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(target.framebuffer.name));
            gl.pixel_store_i32(glow::PACK_ALIGNMENT, 1);
            gl.pixel_store_i32(glow::PACK_ROW_LENGTH, 0);
            gl.read_pixels(
                0,
                0,
                width as i32,
                height as i32,
                format,
                kind,
                glow::PixelPackData::Slice(Some(pixels)),
            );
        }
    }

    /// Makes the texture that of a unit.
    pub(crate) fn bind(&self, unit: u32, texture: &Texture) {
        self.bind_target(unit, texture.storage.target(), &texture.object);
    }

    /// Makes the texture that of a unit, for the samplers of this kind.
    pub(crate) fn bind_target(&self, unit: u32, target: u32, texture: &Object<glow::Texture>) {
        // SAFETY: a context is current, and the texture is one of its objects.
        unsafe {
            self.gl().active_texture(glow::TEXTURE0 + unit);
            self.gl().bind_texture(target, Some(texture.name));
        }
    }

    /// Fills the target with one triangle, through the program that is in use.
    pub(crate) fn fill(&self, target: &Target) {
        let (width, height) = target.size;
        let gl = self.gl();
        // SAFETY: a context is current, and the framebuffer is one of its objects. No attribute
        // is enabled, so that nothing is fetched for the three vertices.
        unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(target.framebuffer.name));
            gl.viewport(0, 0, width as i32, height as i32);
            gl.draw_arrays(glow::TRIANGLES, 0, 3);
        }
    }

    /// Runs the compute program that is in use, with a buffer for it to write.
    pub(crate) fn compute(&self, groups: [u32; 3], into: &Buffer) {
        let [x, y, z] = groups;
        // SAFETY: a context is current, and the buffer is one of its objects; programs only write
        // within it, as their sources show.
        unsafe {
            let gl = self.gl();
            gl.bind_buffer_base(glow::SHADER_STORAGE_BUFFER, 0, Some(into.object.name));
            gl.dispatch_compute(x, y, z);
            gl.memory_barrier(glow::BUFFER_UPDATE_BARRIER_BIT);
        }
    }

    /// Fills a buffer with zeros.
    pub(crate) fn clear(&self, buffer: &Buffer, zeros: &[u8]) {
        // SAFETY: a context is current; GL refuses more bytes than the buffer has.
        unsafe {
            let gl = self.gl();
            gl.bind_buffer(glow::SHADER_STORAGE_BUFFER, Some(buffer.object.name));
            gl.buffer_sub_data_u8_slice(glow::SHADER_STORAGE_BUFFER, 0, zeros);
        }
    }

    /// Hands over the words of a buffer, for which it waits if it must; `None` if they cannot be
    /// mapped.
    pub(crate) fn look_at<T>(&self, buffer: &Buffer, look: impl FnOnce(&[u32]) -> T) -> Option<T> {
        let gl = self.gl();
        // SAFETY: a context is current. What is mapped has the buffer's size, is aligned for any
        // type, and stays until it is unmapped below; nobody writes it meanwhile, since no command
        // follows.
        unsafe {
            gl.bind_buffer(glow::SHADER_STORAGE_BUFFER, Some(buffer.object.name));
            let bytes = (buffer.words * 4) as i32;
            let mapped =
                gl.map_buffer_range(glow::SHADER_STORAGE_BUFFER, 0, bytes, glow::MAP_READ_BIT);
            if mapped.is_null() {
                return None;
            }
            let seen = look(std::slice::from_raw_parts(mapped.cast(), buffer.words));
            gl.unmap_buffer(glow::SHADER_STORAGE_BUFFER);
            Some(seen)
        }
    }

    /// A mark behind all that GL was told so far.
    pub(crate) fn mark(&self, context: &Rc<Context>) -> Result<Mark, GlFault> {
        let create = |gl: &glow::Context| {
            // SAFETY: a context is current.
            unsafe { gl.fence_sync(glow::SYNC_GPU_COMMANDS_COMPLETE, 0) }
        };
        Ok(Mark(Object::new(context, "glFenceSync", create, |gl, name| {
            // SAFETY: a context is current, and the mark is one of its objects.
            unsafe { gl.delete_sync(name) }
        })?))
    }

    /// Whether GL has come to a mark; it is not waited for.
    pub(crate) fn has_passed(&self, mark: &Mark) -> bool {
        // SAFETY: a context is current, and the mark is one of its objects.
        let status = unsafe { self.gl().client_wait_sync(mark.0.name, 0, 0) };
        status == glow::ALREADY_SIGNALED || status == glow::CONDITION_SATISFIED
    }
}

/// A place in GL's commands.
pub(crate) struct Mark(Object<glow::Fence>);

/// Memory that compute programs write and the CPU reads.
pub(crate) struct Buffer {
    object: Object<glow::Buffer>,
    words: usize,
}

impl Buffer {
    /// A buffer of this many words of 32 bits.
    pub(crate) fn new(context: &Rc<Context>, words: usize) -> Result<Self, GlFault> {
        context.make_current().map_err(not_current)?;
        let object = Object::new(
            context,
            "glGenBuffers",
            |gl| {
                // SAFETY: the context is current.
                unsafe { gl.create_buffer() }
            },
            |gl, name| {
                // SAFETY: the context is current, and the buffer is one of its objects.
                unsafe { gl.delete_buffer(name) }
            },
        )?;
        let size = i32::try_from(words * 4)
            .map_err(|_| GlFault { step: "glBufferData", error: glow::OUT_OF_MEMORY })?;
        // SAFETY: the context is current, and the buffer was made in it.
        unsafe {
            context.gl().bind_buffer(glow::SHADER_STORAGE_BUFFER, Some(object.name));
            context.gl().buffer_data_size(glow::SHADER_STORAGE_BUFFER, size, glow::DYNAMIC_READ);
        }
        Current::new(context).check("glBufferData")?;
        Ok(Self { object, words })
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

/// What a texture is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// What GL keeps.
    internal: u32,
    /// What the CPU exchanges with it, and how many bytes of that a pixel is.
    format: u32,
    kind: u32,
    bytes: usize,
    /// Pictures above each other; 0 for a plain texture.
    layers: u32,
}

impl Storage {
    const fn new(internal: u32, format: u32, kind: u32, bytes: usize) -> Self {
        Self { internal, format, kind, bytes, layers: 0 }
    }

    pub(crate) const R8: Self = Self::new(glow::R8, glow::RED, glow::UNSIGNED_BYTE, 1);
    pub(crate) const R16UI: Self =
        Self::new(glow::R16UI, glow::RED_INTEGER, glow::UNSIGNED_SHORT, 2);
    pub(crate) const R32F: Self = Self::new(glow::R32F, glow::RED, glow::FLOAT, 4);
    pub(crate) const RG16UI: Self =
        Self::new(glow::RG16UI, glow::RG_INTEGER, glow::UNSIGNED_SHORT, 4);
    pub(crate) const RGBA16UI: Self =
        Self::new(glow::RGBA16UI, glow::RGBA_INTEGER, glow::UNSIGNED_SHORT, 8);
    pub(crate) const RGBA8: Self = Self::new(glow::RGBA8, glow::RGBA, glow::UNSIGNED_BYTE, 4);
    pub(crate) const RGB10_A2: Self =
        Self::new(glow::RGB10_A2, glow::RGBA, glow::UNSIGNED_INT_2_10_10_10_REV, 4);

    /// Four pictures above each other.
    pub(crate) const fn in_layers(self) -> Self {
        Self { layers: LAYERS, ..self }
    }

    fn target(self) -> u32 {
        if self.layers == 0 { glow::TEXTURE_2D } else { glow::TEXTURE_2D_ARRAY }
    }
}

/// The texture unit that no program reads: textures are made and filled there.
const SPARE_UNIT: u32 = 7;

/// The layers of a texture that has any.
const LAYERS: u32 = 4;

/// A texture: with storage of its own, or with that of an image.
pub(crate) struct Texture {
    object: Object<glow::Texture>,
    size: (u32, u32),
    storage: Storage,
    // Dropped after the texture.
    _image: Option<Image>,
}

impl Texture {
    /// A texture with storage of its own.
    pub(crate) fn new(
        context: &Rc<Context>,
        storage: Storage,
        (width, height): (u32, u32),
    ) -> Result<Self, GlFault> {
        let texture = Self::without_storage(context, storage, (width, height), None)?;
        let (target, gl) = (storage.target(), context.gl());
        // SAFETY: a context is current, and the texture is bound.
        unsafe {
            let (width, height) = (width as i32, height as i32);
            match storage.layers {
                0 => gl.tex_storage_2d(target, 1, storage.internal, width, height),
                layers => {
                    gl.tex_storage_3d(target, 1, storage.internal, width, height, layers as i32);
                }
            }
        }
        Current::new(context).check("glTexStorage")?;
        Ok(texture)
    }

    /// A texture whose pixels are those of an image.
    pub(crate) fn of_image(
        context: &Rc<Context>,
        image: Image,
        width: u32,
        height: u32,
    ) -> Result<Self, GlFault> {
        // The image brings its own format; nothing is exchanged with the CPU.
        let texture = Self::without_storage(context, Storage::RGBA8, (width, height), Some(image))?;
        if let Some(image) = &texture._image {
            image.bind_storage();
        }
        Current::new(context).check("glEGLImageTargetTexture2DOES")?;
        Ok(texture)
    }

    /// The texture is bound, samples the nearest texel, and has no others levels.
    fn without_storage(
        context: &Rc<Context>,
        storage: Storage,
        size: (u32, u32),
        image: Option<Image>,
    ) -> Result<Self, GlFault> {
        context.make_current().map_err(not_current)?;
        let object = Object::new(
            context,
            "glGenTextures",
            glow::Context::create_texture,
            glow::Context::delete_texture,
        )?;
        let (target, gl) = (storage.target(), context.gl());
        // SAFETY: the context is current, and the texture was made in it.
        unsafe {
            gl.active_texture(glow::TEXTURE0 + SPARE_UNIT);
            gl.bind_texture(target, Some(object.name));
            for (name, value) in [
                (glow::TEXTURE_MIN_FILTER, glow::NEAREST),
                (glow::TEXTURE_MAG_FILTER, glow::NEAREST),
                (glow::TEXTURE_WRAP_S, glow::CLAMP_TO_EDGE),
                (glow::TEXTURE_WRAP_T, glow::CLAMP_TO_EDGE),
            ] {
                gl.tex_parameter_i32(target, name, value as i32);
            }
        }
        Ok(Self { object, size, storage, _image: image })
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Whether it is a texture of its own with this storage and size.
    pub(crate) fn is(&self, storage: Storage, size: (u32, u32)) -> bool {
        self.storage == storage && self.size == size
    }
}

/// Textures to render to, all at once.
pub(crate) struct Target {
    // Deleted before what is attached to it.
    framebuffer: Object<glow::Framebuffer>,
    textures: Vec<Texture>,
    size: (u32, u32),
}

impl Target {
    /// Renders to one texture, or to all layers of it.
    pub(crate) fn new(context: &Rc<Context>, texture: Texture) -> Result<Self, GlFault> {
        Self::of(context, vec![texture])
    }

    /// Fails with the status of the framebuffer if the driver does not render to the textures.
    pub(crate) fn of(context: &Rc<Context>, textures: Vec<Texture>) -> Result<Self, GlFault> {
        context.make_current().map_err(not_current)?;
        let framebuffer = Object::new(
            context,
            "glGenFramebuffers",
            glow::Context::create_framebuffer,
            glow::Context::delete_framebuffer,
        )?;
        let gl = context.gl();
        let mut attachments = Vec::new();
        // SAFETY: the context is current, and all objects were made in it.
        let status = unsafe {
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer.name));
            for texture in &textures {
                let name = Some(texture.object.name);
                for layer in 0..texture.storage.layers.max(1) {
                    let at = glow::COLOR_ATTACHMENT0 + attachments.len() as u32;
                    match texture.storage.target() {
                        glow::TEXTURE_2D => gl.framebuffer_texture_2d(
                            glow::FRAMEBUFFER,
                            at,
                            glow::TEXTURE_2D,
                            name,
                            0,
                        ),
                        _ => gl.framebuffer_texture_layer(
                            glow::FRAMEBUFFER,
                            at,
                            name,
                            0,
                            layer as i32,
                        ),
                    }
                    attachments.push(at);
                }
            }
            gl.draw_buffers(&attachments);
            gl.check_framebuffer_status(glow::FRAMEBUFFER)
        };
        Current::new(context).check("glFramebufferTexture")?;
        if status != glow::FRAMEBUFFER_COMPLETE {
            return Err(GlFault { step: "glCheckFramebufferStatus", error: status });
        }
        let size = textures.first().map_or((0, 0), |texture| texture.size);
        Ok(Self { framebuffer, textures, size })
    }

    /// What was rendered to, to be read.
    pub(crate) fn texture(&self) -> &Texture {
        &self.textures[0]
    }
}

pub(crate) fn not_current(_: EglError) -> GlFault {
    GlFault { step: "eglMakeCurrent", error: 0 }
}

/// The source of a shader, and the name of the file that it is from.
pub(crate) struct Shader<'a> {
    pub(crate) name: &'static str,
    pub(crate) source: Cow<'a, str>,
}

/// A linked program; its uniforms are set while it is in use.
pub(crate) struct Program(Object<glow::Program>);

/// Where a uniform lives, looked up once.
pub(crate) struct Uniform(Option<glow::UniformLocation>);

impl Program {
    /// Compiles and links what fills a target.
    pub(crate) fn new(context: &Rc<Context>, fragment: Shader<'_>) -> Result<Self, EglError> {
        // Both must be of the same version.
        let version = fragment.source.lines().next().unwrap_or_default();
        let source = format!("{version}\n{}", include_str!("shaders/fullscreen.vert"));
        let vertex = Shader { name: "fullscreen.vert", source: source.into() };
        let stages = [(glow::VERTEX_SHADER, vertex), (glow::FRAGMENT_SHADER, fragment)];
        Self::link(context, &stages)
    }

    /// Compiles and links what computes.
    pub(crate) fn compute(context: &Rc<Context>, shader: Shader<'_>) -> Result<Self, EglError> {
        Self::link(context, &[(glow::COMPUTE_SHADER, shader)])
    }

    fn link(context: &Rc<Context>, stages: &[(u32, Shader<'_>)]) -> Result<Self, EglError> {
        context.make_current()?;
        let gl = context.gl();
        let program = Self(Object::new(
            context,
            "glCreateProgram",
            glow::Context::create_program,
            glow::Context::delete_program,
        )?);
        let name = program.0.name;
        let attach = |kind, &Shader { name: shader, ref source }: &Shader<'_>| {
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
        for (kind, shader) in stages {
            attach(*kind, shader)?;
        }
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

    /// Says which texture unit a sampler reads.
    pub(crate) fn with_sampler(self, name: &str, unit: u32) -> Self {
        let uniform = self.uniform(name);
        // SAFETY: our callers hold a `Current`, and the program is one of its objects.
        unsafe {
            let gl = self.0.context.gl();
            gl.use_program(Some(self.0.name));
            gl.uniform_1_i32(uniform.0.as_ref(), unit as i32);
        }
        self
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
                [x, y, z, w] => self.0.uniform_4_f32(at, *x, *y, *z, *w),
                other => unreachable!("a uniform has one to four numbers, not {}", other.len()),
            }
        }
    }

    /// Sets an array of vectors.
    pub(crate) fn set_vectors<const N: usize>(&self, uniform: &Uniform, value: &[[f32; N]]) {
        let (at, numbers) = (uniform.0.as_ref(), value.as_flattened());
        // SAFETY: as in `set`.
        unsafe {
            match N {
                3 => self.0.uniform_3_f32_slice(at, numbers),
                4 => self.0.uniform_4_f32_slice(at, numbers),
                other => unreachable!("a vector has three or four numbers, not {other}"),
            }
        }
    }

    /// Sets whole numbers.
    pub(crate) fn set_whole(&self, uniform: &Uniform, value: &[i32]) {
        let at = uniform.0.as_ref();
        // SAFETY: as in `set`.
        unsafe {
            match value {
                [x] => self.0.uniform_1_i32(at, *x),
                [x, y] => self.0.uniform_2_i32(at, *x, *y),
                other => unreachable!("a uniform has one or two numbers, not {}", other.len()),
            }
        }
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
    fn a_shader_that_does_not_compile_is_named_with_the_driver_s_words() {
        let context = match Context::new(&crate::egl::Renderer::Any) {
            Ok(context) => Rc::new(context),
            Err(error) => return eprintln!("RAN WITHOUT EGL: {error}"),
        };
        let source = "#version 300 es\nvoid main() { nonsense = 1.0; }\n".into();
        let shader = Shader { name: "broken.frag", source };
        let Err(error) = Program::new(&context, shader) else { panic!("it compiles") };
        let words = error.to_string();
        assert!(words.starts_with("the driver does not compile broken.frag: "), "{words}");
        assert!(words.contains("nonsense"), "{words}");
    }

    #[test]
    #[should_panic(expected = "outside of its memory")]
    fn a_slice_that_is_too_short_does_not_reach_gl() {
        assert_rows(256 + 31, 32, 2, 256);
    }
}
