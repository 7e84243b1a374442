//! A shader that does the obvious, in a context of its own.

use std::ptr;

use glow::HasContext;
use khronos_egl as egl;

type Library = egl::DynamicInstance<egl::EGL1_5>;

/// A program that renders a frame again and again.
pub(crate) struct Peer {
    gl: glow::Context,
    library: Library,
    display: egl::Display,
    context: egl::Context,
    size: (i32, i32),
}

const EGL_PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31DD;

impl Peer {
    /// A frame of this size, of one byte a sample, or of two.
    pub(crate) fn new(
        (width, height): (u32, u32),
        wide: bool,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        // SAFETY: whatever goes by libEGL's name is one, and its functions have the signatures of
        // the specification; the surfaceless platform takes no native display.
        let (library, display) = unsafe {
            let library = Library::load_required_from_filename("libEGL.so.1")?;
            let display = library.get_platform_display(
                EGL_PLATFORM_SURFACELESS_MESA,
                ptr::null_mut(),
                &[egl::ATTRIB_NONE],
            )?;
            (library, display)
        };
        library.initialize(display)?;
        library.bind_api(egl::OPENGL_ES_API)?;
        // SAFETY: this is EGL_NO_CONFIG_KHR, which Mesa takes.
        let config = unsafe { egl::Config::from_ptr(ptr::null_mut()) };
        let version = [egl::CONTEXT_MAJOR_VERSION, 3, egl::NONE];
        let context = library.create_context(display, config, None, &version)?;
        library.make_current(display, None, None, Some(context))?;
        // SAFETY: a context is current; what `eglGetProcAddress` returns are GL's functions.
        let gl = unsafe {
            glow::Context::from_loader_function(|name| {
                library.get_proc_address(name).map_or(ptr::null(), |function| function as *const _)
            })
        };
        let size = (width as i32, height as i32);
        let (internal, format, bytes) =
            if wide { (glow::RG8, glow::RG, 2) } else { (glow::R8, glow::RED, 1) };
        let pixels: Vec<u8> = (0..width * height * bytes)
            .map(|at| if at % bytes == 1 { 1 } else { at as u8 })
            .collect();
        // SAFETY: the context is current, and all names are its own.
        unsafe {
            let texture = |internal| -> Result<_, String> {
                let texture = gl.create_texture()?;
                gl.bind_texture(glow::TEXTURE_2D, Some(texture));
                gl.tex_storage_2d(glow::TEXTURE_2D, 1, internal, size.0, size.1);
                let filter = glow::TEXTURE_MIN_FILTER;
                gl.tex_parameter_i32(glow::TEXTURE_2D, filter, glow::NEAREST as i32);
                Ok(texture)
            };
            let target = texture(glow::RGBA8)?;
            let framebuffer = gl.create_framebuffer()?;
            gl.bind_framebuffer(glow::FRAMEBUFFER, Some(framebuffer));
            let at = glow::COLOR_ATTACHMENT0;
            let kind = glow::TEXTURE_2D;
            gl.framebuffer_texture_2d(glow::FRAMEBUFFER, at, kind, Some(target), 0);
            texture(internal)?;
            gl.pixel_store_i32(glow::UNPACK_ALIGNMENT, 1);
            let pixels = glow::PixelUnpackData::Slice(Some(&pixels));
            let kind = glow::UNSIGNED_BYTE;
            gl.tex_sub_image_2d(glow::TEXTURE_2D, 0, 0, 0, size.0, size.1, format, kind, pixels);
            let program = gl.create_program()?;
            for (stage, source) in [
                (glow::VERTEX_SHADER, include_str!("../../src/shaders/fullscreen.vert")),
                (glow::FRAGMENT_SHADER, include_str!("peer.frag")),
            ] {
                let shader = gl.create_shader(stage)?;
                gl.shader_source(shader, source);
                gl.compile_shader(shader);
                if !gl.get_shader_compile_status(shader) {
                    return Err(gl.get_shader_info_log(shader).into());
                }
                gl.attach_shader(program, shader);
            }
            gl.link_program(program);
            gl.use_program(Some(program));
            let uniform = |name| gl.get_uniform_location(program, name);
            gl.uniform_1_i32(uniform("wide").as_ref(), wide.into());
            gl.uniform_3_f32(uniform("gains").as_ref(), 1.9, 1.0, 1.5);
            let matrix = crate::CCM.as_flattened();
            gl.uniform_matrix_3_f32_slice(uniform("matrix").as_ref(), true, matrix);
            gl.uniform_1_f32(uniform("black").as_ref(), 16.0 / 255.0);
            gl.uniform_1_f32(uniform("over_range").as_ref(), 255.0 / 239.0);
            gl.uniform_1_f32(uniform("contrast").as_ref(), crate::TONE.contrast);
            gl.uniform_1_f32(uniform("over_gamma").as_ref(), 1.0 / crate::TONE.gamma);
            gl.viewport(0, 0, size.0, size.1);
            match gl.get_error() {
                glow::NO_ERROR => {}
                error => return Err(format!("GL error {error:#06x}").into()),
            }
        }
        Ok(Self { gl, library, display, context, size })
    }

    /// Renders a frame and waits for it.
    pub(crate) fn render(&self) {
        let current = self.library.get_current_context() == Some(self.context);
        if !current {
            let context = Some(self.context);
            self.library.make_current(self.display, None, None, context).expect("it was before");
        }
        // SAFETY: the context is current, and everything is bound since it was made.
        unsafe {
            self.gl.viewport(0, 0, self.size.0, self.size.1);
            self.gl.draw_arrays(glow::TRIANGLES, 0, 3);
            self.gl.finish();
        }
    }
}
