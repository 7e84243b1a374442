//! Turning and mirroring pictures on their way to the screen, which costs nothing where a plane can.

use std::fmt;
use std::str::FromStr;

/// How a picture is turned; counter-clockwise, as the kernel counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rotate {
    /// Not at all.
    #[default]
    By0,
    /// A quarter.
    By90,
    /// Upside down.
    By180,
    /// Three quarters.
    By270,
}

/// How a picture is mirrored, and then turned: the plane's property "rotation" (`DRM_MODE_ROTATE_*`
/// and `DRM_MODE_REFLECT_*` of `include/uapi/drm/drm_mode.h`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transform {
    /// How it is turned.
    pub rotate: Rotate,
    /// Left becomes right.
    pub reflect_x: bool,
    /// Top becomes bottom.
    pub reflect_y: bool,
}

impl Transform {
    /// The property's value.
    pub(crate) fn bits(self) -> u64 {
        let rotate = match self.rotate {
            Rotate::By0 => 0,
            Rotate::By90 => 1,
            Rotate::By180 => 2,
            Rotate::By270 => 3,
        };
        1 << rotate | u64::from(self.reflect_x) << 4 | u64::from(self.reflect_y) << 5
    }

    /// Whether pictures stay as they are.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The size that a picture of this size has on the screen.
    pub(crate) fn turned(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self.rotate {
            Rotate::By0 | Rotate::By180 => (width, height),
            Rotate::By90 | Rotate::By270 => (height, width),
        }
    }
}

impl fmt::Display for Transform {
    /// In the property's own words, as in `rotate-90,reflect-x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.rotate {
            Rotate::By0 => "rotate-0",
            Rotate::By90 => "rotate-90",
            Rotate::By180 => "rotate-180",
            Rotate::By270 => "rotate-270",
        })?;
        for (set, word) in [(self.reflect_x, ",reflect-x"), (self.reflect_y, ",reflect-y")] {
            if set {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

/// A word that is none of the property's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is none of rotate-0, rotate-90, rotate-180, rotate-270, reflect-x, reflect-y")]
pub struct NotATransform(String);

impl FromStr for Transform {
    type Err = NotATransform;

    fn from_str(words: &str) -> Result<Self, NotATransform> {
        let mut transform = Self::default();
        for word in words.split(',') {
            match word {
                "rotate-0" => transform.rotate = Rotate::By0,
                "rotate-90" => transform.rotate = Rotate::By90,
                "rotate-180" => transform.rotate = Rotate::By180,
                "rotate-270" => transform.rotate = Rotate::By270,
                "reflect-x" => transform.reflect_x = true,
                "reflect-y" => transform.reflect_y = true,
                _ => return Err(NotATransform(word.to_owned())),
            }
        }
        Ok(transform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for words in ["rotate-0", "rotate-90,reflect-x", "rotate-270,reflect-x,reflect-y"] {
            assert_eq!(words.parse::<Transform>().unwrap().to_string(), words);
        }
        assert_eq!("reflect-y".parse::<Transform>().unwrap().to_string(), "rotate-0,reflect-y");
        for wrong in ["", "90", "rotate-45", "rotate-90, reflect-x"] {
            assert!(wrong.parse::<Transform>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bits_are_the_kernels() {
        assert_eq!(Transform::default().bits(), 1);
        let all = Transform { rotate: Rotate::By270, reflect_x: true, reflect_y: true };
        assert_eq!(all.bits(), 0b11_1000);
        assert_eq!(all.turned((3, 2)), (2, 3));
    }
}
