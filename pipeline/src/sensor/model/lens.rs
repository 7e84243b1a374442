//! The lens: it darkens the corners, and it may blur.

use vcam_isp_gpu::Shading;

/// The longest standard deviation of a blur, in pixels.
pub const MAX_BLUR: f32 = 8.0;

/// A lens: its effects on light.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lens {
    /// The part of the light that the corners lack: 0 to below 1.
    pub vignetting: f32,
    /// Standard deviation of the blur, in pixels of the sensor's array: 0 to [`MAX_BLUR`].
    pub blur: f32,
}

impl Lens {
    /// A lens without fault.
    pub const IDEAL: Self = Self { vignetting: 0.0, blur: 0.0 };
    /// A lens as most cameras have it: the corners get 30 % less light.
    pub const ORDINARY: Self = Self { vignetting: 0.3, blur: 0.0 };

    /// The shading correction that undoes its vignetting exactly: where the light is `1 / (1 + c
    /// r^2)^2`, the gain is `1 + 2 c r^2 + c^2 r^4`.
    pub fn shading(&self) -> Shading {
        let corner = tangent_in_corner(self.vignetting);
        Shading { coefficients: [[2.0 * corner, corner * corner, 0.0]; 3] }
    }
}

/// The square of the tangent of the angle in the corners: `cos^4 = 1 / (1 + tan^2)^2`.
fn tangent_in_corner(vignetting: f32) -> f32 {
    (1.0 - vignetting).powf(-0.5) - 1.0
}

/// How much light arrives where: the cosine to the fourth of the angle, as the textbooks have it.
#[derive(Debug)]
pub(in crate::sensor) struct Falloff {
    /// The square of the tangent of the angle: the part of each column, and of each row.
    columns: Vec<f32>,
    rows: Vec<f32>,
}

impl Falloff {
    /// `None` where all light arrives.
    pub(in crate::sensor) fn new(vignetting: f32, width: usize, height: usize) -> Option<Self> {
        if vignetting <= 0.0 {
            return None;
        }
        let corner = tangent_in_corner(vignetting);
        let diagonal = (width * width + height * height) as f32 / 4.0;
        let part = |at: usize, length: usize| {
            let from_middle = at as f32 + 0.5 - length as f32 / 2.0;
            corner * from_middle * from_middle / diagonal
        };
        Some(Self {
            columns: (0..width).map(|x| part(x, width)).collect(),
            rows: (0..height).map(|y| part(y, height)).collect(),
        })
    }

    /// Darkens row `y`.
    pub(in crate::sensor) fn apply(&self, y: usize, row: &mut [[f32; 3]]) {
        let own = 1.0 + self.rows[y];
        for (pixel, column) in row.iter_mut().zip(&self.columns) {
            let angle = own + column;
            let part = 1.0 / (angle * angle);
            *pixel = pixel.map(|light| light * part);
        }
    }
}

/// A blur, as the weights of the pixels to one side: the pixel itself first.
#[derive(Debug)]
pub(in crate::sensor) struct Blur {
    weights: Vec<f32>,
}

impl Blur {
    /// `None` where all is sharp.
    pub(in crate::sensor) fn new(deviation: f32) -> Option<Self> {
        if deviation <= 0.0 {
            return None;
        }
        let reach = (3.0 * deviation).ceil() as usize;
        let weight = |at: usize| (-((at * at) as f32) / (2.0 * deviation * deviation)).exp();
        let weights: Vec<f32> = (0..=reach).map(weight).collect();
        let sum: f32 = 2.0 * weights.iter().sum::<f32>() - weights[0];
        Some(Self { weights: weights.iter().map(|weight| weight / sum).collect() })
    }

    /// How many rows it looks to either side.
    pub(in crate::sensor) fn reach(&self) -> usize {
        self.weights.len() - 1
    }

    /// The weight of a pixel so many rows or columns away.
    pub(in crate::sensor) fn weight(&self, distance: usize) -> f32 {
        self.weights[distance]
    }

    /// Blurs a row along itself; its border pixels go on beyond it.
    pub(in crate::sensor) fn along(&self, row: &[[f32; 3]], out: &mut [[f32; 3]]) {
        let Some(last) = row.len().checked_sub(1) else { return };
        for (x, out) in out.iter_mut().enumerate() {
            let mut sum = row[x.min(last)].map(|light| light * self.weights[0]);
            for (distance, weight) in self.weights.iter().enumerate().skip(1) {
                let sides = [x.saturating_sub(distance), (x + distance).min(last)];
                for (channel, sum) in sum.iter_mut().enumerate() {
                    *sum += weight * (row[sides[0]][channel] + row[sides[1]][channel]);
                }
            }
            *out = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_lack_what_they_should() {
        let falloff = Falloff::new(0.4, 401, 301).unwrap();
        let mut row = vec![[1.0; 3]; 401];
        falloff.apply(150, &mut row);
        assert!((row[200][0] - 1.0).abs() < 1e-6);
        let mut row = vec![[1.0; 3]; 401];
        falloff.apply(0, &mut row);
        // The middle of the corner's pixel is a little nearer than the corner.
        assert!((row[0][0] - 0.6).abs() < 5e-3, "{:?}", row[0]);
        assert!(Falloff::new(0.0, 4, 4).is_none());
    }

    #[test]
    fn shading_makes_up_for_vignetting() {
        let lens = Lens { vignetting: 0.4, blur: 0.0 };
        let shading = lens.shading();
        let falloff = Falloff::new(lens.vignetting, 401, 301).unwrap();
        for y in [0, 70, 150] {
            let mut row = vec![[1.0; 3]; 401];
            falloff.apply(y, &mut row);
            for (x, light) in row.iter().enumerate() {
                let [dx, dy] = [x as f32 + 0.5 - 200.5, y as f32 + 0.5 - 150.5];
                let squared = (dx * dx + dy * dy) / (200.5 * 200.5 + 150.5 * 150.5);
                let seen = light[1] * shading.gain(1, squared);
                assert!((seen - 1.0).abs() < 1e-4, "{seen} at {x},{y}");
            }
        }
    }

    #[test]
    fn a_blur_keeps_the_light() {
        let blur = Blur::new(2.0).unwrap();
        let mut row = vec![[0.0; 3]; 64];
        row[32] = [1.0; 3];
        let mut out = vec![[0.0; 3]; 64];
        blur.along(&row, &mut out);
        let sum: f32 = out.iter().map(|pixel| pixel[0]).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        // As wide as it should be.
        let capture: f32 =
            out.iter().enumerate().map(|(x, p)| p[0] * (x as f32 - 32.0).powi(2)).sum();
        assert!((capture - 4.0).abs() < 0.1, "{capture}");
        let even = vec![[0.7; 3]; 64];
        blur.along(&even, &mut out);
        assert!(out.iter().all(|pixel| (pixel[1] - 0.7).abs() < 1e-6));
    }
}
