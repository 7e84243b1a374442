//! What each pass does, as pictures: left without it, right with it.
//!
//! `passes FOLDER` makes the pictures of `docs/isp.md`.

use std::error::Error;
use std::path::Path;

use vcam_isp_gpu::reference::{DevelopedImage, develop};
use vcam_isp_gpu::{
    Cfa, ColourCorrection, Defects, Demosaic, Denoise, IspParams, RawFormat, RawImage, Shading,
    Tone,
};

const SIZE: (usize, usize) = (160, 120);

/// How much of a scene's light the middle of the frame loses towards the corners.
const VIGNETTE: f32 = 0.55;

/// The sensor's response to red, green and blue: rows are its colours.
const SENSOR: [[f32; 3]; 3] = [[0.42, 0.12, 0.02], [0.18, 0.70, 0.12], [0.03, 0.16, 0.44]];
const BLACK: f32 = 0.06;

/// Patches, a fine pattern and strokes, in linear light.
fn scene(x: usize, y: usize) -> [f32; 3] {
    const PATCHES: [[f32; 3]; 12] = [
        [0.17, 0.08, 0.06],
        [0.56, 0.30, 0.22],
        [0.12, 0.19, 0.34],
        [0.11, 0.15, 0.05],
        [0.68, 0.20, 0.03],
        [0.08, 0.10, 0.38],
        [0.53, 0.09, 0.12],
        [0.33, 0.50, 0.05],
        [0.75, 0.36, 0.02],
        [0.04, 0.05, 0.28],
        [0.06, 0.29, 0.06],
        [0.43, 0.03, 0.04],
    ];
    let (column, row) = (x / 40, y / 30);
    if row < 3 {
        let inside = x % 40 > 2 && y % 30 > 2;
        return if inside { PATCHES[row * 4 + column] } else { [0.02; 3] };
    }
    let (dx, dy) = (x as f32 - 40.0, y as f32 - 120.0);
    if x < 80 {
        [0.35 + 0.3 * ((dx * dx + dy * dy) / 52.0).cos(); 3]
    } else {
        let ink = x % 7 < 2 && !(x / 7 + y / 9).is_multiple_of(3) || y % 10 < 2;
        if ink { [0.04, 0.04, 0.05] } else { [0.7, 0.66, 0.6] }
    }
}

/// The scene as a cheap sensor behind a cheap lens sees it.
fn raw(format: RawFormat, cfa: Cfa) -> Vec<u8> {
    let mut state = 1u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32
    };
    let (width, height) = SIZE;
    let white = f32::from(format.white());
    let mut bytes = Vec::new();
    for y in 0..height {
        let samples: Vec<u16> = (0..width)
            .map(|x| {
                let row = SENSOR[cfa.colour_at(x as u32, y as u32)];
                let light: f32 =
                    row.iter().zip(scene(x, y)).map(|(part, light)| part * light).sum();
                let offset = |at: usize, count: usize| 2.0 * at as f32 / count as f32 - 1.0;
                let squared = (offset(x, width).powi(2) + offset(y, height).powi(2)) / 2.0;
                let light = light / (1.0 + VIGNETTE * squared);
                let noise = (random() + random() + random() - 1.5) * (0.004 + 0.03 * light.sqrt());
                let hot = if random() > 0.997 { 0.5 } else { 0.0 };
                let full = BLACK + (1.0 - BLACK) * (light + noise) + hot;
                (full.clamp(0.0, 1.0) * white) as u16
            })
            .collect();
        let mut row = vec![0; 2 * width];
        format.pack(&samples, &mut row);
        bytes.extend(row);
    }
    bytes
}

fn good() -> IspParams {
    IspParams {
        defects: Some(Defects { threshold: 0.05 }),
        black_level: BLACK,
        shading: Shading { coefficients: [[VIGNETTE, 0.0, 0.0]; 3] },
        denoise: Some(Denoise { range: 0.06 }),
        gains: [1.9, 1.0, 1.6],
        demosaic: Demosaic::Directional,
        colour: ColourCorrection {
            matrix: [[1.38, -0.36, -0.02], [-0.30, 1.55, -0.25], [0.00, -0.52, 1.52]],
            saturation: 1.0,
        },
        tone: Tone { gamma: 2.2, contrast: 1.15 },
        sharpen: 0.6,
    }
}

/// Saves two pictures side by side, each pixel twice as large.
fn save(folder: &Path, name: &str, pictures: [&DevelopedImage; 2]) -> Result<(), Box<dyn Error>> {
    let (width, height) = SIZE;
    let picture = image::RgbImage::from_fn(4 * width as u32 + 8, 2 * height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let (side, column) = match x.checked_sub(2 * width + 8) {
            Some(right) => (1, right / 2),
            None => (0, x / 2),
        };
        // The gap between them is white.
        let levels = match column < width {
            true => pictures[side].levels[y / 2 * width + column],
            false => [1.0; 3],
        };
        image::Rgb(levels.map(|level| (level * 255.0).round() as u8))
    });
    Ok(picture.save(folder.join(format!("{name}.png")))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the pictures")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let format: RawFormat = "SRGGB12".parse()?;
    let bytes = raw(format, Cfa::Rggb);
    let size = (SIZE.0 as u32, SIZE.1 as u32);
    let image = RawImage { format, size, stride: 2 * SIZE.0, bytes: &bytes };
    let with = good();
    let after = develop(&image, &with);
    let linear = Tone { gamma: 1.0, contrast: 1.0 };
    for (name, without) in [
        ("defects", IspParams { defects: None, ..with }),
        ("black-level", IspParams { black_level: 0.0, ..with }),
        ("shading", IspParams { shading: Shading::default(), ..with }),
        ("denoise", IspParams { denoise: None, ..with }),
        ("white-balance", IspParams { gains: [1.0; 3], ..with }),
        ("demosaic", IspParams { demosaic: Demosaic::Bilinear, ..with }),
        ("colour", IspParams { colour: ColourCorrection::default(), ..with }),
        ("tone", IspParams { tone: linear, ..with }),
        ("sharpen", IspParams { sharpen: 0.0, ..with }),
    ] {
        save(folder, name, [&develop(&image, &without), &after])?;
    }
    Ok(())
}
