//! The debayer shader of libcamera (`bayer_unpacked`), in a context of its own.
//!
//! Its text is in the data of libcamera's library, 0.6 and later, and is taken from there when the
//! benchmark runs. Vertices, uniforms and texture formats are those that libcamera 0.7 gives it
//! (`src/libcamera/software_isp/debayer_egl.cpp`); what libcamera does around it for each frame, an
//! upload and an import, is left out.

use std::path::PathBuf;
use std::{fs, io, ptr};

use glow::HasContext;
use khronos_egl as egl;
use vcam_isp_gpu::IspParams;

/// The text of the vertex shader and that of the fragment shader.
fn shaders() -> Result<[String; 2], Box<dyn std::error::Error>> {
    let library = fs::read(library()?)?;
    let texts = || library.split(|byte| *byte == 0).filter_map(|text| str::from_utf8(text).ok());
    // A variable of these two alone, and what each of them writes.
    let find = |output| {
        let mut found = texts().filter(|text| text.contains("xCoord") && text.contains(output));
        found.next().map(str::to_owned).ok_or(format!("libcamera has no such shader for {output}"))
    };
    Ok([find("gl_Position =")?, find("gl_FragColor =")?])
}

fn library() -> io::Result<PathBuf> {
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libcamera.so."))
    };
    files.find(is_it).ok_or_else(|| io::Error::other("libcamera is not installed"))
}

type Library = egl::DynamicInstance<egl::EGL1_5>;

/// The shader with a frame, which it renders again and again.
pub(crate) struct Libcamera {
    gl: glow::Context,
    library: Library,
    display: egl::Display,
    context: egl::Context,
    size: (i32, i32),
}

const EGL_PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31DD;

impl Libcamera {
    /// A frame of red, green, green and blue: rows of bytes, or of two bytes a sample of ten bits.
    pub(crate) fn new(
        (width, height): (u32, u32),
        wide: bool,
        raw: &[u8],
        params: &IspParams,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let [vertex, fragment] = shaders()?;
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
        let step = |count: u32, size: u32| count as f32 / (size * count - 1) as f32;
        // SAFETY: the context is current, and all names are its own.
        unsafe {
            let texture = |internal| -> Result<_, String> {
                let texture = gl.create_texture()?;
                gl.bind_texture(glow::TEXTURE_2D, Some(texture));
                gl.tex_storage_2d(glow::TEXTURE_2D, 1, internal, size.0, size.1);
                for (parameter, value) in [
                    (glow::TEXTURE_MIN_FILTER, glow::NEAREST),
                    (glow::TEXTURE_MAG_FILTER, glow::NEAREST),
                    (glow::TEXTURE_WRAP_S, glow::CLAMP_TO_EDGE),
                    (glow::TEXTURE_WRAP_T, glow::CLAMP_TO_EDGE),
                ] {
                    gl.tex_parameter_i32(glow::TEXTURE_2D, parameter, value as i32);
                }
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
            let pixels = glow::PixelUnpackData::Slice(Some(raw));
            let kind = glow::UNSIGNED_BYTE;
            gl.tex_sub_image_2d(glow::TEXTURE_2D, 0, 0, 0, size.0, size.1, format, kind, pixels);
            let program = gl.create_program()?;
            let definition = if wide { "#define RAW10P\n" } else { "" };
            for (stage, source) in
                [(glow::VERTEX_SHADER, vertex), (glow::FRAGMENT_SHADER, fragment)]
            {
                let source = format!("#version 100\n{definition}{source}");
                let shader = gl.create_shader(stage)?;
                gl.shader_source(shader, &source);
                gl.compile_shader(shader);
                if !gl.get_shader_compile_status(shader) {
                    return Err(gl.get_shader_info_log(shader).into());
                }
                gl.attach_shader(program, shader);
            }
            gl.link_program(program);
            gl.use_program(Some(program));
            let corners = [
                -1.0f32, -1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0,
                0.0,
            ];
            let buffer = gl.create_buffer()?;
            gl.bind_buffer(glow::ARRAY_BUFFER, Some(buffer));
            let corners: Vec<u8> = corners.into_iter().flat_map(f32::to_ne_bytes).collect();
            gl.buffer_data_u8_slice(glow::ARRAY_BUFFER, &corners, glow::STATIC_DRAW);
            for (name, offset) in [("vertexIn", 0), ("textureIn", 8)] {
                let at = gl.get_attrib_location(program, name).ok_or("the shader has changed")?;
                gl.enable_vertex_attrib_array(at);
                gl.vertex_attrib_pointer_f32(at, 2, glow::FLOAT, false, 16, offset);
            }
            let uniform = |name| gl.get_uniform_location(program, name);
            let upright =
                [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
            gl.uniform_matrix_4_f32_slice(uniform("proj_matrix").as_ref(), false, &upright);
            gl.uniform_1_f32(uniform("stride_factor").as_ref(), 1.0);
            gl.uniform_2_f32(uniform("tex_size").as_ref(), width as f32, height as f32);
            let (across, down) = (step(bytes, width), step(1, height));
            gl.uniform_2_f32(uniform("tex_step").as_ref(), across, down);
            gl.uniform_2_f32(uniform("tex_bayer_first_red").as_ref(), 0.0, 0.0);
            // Its matrix is also white balance and what black took of the range.
            let range = 1.0 / (1.0 - params.black_level);
            let row = |row: [f32; 3]| [0, 1, 2].map(|at| row[at] * params.gains[at] * range);
            let matrix = params.colour.matrix.map(row);
            gl.uniform_matrix_3_f32_slice(uniform("ccm").as_ref(), false, matrix.as_flattened());
            let black = params.black_level;
            gl.uniform_3_f32(uniform("blacklevel").as_ref(), black, black, black);
            gl.uniform_1_f32(uniform("gamma").as_ref(), 1.0 / params.tone.gamma);
            gl.uniform_1_f32(uniform("contrastExp").as_ref(), params.tone.contrast);
            gl.viewport(0, 0, size.0, size.1);
            match gl.get_error() {
                glow::NO_ERROR => {}
                error => return Err(format!("GL error {error:#06x}").into()),
            }
        }
        Ok(Self { gl, library, display, context, size })
    }

    /// Renders the frame and waits for it.
    pub(crate) fn render(&self) {
        if self.library.get_current_context() != Some(self.context) {
            let context = Some(self.context);
            self.library.make_current(self.display, None, None, context).expect("it was before");
        }
        // SAFETY: the context is current, and everything is bound since it was made.
        unsafe {
            self.gl.viewport(0, 0, self.size.0, self.size.1);
            self.gl.draw_arrays(glow::TRIANGLE_FAN, 0, 4);
            self.gl.finish();
        }
    }

    /// Renders the frame; four bytes a pixel, red first.
    pub(crate) fn pixels(&self) -> Vec<u8> {
        self.render();
        let (width, height) = self.size;
        let mut pixels = vec![0; 4 * width as usize * height as usize];
        let to = glow::PixelPackData::Slice(Some(&mut pixels));
        // SAFETY: the context is current since the frame was rendered, and there is room.
        unsafe { self.gl.read_pixels(0, 0, width, height, glow::RGBA, glow::UNSIGNED_BYTE, to) };
        pixels
    }
}
