//! The seat: cards by way of a seat manager, which gives them to the session that is on the screen
//! and takes them back when another one is (a switch of virtual terminals).
//!
//! Through `libseat.so.1`, which speaks to seatd and to logind. It is loaded when it is needed, so
//! that vcam is built without it and runs where it is not. That is a dozen lines more than linking
//! to it, and one program for all machines.
//!
//! All of libseat's functions are called in one thread, which waits for the seat manager's word:
//! libseat has no locks of its own, and its connection to logind belongs to the thread that opened
//! it (`sd_bus_default_system`). So the session is given back at once, also while no frame comes,
//! and a frame costs no system call more.
//!
//! Sources: `libseat.h` of libseat 0.7 and, for what a seat manager does to a virtual terminal,
//! `seatd/seat.c` and `ioctl_vt(2)`.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use libloading::Library;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use vcam_uapi::kd::{KeyboardMode, keyboard_mode, set_keyboard_mode};

const LIBRARY: &str = "libseat.so.1";

/// Names the seat manager that libseat is to use.
const BACKEND: &str = "LIBSEAT_BACKEND";

/// Where seatd listens, unless `SEATD_SOCK` says otherwise.
const SEATD: &str = "/run/seatd.sock";

/// What logind has where it runs (`sd_login_monitor_new(3)`).
const LOGIND: &str = "/run/systemd/seats";

/// Why there is no seat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeatError {
    /// Nobody said which seat manager to use.
    #[error("neither seatd nor logind is there, and {BACKEND} names no seat manager")]
    NoManager,
    /// libseat is not installed, or not as it should be.
    #[error("libseat does not load (Debian's package is libseat1): {0}")]
    Library(#[source] libloading::Error),
    /// The seat manager does not run, or not for this user.
    #[error("{manager} cannot be reached: {source}")]
    Unreachable {
        /// The value of `LIBSEAT_BACKEND`.
        manager: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The seat manager gives no seat to this session.
    #[error(
        "{manager} gives this session no seat, perhaps because another program has it: {source}"
    )]
    Refused {
        /// The value of `LIBSEAT_BACKEND`.
        manager: String,
        /// What libseat said, which is not always why: with seatd, libseat 0.9.1 says `EBADF`.
        source: io::Error,
    },
    /// The seat is there, but what is on the screen is another session's.
    #[error("the session is not the one on the screen of {seat}; switch to its virtual terminal")]
    Background {
        /// The seat's name, such as `seat0`.
        seat: String,
    },
    /// The kernel gives no thread, or no descriptor to wake it with.
    #[error("could not start the seat's thread: {0}")]
    Thread(#[source] io::Error),
}

/// The seat manager that answers here, by libseat's name for it; `None` if there is none.
///
/// A program that wants its displays through the seat puts this into the variable
/// `LIBSEAT_BACKEND`, unless the user has set it, before it starts threads. libseat has no other way
/// to be told. Left to choose, it goes on where seatd and logind refuse, and becomes a seat manager
/// itself: as root it takes the virtual terminal from whoever has it.
pub fn seat_manager() -> Option<&'static str> {
    ["seatd", "logind"].into_iter().find(|manager| reach(manager).is_ok())
}

/// Looks whether a seat manager is there for this user, without libseat; of one that is neither
/// seatd nor logind nobody knows.
fn reach(manager: &str) -> io::Result<()> {
    match manager {
        "seatd" => {
            UnixStream::connect(env::var_os("SEATD_SOCK").unwrap_or_else(|| SEATD.into()))?;
        }
        "logind" => {
            fs::metadata(LOGIND)?;
        }
        _ => {}
    }
    Ok(())
}

/// libseat's `struct libseat`, of which nothing is known.
#[repr(C)]
struct Libseat {
    _opaque: [u8; 0],
}

/// libseat's `struct libseat_seat_listener`.
#[repr(C)]
struct Listener {
    enable_seat: unsafe extern "C" fn(*mut Libseat, *mut c_void),
    disable_seat: unsafe extern "C" fn(*mut Libseat, *mut c_void),
}

static LISTENER: Listener = Listener { enable_seat: enabled, disable_seat: disabled };

/// What is used of libseat.
struct Api {
    open_seat: unsafe extern "C" fn(*const Listener, *mut c_void) -> *mut Libseat,
    disable_seat: unsafe extern "C" fn(*mut Libseat) -> c_int,
    close_seat: unsafe extern "C" fn(*mut Libseat) -> c_int,
    seat_name: unsafe extern "C" fn(*mut Libseat) -> *const c_char,
    open_device: unsafe extern "C" fn(*mut Libseat, *const c_char, *mut c_int) -> c_int,
    close_device: unsafe extern "C" fn(*mut Libseat, c_int) -> c_int,
    get_fd: unsafe extern "C" fn(*mut Libseat) -> c_int,
    dispatch: unsafe extern "C" fn(*mut Libseat, c_int) -> c_int,
}

impl Api {
    /// libseat, loaded once and for good: libraries that it brings keep things for each thread.
    fn get() -> Result<&'static Self, SeatError> {
        static API: OnceLock<Api> = OnceLock::new();
        if let Some(api) = API.get() {
            return Ok(api);
        }
        let api = Self::load().map_err(SeatError::Library)?;
        Ok(API.get_or_init(|| api))
    }

    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: libseat and what it brings do nothing when they are loaded that could break
        // others, and the functions have the types of `libseat.h` for this SONAME.
        unsafe {
            let library = Library::new(LIBRARY)?;
            let api = Self {
                open_seat: *library.get(b"libseat_open_seat\0")?,
                disable_seat: *library.get(b"libseat_disable_seat\0")?,
                close_seat: *library.get(b"libseat_close_seat\0")?,
                seat_name: *library.get(b"libseat_seat_name\0")?,
                open_device: *library.get(b"libseat_open_device\0")?,
                close_device: *library.get(b"libseat_close_device\0")?,
                get_fd: *library.get(b"libseat_get_fd\0")?,
                dispatch: *library.get(b"libseat_dispatch\0")?,
            };
            // It stays loaded, and so its functions stay where they are.
            mem::forget(library);
            Ok(api)
        }
    }
}

/// How often the seat was given and taken: odd while it is ours.
///
/// Who remembers it knows whether somebody else was there in between, however short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turn(u32);

impl Turn {
    /// Of cards that nobody takes away.
    pub(crate) const ALWAYS: Self = Self(1);

    /// Of a seat whose manager has ended.
    const LOST: Self = Self(u32::MAX - 1);

    pub(crate) fn is_ours(self) -> bool {
        self.0 % 2 == 1
    }
}

/// What the seat manager said last.
#[derive(Debug, Default)]
struct State(AtomicU32);

impl State {
    fn turn(&self) -> Turn {
        Turn(self.0.load(Ordering::Acquire))
    }

    /// Notes that the seat is ours now, or is not.
    fn set(&self, ours: bool) {
        let turn = self.turn();
        if turn.is_ours() != ours {
            self.0.store(turn.0 + 1, Ordering::Release);
        }
    }

    fn lose(&self) {
        self.0.store(Turn::LOST.0, Ordering::Release);
    }
}

/// What other threads want of the one that speaks with libseat.
enum Request {
    Open(CString, Sender<Result<Device, Errno>>),
    Close(Device),
    End,
}

/// A device of the seat.
#[derive(Debug, Clone)]
struct Device {
    /// libseat's number for it. With logind it is the descriptor's, of which libseat asks the kernel
    /// what it is in order to give it back: so it is open until then.
    id: c_int,
    fd: Arc<OwnedFd>,
}

/// The seat, while it is open. Other programs cannot have it meanwhile, unless they have a virtual
/// terminal of their own.
#[derive(Debug)]
pub(crate) struct Seat {
    name: String,
    state: Arc<State>,
    requests: Sender<Request>,
    /// Written to after a request.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Seat {
    /// Opens the seat with the manager that `LIBSEAT_BACKEND` names, and waits for so long until
    /// the session is the one on the screen; if it is not by then, it may become that later.
    ///
    /// A manager that refuses is not to be asked often. libseat 0.9.1 then closes its connection to
    /// seatd twice, and another thread's new descriptor may have the number by the second time.
    pub(crate) fn open(wait: Duration) -> Result<Self, SeatError> {
        let manager = env::var(BACKEND).unwrap_or_default();
        if manager.is_empty() {
            return Err(SeatError::NoManager);
        }
        if let Err(source) = reach(&manager) {
            return Err(SeatError::Unreachable { manager, source });
        }
        Self::open_with(Api::get()?, manager, wait)
    }

    fn open_with(api: &'static Api, manager: String, wait: Duration) -> Result<Self, SeatError> {
        let thread_error = |errno: Errno| SeatError::Thread(errno.into());
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags).map_err(thread_error)?);
        let (requests, asked) = channel();
        let (opened, answer) = channel();
        let thread_wake = wake.clone();
        let run = move || match Session::open(api, manager, wait) {
            Ok(session) => {
                let words = (session.name(), session.client.state.clone());
                if opened.send(Ok(words)).is_ok() {
                    session.serve(&asked, &thread_wake);
                }
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = Builder::new().name("seat".into()).spawn(run).map_err(SeatError::Thread)?;
        match answer.recv() {
            Ok(Ok((name, state))) => Ok(Self { name, state, requests, wake, thread: Some(thread) }),
            Ok(Err(error)) => {
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(thread_error(Errno::CANCELED)),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn turn(&self) -> Turn {
        self.state.turn()
    }

    /// Whether its manager has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.turn() == Turn::LOST
    }

    /// Has the seat manager open a card, which makes it DRM master.
    pub(crate) fn open_device(self: &Arc<Self>, node: &Path) -> Result<SeatDevice, Errno> {
        let path = CString::new(node.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        let (reply, answer) = channel();
        self.ask(Request::Open(path, reply));
        let device = answer.recv().unwrap_or(Err(Errno::NOTCONN))?;
        let device = SeatDevice { seat: self.clone(), device };
        // Managers do it; that events are read without waiting hangs on it.
        fcntl_setfl(&device, OFlags::NONBLOCK)?;
        Ok(device)
    }

    fn ask(&self, request: Request) {
        // Both fail only once the thread has ended, and there is nothing to be asked then.
        if self.requests.send(request).is_ok() {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ask(Request::End);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(seat = self.name, "the seat's thread ended with a panic");
        }
    }
}

/// A device that the seat manager has opened; given back when dropped.
#[derive(Debug)]
pub(crate) struct SeatDevice {
    seat: Arc<Seat>,
    device: Device,
}

impl SeatDevice {
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }
}

impl AsFd for SeatDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.fd.as_fd()
    }
}

impl Drop for SeatDevice {
    fn drop(&mut self) {
        self.seat.ask(Request::Close(self.device.clone()));
    }
}

/// What libseat's events are about.
struct Client {
    api: &'static Api,
    state: Arc<State>,
    keyboard: Option<Keyboard>,
}

/// The seat was given to us.
unsafe extern "C" fn enabled(_: *mut Libseat, client: *mut c_void) {
    // SAFETY: it is the pointer that `Session::open` handed over, and the session outlives all of
    // libseat's calls.
    let client = unsafe { &*client.cast::<Client>() };
    if let Some(keyboard) = &client.keyboard {
        keyboard.leave_to_the_terminal();
    }
    client.state.set(true);
    tracing::debug!("the seat is ours");
}

/// The seat was taken from us, and the manager waits for the word that we know.
unsafe extern "C" fn disabled(seat: *mut Libseat, client: *mut c_void) {
    // SAFETY: as in `enabled`.
    let client = unsafe { &*client.cast::<Client>() };
    // A commit that is made before its thread sees this fails with EACCES and does no harm.
    client.state.set(false);
    // SAFETY: libseat calls us with an open seat, in the thread that uses it.
    if unsafe { (client.api.disable_seat)(seat) } < 0 {
        tracing::warn!(error = %io::Error::last_os_error(), "the seat could not be given back");
    }
    tracing::debug!("the seat is another session's");
}

/// libseat's end of the seat, for its thread alone.
struct Session {
    seat: NonNull<Libseat>,
    client: Arc<Client>,
}

impl Session {
    /// Opens the seat and waits for so long until it is ours.
    fn open(api: &'static Api, manager: String, wait: Duration) -> Result<Self, SeatError> {
        // Before a manager changes it.
        let keyboard = Keyboard::of_terminal();
        let client = Arc::new(Client { api, state: Arc::default(), keyboard });
        let data = Arc::as_ptr(&client).cast_mut().cast();
        // SAFETY: the listener is static, and what it is given lives until after `close_seat`.
        let seat = unsafe { (api.open_seat)(&raw const LISTENER, data) };
        let error = io::Error::last_os_error();
        let Some(seat) = NonNull::new(seat) else {
            return Err(SeatError::Refused { manager, source: error });
        };
        let session = Self { seat, client };
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let milliseconds = c_int::try_from(left.as_millis()).unwrap_or(c_int::MAX);
            if let Err(source) = session.dispatch(milliseconds) {
                return Err(SeatError::Refused { manager, source });
            }
            if session.client.state.turn().is_ours() || left.is_zero() {
                return Ok(session);
            }
        }
    }

    fn name(&self) -> String {
        // SAFETY: the seat is open, and the string is its own.
        let name = unsafe { (self.client.api.seat_name)(self.seat.as_ptr()) };
        if name.is_null() {
            return String::new();
        }
        // SAFETY: libseat's strings end with a zero and live as long as the seat.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// Has libseat read what there is, for so many milliseconds if there is nothing, and call us.
    fn dispatch(&self, milliseconds: c_int) -> io::Result<()> {
        // SAFETY: the seat is open, and this is its thread.
        match unsafe { (self.client.api.dispatch)(self.seat.as_ptr(), milliseconds) } {
            0.. => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Does what is asked and hears what the manager says, until it is to end.
    fn serve(self, requests: &Receiver<Request>, wake: &OwnedFd) {
        if let Err(error) = self.serve_while_there(requests, wake) {
            tracing::warn!(%error, seat = self.name(), "the seat manager has ended");
            self.client.state.lose();
            // Who asks for a device from now on learns that there is nobody to answer.
            while !matches!(requests.recv(), Ok(Request::End) | Err(_)) {}
        }
    }

    fn serve_while_there(&self, requests: &Receiver<Request>, wake: &OwnedFd) -> io::Result<()> {
        loop {
            // SAFETY: the seat is open, and this is its thread.
            let fd = unsafe { (self.client.api.get_fd)(self.seat.as_ptr()) };
            if fd < 0 {
                return Err(Errno::NOTCONN.into());
            }
            // SAFETY: it is open, and only libseat closes it, after an error, when it is called: in
            // this thread, and not before the next round.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            let mut fds =
                [PollFd::from_borrowed_fd(fd, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // That there is nothing more to read is only noticed by a call that may wait.
            let milliseconds = c_int::from(!fds[0].revents().is_empty());
            // What is in it does not matter: the requests are looked at in any case.
            let _ = rustix::io::read(wake, &mut [0; 8]);
            for request in requests.try_iter() {
                match request {
                    Request::Open(path, reply) => {
                        let _ = reply.send(self.open_device(&path));
                    }
                    Request::Close(device) => self.close_device(&device),
                    Request::End => return Ok(()),
                }
            }
            // Also what came with the answer to a request, and is read already.
            self.dispatch(milliseconds)?;
        }
    }

    fn open_device(&self, path: &CStr) -> Result<Device, Errno> {
        let mut fd = -1;
        let seat = self.seat.as_ptr();
        // SAFETY: the seat is open, this is its thread, and path and descriptor live longer.
        let id = unsafe { (self.client.api.open_device)(seat, path.as_ptr(), &raw mut fd) };
        let error = io::Error::last_os_error();
        if id < 0 || fd < 0 {
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        // SAFETY: libseat leaves it to the caller to close it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Device { id, fd: Arc::new(fd) })
    }

    fn close_device(&self, device: &Device) {
        // SAFETY: the seat is open, and this is its thread.
        if unsafe { (self.client.api.close_device)(self.seat.as_ptr(), device.id) } < 0 {
            tracing::debug!(error = %io::Error::last_os_error(), "a device was not given back");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the seat is open, this is its thread, and nobody uses it afterwards.
        if unsafe { (self.client.api.close_seat)(self.seat.as_ptr()) } < 0 {
            tracing::debug!(error = %io::Error::last_os_error(), "the seat was not closed");
        }
    }
}

/// The keyboard of the virtual terminal that this program was started in.
///
/// A seat manager turns it off, for programs that read the keys themselves. vcam does not: so it
/// stays the terminal's, where Ctrl-C ends the run, and Ctrl-Alt-F2 switches to another one.
#[derive(Debug)]
struct Keyboard {
    terminal: File,
    mode: KeyboardMode,
}

impl Keyboard {
    /// `None` if the controlling terminal is not a virtual one.
    fn of_terminal() -> Option<Self> {
        let terminal = File::open("/dev/tty").ok()?;
        let mode = keyboard_mode(terminal.as_fd()).ok()?;
        (mode != KeyboardMode::OFF).then_some(Self { terminal, mode })
    }

    fn leave_to_the_terminal(&self) {
        if let Err(error) = set_keyboard_mode(self.terminal.as_fd(), self.mode) {
            tracing::warn!(%error, "the keyboard does nothing while the display is ours");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::sync::Mutex;

    use super::*;

    /// A seat of the fake libseat.
    struct FakeSeat {
        listener: &'static Listener,
        client: *mut c_void,
        /// libseat's connection, on which the word comes that the seat is ours.
        word: Option<OwnedFd>,
    }

    /// The connection of the seat that the fake libseat opens next.
    static NEXT: Mutex<Option<OwnedFd>> = Mutex::new(None);

    /// Held while a device is not to be given back yet.
    static GATE: Mutex<()> = Mutex::new(());

    /// What the kernel said of the descriptors that were given back.
    static GIVEN_BACK: Mutex<Vec<Result<u64, Errno>>> = Mutex::new(Vec::new());

    /// A fake libseat that does as the real one does with logind: a device's number is its
    /// descriptor's, and to give it back the kernel is asked what that is.
    static FAKE: Api = Api {
        open_seat: fake_open_seat,
        disable_seat: fake_disable_seat,
        close_seat: fake_close_seat,
        seat_name: fake_seat_name,
        open_device: fake_open_device,
        close_device: fake_close_device,
        get_fd: fake_get_fd,
        dispatch: fake_dispatch,
    };

    unsafe extern "C" fn fake_open_seat(
        listener: *const Listener,
        client: *mut c_void,
    ) -> *mut Libseat {
        let word = NEXT.lock().unwrap().take();
        // SAFETY: the only listener is a static.
        let seat = FakeSeat { listener: unsafe { &*listener }, client, word };
        Box::into_raw(Box::new(seat)).cast()
    }

    unsafe extern "C" fn fake_disable_seat(_: *mut Libseat) -> c_int {
        0
    }

    unsafe extern "C" fn fake_close_seat(seat: *mut Libseat) -> c_int {
        // SAFETY: `fake_open_seat` made it, and it is closed once.
        drop(unsafe { Box::from_raw(seat.cast::<FakeSeat>()) });
        0
    }

    unsafe extern "C" fn fake_seat_name(_: *mut Libseat) -> *const c_char {
        c"fake0".as_ptr()
    }

    unsafe extern "C" fn fake_open_device(
        _: *mut Libseat,
        path: *const c_char,
        fd: *mut c_int,
    ) -> c_int {
        // SAFETY: both are the caller's, and the path is a string.
        unsafe {
            let path = CStr::from_ptr(path).to_str().unwrap();
            *fd = File::open(path).unwrap().into_raw_fd();
            *fd
        }
    }

    unsafe extern "C" fn fake_close_device(_: *mut Libseat, id: c_int) -> c_int {
        let _gate = GATE.lock().unwrap();
        // SAFETY: it need not be open; then the kernel says so.
        let node = rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(id) });
        GIVEN_BACK.lock().unwrap().push(node.map(|node| node.st_rdev));
        // Older ones answer with more than 0 when all is well.
        1
    }

    unsafe extern "C" fn fake_get_fd(seat: *mut Libseat) -> c_int {
        // SAFETY: the seat is open, and this is its thread.
        let seat = unsafe { &*seat.cast::<FakeSeat>() };
        seat.word.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    unsafe extern "C" fn fake_dispatch(libseat: *mut Libseat, _: c_int) -> c_int {
        // SAFETY: the seat is open, and this is its thread.
        let seat = unsafe { &*libseat.cast::<FakeSeat>() };
        if seat.word.as_ref().is_some_and(|word| rustix::io::read(word, &mut [0; 8]).is_ok()) {
            // SAFETY: as in libseat.
            unsafe { (seat.listener.enable_seat)(libseat, seat.client) };
        }
        0
    }

    /// A seat, and what gives it to us when it is written to.
    fn fake_seat() -> (Arc<Seat>, OwnedFd) {
        let word = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let ours = word.try_clone().unwrap();
        *NEXT.lock().unwrap() = Some(word);
        let seat = Seat::open_with(&FAKE, "fake".into(), Duration::ZERO).unwrap();
        (Arc::new(seat), ours)
    }

    fn until(what: &str, happened: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !happened() {
            assert!(Instant::now() < deadline, "{what}: never");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_seat_is_waited_for_gives_devices_and_may_be_lost() {
        let (seat, word) = fake_seat();
        assert_eq!(seat.name(), "fake0");
        // It is kept, and is ours when the manager says so.
        assert!(!seat.turn().is_ours() && !seat.is_lost());
        rustix::io::write(&word, &1_u64.to_ne_bytes()).unwrap();
        until("the seat is ours", || seat.turn().is_ours());

        let device = seat.open_device(Path::new("/dev/null")).unwrap();
        let null = rustix::fs::fstat(&device).unwrap().st_rdev;
        let gate = GATE.lock().unwrap();
        drop(device);
        drop(gate);
        // Ends once all that was asked is done.
        drop(seat);
        assert_eq!(*GIVEN_BACK.lock().unwrap(), [Ok(null)]);

        // One that has no connection, as libseat's after an error.
        let seat = Seat::open_with(&FAKE, "fake".into(), Duration::ZERO).unwrap();
        until("the seat is lost", || seat.is_lost());
    }

    #[test]
    fn a_turn_that_came_and_went_is_noticed() {
        let state = State::default();
        assert!(!state.turn().is_ours());
        state.set(true);
        let ours = state.turn();
        state.set(true);
        assert_eq!(state.turn(), ours);
        state.set(false);
        assert!(!state.turn().is_ours());
        state.set(true);
        assert!(state.turn().is_ours());
        assert_ne!(state.turn(), ours);
        state.lose();
        assert!(!state.turn().is_ours());
        assert!(Turn::ALWAYS.is_ours());
    }
}
