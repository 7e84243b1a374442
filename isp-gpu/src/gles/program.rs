//! Programs: shaders that draw to a framebuffer, or that compute.

use std::borrow::Cow;

use glow::HasContext;

use super::object::GlObject;
use super::{CurrentContext, Framebuffer, GlError, ShaderError, StorageBuffer};

/// The source of a shader, and the name of its file.
pub(crate) struct ShaderSource<'a> {
    pub(crate) name: &'static str,
    pub(crate) text: Cow<'a, str>,
}

/// A linked program; its uniforms are set while it is active.
pub(crate) struct Program(GlObject<glow::Program>);

/// The location of a uniform, looked up once.
pub(crate) struct Uniform(Option<glow::UniformLocation>);

impl Program {
    /// Compiles and links a program that fills a framebuffer, from its fragment shader.
    pub(crate) fn new(
        gl: &CurrentContext<'_>,
        fragment: ShaderSource<'_>,
    ) -> Result<Self, ShaderError> {
        // Both must be of the same version.
        let version = fragment.text.lines().next().unwrap_or_default();
        let text = format!("{version}\n{}", include_str!("../shaders/fullscreen.vert")).into();
        let vertex = ShaderSource { name: "fullscreen.vert", text };
        Self::link(gl, &[(glow::VERTEX_SHADER, vertex), (glow::FRAGMENT_SHADER, fragment)])
    }

    /// Compiles and links a program that computes.
    pub(crate) fn compute(
        gl: &CurrentContext<'_>,
        shader: ShaderSource<'_>,
    ) -> Result<Self, ShaderError> {
        Self::link(gl, &[(glow::COMPUTE_SHADER, shader)])
    }

    fn link(
        gl: &CurrentContext<'_>,
        stages: &[(u32, ShaderSource<'_>)],
    ) -> Result<Self, ShaderError> {
        let functions = gl.functions();
        let program = Self(GlObject::new(
            gl,
            "glCreateProgram",
            glow::Context::create_program,
            glow::Context::delete_program,
        )?);
        let name = program.0.name();
        let mut last = "";
        for (kind, ShaderSource { name: shader, text }) in stages {
            last = shader;
            // SAFETY: a context is current, and the program was made in it. A shader that is
            // deleted lives on as long as it is attached.
            let (compiled, log) = unsafe {
                let stage = functions
                    .create_shader(*kind)
                    .map_err(|_| GlError { step: "glCreateShader", code: 0 })?;
                functions.shader_source(stage, text);
                functions.compile_shader(stage);
                let compiled = functions.get_shader_compile_status(stage);
                let log =
                    if compiled { String::new() } else { functions.get_shader_info_log(stage) };
                functions.attach_shader(name, stage);
                functions.delete_shader(stage);
                (compiled, log)
            };
            if !compiled {
                return Err(ShaderError::Compile { shader, log });
            }
        }
        // SAFETY: as above.
        let linked = unsafe {
            functions.link_program(name);
            functions.get_program_link_status(name)
        };
        if !linked {
            // SAFETY: as above.
            let log = unsafe { functions.get_program_info_log(name) };
            return Err(ShaderError::Link { shader: last, log });
        }
        Ok(program)
    }

    /// Has a sampler read a texture unit.
    pub(crate) fn with_sampler(self, gl: &CurrentContext<'_>, name: &str, unit: u32) -> Self {
        let uniform = self.uniform(gl, name);
        // SAFETY: a context is current, and the program is one of its objects.
        unsafe {
            gl.functions().use_program(Some(self.0.name()));
            gl.functions().uniform_1_i32(uniform.0.as_ref(), unit as i32);
        }
        self
    }

    /// Looks up a uniform; setting one that the compiler removed does nothing.
    pub(crate) fn uniform(&self, gl: &CurrentContext<'_>, name: &str) -> Uniform {
        // SAFETY: a context is current, and the program is one of its objects, and linked.
        Uniform(unsafe { gl.functions().get_uniform_location(self.0.name(), name) })
    }

    /// Makes the program active, without dithering: a level is a level.
    pub(crate) fn activate<'a>(&self, gl: &'a CurrentContext<'a>) -> ActiveProgram<'a> {
        // SAFETY: a context is current, and the program is one of its objects.
        unsafe {
            gl.functions().use_program(Some(self.0.name()));
            gl.functions().disable(glow::DITHER);
        }
        ActiveProgram(gl)
    }
}

/// The active program: its uniforms may be set, and it draws or computes.
pub(crate) struct ActiveProgram<'a>(&'a CurrentContext<'a>);

impl ActiveProgram<'_> {
    /// Sets a uniform of one to four floats.
    pub(crate) fn set_floats(&self, uniform: &Uniform, value: &[f32]) {
        let (gl, at) = (self.0.functions(), uniform.0.as_ref());
        // SAFETY: a context is current; a uniform of another type, or of another program, is a GL
        // error and nothing worse.
        unsafe {
            match value {
                [x] => gl.uniform_1_f32(at, *x),
                [x, y] => gl.uniform_2_f32(at, *x, *y),
                [x, y, z] => gl.uniform_3_f32(at, *x, *y, *z),
                [x, y, z, w] => gl.uniform_4_f32(at, *x, *y, *z, *w),
                other => unreachable!("a uniform has one to four numbers, not {}", other.len()),
            }
        }
    }

    /// Sets a uniform that is an array of vectors.
    pub(crate) fn set_vectors<const N: usize>(&self, uniform: &Uniform, value: &[[f32; N]]) {
        let (gl, at, numbers) = (self.0.functions(), uniform.0.as_ref(), value.as_flattened());
        // SAFETY: as in `set_floats`.
        unsafe {
            match N {
                3 => gl.uniform_3_f32_slice(at, numbers),
                4 => gl.uniform_4_f32_slice(at, numbers),
                other => unreachable!("a vector has three or four numbers, not {other}"),
            }
        }
    }

    /// Sets a uniform of one or two integers.
    pub(crate) fn set_ints(&self, uniform: &Uniform, value: &[i32]) {
        let (gl, at) = (self.0.functions(), uniform.0.as_ref());
        // SAFETY: as in `set_floats`.
        unsafe {
            match value {
                [x] => gl.uniform_1_i32(at, *x),
                [x, y] => gl.uniform_2_i32(at, *x, *y),
                other => unreachable!("a uniform has one or two numbers, not {}", other.len()),
            }
        }
    }

    /// Fills a framebuffer with one triangle.
    pub(crate) fn draw(&self, target: &Framebuffer) {
        target.bind(self.0);
        // SAFETY: a context is current. No attribute is enabled, so that nothing is fetched for the
        // three vertices.
        unsafe { self.0.functions().draw_arrays(glow::TRIANGLES, 0, 3) }
    }

    /// Runs the program in this many work groups, which write into a buffer.
    pub(crate) fn dispatch(&self, [x, y, z]: [u32; 3], into: &mut StorageBuffer) {
        // SAFETY: a context is current, and the buffer is one of its objects; programs only write
        // within it, as their sources show.
        unsafe {
            let gl = self.0.functions();
            gl.bind_buffer_base(glow::SHADER_STORAGE_BUFFER, 0, Some(into.name()));
            gl.dispatch_compute(x, y, z);
            gl.memory_barrier(glow::BUFFER_UPDATE_BARRIER_BIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egl::RendererChoice;
    use crate::gles::GlesContext;

    #[test]
    fn a_shader_that_does_not_compile_is_named_with_the_driver_s_words() {
        let context = match GlesContext::new(&RendererChoice::Any) {
            Ok(context) => context,
            Err(error) => return eprintln!("RAN WITHOUT EGL: {error}"),
        };
        let gl = context.make_current().unwrap();
        let text = "#version 300 es\nvoid main() { nonsense = 1.0; }\n".into();
        let shader = ShaderSource { name: "broken.frag", text };
        let Err(error) = Program::new(&gl, shader) else { panic!("it compiles") };
        let words = error.to_string();
        assert!(words.starts_with("the driver does not compile broken.frag: "), "{words}");
        assert!(words.contains("nonsense"), "{words}");
    }
}
