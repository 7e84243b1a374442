//! Scenes before the colour filters, to measure how near a demosaic comes to them.

/// Width and height of each, in pixels.
pub const SIDE: usize = 256;

/// Red, green and blue.
pub type Rgb = [f32; 3];

/// A scene: red, green and blue of each place, from 0 to 1.
#[derive(Debug)]
pub struct Scene {
    /// Its name, for a table.
    pub name: &'static str,
    /// The light of the place x, y in pixels.
    pub light: fn(f32, f32) -> Rgb,
}

/// Smooth noise of one octave: random values on a grid, and what is between them.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let at = |x: f32, y: f32| {
        let mut bits = (x as i32 as u32).wrapping_mul(0x9e37_79b9)
            ^ (y as i32 as u32).wrapping_mul(0x85eb_ca6b)
            ^ seed.wrapping_mul(0xc2b2_ae35);
        bits ^= bits >> 15;
        bits = bits.wrapping_mul(0x2c1b_3c6d);
        bits ^= bits >> 12;
        bits = bits.wrapping_mul(0x297a_2d39);
        bits ^= bits >> 15;
        bits as f32 / u32::MAX as f32
    };
    let (left, top) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (across, down) = (smooth(x - left), smooth(y - top));
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    mix(
        mix(at(left, top), at(left + 1.0, top), across),
        mix(at(left, top + 1.0), at(left + 1.0, top + 1.0), across),
        down,
    )
}

/// As in photographs, power falls with the frequency, and colours change more slowly than
/// brightness does.
fn natural(x: f32, y: f32) -> Rgb {
    let octaves = [(64.0, 0.4), (24.0, 0.25), (9.0, 0.17), (4.0, 0.11), (2.2, 0.07)];
    let brightness: f32 = octaves
        .iter()
        .zip(0..)
        .map(|((size, part), seed)| part * noise(x / size, y / size, seed))
        .sum();
    [11, 12, 13].map(|seed| {
        let tint = 0.75 + 0.5 * noise(x / 40.0, y / 40.0, seed);
        (brightness * tint).clamp(0.02, 0.98)
    })
}

/// Every scene.
pub const SCENES: [Scene; 4] = [
    Scene { name: "natural: noise of five octaves, soft colours", light: natural },
    Scene {
        name: "edges: slanted bars of two colours",
        light: |x, y| {
            // The mean over a pixel's width, as a lens would give it.
            let phase = ((0.8 * x + 0.35 * y) / 14.0).sin() * 14.0 / 0.87;
            let part = (phase * 0.5 + 0.5).clamp(0.0, 1.0);
            let (one, other) = ([0.8, 0.55, 0.3], [0.15, 0.25, 0.45]);
            std::array::from_fn(|c| one[c] * part + other[c] * (1.0 - part))
        },
    },
    Scene {
        name: "zone plate: grey, up to 0.35 cycles a pixel",
        light: |x, y| {
            let (dx, dy) = (x - SIDE as f32 / 2.0, y - SIDE as f32 / 2.0);
            let rate = std::f32::consts::PI * 0.35 / (SIDE as f32 / 2.0);
            [0.5 + 0.4 * (rate * (dx * dx + dy * dy)).cos(); 3]
        },
    },
    Scene {
        name: "text: thin dark strokes on paper",
        light: |x, y| {
            let stroke = |t: f32| (1.6 - (t.rem_euclid(9.0) - 4.5).abs()).clamp(0.0, 1.0);
            let ink = (stroke(x + 0.3 * (y / 24.0).floor()) * noise(x / 20.0, y / 12.0, 5).round())
                .max(stroke(y) * noise(x / 12.0, y / 20.0, 6).round());
            [0.85, 0.8, 0.7].map(|paper| paper * (1.0 - 0.85 * ink))
        },
    },
];
