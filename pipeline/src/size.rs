//! Width and height.

use std::fmt;

/// Width and height of a frame, a picture or a sensor's array, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// Returns width times height.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Returns the width as a number of elements of a row.
    pub(crate) fn columns(self) -> usize {
        self.width as usize
    }

    /// Returns the height as a number of rows.
    pub(crate) fn rows(self) -> usize {
        self.height as usize
    }
}

impl From<(u32, u32)> for Size {
    fn from((width, height): (u32, u32)) -> Self {
        Self { width, height }
    }
}

impl From<Size> for (u32, u32) {
    fn from(Size { width, height }: Size) -> Self {
        (width, height)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}
