//! EGL: the library, a display, and a context without a surface.
//!
//! The library is loaded at run time, so that a machine without one still runs the CPU's ISP.
//! Nothing here draws to a window: the context has no surface, and pictures go to buffers.
//!
//! Sources: the EGL 1.5 specification, `EGL_KHR_platform_gbm`, `EGL_MESA_platform_surfaceless`,
//! `EGL_EXT_platform_device`, `EGL_KHR_surfaceless_context`, `EGL_KHR_no_config_context`.

use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::mem::transmute;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use glow::HasContext;
use khronos_egl as egl;
use parking_lot::{ReentrantMutex, ReentrantMutexGuard};
use vcam_allocator::gbm;

use crate::fault;
use crate::gl::{Current, GlFault};
use crate::image::Images;
use crate::import::software;
use crate::sync::Syncs;

/// Why there is no GPU to make pictures with.
#[derive(Debug, thiserror::Error)]
pub enum EglError {
    /// There is no EGL on this machine.
    #[error(
        "could not load libEGL; install EGL and GLES (on Debian: libegl1, libgles2, and \
         libgl1-mesa-dri for Mesa's drivers)"
    )]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The render node cannot be opened.
    #[error("could not open the render node {}", node.display())]
    Node {
        /// The render node.
        node: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// GBM does not drive the render node.
    #[error("GBM does not drive {}", node.display())]
    Gbm {
        /// The render node.
        node: PathBuf,
        /// What GBM said, or that there is no GBM.
        source: gbm::GbmError,
    },
    /// EGL lacks an extension that nothing works without.
    #[error("EGL does not list {extension}, which is needed {purpose}")]
    Missing {
        /// The extension.
        extension: &'static str,
        /// What it is needed for.
        purpose: &'static str,
    },
    /// A call failed.
    #[error("{call} failed: {fault}")]
    Call {
        /// The call.
        call: &'static str,
        /// What EGL said.
        fault: EglFault,
    },
    /// The driver's compiler refused a shader.
    #[error("the driver does not compile {shader}: {log}")]
    Shader {
        /// The shader's file, or `program` if they do not link.
        shader: &'static str,
        /// What the compiler said.
        log: String,
    },
    /// GL failed while the ISP was set up.
    #[error("GL could not be set up")]
    Gl(#[from] GlFault),
}

/// What EGL says of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EglFault(Option<egl::Error>);

impl fmt::Display for EglFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use egl::Error::*;
        let (name, words) = match self.0 {
            None => return f.write_str("EGL gives no reason"),
            Some(NotInitialized) => ("EGL_NOT_INITIALIZED", "the display is not usable"),
            Some(BadAccess) => ("EGL_BAD_ACCESS", "the resource is in use elsewhere"),
            Some(BadAlloc) => ("EGL_BAD_ALLOC", "the driver has no memory for it, or refuses it"),
            Some(BadAttribute) => ("EGL_BAD_ATTRIBUTE", "the driver does not know an attribute"),
            Some(BadContext) => ("EGL_BAD_CONTEXT", "there is no such context"),
            Some(BadConfig) => ("EGL_BAD_CONFIG", "there is no such configuration"),
            Some(BadCurrentSurface) => ("EGL_BAD_CURRENT_SURFACE", "the surface is gone"),
            Some(BadDisplay) => ("EGL_BAD_DISPLAY", "there is no such display"),
            Some(BadSurface) => ("EGL_BAD_SURFACE", "there is no such surface"),
            Some(BadMatch) => ("EGL_BAD_MATCH", "the driver does not take this format or layout"),
            Some(BadParameter) => ("EGL_BAD_PARAMETER", "the driver does not take an argument"),
            Some(BadNativePixmap) => ("EGL_BAD_NATIVE_PIXMAP", "there is no such pixmap"),
            Some(BadNativeWindow) => ("EGL_BAD_NATIVE_WINDOW", "there is no such window"),
            Some(ContextLost) => ("EGL_CONTEXT_LOST", "the GPU was reset"),
        };
        write!(f, "{name} ({words})")
    }
}

impl From<egl::Error> for EglFault {
    fn from(error: egl::Error) -> Self {
        Self(Some(error))
    }
}

impl EglError {
    /// Whether the context is gone, and with it all that was in it (EGL 1.5, 2.6).
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Call { fault: EglFault(Some(egl::Error::ContextLost)), .. })
    }
}

/// Tells which call an error comes from.
fn failed(call: &'static str) -> impl FnOnce(egl::Error) -> EglError {
    move |error| EglError::Call { call, fault: error.into() }
}

/// The functions of libEGL.
pub(crate) type Library = egl::DynamicInstance<egl::EGL1_5>;

/// Loads libEGL, once: it stays loaded, since drivers do not survive being unloaded.
fn library() -> Result<&'static Library, EglError> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let load = |name| {
        // SAFETY: whatever goes by libEGL's name is one: its initialisers may be run, and its
        // functions have the signatures of the specification.
        unsafe { Library::load_required_from_filename(name) }
    };
    let loaded = load("libEGL.so.1").map_err(|error| EglError::Library(Box::new(error)))?;
    Ok(LIBRARY.get_or_init(|| loaded))
}

/// The names in an extension string.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extensions(&'static str);

impl Extensions {
    fn of(library: &Library, display: Option<egl::Display>) -> Self {
        // Without EGL_EXT_client_extensions there is no list of a client's; it is empty then.
        let list = library.query_string(display, egl::EXTENSIONS).ok();
        Self(list.and_then(|list| list.to_str().ok()).unwrap_or(""))
    }

    /// Whether the list has this name. A function that resolves is no proof of its extension:
    /// dispatch libraries resolve every name they have heard of.
    pub(crate) fn has(self, extension: &str) -> bool {
        self.0.split_ascii_whitespace().any(|name| name == extension)
    }
}

/// How often each display is open in this process.
///
/// EGL gives the same display to everybody who asks for the same platform, and terminates it for
/// everybody too.
static OPEN: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// An initialised display; terminated when the last `Display` of it is dropped.
struct Display {
    library: &'static Library,
    raw: egl::Display,
    version: (i32, i32),
    platform: &'static str,
    extensions: Extensions,
    /// What a GBM display lives on; dropped after it is terminated.
    _device: Option<gbm::Device>,
}

const EGL_PLATFORM_GBM_KHR: egl::Enum = 0x31D7;
const EGL_PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31DD;
const EGL_PLATFORM_DEVICE_EXT: egl::Enum = 0x313F;

/// Which renderer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renderer {
    /// What EGL chooses by itself.
    Any,
    /// That of a render node.
    Node(PathBuf),
    /// One that is a program on the CPU, whatever GPUs there are.
    Software,
}

impl Display {
    fn open(wanted: &Renderer) -> Result<Self, EglError> {
        let library = library()?;
        match wanted {
            Renderer::Node(node) => Self::on_gbm(library, node),
            Renderer::Any => Self::without_node(library),
            Renderer::Software => {
                let device = software_device(library)?;
                let raw = platform_display(library, EGL_PLATFORM_DEVICE_EXT, device)?;
                Self::initialise(library, raw, "software device")
            }
        }
    }

    fn on_gbm(library: &'static Library, node: &Path) -> Result<Self, EglError> {
        let client = Extensions::of(library, None);
        if !client.has("EGL_KHR_platform_gbm") && !client.has("EGL_MESA_platform_gbm") {
            let purpose = "to use a render node";
            return Err(EglError::Missing { extension: "EGL_KHR_platform_gbm", purpose });
        }
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(node)
            .map_err(|source| EglError::Node { node: node.into(), source })?;
        let device =
            gbm::Device::new(file).map_err(|source| EglError::Gbm { node: node.into(), source })?;
        let raw = platform_display(library, EGL_PLATFORM_GBM_KHR, device.as_ptr())?;
        let mut display = Self::initialise(library, raw, "GBM")?;
        display._device = Some(device);
        Ok(display)
    }

    /// The best of what needs no node to be named; the first failure is the one that counts.
    fn without_node(library: &'static Library) -> Result<Self, EglError> {
        let client = Extensions::of(library, None);
        let mut first = None;
        let mut attempt = |display: Result<egl::Display, EglError>, platform| match display
            .and_then(|raw| Self::initialise(library, raw, platform))
        {
            Ok(display) => Some(display),
            Err(error) => {
                tracing::debug!(%error, platform, "no EGL display");
                first.get_or_insert(error);
                None
            }
        };
        if client.has("EGL_MESA_platform_surfaceless") {
            let raw = platform_display(library, EGL_PLATFORM_SURFACELESS_MESA, ptr::null_mut());
            if let Some(display) = attempt(raw, "surfaceless") {
                return Ok(display);
            }
        }
        if lists_devices(client) {
            let raw = devices(library)
                .and_then(|found| found.first().copied().ok_or(no_device()))
                .and_then(|device| platform_display(library, EGL_PLATFORM_DEVICE_EXT, device));
            if let Some(display) = attempt(raw, "device") {
                return Ok(display);
            }
        }
        // SAFETY: `EGL_DEFAULT_DISPLAY` is always valid.
        let raw = unsafe { library.get_display(egl::DEFAULT_DISPLAY) }
            .ok_or(EglError::Call { call: "eglGetDisplay", fault: EglFault(None) });
        let default = attempt(raw, "default");
        default.ok_or_else(|| {
            first.unwrap_or(EglError::Call { call: "eglGetDisplay", fault: EglFault(None) })
        })
    }

    fn initialise(
        library: &'static Library,
        raw: egl::Display,
        platform: &'static str,
    ) -> Result<Self, EglError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let version = library.initialize(raw).map_err(failed("eglInitialize"))?;
        let key = raw.as_ptr() as usize;
        match open.iter_mut().find(|(display, _)| *display == key) {
            Some((_, count)) => *count += 1,
            None => open.push((key, 1)),
        }
        Ok(Self {
            library,
            raw,
            version,
            platform,
            extensions: Extensions::of(library, Some(raw)),
            _device: None,
        })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _turn = SOFTWARE.lock();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.raw.as_ptr() as usize;
        let Some(at) = open.iter().position(|(display, _)| *display == key) else { return };
        open[at].1 -= 1;
        if open[at].1 == 0 {
            open.swap_remove(at);
            if let Err(error) = self.library.terminate(self.raw) {
                tracing::warn!(%error, "eglTerminate failed");
            }
        }
    }
}

fn platform_display(
    library: &Library,
    platform: egl::Enum,
    native: *mut c_void,
) -> Result<egl::Display, EglError> {
    // SAFETY: the native display belongs to the platform, as our callers see to: a GBM device, an
    // EGL device, or null where the platform has but one.
    unsafe { library.get_platform_display(platform, native, &[egl::ATTRIB_NONE]) }
        .map_err(failed("eglGetPlatformDisplay"))
}

/// Whether EGL lists devices and makes displays of them.
fn lists_devices(client: Extensions) -> bool {
    let lists = client.has("EGL_EXT_device_enumeration") || client.has("EGL_EXT_device_base");
    client.has("EGL_EXT_platform_device") && lists
}

fn no_device() -> EglError {
    EglError::Call { call: "eglQueryDevicesEXT", fault: EglFault(None) }
}

/// The devices that EGL lists.
fn devices(library: &Library) -> Result<Vec<*mut c_void>, EglError> {
    type QueryDevices =
        unsafe extern "system" fn(egl::Int, *mut *mut c_void, *mut egl::Int) -> egl::Boolean;
    let query = library.get_proc_address("eglQueryDevicesEXT").ok_or(no_device())?;
    // SAFETY: this is the function's signature in `EGL_EXT_device_enumeration`, which the caller
    // has found to be listed.
    let query = unsafe { transmute::<extern "system" fn(), QueryDevices>(query) };
    let mut found = [ptr::null_mut(); 32];
    let mut count = 0;
    // SAFETY: there is room for as many devices as are asked for, and for the count.
    let done = unsafe { query(found.len() as egl::Int, found.as_mut_ptr(), &mut count) };
    if done != egl::TRUE {
        return Err(EglError::Call { call: "eglQueryDevicesEXT", fault: fault(library) });
    }
    let count = usize::try_from(count).unwrap_or_default().min(found.len());
    Ok(found[..count].to_vec())
}

/// The device that is a program on the CPU (`EGL_MESA_device_software`).
fn software_device(library: &Library) -> Result<*mut c_void, EglError> {
    type QueryString = unsafe extern "system" fn(*mut c_void, egl::Int) -> *const c_char;
    let missing = EglError::Missing {
        extension: "EGL_MESA_device_software",
        purpose: "to choose the renderer on the CPU",
    };
    if !lists_devices(Extensions::of(library, None)) {
        return Err(missing);
    }
    let Some(query) = library.get_proc_address("eglQueryDeviceStringEXT") else {
        return Err(missing);
    };
    // SAFETY: this is the function's signature in `EGL_EXT_device_query`, without which there is no
    // enumeration.
    let query = unsafe { transmute::<extern "system" fn(), QueryString>(query) };
    let is_software = |device: &*mut c_void| {
        // SAFETY: the device is one that EGL lists.
        let list = unsafe { query(*device, egl::EXTENSIONS) };
        // SAFETY: EGL's strings end with a zero, and live as long as EGL.
        !list.is_null()
            && unsafe { CStr::from_ptr(list) }
                .to_str()
                .is_ok_and(|list| Extensions(list).has("EGL_MESA_device_software"))
    };
    devices(library)?.into_iter().find(is_software).ok_or(missing)
}

/// What EGL says of the last call on this thread.
pub(crate) fn fault(library: &Library) -> EglFault {
    EglFault(library.get_error())
}

/// Held by whoever calls a renderer that is a program on the CPU.
///
/// llvmpipe of Mesa 26.1 crashes or hangs when two contexts of one process render at the same time,
/// each on its own thread, as two cameras do (seen in User Mode Linux with one CPU, where it renders on
/// the thread that flushes). So they take turns; a GPU's contexts do not.
static SOFTWARE: ReentrantMutex<()> = ReentrantMutex::new(());

/// The right to call a renderer.
pub(crate) type Turn = Option<ReentrantMutexGuard<'static, ()>>;

/// A GLES 3 context, and what its driver can do.
///
/// It stays on the thread that made it. Everything that lives in it holds an `Rc` of it, so that
/// it is destroyed last.
pub(crate) struct Context {
    gl: glow::Context,
    renderer: String,
    version: String,
    images: Option<Images>,
    syncs: Option<Syncs>,
    /// `glGetGraphicsResetStatus`, if the context was made to tell.
    reset_status: Option<ResetStatus>,
    // Dropped after all of the above.
    raw: RawContext,
}

type ResetStatus = unsafe extern "system" fn() -> u32;

struct RawContext {
    display: Display,
    raw: egl::Context,
    /// Whether it tells of resets.
    robust: bool,
}

const EGL_CONTEXT_OPENGL_RESET_NOTIFICATION_STRATEGY_EXT: egl::Int = 0x3138;
const EGL_LOSE_CONTEXT_ON_RESET_EXT: egl::Int = 0x31BF;

impl Context {
    /// Opens a display on a render node, or on whatever there is, and makes a context current.
    pub(crate) fn new(wanted: &Renderer) -> Result<Self, EglError> {
        // Which renderer it becomes is not known yet.
        let _turn = SOFTWARE.lock();
        let raw = RawContext::new(Display::open(wanted)?)?;
        raw.make_current()?;
        let (library, display) = (raw.display.library, &raw.display);
        // SAFETY: a context is current; what `eglGetProcAddress` returns are GL's functions.
        let gl = unsafe {
            glow::Context::from_loader_function(|name| {
                library.get_proc_address(name).map_or(ptr::null(), |function| function as *const _)
            })
        };
        let images = Images::load(library, display.raw, display.extensions, &gl);
        let syncs = Syncs::load(library, display.raw, display.extensions);
        let reset_status = ["glGetGraphicsResetStatusEXT", "glGetGraphicsResetStatusKHR"]
            .into_iter()
            .filter(|_| raw.robust)
            .find_map(|name| library.get_proc_address(name))
            // SAFETY: this is its signature in GL_EXT_robustness and GL_KHR_robustness, of which
            // a context that tells of resets has one.
            .map(|status| unsafe { transmute::<extern "system" fn(), ResetStatus>(status) });
        let (renderer, version) = (String::new(), String::new());
        let mut context = Self { gl, renderer, version, images, syncs, reset_status, raw };
        let strings = [glow::RENDERER, glow::VERSION];
        [context.renderer, context.version] =
            strings.map(|name| Current::new(&context).string(name));
        Ok(context)
    }

    /// Makes the context current on this thread, unless it is already.
    pub(crate) fn make_current(&self) -> Result<Current<'_>, EglError> {
        let _turn = self.turn();
        self.raw.make_current()?;
        Ok(Current::new(self))
    }

    /// Waits for the right to call the renderer.
    pub(crate) fn turn(&self) -> Turn {
        software(&self.renderer).map(|_| SOFTWARE.lock())
    }

    pub(crate) fn gl(&self) -> &glow::Context {
        &self.gl
    }

    /// What imports dma-bufs, if the driver does.
    pub(crate) fn images(&self) -> Option<&Images> {
        self.images.as_ref()
    }

    /// What makes fences, if the driver does.
    pub(crate) fn syncs(&self) -> Option<&Syncs> {
        self.syncs.as_ref()
    }

    pub(crate) fn extensions(&self) -> Extensions {
        self.raw.display.extensions
    }

    /// Whether it runs on a render node.
    pub(crate) fn is_on_gbm(&self) -> bool {
        self.raw.display.platform == "GBM"
    }

    /// Whether it has compute shaders: GLES 3.1.
    pub(crate) fn computes(&self) -> bool {
        let version = self.gl.version();
        (version.major, version.minor) >= (3, 1)
    }

    /// Whether the GPU was reset since the context was made.
    pub(crate) fn is_lost(&self) -> bool {
        // SAFETY: the function takes nothing, and our callers hold a `Current`.
        let told = self.reset_status.is_some_and(|status| unsafe { status() } != glow::NO_ERROR);
        told || fault::context_is_lost()
    }

    /// The driver's name of what renders, as in `llvmpipe (LLVM 19.1.7, 256 bits)`.
    pub(crate) fn renderer(&self) -> &str {
        &self.renderer
    }

    /// The version of GL and of the driver, as in `OpenGL ES 3.2 Mesa 26.1.0-1`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What tells this driver from others, and from its other versions.
    pub(crate) fn identity(&self) -> String {
        format!("{}, {}", self.renderer, self.version)
    }

    /// The version and the platform, as in `EGL 1.5 surfaceless`.
    pub(crate) fn describe(&self) -> String {
        let Display { version: (major, minor), platform, .. } = self.raw.display;
        format!("EGL {major}.{minor} {platform}")
    }
}

impl RawContext {
    fn new(display: Display) -> Result<Self, EglError> {
        let library = display.library;
        if !display.extensions.has("EGL_KHR_surfaceless_context") {
            let purpose = "to render into buffers without a window";
            return Err(EglError::Missing { extension: "EGL_KHR_surfaceless_context", purpose });
        }
        library.bind_api(egl::OPENGL_ES_API).map_err(failed("eglBindAPI"))?;
        let config = if display.extensions.has("EGL_KHR_no_config_context") {
            // SAFETY: this is `EGL_NO_CONFIG_KHR`, which the extension allows.
            unsafe { egl::Config::from_ptr(ptr::null_mut()) }
        } else {
            let wanted =
                [egl::SURFACE_TYPE, 0, egl::RENDERABLE_TYPE, egl::OPENGL_ES3_BIT, egl::NONE];
            library
                .choose_first_config(display.raw, &wanted)
                .map_err(failed("eglChooseConfig"))?
                .ok_or(EglError::Call { call: "eglChooseConfig", fault: EglFault(None) })?
        };
        // 3.1 computes statistics; 3.0 has all else.
        let create = |(minor, robust): (egl::Int, bool)| {
            let version = [egl::CONTEXT_MAJOR_VERSION, 3, egl::CONTEXT_MINOR_VERSION, minor];
            let reset =
                [EGL_CONTEXT_OPENGL_RESET_NOTIFICATION_STRATEGY_EXT, EGL_LOSE_CONTEXT_ON_RESET_EXT];
            let mut attributes = version.to_vec();
            attributes.extend(reset.into_iter().filter(|_| robust));
            attributes.push(egl::NONE);
            let raw = library.create_context(display.raw, config, None, &attributes)?;
            Ok((raw, robust))
        };
        if fault::context_is_refused() {
            return Err(failed("eglCreateContext")(egl::Error::BadAlloc));
        }
        let tells = display.extensions.has("EGL_EXT_create_context_robustness");
        let kinds = [(1, true), (1, false), (0, true), (0, false)];
        let mut made = Err(egl::Error::BadMatch);
        for kind in kinds.into_iter().filter(|(_, robust)| tells || !robust) {
            made = create(kind);
            if made.is_ok() {
                break;
            }
        }
        let (raw, robust) = made.map_err(failed("eglCreateContext"))?;
        Ok(Self { display, raw, robust })
    }

    fn is_current(&self) -> bool {
        self.display.library.get_current_context() == Some(self.raw)
    }

    fn make_current(&self) -> Result<(), EglError> {
        if self.is_current() {
            return Ok(());
        }
        self.display
            .library
            .make_current(self.display.raw, None, None, Some(self.raw))
            .map_err(failed("eglMakeCurrent"))
    }
}

impl Drop for RawContext {
    fn drop(&mut self) {
        let _turn = SOFTWARE.lock();
        let (library, display) = (self.display.library, self.display.raw);
        let released = if self.is_current() {
            library.make_current(display, None, None, None)
        } else {
            Ok(())
        };
        if let Err(error) = released.and_then(|()| library.destroy_context(display, self.raw)) {
            tracing::warn!(%error, "an EGL context was not destroyed");
        }
    }
}

/// A function that GL or EGL must have, since it lists the extension.
pub(crate) fn function(library: &Library, name: &'static str) -> Option<extern "system" fn()> {
    let found = library.get_proc_address(name);
    if found.is_none() {
        tracing::warn!(name, "the driver lists an extension, but has none of its functions");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_found_by_whole_names() {
        let list = Extensions("EGL_KHR_image EGL_KHR_image_base");
        assert!(list.has("EGL_KHR_image") && list.has("EGL_KHR_image_base"));
        assert!(!list.has("EGL_KHR_image_bas") && !list.has("EGL_KHR") && !list.has(""));
    }

    #[test]
    fn faults_are_in_words() {
        assert_eq!(
            EglFault(Some(egl::Error::BadMatch)).to_string(),
            "EGL_BAD_MATCH (the driver does not take this format or layout)"
        );
    }
}
