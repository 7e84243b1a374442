//! Memory that compute shaders write and the CPU reads.

use std::ops::Deref;
use std::ptr::NonNull;

use glow::HasContext;

use super::object::GlObject;
use super::{CurrentContext, GlError};

/// A shader storage buffer of words of 32 bits.
pub(crate) struct StorageBuffer {
    object: GlObject<glow::Buffer>,
    words: usize,
}

impl StorageBuffer {
    /// Creates a buffer of this many words.
    pub(crate) fn new(gl: &CurrentContext<'_>, words: usize) -> Result<Self, GlError> {
        let size = i32::try_from(words * 4)
            .map_err(|_| GlError { step: "glBufferData", code: glow::OUT_OF_MEMORY })?;
        let object = GlObject::new(
            gl,
            "glGenBuffers",
            glow::Context::create_buffer,
            glow::Context::delete_buffer,
        )?;
        let buffer = Self { object, words };
        buffer.bind(gl);
        // SAFETY: a context is current, and the buffer is bound.
        unsafe {
            let usage = glow::DYNAMIC_READ;
            gl.functions().buffer_data_size(glow::SHADER_STORAGE_BUFFER, size, usage);
        }
        gl.check("glBufferData")?;
        Ok(buffer)
    }

    fn bind(&self, gl: &CurrentContext<'_>) {
        // SAFETY: a context is current, and the buffer is one of its objects.
        unsafe {
            gl.functions().bind_buffer(glow::SHADER_STORAGE_BUFFER, Some(self.object.name()));
        }
    }

    pub(super) fn name(&self) -> glow::Buffer {
        self.object.name()
    }

    /// Fills the first words with zeros.
    pub(crate) fn clear(&mut self, gl: &CurrentContext<'_>, zeros: &[u8]) {
        self.bind(gl);
        // SAFETY: a context is current, and the buffer is bound; GL refuses more bytes than it has.
        unsafe {
            gl.functions().buffer_sub_data_u8_slice(glow::SHADER_STORAGE_BUFFER, 0, zeros);
        }
    }

    /// Maps the words to be read, after a wait for what writes them; `None` if the driver cannot
    /// map them, or not at an address for words of 32 bits (GLES promises no alignment).
    pub(crate) fn map<'a>(&'a self, gl: &'a CurrentContext<'_>) -> Option<MappedWords<'a>> {
        self.bind(gl);
        let bytes = (self.words * 4) as i32;
        // SAFETY: a context is current, and the buffer is bound; GL refuses more bytes than it has.
        let mapped = unsafe {
            let functions = gl.functions();
            functions.map_buffer_range(glow::SHADER_STORAGE_BUFFER, 0, bytes, glow::MAP_READ_BIT)
        };
        let words = NonNull::new(mapped)?.cast::<u32>();
        let mapped = MappedWords { buffer: self, gl, words };
        words.is_aligned().then_some(mapped)
    }
}

/// The words of a buffer, as long as they are mapped; unmapped when dropped.
pub(crate) struct MappedWords<'a> {
    buffer: &'a StorageBuffer,
    gl: &'a CurrentContext<'a>,
    words: NonNull<u32>,
}

impl Deref for MappedWords<'_> {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        // SAFETY: the words are mapped for reading until this is dropped, as many as the buffer
        // has, and `map` has checked their alignment. Nothing writes them: commands that do so need
        // the buffer by `&mut`, which is borrowed, and GL has waited for earlier ones.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.buffer.words) }
    }
}

impl Drop for MappedWords<'_> {
    fn drop(&mut self) {
        self.buffer.bind(self.gl);
        // SAFETY: a context is current, and the buffer is bound and mapped.
        unsafe { self.gl.functions().unmap_buffer(glow::SHADER_STORAGE_BUFFER) };
    }
}
