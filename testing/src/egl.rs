//! EGL and GLES without the ISP in between, for the driver's own answers.

use std::ffi::c_void;
use std::mem::transmute;
use std::os::fd::AsRawFd;
use std::ptr;

use glow::HasContext;
use khronos_egl as egl;
use vcam_allocator::Dmabuf;

/// `EGL_LINUX_DMA_BUF_EXT`.
const LINUX_DMA_BUF: egl::Enum = 0x3270;
/// `EGL_LINUX_DRM_FOURCC_EXT`.
pub const FOURCC: egl::Int = 0x3271;
/// Descriptor, offset and pitch of each plane.
pub const PLANES: [[egl::Int; 3]; 2] = [[0x3272, 0x3273, 0x3274], [0x3275, 0x3276, 0x3277]];
/// The low and the high half of the first plane's modifier.
pub const MODIFIER: [egl::Int; 2] = [0x3443, 0x3444];
/// `EGL_YUV_COLOR_SPACE_HINT_EXT`.
pub const COLOR_SPACE_HINT: egl::Int = 0x327B;
/// `EGL_ITU_REC601_EXT`.
pub const ITU_REC601: egl::Int = 0x327F;
/// `EGL_ITU_REC709_EXT`.
pub const ITU_REC709: egl::Int = 0x3280;
/// `EGL_SAMPLE_RANGE_HINT_EXT`.
pub const SAMPLE_RANGE_HINT: egl::Int = 0x327C;
/// `EGL_YUV_FULL_RANGE_EXT`.
pub const YUV_FULL_RANGE: egl::Int = 0x3282;
/// `EGL_YUV_NARROW_RANGE_EXT`.
pub const YUV_NARROW_RANGE: egl::Int = 0x3283;

const PLATFORM_SURFACELESS: egl::Enum = 0x31DD;
const TEXTURE_EXTERNAL: u32 = 0x8D65;

type CreateImage = unsafe extern "system" fn(
    egl::EGLDisplay,
    egl::EGLContext,
    egl::Enum,
    *mut c_void,
    *const egl::Int,
) -> *mut c_void;
type DestroyImage = unsafe extern "system" fn(egl::EGLDisplay, *mut c_void) -> egl::Boolean;
type TargetTexture = unsafe extern "system" fn(egl::Enum, *mut c_void);
type QueryModifiers = unsafe extern "system" fn(
    egl::EGLDisplay,
    egl::Int,
    egl::Int,
    *mut u64,
    *mut egl::Boolean,
    *mut egl::Int,
) -> egl::Boolean;

const VERTEX: &str = "#version 300 es
void main() {
    gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
";

/// Samples each texel in its own middle.
fn fragment(sampler: &str, extension: &str) -> String {
    format!(
        "#version 300 es
{extension}
precision highp float;
uniform {sampler} from;
uniform vec2 size;
out vec4 colour;
void main() {{
    colour = texture(from, gl_FragCoord.xy / size);
}}
"
    )
}

/// A display and a context, which is current.
///
/// Ending the display ends it for the whole process, so no other user of it may be alive then.
pub struct Egl {
    library: egl::DynamicInstance<egl::EGL1_5>,
    display: egl::Display,
    context: egl::Context,
    gl: glow::Context,
    create: CreateImage,
    destroy: DestroyImage,
    target_texture: TargetTexture,
    query_modifiers: QueryModifiers,
}

impl Egl {
    /// Opens Mesa's surfaceless display and makes a context current.
    pub fn new() -> Self {
        // SAFETY: a library of this name is libEGL.
        let library = unsafe {
            egl::DynamicInstance::<egl::EGL1_5>::load_required_from_filename("libEGL.so.1")
        }
        .expect("the lab has EGL");
        // SAFETY: the surfaceless platform has one display, whose native handle is null.
        let display = unsafe {
            library.get_platform_display(PLATFORM_SURFACELESS, ptr::null_mut(), &[egl::ATTRIB_NONE])
        }
        .unwrap();
        library.initialize(display).unwrap();
        library.bind_api(egl::OPENGL_ES_API).unwrap();
        // SAFETY: this is `EGL_NO_CONFIG_KHR`, which Mesa takes.
        let config = unsafe { egl::Config::from_ptr(ptr::null_mut()) };
        let version = [egl::CONTEXT_MAJOR_VERSION, 3, egl::NONE];
        let context = library.create_context(display, config, None, &version).unwrap();
        library.make_current(display, None, None, Some(context)).unwrap();
        let load = |name: &str| library.get_proc_address(name).unwrap();
        // SAFETY: a context is current; what `eglGetProcAddress` returns are GL's functions.
        let gl = unsafe {
            glow::Context::from_loader_function(|name| {
                library.get_proc_address(name).map_or(ptr::null(), |function| function as *const _)
            })
        };
        // SAFETY: these are the signatures of the extensions, all of which the lab's Mesa has.
        unsafe {
            Self {
                create: transmute::<extern "system" fn(), CreateImage>(load("eglCreateImageKHR")),
                destroy: transmute::<extern "system" fn(), DestroyImage>(load(
                    "eglDestroyImageKHR",
                )),
                target_texture: transmute::<extern "system" fn(), TargetTexture>(load(
                    "glEGLImageTargetTexture2DOES",
                )),
                query_modifiers: transmute::<extern "system" fn(), QueryModifiers>(load(
                    "eglQueryDmaBufModifiersEXT",
                )),
                library,
                display,
                context,
                gl,
            }
        }
    }

    /// Returns the image of `eglCreateImageKHR` for a dma-buf, or the code of `eglGetError`.
    pub fn import(&self, attributes: &[(egl::Int, egl::Int)]) -> Result<Image<'_>, egl::Error> {
        self.import_from(0, attributes)
    }

    /// The same with an address as the client buffer, which no dma-buf has.
    pub fn import_from(
        &self,
        client_buffer: usize,
        attributes: &[(egl::Int, egl::Int)],
    ) -> Result<Image<'_>, egl::Error> {
        let mut list: Vec<egl::Int> =
            attributes.iter().flat_map(|(name, value)| [*name, *value]).collect();
        list.push(egl::NONE);
        // SAFETY: the display is initialised, the list ends with EGL_NONE, and the client buffer
        // is not looked at: dma-bufs have none.
        let raw = unsafe {
            let (display, none) = (self.display.as_ptr(), egl::NO_CONTEXT);
            let client_buffer = ptr::without_provenance_mut(client_buffer);
            (self.create)(display, none, LINUX_DMA_BUF, client_buffer, list.as_ptr())
        };
        match raw.is_null() {
            true => Err(self.library.get_error().expect("a failure has its error")),
            false => Ok(Image { egl: self, raw }),
        }
    }

    /// Returns true if LINEAR is for external textures alone in a format, or the code of
    /// `eglGetError`.
    pub fn external_only(&self, format: vcam_allocator::Fourcc) -> Result<bool, egl::Error> {
        let (mut modifiers, mut external) = ([0; 64], [egl::FALSE; 64]);
        let mut count = 0;
        // SAFETY: both arrays have room for as many as are asked for.
        let done = unsafe {
            let (display, format) = (self.display.as_ptr(), format.0 as egl::Int);
            let (modifiers, external) = (modifiers.as_mut_ptr(), external.as_mut_ptr());
            (self.query_modifiers)(display, format, 64, modifiers, external, &mut count)
        };
        if done != egl::TRUE {
            return Err(self.library.get_error().expect("a failure has its error"));
        }
        let linear = modifiers[..count as usize].iter().position(|modifier| *modifier == 0);
        Ok(external[linear.expect("every format of the lab's Mesa is LINEAR")] == egl::TRUE)
    }
}

impl Drop for Egl {
    fn drop(&mut self) {
        self.library.make_current(self.display, None, None, None).unwrap();
        self.library.destroy_context(self.display, self.context).unwrap();
        self.library.terminate(self.display).unwrap();
    }
}

/// The attributes that describe a buffer.
pub fn attributes(buffer: &Dmabuf) -> Vec<(egl::Int, egl::Int)> {
    let layout = buffer.layout();
    let mut list = vec![
        (egl::WIDTH, layout.width() as egl::Int),
        (egl::HEIGHT, layout.height() as egl::Int),
        (FOURCC, buffer.format().0 as egl::Int),
    ];
    for ((fd, plane), [name, offset, pitch]) in buffer.planes().zip(PLANES) {
        list.push((name, fd.as_raw_fd()));
        list.push((offset, plane.offset as egl::Int));
        list.push((pitch, plane.stride as egl::Int));
    }
    list
}

/// An image, destroyed when dropped.
pub struct Image<'a> {
    egl: &'a Egl,
    raw: *mut c_void,
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: the image is this display's, which is still initialised.
        assert_eq!(unsafe { (self.egl.destroy)(self.egl.display.as_ptr(), self.raw) }, egl::TRUE);
    }
}

impl Image<'_> {
    /// The samples of a shader, as red, green and blue of each pixel, row by row.
    pub fn sample(&self, size: (u32, u32)) -> Result<Vec<[u8; 3]>, u32> {
        self.sampled(size, glow::TEXTURE_2D, fragment("sampler2D", ""))
    }

    /// The same as an external texture, which the driver turns into RGB.
    pub fn sample_external(&self, size: (u32, u32)) -> Result<Vec<[u8; 3]>, u32> {
        let extension = "#extension GL_OES_EGL_image_external_essl3 : require";
        self.sampled(size, TEXTURE_EXTERNAL, fragment("samplerExternalOES", extension))
    }

    fn sampled(
        &self,
        (width, height): (u32, u32),
        target: u32,
        fragment: String,
    ) -> Result<Vec<[u8; 3]>, u32> {
        let gl = &self.egl.gl;
        let mut pixels = vec![0; width as usize * height as usize * 4];
        // SAFETY: a context is current, every object is made in it, and the pixels that are read
        // fit the slice.
        let error = unsafe {
            let texture = gl.create_texture().unwrap();
            gl.bind_texture(target, Some(texture));
            for name in [glow::TEXTURE_MIN_FILTER, glow::TEXTURE_MAG_FILTER] {
                gl.tex_parameter_i32(target, name, glow::NEAREST as i32);
            }
            (self.egl.target_texture)(target, self.raw);
            let error = gl.get_error();
            let program = gl.create_program().unwrap();
            for (kind, source) in
                [(glow::VERTEX_SHADER, VERTEX), (glow::FRAGMENT_SHADER, fragment.as_str())]
            {
                let shader = gl.create_shader(kind).unwrap();
                gl.shader_source(shader, source);
                gl.compile_shader(shader);
                assert!(gl.get_shader_compile_status(shader), "{}", gl.get_shader_info_log(shader));
                gl.attach_shader(program, shader);
                gl.delete_shader(shader);
            }
            gl.link_program(program);
            assert!(gl.get_program_link_status(program));
            gl.use_program(Some(program));
            let size = gl.get_uniform_location(program, "size");
            gl.uniform_2_f32(size.as_ref(), width as f32, height as f32);
            gl.disable(glow::DITHER);
            let own = gl.create_renderbuffer().unwrap();
            gl.bind_renderbuffer(glow::RENDERBUFFER, Some(own));
            let (w, h) = (width as i32, height as i32);
            gl.renderbuffer_storage(glow::RENDERBUFFER, glow::RGBA8, w, h);
            let framebuffer = gl.create_framebuffer().unwrap();
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer));
            let colour = glow::COLOR_ATTACHMENT0;
            gl.framebuffer_renderbuffer(glow::FRAMEBUFFER, colour, glow::RENDERBUFFER, Some(own));
            gl.viewport(0, 0, w, h);
            gl.draw_arrays(glow::TRIANGLES, 0, 3);
            let slice = glow::PixelPackData::Slice(Some(&mut pixels));
            gl.read_pixels(0, 0, w, h, glow::RGBA, glow::UNSIGNED_BYTE, slice);
            gl.delete_framebuffer(framebuffer);
            gl.delete_renderbuffer(own);
            gl.delete_program(program);
            gl.delete_texture(texture);
            if error == glow::NO_ERROR { gl.get_error() } else { error }
        };
        match error {
            glow::NO_ERROR => {
                Ok(pixels.chunks_exact(4).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())
            }
            error => Err(error),
        }
    }
}
