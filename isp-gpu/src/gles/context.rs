//! A GLES context, and the proof that it is current.
//!
//! Sources: `GL_EXT_robustness`, `GL_KHR_robustness`, `GL_OES_EGL_image`,
//! `GL_OES_EGL_image_external_essl3`.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::transmute;
use std::os::fd::OwnedFd;
use std::ptr;
use std::rc::Rc;

use glow::HasContext;

use super::GlError;
use crate::egl::{
    DmabufImport, EglContext, EglDisplay, EglError, EglImage, MissingExtension, NativeFences,
    RendererChoice, SoftwareGuard, lock_software_renderer,
};
use crate::fault;
use crate::renderer::software_name;

type ResetStatus = unsafe extern "system" fn() -> u32;
type ImageTargetTexture = unsafe extern "system" fn(u32, *mut c_void);

/// A GLES 3 context, and what its driver can do.
///
/// It stays on the thread that made it. All that lives in it holds an `Rc` of it, so that it is
/// destroyed last.
pub(crate) struct GlesContext {
    gl: glow::Context,
    renderer: String,
    version: String,
    import: Result<(Rc<DmabufImport>, ImageTargetTexture), MissingExtension>,
    /// Whether shaders can sample external textures.
    external: bool,
    fences: Option<NativeFences>,
    /// `glGetGraphicsResetStatus`, if the context reports resets.
    reset_status: Option<ResetStatus>,
    // Dropped after all of the above.
    egl: EglContext,
}

impl GlesContext {
    /// Opens the display of a renderer, and makes a context that is current.
    pub(crate) fn new(choice: &RendererChoice) -> Result<Rc<Self>, EglError> {
        // The renderer's name is not known yet.
        let _lock = lock_software_renderer();
        let egl = EglContext::new(EglDisplay::open(choice)?)?;
        egl.make_current()?;
        let library = egl.display().library();
        // SAFETY: a context is current; what `eglGetProcAddress` returns are GL's functions.
        let gl = unsafe {
            glow::Context::from_loader_function(|name| {
                library.get_proc_address(name).map_or(ptr::null(), |function| function as *const _)
            })
        };
        // SAFETY: a context is current, and every context has these strings.
        let [renderer, version] =
            [glow::RENDERER, glow::VERSION].map(|name| unsafe { gl.get_parameter_string(name) });
        let reset_status = ["glGetGraphicsResetStatusEXT", "glGetGraphicsResetStatusKHR"]
            .into_iter()
            .filter(|_| egl.is_robust())
            .find_map(|name| library.get_proc_address(name))
            // SAFETY: this is its signature in GL_EXT_robustness and GL_KHR_robustness, of which
            // a context that reports resets has one.
            .map(|status| unsafe { transmute::<extern "system" fn(), ResetStatus>(status) });
        Ok(Rc::new(Self {
            renderer,
            version,
            import: import(egl.display(), &gl),
            external: gl.supported_extensions().contains("GL_OES_EGL_image_external_essl3"),
            fences: NativeFences::load(egl.display()),
            reset_status,
            gl,
            egl,
        }))
    }

    /// Makes the context current on this thread, unless it is already.
    pub(crate) fn make_current(self: &Rc<Self>) -> Result<CurrentContext<'_>, EglError> {
        let lock = software_name(&self.renderer).map(|_| lock_software_renderer());
        self.egl.make_current()?;
        Ok(CurrentContext { context: self, _lock: lock, _thread: PhantomData })
    }

    /// The functions that import dma-bufs, or the first extension that is missing for them.
    pub(crate) fn dmabuf_import(&self) -> Result<&Rc<DmabufImport>, MissingExtension> {
        self.import.as_ref().map(|(import, _)| import).map_err(|missing| *missing)
    }

    /// Whether shaders can sample external textures (`samplerExternalOES`).
    pub(crate) fn samples_external(&self) -> bool {
        self.external && self.import.is_ok()
    }

    /// Whether it has compute shaders: GLES 3.1.
    pub(crate) fn has_compute(&self) -> bool {
        let version = self.gl.version();
        (version.major, version.minor) >= (3, 1)
    }

    /// Whether it runs on a render node, through GBM.
    pub(crate) fn is_on_gbm(&self) -> bool {
        self.egl.display().is_on_gbm()
    }

    /// The driver's name of the renderer, as in `llvmpipe (LLVM 19.1.7, 256 bits)`.
    pub(crate) fn renderer(&self) -> &str {
        &self.renderer
    }

    /// The version of GL and of the driver, as in `OpenGL ES 3.2 Mesa 26.1.0-1`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Renderer and version, which differ between drivers and between versions of one.
    pub(crate) fn identity(&self) -> String {
        format!("{}, {}", self.renderer, self.version)
    }

    /// The version and platform of EGL, as in `EGL 1.5 surfaceless`.
    pub(crate) fn describe_egl(&self) -> String {
        self.egl.display().describe()
    }
}

/// Loads what turns a dma-buf into a texture.
fn import(
    display: &Rc<EglDisplay>,
    gl: &glow::Context,
) -> Result<(Rc<DmabufImport>, ImageTargetTexture), MissingExtension> {
    let import = DmabufImport::load(display)?;
    let missing = |reason| MissingExtension { extension: "GL_OES_EGL_image", reason };
    if !gl.supported_extensions().contains("GL_OES_EGL_image") {
        return Err(missing("the GL context does not list this extension"));
    }
    let target = display
        .library()
        .get_proc_address("glEGLImageTargetTexture2DOES")
        .ok_or(missing("the GL context lists this extension, but has none of its functions"))?;
    // SAFETY: this is the function's signature in the extension, which is listed.
    let target = unsafe { transmute::<extern "system" fn(), ImageTargetTexture>(target) };
    Ok((Rc::new(import), target))
}

/// A proof that a context is current on this thread. While it lives, no other thread calls a
/// renderer that is a program on the CPU.
///
/// If another context becomes current while the proof lives, calls go to that one. They stay
/// defined: names of objects that do not exist there are GL errors. [`GlesContext::make_current`]
/// at the next frame puts it right.
pub(crate) struct CurrentContext<'a> {
    context: &'a Rc<GlesContext>,
    _lock: Option<SoftwareGuard>,
    /// Keeps the proof on this thread.
    _thread: PhantomData<*const ()>,
}

impl CurrentContext<'_> {
    pub(crate) fn context(&self) -> &Rc<GlesContext> {
        self.context
    }

    /// The functions of GL.
    pub(super) fn functions(&self) -> &glow::Context {
        &self.context.gl
    }

    /// The longest side of a texture that can also be rendered to.
    pub(crate) fn max_texture_size(&self) -> u32 {
        // SAFETY: a context is current.
        let size = unsafe { self.functions().get_parameter_i32(glow::MAX_TEXTURE_SIZE) };
        u32::try_from(size).unwrap_or(0)
    }

    /// Whether the GPU was reset, and this context and all in it are lost. `false` also where the
    /// driver does not report resets.
    pub(crate) fn is_lost(&self) -> bool {
        let status = self.context.reset_status;
        // SAFETY: the function takes nothing, and a context is current.
        let reset = status.is_some_and(|status| unsafe { status() } != glow::NO_ERROR);
        reset || fault::context_is_lost()
    }

    /// Returns the first error since the last call.
    pub(crate) fn check(&self, step: &'static str) -> Result<(), GlError> {
        // SAFETY: a context is current.
        let code = unsafe { self.functions().get_error() };
        if code == glow::NO_ERROR {
            return Ok(());
        }
        // A flag for each kind of error may be up; the next frame must not find one of them. A
        // lost context reports itself for ever, hence the limit.
        for _ in 0..8 {
            // SAFETY: as above.
            if unsafe { self.functions().get_error() } == glow::NO_ERROR {
                break;
            }
        }
        Err(GlError { step, code })
    }

    /// Waits until all commands are done.
    pub(crate) fn finish(&self) {
        // SAFETY: a context is current.
        unsafe { self.functions().finish() }
    }

    /// Makes a sync file that signals when all commands so far are done; `None` if the driver makes
    /// none.
    pub(crate) fn native_fence(&self) -> Option<OwnedFd> {
        let sync = self.context.fences.as_ref()?.insert()?;
        // SAFETY: a context is current.
        unsafe { self.functions().flush() };
        sync.export()
    }

    /// Makes an image the storage of the texture that is bound to this target.
    pub(super) fn image_target_texture(&self, target: u32, image: &EglImage) {
        if let Ok((_, image_target_texture)) = &self.context.import {
            // SAFETY: a context is current, and the image is alive.
            unsafe { image_target_texture(target, image.as_ptr()) }
        }
    }
}
