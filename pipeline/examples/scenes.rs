//! Draws every scene that has a name: `cargo run -p vcam-pipeline --example scenes --
//! docs/scenes.png`.
//!
//! From left to right and down, in the order of `scene::NAMED`, as a camera that sends pictures
//! sees them; the last field is the ColorChecker as raw numbers, in the dark: exposed for two
//! milliseconds at 150 lux and a gain of 16, so that its noise shows.

use std::error::Error;
use std::time::Duration;

use image::{GenericImage, Rgb, RgbImage};
use vcam_pipeline::sensor::delay::{Controls, EXPOSURE_DELAY};
use vcam_pipeline::sensor::model::lens::Lens;
use vcam_pipeline::sensor::scene::NAMED;
use vcam_pipeline::sensor::{Light, Sensor, Settings};

const TILE: (u32, u32) = (192, 128);
const COLUMNS: u32 = 4;

fn tile(settings: &Settings, controls: Controls, bytes: u32) -> Result<RgbImage, Box<dyn Error>> {
    let mut sensor = Sensor::open(settings)?;
    sensor.set_controls(controls);
    let stride = (TILE.0 * bytes) as usize;
    let mut frame = vec![0; stride * TILE.1 as usize];
    for sequence in 0..=EXPOSURE_DELAY as u64 {
        sensor.expose(sequence, Duration::ZERO);
    }
    sensor.fill(20, &mut frame, stride);
    Ok(RgbImage::from_fn(TILE.0, TILE.1, |x, y| {
        let pixel = &frame[y as usize * stride + (x * bytes) as usize..][..bytes as usize];
        match pixel {
            [blue, green, red, _] => Rgb([*red, *green, *blue]),
            other => Rgb([other[0]; 3]),
        }
    }))
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("where to? name a PNG file")?;
    // `bars100` is `bars`, and brighter.
    let shown = || NAMED.iter().filter(|scene| scene.name != "bars100");
    let rows = (shown().count() as u32 + 1).div_ceil(COLUMNS);
    let mut sheet = RgbImage::new(COLUMNS * TILE.0, rows * TILE.1);
    let mut place = 0;
    let mut put = |tile: &RgbImage| {
        let at = (place % COLUMNS * TILE.0, place / COLUMNS * TILE.1);
        place += 1;
        sheet.copy_from(tile, at.0, at.1)
    };
    // Exposed so that white just does not clip.
    let bright = Settings {
        size: TILE.into(),
        format: "XR24".parse()?,
        light: Some(Light { lux: 1000.0, ..Light::default() }),
        lens: Some(Lens::ORDINARY),
        ..Settings::default()
    };
    for scene in shown() {
        let settings = Settings { source: scene.name.parse()?, ..bright.clone() };
        put(&tile(&settings, Controls::default(), 4)?)?;
    }
    let dark = Settings {
        format: "SRGGB8".parse()?,
        source: "colorchecker".parse()?,
        light: Some(Light { lux: 150.0, ..Light::default() }),
        ..bright
    };
    put(&tile(&dark, Controls { exposure_us: 2000.0, gain: 16.0 }, 1)?)?;
    sheet.save(path)?;
    Ok(())
}
