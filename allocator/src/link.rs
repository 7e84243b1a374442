//! Methods by which a frame gets from one owner to the next.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::import::Refusal;

/// Method by which a frame crosses a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The device imported the buffer: no bytes move.
    Import,
    /// The bytes were copied.
    Copy,
    /// The buffer is the owner's own, or the CPU uses it in place: there is nothing to import or
    /// copy.
    Native,
}

/// Reason for the method of a link. Ends are read with every frame, so a clone allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The method is fixed by design; no device was asked.
    Fixed(&'static str),
    /// The refusal of a device.
    Found(Arc<str>),
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(words) => words,
            Self::Found(words) => words,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// State of one owner's end of a link.
///
/// An end starts with a planned method ([`Method::Import`] or [`Method::Native`]) and may fall back
/// to [`Method::Copy`], once. It then records the frame and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEnd {
    /// The present method.
    pub method: Method,
    /// The reason for copying, or for not needing an import.
    pub reason: Option<Reason>,
    /// Bytes copied so far.
    pub bytes_copied: u64,
    /// Buffers imported so far.
    pub imports: u64,
    /// The sequence number of the first frame that crossed by the present method.
    pub since_frame: u64,
}

impl LinkEnd {
    /// An end whose owner imports.
    pub fn import() -> Self {
        Self { method: Method::Import, reason: None, bytes_copied: 0, imports: 0, since_frame: 0 }
    }

    /// An end whose owner needs no import.
    pub fn native(reason: &'static str) -> Self {
        Self { method: Method::Native, reason: Some(Reason::Fixed(reason)), ..Self::import() }
    }

    /// Counts a frame that was copied because of this refusal; the first one changes the method.
    pub fn copied(&mut self, frame: u64, refusal: &Refusal, bytes: u64) {
        self.bytes_copied += bytes;
        if self.method != Method::Copy {
            self.method = Method::Copy;
            self.reason = Some(Reason::Found(refusal.to_string().into()));
            self.since_frame = frame;
        }
    }
}
