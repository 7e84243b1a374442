//! A log that panics, so that the sensor's own thread does, without a hook in the sensor.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// True if the log panics when the sensor complains about its scene.
static LOG_PANICS: AtomicBool = AtomicBool::new(false);

/// A log that panics. It is the only code of a program's own that runs on the sensor's thread.
#[derive(Debug)]
pub struct PanickingLog;

/// While this lives, the log panics.
#[derive(Debug)]
#[must_use]
pub struct Panics;

impl PanickingLog {
    /// Lets it panic when the sensor complains about its scene.
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

impl tracing::Subscriber for PanickingLog {
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
