//! Displays of a seat, whose virtual terminals take turns. The kernel's console is on bochs
//! (`fbcon=map:1`).
//!
//! `cargo xtask test --only qemu kms_seat`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vcam_allocator::{Fourcc, Method};
use vcam_sinks::{Cards, KmsError, KmsOptions, KmsSink, SeatError, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::command::{Child, Ran, command};
use vcam_testing::qmp::Qmp;
use vcam_testing::seat::{
    self, BACKEND, Seatd, on_the_screen, switch_to, until, use_seatd, write_on,
};
use vcam_testing::stepped_display::{self, SteppedDisplay};

const SIZE: (u32, u32) = (320, 240);

/// The time limit of a wait, longer than any wait here takes.
const SOON: Duration = Duration::from_secs(60);

/// The virtual terminal that vcam runs on, and another.
const HOME: u32 = 1;
const ELSEWHERE: u32 = 2;

fn options() -> KmsOptions {
    let card = Some("bochs-drm".to_owned());
    KmsOptions { card, ..KmsOptions::new(SIZE, Fourcc::XRGB8888) }
}

/// The text on the virtual terminals.
struct Consoles {
    home: Screen,
    elsewhere: Screen,
}

/// Width, and red, green and blue of each pixel.
type Screen = (usize, Vec<u8>);

/// Writes on two terminals, and leaves the first on the screen.
fn consoles(qmp: &mut Qmp) -> Consoles {
    // The cursor would blink.
    switch_to(ELSEWHERE);
    write_on(ELSEWHERE, "\x1b[2J\x1b[H\x1b[?25l\x1b[47mthe second terminal\x1b[0m\n");
    let elsewhere = console(qmp, true);
    switch_to(HOME);
    write_on(HOME, "\x1b[2J\x1b[H\x1b[?25lthe first terminal\n");
    let home = console(qmp, false);
    Consoles { home, elsewhere }
}

/// The screen, once the kernel has drawn a text on it, from its corner on, on white or black.
fn console(qmp: &mut Qmp, white: bool) -> Screen {
    let deadline = Instant::now() + SOON;
    let mut last = screen(qmp);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = screen(qmp);
        let text = now.1.iter().any(|value| *value != 0);
        if now == last && text && (now.1[0] != 0) == white {
            return now;
        }
        assert!(Instant::now() < deadline, "no console on the screen");
        last = now;
    }
}

/// The picture on the screen.
fn screen(qmp: &mut Qmp) -> Screen {
    qmp.screen("bochs")
}

/// Asserts that the screen shows the last frame and nothing else.
fn assert_on_the_screen(display: &mut SteppedDisplay, qmp: &mut Qmp) {
    display.sink.wait_flip().unwrap();
    let colour = stepped_display::colour(display.frames - 1);
    let (width, pixels) = screen(qmp);
    assert_eq!((width, pixels.len()), (320, 320 * 240 * 3));
    let wrong = pixels.chunks_exact(3).position(|pixel| pixel != colour);
    assert_eq!(wrong, None, "{colour:?}");
}

/// The kernel draws its console with a delay.
fn until_screen(qmp: &mut Qmp, what: &str, wanted: &Screen) {
    let deadline = Instant::now() + SOON;
    while screen(qmp) != *wanted {
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn frames_are_shown_while_the_session_is_on_the_screen() {
    use_seatd();
    let _seatd = Seatd::start();
    let mut qmp = Qmp::open();
    let Consoles { home, elsewhere } = consoles(&mut qmp);
    let before = BufferUsage::read();
    let mut display = SteppedDisplay::on(&Cards::through_seat(), &options());
    for _ in 0..5 {
        display.frame();
    }
    assert_on_the_screen(&mut display, &mut qmp);
    for _ in 0..2 {
        let shown = display.sink.counts();
        assert_eq!(shown.displayed + shown.dropped, display.frames);
        switch_to(ELSEWHERE);
        until_screen(&mut qmp, "the other terminal is on the screen", &elsewhere);
        display.until_gone();
        let gone = display.sink.counts();
        for _ in 0..5 {
            display.frame();
        }
        // Neither shown, nor waited for.
        let counts = display.sink.counts();
        assert_eq!((counts.displayed, counts.dropped), (gone.displayed, gone.dropped + 5));
        assert_eq!(screen(&mut qmp), elsewhere);
        switch_to(HOME);
        display.until_back();
        let back = display.sink.counts();
        for _ in 0..5 {
            display.frame();
        }
        assert_on_the_screen(&mut display, &mut qmp);
        assert_eq!(display.sink.counts().dropped, back.dropped, "a frame that could be shown");
    }
    // The card kept its imports.
    let end = display.sink.link_end();
    assert_eq!((end.method, end.imports, end.bytes_copied), (Method::Import, 3, 0), "{end:?}");
    display.finish();
    until_screen(&mut qmp, "the console is on the screen again", &home);
    before.assert_unchanged();
}

/// A switch there and back between two frames: the picture on the screen is not ours any more, and
/// the next frame is shown all the same.
#[test]
fn a_switch_that_no_frame_saw_loses_none() {
    use_seatd();
    let _seatd = Seatd::start();
    let mut qmp = Qmp::open();
    consoles(&mut qmp);
    // The seat manager's message comes after the card is ours; only the log shows that it arrived.
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
    subscriber.with_writer(log.reopen().unwrap()).init();
    let said = |words| fs::read_to_string(log.path()).unwrap().matches(words).count();
    let mut display = SteppedDisplay::on(&Cards::through_seat(), &options());
    for _ in 0..3 {
        display.frame();
    }
    display.sink.wait_flip().unwrap();
    switch_to(ELSEWHERE);
    until("the card is given up", || said("the seat is another session's") == 1);
    switch_to(HOME);
    until("the card is ours again", || said("the seat is ours") == 2);
    display.frame();
    assert_on_the_screen(&mut display, &mut qmp);
    let counts = display.finish();
    assert_eq!((counts.displayed, counts.dropped), (4, 0));
}

/// The node of bochs, as sysfs has it; to open it could make us its master.
fn node() -> PathBuf {
    let is_bochs = |card: &PathBuf| {
        let name = card.file_name().unwrap();
        let driver = Path::new("/sys/class/drm").join(name).join("device/driver");
        fs::read_link(driver).is_ok_and(|driver| driver.ends_with("bochs-drm"))
    };
    let cards = fs::read_dir("/dev/dri").unwrap().flatten().map(|entry| entry.path());
    let mut cards = cards.filter(|card| card.to_string_lossy().contains("card"));
    cards.find(is_bochs).expect("the lab has bochs")
}

/// Returns true if some program is the master of a card.
fn has_master(node: &Path) -> bool {
    let name = node.file_name().unwrap().to_string_lossy().replace("card", "");
    let clients = Path::new("/sys/kernel/debug/dri").join(name).join("clients");
    let clients = fs::read_to_string(clients).unwrap();
    // command, tgid, dev, master, …
    clients.lines().any(|line| line.split_whitespace().nth(3) == Some("y"))
}

/// Another program of the seat has its own virtual terminal, and gets the display as soon as it is
/// on the screen: vcam gives it back also while it has no frame to show.
#[test]
fn programs_of_two_terminals_take_turns() {
    use_seatd();
    let _seatd = Seatd::start();
    let mut qmp = Qmp::open();
    consoles(&mut qmp);
    let before = BufferUsage::read();
    let mut ours = SteppedDisplay::on(&Cards::through_seat(), &options());
    ours.frame();
    switch_to(ELSEWHERE);
    let mut theirs = SteppedDisplay::on(&Cards::through_seat(), &options());
    for _ in 0..3 {
        theirs.frame();
        ours.frame();
    }
    assert_on_the_screen(&mut theirs, &mut qmp);
    assert_eq!((ours.sink.counts().displayed, theirs.sink.counts().dropped), (1, 0));
    switch_to(HOME);
    ours.until_back();
    theirs.frame();
    ours.frame();
    assert_on_the_screen(&mut ours, &mut qmp);
    switch_to(ELSEWHERE);
    theirs.until_back();
    // A session in the background has nothing to put back.
    ours.finish();
    theirs.frame();
    assert_on_the_screen(&mut theirs, &mut qmp);
    theirs.finish();
    switch_to(HOME);
    before.assert_unchanged();
}

/// The card goes with its seat manager, and comes back with the next one.
#[test]
fn a_run_outlives_its_seat_manager() {
    use_seatd();
    let seatd = Seatd::start();
    let mut qmp = Qmp::open();
    consoles(&mut qmp);
    let mut display = SteppedDisplay::on(&Cards::through_seat(), &options());
    display.frame();
    drop(seatd);
    // Another program is master for now, or root would open the card directly.
    let theirs = KmsSink::open(&options()).unwrap();
    display.until_gone();
    let _seatd = Seatd::start();
    display.frame();
    drop(theirs);
    display.until_back();
    display.frame();
    assert_on_the_screen(&mut display, &mut qmp);
    display.finish();
}

/// A user who may not open the card at all, at the keyboard of a virtual terminal.
#[test]
fn a_user_at_the_console_has_display_and_keyboard() {
    let mut qmp = Qmp::open();
    let Consoles { home, .. } = consoles(&mut qmp);
    fs::set_permissions("/dev/udmabuf", Permissions::from_mode(0o666)).unwrap();
    let arguments = "--isp cpu --heap udmabuf --display --card bochs-drm --size 320x240 --json";
    // Without a seat manager the error names the obstacle.
    let ran = as_user(&format!("{arguments} --frames 1"));
    ran.failed_with(4, &["not permitted", "neither seatd nor logind is there"]);
    let listed = listed();
    assert_eq!(listed["available"], false, "{listed:#}");
    assert!(listed["reason"].as_str().unwrap().contains("not permitted"), "{listed:#}");

    let _seatd = Seatd::start();
    let listed = self::listed();
    assert_eq!(listed["available"], true, "{listed:#}");
    assert_eq!(listed["description"], "bochs-drm", "{listed:#}");
    assert_eq!(listed["note"], "through the seat, if seatd gives it", "{listed:#}");
    let ran = as_user("--display=Nowhere-1 --card bochs-drm --size 320x240 --frames 1");
    ran.failed_with(2, &["no display 'Nowhere-1'", "(bochs-drm): Virtual-"]);
    let before = BufferUsage::read();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str| folder.path().join(name);
    let vcam = env!("CARGO_BIN_EXE_vcam");
    // Ctrl-C is for all that the terminal runs.
    let script = format!(
        "trap : INT; setpriv --reuid {user} --regid nogroup --clear-groups \
         env XDG_CACHE_HOME=/nowhere VCAM_LOG=info {vcam} {arguments} >{out} 2>{err}; \
         echo $? >{code}",
        user = seat::USER,
        out = file("out").display(),
        err = file("err").display(),
        code = file("code").display(),
    );
    let mut run = Command::new("openvt")
        .args(["-f", "-w", "-c", &HOME.to_string(), "--", "sh", "-c", &script])
        .env_remove(BACKEND)
        .spawn()
        .unwrap();
    let err = || fs::read_to_string(file("err")).unwrap_or_default();
    until("the run shows frames", || has_master(&node()));
    until_ours(&mut qmp);
    qmp.press(&["ctrl", "alt", "f2"]);
    until("Ctrl-Alt-F2 switches", || on_the_screen() == ELSEWHERE);
    until("the display is given up", || err().contains("no frame is shown"));
    qmp.press(&["ctrl", "alt", "f1"]);
    until("Ctrl-Alt-F1 switches", || on_the_screen() == HOME);
    until("the display is back", || err().contains("the display is back"));
    until_ours(&mut qmp);
    qmp.press(&["ctrl", "c"]);
    run.wait().unwrap();

    let read = |name: &str| fs::read_to_string(file(name)).unwrap();
    let (code, stdout, stderr) = (read("code").trim().parse().unwrap(), read("out"), err());
    let ran = Ran { code, stdout, stderr };
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("through the seat"), "{ran:?}");
    let report = ran.report();
    let frames = &report["frames"];
    let count = |name: &str| frames[name].as_u64().unwrap();
    assert!(count("displayed") > 0 && count("dropped") > 0, "{report:#}");
    assert_eq!(count("displayed") + count("dropped"), count("completed"), "{report:#}");
    // With the echo of Ctrl-C on it.
    assert_eq!(console(&mut qmp, false).0, home.0);
    before.assert_unchanged();
}

/// Waits until the screen shows a picture of the size of ours, and not all of one colour.
fn until_ours(qmp: &mut Qmp) {
    let deadline = Instant::now() + SOON;
    loop {
        let (width, pixels) = screen(qmp);
        if width == SIZE.0 as usize && pixels.chunks_exact(3).any(|pixel| pixel != &pixels[..3]) {
            return;
        }
        assert!(Instant::now() < deadline, "no picture on the screen");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Runs the command as a user without special rights.
fn as_user(arguments: &str) -> Ran {
    let mut run = Command::new("setpriv");
    run.args(["--reuid", seat::USER, "--regid", "nogroup", "--clear-groups"]);
    run.arg(env!("CARGO_BIN_EXE_vcam")).args(arguments.split_whitespace());
    run.env_remove(BACKEND).env("XDG_CACHE_HOME", "/nowhere").output().unwrap().into()
}

/// The line of bochs in `vcam list`, for a user without rights.
fn listed() -> serde_json::Value {
    let list = as_user("list --json").report();
    let node = node().display().to_string();
    let mut displays = list["displays"].as_array().unwrap().iter();
    displays.find(|entry| entry["name"] == *node).unwrap().clone()
}

/// The card is opened for the display's favourite size, given back, and opened again.
#[test]
fn a_display_is_asked_for_its_size() {
    let _seatd = Seatd::start();
    let mut qmp = Qmp::open();
    let Consoles { home, .. } = consoles(&mut qmp);
    let before = BufferUsage::read();
    let mut run = command("--isp cpu --display --card bochs-drm --frames 2 --json");
    let ran = Ran::from(run.env_remove(BACKEND).env("VCAM_LOG", "info").output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("through the seat"), "{ran:?}");
    let report = ran.report();
    assert_eq!(report["size"], serde_json::json!([1280, 800]), "{report:#}");
    assert_eq!(report["frames"]["displayed"], 2, "{report:#}");
    until_screen(&mut qmp, "the console is on the screen again", &home);
    before.assert_unchanged();
}

/// A seat that is not bound to virtual terminals has several programs, and the next one gets the
/// display when the first has ended.
#[test]
fn a_seat_in_the_background_is_kept_until_it_is_given() {
    use_seatd();
    let _seatd = Seatd::start_without_terminals();
    let first = SteppedDisplay::on(&Cards::through_seat(), &options());
    let cards = Cards::through_seat();
    let open = || KmsSink::open_beside(&cards, &options());
    let error = open().unwrap_err();
    assert!(matches!(error, KmsError::NoSeat(SeatError::Background { .. })), "{error:?}");
    first.finish();
    until("the seat is given to the second", || open().is_ok());
}

/// Without a seat vcam stays master over switches, and the kernel's console does not take the
/// display from a master.
#[test]
fn without_a_seat_the_picture_stays_over_a_switch() {
    let mut qmp = Qmp::open();
    let Consoles { home, .. } = consoles(&mut qmp);
    let mut display = SteppedDisplay::on(&Cards::default(), &options());
    display.frame();
    display.frame();
    switch_to(ELSEWHERE);
    display.frame();
    assert_on_the_screen(&mut display, &mut qmp);
    switch_to(HOME);
    display.frame();
    assert_on_the_screen(&mut display, &mut qmp);
    let counts = display.finish();
    assert_eq!((counts.displayed, counts.dropped), (4, 0));
    until_screen(&mut qmp, "the console is on the screen again", &home);
}

/// A virtual terminal has one program; another one that is started there learns that the card has a
/// master.
#[test]
fn a_seat_that_another_program_has_is_refused() {
    use_seatd();
    let _seatd = Seatd::start();
    let first = SteppedDisplay::on(&Cards::through_seat(), &options());
    // There is no seat for it, so the card is opened directly.
    let error = KmsSink::open_beside(&Cards::through_seat(), &options()).unwrap_err();
    assert!(matches!(error, KmsError::Master { .. }), "{error:?}");
    drop(first);
}

/// Root, too, goes through the seat where there is one; and a run need not be on the screen to end.
#[test]
fn a_run_ends_well_in_the_background() {
    let _seatd = Seatd::start();
    let mut qmp = Qmp::open();
    let Consoles { home, .. } = consoles(&mut qmp);
    let mut run = command("--isp cpu --display --card bochs-drm --size 320x240 --json");
    run.env_remove(BACKEND);
    let child = Child::spawn(run);
    until_ours(&mut qmp);
    switch_to(ELSEWHERE);
    until("the card is given up", || !has_master(&node()));
    let ran = child.end(Signal::TERM);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(report["error"], serde_json::Value::Null, "{report:#}");
    switch_to(HOME);
    until_screen(&mut qmp, "the console is on the screen again", &home);
}
