//! The model of a camera before a scene: lamp, lens, filters, pixels, converter.
//!
//! ```text
//! scene ─▶ lamp ─▶ lens ─▶ filters ─▶ light of each pixel ─▶ exposure, noise ─▶ numbers
//!       reflects  [lens]  [colour]     (kept while still)       [expose]
//! ```
//!
//! The light of a pixel is that which its filter lets through, as a part of what a white surface
//! sends through a green filter under daylight. It does not depend on exposure or gain, so a scene
//! that stands still is looked at once.

pub mod colour;
pub mod expose;
mod hot;
pub mod lens;
mod mains;
pub mod random;

pub(super) use hot::HotPixels;
pub use mains::Mains;
