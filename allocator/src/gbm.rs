//! libgbm: the buffers and the EGL displays of a GPU's driver.
//!
//! The library is loaded at run time, so that nothing of it is needed to build or to start: a
//! machine without one lacks this kind of heap and no more.
//!
//! Source: Mesa's `src/gbm/main/gbm.h`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;

use bitflags::bitflags;
use libloading::Library;
use rustix::io::{self, Errno};
use vcam_uapi::fault;

use crate::format::{Fourcc, Modifier};

/// Why GBM is of no use.
#[derive(Debug, thiserror::Error)]
pub enum GbmError {
    /// There is no libgbm on this machine.
    #[error("could not load libgbm.so.1; install it (on Debian: libgbm1)")]
    Library(#[source] libloading::Error),
    /// The library lacks a function that is needed.
    #[error("libgbm.so.1 has no {function}; it is too old")]
    Function {
        /// The function.
        function: &'static str,
        /// What the loader said.
        source: libloading::Error,
    },
    /// libgbm makes no device of the node.
    #[error("gbm_create_device failed")]
    Device(#[source] Errno),
}

/// What the last system call left, which libgbm does not always set: `EIO` if nothing.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

bitflags! {
    /// What a buffer will be used for: `enum gbm_bo_flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Use: u32 {
        /// A display scans it out.
        const SCANOUT = 1;
        /// The GPU renders into it.
        const RENDERING = 1 << 2;
        /// Its rows lie one after the other.
        const LINEAR = 1 << 4;
    }
}

/// `struct gbm_device`.
#[repr(C)]
struct RawDevice([u8; 0]);

/// `struct gbm_bo`.
#[repr(C)]
struct RawBo([u8; 0]);

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of libgbm.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Finds them in a library that stays loaded for good.
            ///
            /// # Safety
            ///
            /// The library is libgbm.
            unsafe fn of(library: &Library) -> Result<Self, GbmError> {
                Ok(Self {
                    $(
                        // SAFETY: this is the function's signature in `gbm.h`.
                        $name: unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                            .map(|symbol| *symbol)
                            .map_err(|source| GbmError::Function {
                                function: stringify!($name),
                                source,
                            })?,
                    )*
                })
            }
        }
    };
}

functions! {
    gbm_create_device: fn(c_int) -> *mut RawDevice;
    gbm_device_destroy: fn(*mut RawDevice);
    gbm_device_get_backend_name: fn(*mut RawDevice) -> *const c_char;
    gbm_device_is_format_supported: fn(*mut RawDevice, u32, u32) -> c_int;
    gbm_bo_create: fn(*mut RawDevice, u32, u32, u32, u32) -> *mut RawBo;
    gbm_bo_create_with_modifiers2:
        fn(*mut RawDevice, u32, u32, u32, *const u64, c_uint, u32) -> *mut RawBo;
    gbm_bo_destroy: fn(*mut RawBo);
    gbm_bo_get_modifier: fn(*mut RawBo) -> u64;
    gbm_bo_get_plane_count: fn(*mut RawBo) -> c_int;
    gbm_bo_get_offset: fn(*mut RawBo, c_int) -> u32;
    gbm_bo_get_stride_for_plane: fn(*mut RawBo, c_int) -> u32;
    gbm_bo_get_fd_for_plane: fn(*mut RawBo, c_int) -> c_int;
}

/// Loads libgbm, once: it stays loaded, since drivers do not survive being unloaded.
fn functions() -> Result<&'static Functions, GbmError> {
    static LOADED: OnceLock<(Library, Functions)> = OnceLock::new();
    if let Some((_, functions)) = LOADED.get() {
        return Ok(functions);
    }
    // SAFETY: whatever goes by libgbm's name is one: its initialisers may be run.
    let library = unsafe { Library::new("libgbm.so.1") }.map_err(GbmError::Library)?;
    // SAFETY: it is libgbm, and stays loaded below.
    let functions = unsafe { Functions::of(&library)? };
    Ok(&LOADED.get_or_init(|| (library, functions)).1)
}

/// A GPU, or a display card, as libgbm has it.
///
/// It may go from thread to thread, but not be used by several at a time: libgbm says nothing of
/// threads.
pub struct Device {
    functions: &'static Functions,
    raw: NonNull<RawDevice>,
    /// The node, which libgbm uses and does not own; closed after the device is destroyed.
    _node: OwnedFd,
}

// SAFETY: libgbm keeps nothing of a thread, and without `Sync` one alone makes calls at a time.
unsafe impl Send for Device {}

impl Device {
    /// Makes a device of an open node, which it keeps open.
    pub fn new(node: impl Into<OwnedFd>) -> Result<Self, GbmError> {
        let node = node.into();
        fault::call("gbm_create_device").map_err(GbmError::Device)?;
        let functions = functions()?;
        // SAFETY: the descriptor is open, and stays open for as long as the device lives.
        let raw = unsafe { (functions.gbm_create_device)(node.as_raw_fd()) };
        let raw = NonNull::new(raw).ok_or_else(|| GbmError::Device(last_errno()))?;
        Ok(Self { functions, raw, _node: node })
    }

    /// The `struct gbm_device`, for `EGL_PLATFORM_GBM_KHR`; valid for as long as this lives.
    pub fn as_ptr(&self) -> *mut c_void {
        self.raw.as_ptr().cast()
    }

    /// What drives it, such as `drm`.
    pub fn backend_name(&self) -> String {
        // SAFETY: the device is alive.
        let name = unsafe { (self.functions.gbm_device_get_backend_name)(self.raw.as_ptr()) };
        if name.is_null() {
            return String::new();
        }
        // SAFETY: it is a string that ends with a zero, and lives as long as the device.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// Whether there are buffers of this format for this use.
    pub fn has_format(&self, format: Fourcc, usage: Use) -> bool {
        let (device, supported) = (self.raw, self.functions.gbm_device_is_format_supported);
        // SAFETY: the device is alive, and any number may be asked about.
        unsafe { supported(device.as_ptr(), format.0, usage.bits()) != 0 }
    }

    /// Makes a buffer of `width` times `height` pixels. The driver picks one of `modifiers`; if
    /// there are none it lays the buffer out as it likes, or, if the use says so, linear.
    pub fn create_bo(
        &self,
        (width, height): (u32, u32),
        format: Fourcc,
        modifiers: &[Modifier],
        usage: Use,
    ) -> io::Result<Bo<'_>> {
        fault::call("gbm_bo_create")?;
        let (device, format, usage) = (self.raw.as_ptr(), format.0, usage.bits());
        let raw = if modifiers.is_empty() {
            // SAFETY: the device is alive; the others are numbers.
            unsafe { (self.functions.gbm_bo_create)(device, width, height, format, usage) }
        } else {
            let modifiers: Vec<u64> = modifiers.iter().map(|modifier| modifier.0).collect();
            let (list, count) = (modifiers.as_ptr(), modifiers.len() as c_uint);
            let create = self.functions.gbm_bo_create_with_modifiers2;
            // SAFETY: the device is alive, and the list has as many elements as are counted.
            unsafe { create(device, width, height, format, list, count, usage) }
        };
        let raw = NonNull::new(raw).ok_or_else(last_errno)?;
        // SAFETY: the buffer was just made.
        let planes = unsafe { (self.functions.gbm_bo_get_plane_count)(raw.as_ptr()) };
        Ok(Bo { device: self, raw, planes })
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("gbm::Device").field(&self.backend_name()).finish()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the device is alive, and its buffers, which borrow it, are gone.
        unsafe { (self.functions.gbm_device_destroy)(self.raw.as_ptr()) }
    }
}

/// A buffer object.
pub struct Bo<'a> {
    device: &'a Device,
    raw: NonNull<RawBo>,
    planes: c_int,
}

impl Bo<'_> {
    /// The modifier that the driver picked; [`Modifier::INVALID`] from one that knows none.
    pub fn modifier(&self) -> Modifier {
        // SAFETY: the buffer is alive.
        Modifier(unsafe { (self.device.functions.gbm_bo_get_modifier)(self.raw.as_ptr()) })
    }

    /// How many planes it has.
    pub fn plane_count(&self) -> usize {
        usize::try_from(self.planes).unwrap_or(0)
    }

    /// Bytes before a plane; 0 for one that is not there.
    pub fn offset(&self, plane: usize) -> u32 {
        let Some(plane) = self.index(plane) else { return 0 };
        // SAFETY: the buffer is alive and has the plane.
        unsafe { (self.device.functions.gbm_bo_get_offset)(self.raw.as_ptr(), plane) }
    }

    /// Bytes from one row of a plane to the next; 0 for one that is not there.
    pub fn stride(&self, plane: usize) -> u32 {
        let Some(plane) = self.index(plane) else { return 0 };
        // SAFETY: the buffer is alive and has the plane.
        unsafe { (self.device.functions.gbm_bo_get_stride_for_plane)(self.raw.as_ptr(), plane) }
    }

    /// A dma-buf of the memory that a plane lies in. libgbm says no more than that it failed: that
    /// is `EIO`, as is a plane that is not there.
    pub fn export(&self, plane: usize) -> io::Result<OwnedFd> {
        fault::call("gbm_bo_get_fd_for_plane")?;
        let plane = self.index(plane).ok_or(Errno::IO)?;
        // SAFETY: the buffer is alive and has the plane.
        let fd =
            unsafe { (self.device.functions.gbm_bo_get_fd_for_plane)(self.raw.as_ptr(), plane) };
        if fd < 0 {
            return Err(Errno::IO);
        }
        // SAFETY: it is a new descriptor that belongs to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A plane as libgbm counts it, which does not check the number itself.
    fn index(&self, plane: usize) -> Option<c_int> {
        c_int::try_from(plane).ok().filter(|plane| *plane < self.planes)
    }
}

impl Drop for Bo<'_> {
    fn drop(&mut self) {
        // SAFETY: the buffer is alive, and so is the device that it borrows.
        unsafe { (self.device.functions.gbm_bo_destroy)(self.raw.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn who_lacks_the_library_is_told_its_name_and_package() {
        // SAFETY: there is no such library.
        let missing = unsafe { Library::new("libgbm-is-missing.so.1") }.unwrap_err();
        let error = GbmError::Library(missing);
        let words = error.to_string();
        assert!(words.contains("libgbm.so.1") && words.contains("libgbm1"), "{words}");
        assert!(error.source().is_some());
    }

    #[test]
    fn a_library_of_another_kind_lacks_the_functions() {
        // SAFETY: the C library is loaded already.
        let library = unsafe { Library::new("libc.so.6") }.unwrap();
        // SAFETY: of the functions that are asked for it has none.
        match unsafe { Functions::of(&library) } {
            Err(GbmError::Function { function: "gbm_create_device", .. }) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("libc has GBM's functions"),
        }
    }
}
