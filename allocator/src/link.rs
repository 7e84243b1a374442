//! How a frame gets from one owner to the next.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::import::Refusal;

/// How a frame crosses a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The device imported the buffer: no bytes move.
    Import,
    /// The bytes were copied.
    Copy,
    /// The buffer is the owner's own, or the CPU uses it in place: nothing to import or copy.
    Native,
}

/// Why frames cross as they do. Ends are looked at with every frame, so a clone allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It was never otherwise.
    Fixed(&'static str),
    /// A device said so.
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

/// What one owner did at its end of a link, so far.
///
/// An end starts as a promise ([`Method::Import`] or [`Method::Native`]) and may fall back to
/// [`Method::Copy`], once, saying at which frame and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEnd {
    /// How frames cross now.
    pub method: Method,
    /// Why they are copied, or why nothing had to be imported.
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
