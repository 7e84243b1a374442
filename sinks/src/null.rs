//! A sink that takes everything and shows nothing, for measuring what is before it.

use vcam_allocator::LinkEnd;
use vcam_allocator::constraints::Constraints;

use crate::sink::{Frame, Sink, SinkCounts, SinkError};

/// Takes every frame and gives its buffer back at once.
#[derive(Debug, Default)]
pub struct NullSink {
    taken: u64,
}

impl NullSink {
    /// A sink that has taken nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Sink for NullSink {
    fn name(&self) -> String {
        "null".to_owned()
    }

    fn constraints(&self) -> Constraints {
        Constraints::default()
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        frame.discard();
        self.taken += 1;
        Ok(())
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("nobody looks at it")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.taken, dropped: 0 }
    }
}
