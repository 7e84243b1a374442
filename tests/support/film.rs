//! A film that a sensor sees, and a log that panics when it is cut off: so that the sensor's own
//! thread does, without a hook in the sensor.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use vcam_pipeline::sensor::Settings;

/// Whether the log panics when the sensor complains about its scene.
static LOG_PANICS: AtomicBool = AtomicBool::new(false);

/// A log that panics. It is the only code of a program's own that runs on the sensor's thread.
pub struct FaultyLog;

/// As long as it is there, the log panics.
pub struct Panics;

impl FaultyLog {
    /// Has it panic when the sensor complains about its scene.
    pub fn panics() -> Panics {
        static LOG: Once = Once::new();
        LOG.call_once(|| tracing::subscriber::set_global_default(Self).unwrap());
        LOG_PANICS.store(true, Ordering::Relaxed);
        Panics
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        LOG_PANICS.store(false, Ordering::Relaxed);
    }
}

impl tracing::Subscriber for FaultyLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().contains("scene::video")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        assert!(!LOG_PANICS.load(Ordering::Relaxed), "a test's");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A film that the sensor sees until it is cut off.
pub struct Film {
    folder: tempfile::TempDir,
    size: (u32, u32),
}

impl Film {
    /// Two frames of grey, over and over.
    pub fn new(size: (u32, u32)) -> Self {
        let film = Self { folder: tempfile::tempdir().unwrap(), size };
        let (width, height) = size;
        let mut bytes = format!("YUV4MPEG2 W{width} H{height} F30:1 C420jpeg\n").into_bytes();
        for _ in 0..2 {
            bytes.extend(b"FRAME\n");
            bytes.resize(bytes.len() + (width * height * 3 / 2) as usize, 128);
        }
        fs::write(film.path(), bytes).unwrap();
        film
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("film.y4m")
    }

    pub fn settings(&self) -> Settings {
        let source = self.path().display().to_string().parse().unwrap();
        Settings { source, size: self.size.into(), ..Settings::default() }
    }

    /// Leaves nothing of it but its header.
    pub fn cut_off(path: &Path) {
        fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    }
}
