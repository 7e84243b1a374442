//! Scenes before the lens: linear light, row after row.
//!
//! A [`Scene`] says what its surfaces reflect; which lamp shines on them, how bright it is, and
//! what a lens, filters and a pixel make of it is the [`model`](super::model)'s affair. There is a
//! file for each scene, and [`NAMED`] lists them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

mod ball;
mod bars;
mod checkerboard;
pub mod colorchecker;
mod edge;
mod error;
mod file;
mod lines;
mod noise;
mod picture;
mod ramp;
mod siemens;
mod solid;
mod video;
mod zone_plate;

pub use error::SceneError;

use crate::size::Size;

/// How far the picture of a scene that pans moves with each frame, in columns: an even number, so
/// that it stays in step with the colour filters.
const PAN: u64 = 4;

/// Something to look at.
///
/// Light is linear, in the primaries of sRGB: `[1.0; 3]` is a white surface that reflects all
/// light, whichever lamp shines on it; 0 to 1 each.
pub trait Scene: Send + Sync + fmt::Debug {
    /// Gets ready for the rows of this frame, where there is something to get: a video reads on.
    fn prepare(&mut self, _frame: u64) {}

    /// Writes row `y` of a frame, counted from the top.
    fn row(&self, frame: u64, y: usize, row: &mut [[f32; 3]]);
}

/// The function that makes a named scene.
type Make = fn(Size) -> Box<dyn Scene>;

/// The motion of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Motion {
    /// It shows something else in each frame.
    Own,
    /// It goes by like a landscape.
    Pan,
}

/// A scene that has a name.
#[derive(Debug)]
pub struct Named {
    /// The name, as a user writes it.
    pub name: &'static str,
    /// Its content, in a few words.
    pub shows: &'static str,
    make: Make,
    motion: Motion,
}

/// Every scene that has a name.
pub const NAMED: [Named; 12] = [
    named("bars", "eight colour bars at three quarters of full brightness", bars::make),
    named("bars100", "eight colour bars at full brightness", bars::make_full),
    named("ramp", "a grey ramp from no light to white", ramp::make),
    named("colorchecker", "24 patches of known colours", colorchecker::make),
    named(
        "zoneplate",
        "rings that get finer up to the finest that pixels resolve",
        zone_plate::make,
    ),
    named("siemens", "a star of 36 spokes, for resolution in every direction", siemens::make),
    named("edge", "an edge at five degrees, for the sharpness of lens and ISP", edge::make),
    Named { motion: Motion::Own, ..named("ball", "a ball that bounces", ball::make) },
    named("checkerboard", "eight rows of black and white squares", checkerboard::make),
    Named { motion: Motion::Own, ..named("noise", "every pixel of another colour", noise::make) },
    named("solid", "a grey card of 18 %", solid::make),
    named("lines", "diagonal lines", lines::make),
];

const fn named(name: &'static str, shows: &'static str, make: Make) -> Named {
    Named { name, shows, make, motion: Motion::Pan }
}

/// Which scene, and whether it moves: `NAME`, `FILE`, or either with `:moving` or `:still`.
///
/// A text that is no name is a file. A ball, a video and a folder of pictures move if nothing is
/// said; all others stand still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    what: What,
    moving: Option<bool>,
    show: Show,
}

/// How the pictures of a file fill the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Show {
    /// Out of shape, if need be, instead of cut off where they are longer.
    stretched: bool,
    /// Frames that each picture of a folder stays.
    frames: u64,
}

impl Default for Show {
    fn default() -> Self {
        Self { stretched: false, frames: 1 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// The index in [`NAMED`].
    Named(usize),
    File(PathBuf),
}

impl Spec {
    /// The pictures of a file, or of a folder's `0.jpg`, `1.jpg` and so on.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { what: What::File(path.into()), moving: None, show: Show::default() }
    }

    /// A scene of [`NAMED`]; a name that is not there is a file's.
    pub fn named(name: &str) -> Self {
        match NAMED.iter().position(|scene| scene.name == name) {
            Some(index) => Self { what: What::Named(index), moving: None, show: Show::default() },
            None => Self::file(name),
        }
    }

    /// The same, in motion.
    #[must_use]
    pub fn moving(self) -> Self {
        Self { moving: Some(true), ..self }
    }

    /// The same, with pictures of another shape stretched to the scene's.
    #[must_use]
    pub fn stretched(self) -> Self {
        Self { show: Show { stretched: true, ..self.show }, ..self }
    }

    /// The same, with each picture of a folder shown for so many frames, at least one.
    #[must_use]
    pub fn each_for(self, frames: u64) -> Self {
        Self { show: Show { frames: frames.max(1), ..self.show }, ..self }
    }

    /// The same, with the path taken from this folder if it is not absolute.
    #[must_use]
    pub fn relative_to(self, folder: &std::path::Path) -> Self {
        match self.what {
            What::File(path) => Self { what: What::File(folder.join(path)), ..self },
            What::Named(_) => self,
        }
    }

    /// Opens the scene for pictures of this size, in pixels.
    pub fn open(&self, size: Size) -> Result<SceneView, SceneError> {
        let (scene, motion, moves) = match &self.what {
            What::Named(index) => {
                let Named { name, make, motion, .. } = &NAMED[*index];
                (make(size), *motion, *name == "ball")
            }
            What::File(path) => {
                let opened = file::open(path, size, self.show)?;
                let motion = if opened.changes { Motion::Own } else { Motion::Pan };
                (opened.scene, motion, opened.changes)
            }
        };
        let motion = self.moving.unwrap_or(moves).then_some(motion);
        Ok(SceneView { scene, motion })
    }
}

impl FromStr for Spec {
    type Err = EmptySpec;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, moving) = match text.rsplit_once(':') {
            Some((name, "moving")) => (name, Some(true)),
            Some((name, "still")) => (name, Some(false)),
            _ => (text, None),
        };
        if name.is_empty() {
            return Err(EmptySpec);
        }
        Ok(Self { moving, ..Self::named(name) })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Named(index) => f.write_str(NAMED[*index].name)?,
            What::File(path) => write!(f, "{}", path.display())?,
        }
        f.write_str(match self.moving {
            None => "",
            Some(true) => ":moving",
            Some(false) => ":still",
        })
    }
}

/// A scene without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scene is {names} or a file; then :moving or :still, if need be", names = names())]
pub struct EmptySpec;

/// The names of all scenes, for people.
fn names() -> String {
    NAMED.map(|scene| scene.name).join(", ")
}

/// A scene as a camera sees it: still, or in motion.
#[derive(Debug)]
pub struct SceneView {
    scene: Box<dyn Scene>,
    motion: Option<Motion>,
}

impl SceneView {
    /// Whether each frame is like the one before.
    pub fn is_still(&self) -> bool {
        self.motion.is_none()
    }

    /// Gets ready for the rows of this frame.
    pub fn prepare(&mut self, frame: u64) {
        self.scene.prepare(if self.motion == Some(Motion::Own) { frame } else { 0 });
    }

    /// Writes row `y` of a frame.
    pub fn row(&self, frame: u64, y: usize, row: &mut [[f32; 3]]) {
        match self.motion {
            None => self.scene.row(0, y, row),
            Some(Motion::Own) => self.scene.row(frame, y, row),
            Some(Motion::Pan) => {
                self.scene.row(0, y, row);
                row.rotate_right((frame.wrapping_mul(PAN) % row.len() as u64) as usize);
            }
        }
    }
}

/// A position as a fraction of a length, at the middle of the pixel.
fn fraction(at: usize, length: usize) -> f32 {
    (at as f32 + 0.5) / length as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 192, height: 96 };

    fn rows(view: &mut SceneView, frame: u64) -> Vec<[f32; 3]> {
        view.prepare(frame);
        let mut pixels = vec![[f32::NAN; 3]; SIZE.columns() * SIZE.rows()];
        for (y, row) in pixels.chunks_mut(SIZE.columns()).enumerate() {
            view.row(frame, y, row);
        }
        pixels
    }

    #[test]
    fn every_scene_is_light_and_moves_when_told() {
        for Named { name, .. } in NAMED {
            let mut still = format!("{name}:still").parse::<Spec>().unwrap().open(SIZE).unwrap();
            assert!(still.is_still(), "{name}");
            let first = rows(&mut still, 0);
            assert!(first.iter().flatten().all(|light| (0.0..=1.0).contains(light)), "{name}");
            assert_eq!(rows(&mut still, 7), first, "{name}");
            let mut moving = format!("{name}:moving").parse::<Spec>().unwrap().open(SIZE).unwrap();
            assert!(!moving.is_still());
            assert_eq!(rows(&mut moving, 0), first, "{name}");
            // One colour looks the same wherever it moves.
            assert_eq!(rows(&mut moving, 7) == first, name == "solid", "{name}");
        }
    }

    #[test]
    fn scenes_read_back_as_they_are_written() {
        for text in ["bars", "colorchecker:moving", "ball:still", "a.png", "/tmp/b:c.y4m:moving"] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
        assert_eq!("./bars".parse::<Spec>(), Ok(Spec::file("./bars")));
        assert_eq!("".parse::<Spec>(), Err(EmptySpec));
        assert_eq!(":moving".parse::<Spec>(), Err(EmptySpec));
    }
}
