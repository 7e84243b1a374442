//! The last picture of a display, on its way from the sink's thread to a file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use vcam_sinks::{Captured, KmsSink, check_png};

use crate::exit::Error;

/// A file for what a display scanned out last.
pub(crate) struct DisplayCapture {
    path: PathBuf,
    picture: Arc<Mutex<Option<Captured>>>,
}

impl DisplayCapture {
    /// Has a display's sink hand over its last picture when it finishes.
    pub(super) fn new(sink: &mut KmsSink, path: &Path) -> Result<Self, Error> {
        // Whether the file can be written is found out now, and not after the run.
        check_png(path)?;
        sink.enable_capture()?;
        let picture = Arc::new(Mutex::new(None));
        let slot = picture.clone();
        sink.on_finish_capture(Box::new(move |captured| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(captured);
        }));
        Ok(Self { path: path.to_owned(), picture })
    }

    /// Writes the picture, if there is one.
    pub(crate) fn save(&self) -> Result<(), Error> {
        match self.picture.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(captured) => Ok(captured.write_png(&self.path)?),
            None => Ok(()),
        }
    }
}
