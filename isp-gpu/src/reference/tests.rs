use super::*;
use crate::params::{ColourCorrection, Defects, Demosaic, Denoise, Shading, Tone};
use crate::view::{Crop, Orientation};

/// The samples are the levels.
const LINEAR: IspParams = IspParams {
    defects: None,
    black_level: 0.0,
    shading: Shading { coefficients: [[0.0; 3]; 3] },
    denoise: None,
    gains: [1.0; 3],
    demosaic: Demosaic::Bilinear,
    colour: ColourCorrection {
        matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        saturation: 1.0,
    },
    tone: Tone { gamma: 1.0, contrast: 1.0 },
    sharpen: 0.0,
};

fn srggb8(cfa: Cfa) -> RawFormat {
    RawFormat::SRGGB8.with_cfa(Some(cfa))
}

fn image(format: RawFormat, bytes: &[u8], width: usize) -> RawImage<'_> {
    RawImage { format, size: (width as u32, (bytes.len() / width) as u32), stride: width, bytes }
}

/// The picture as RGB triples in eight bits.
fn rgb(cfa: Cfa, raw: &[u8], width: usize, params: &IspParams) -> Vec<[u8; 3]> {
    let raw = image(srggb8(cfa), raw, width);
    let planes = reference(&raw, params, &View::default(), Fourcc::XBGR8888, raw.size);
    planes[0].chunks_exact(4).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

#[test]
#[rustfmt::skip]
fn bilinear_is_as_computed_by_hand() {
    let raw = [
        8, 100, 16, 30,
        40, 200, 48, 90,
        24, 60, 32, 70,
    ];
    let middle = |cfa| {
        let pixels = rgb(cfa, &raw, 4, &LINEAR);
        [pixels[5], pixels[6]]
    };
    // (1, 1): itself 200; beside 44; above 80; cross 62; corners 20.
    // (2, 1): itself 48; beside 145; above 24; cross 84.5; corners 65.
    assert_eq!(middle(Cfa::Rggb), [[20, 62, 200], [24, 48, 145]]);
    assert_eq!(middle(Cfa::Bggr), [[200, 62, 20], [145, 48, 24]]);
    // In GRBG the second row is blue, green: (1, 1) is green with blue beside it.
    assert_eq!(middle(Cfa::Grbg), [[80, 200, 44], [65, 85, 48]]);
    assert_eq!(middle(Cfa::Gbrg), [[44, 200, 80], [48, 85, 65]]);
}

#[test]
#[rustfmt::skip]
fn borders_are_mirrored_without_repeating_the_edge() {
    let raw = [
        8, 100, 16,
        40, 200, 48,
        24, 60, 32,
    ];
    let pixels = rgb(Cfa::Rggb, &raw, 3, &LINEAR);
    // (0, 0): left of it is 100 again, above it 40 again, in the corners 200.
    assert_eq!(pixels[0], [8, 70, 200]);
    // (2, 2): right of it is 60 again, below it 48 again.
    assert_eq!(pixels[8], [32, 54, 200]);
    // (1, 0), green beside red: above and below it 200.
    assert_eq!(pixels[1], [12, 100, 200]);
}

#[test]
#[rustfmt::skip]
fn malvar_is_as_computed_by_hand() {
    let raw = [
        10, 20, 30, 40, 50,
        60, 70, 80, 90, 100,
        15, 25, 95, 45, 55,
        65, 75, 85, 99, 11,
        12, 13, 14, 16, 17,
    ];
    let params = IspParams { demosaic: Demosaic::Malvar, ..LINEAR };
    let centre = |cfa| rgb(cfa, &raw, 5, &params)[12];
    // Itself 95; beside 25 + 45; above 80 + 85; corners 70 + 90 + 75 + 99; far beside 15 + 55; far
    // above 30 + 14. Green: (4*95 + 2*235 - 114) / 8 = 92; opposite: (6*95 + 2*334 - 1.5*114) / 8.
    assert_eq!(centre(Cfa::Rggb), [95, 92, 133]);
    assert_eq!(centre(Cfa::Bggr), [133, 92, 95]);
    // Of the row: (5*95 + 4*70 - 70 - 334 + 0.5*44) / 8 = 46.6; of the column:
    // (5*95 + 4*165 - 44 - 334 + 0.5*70) / 8 = 99.
    assert_eq!(centre(Cfa::Grbg), [47, 95, 99]);
    assert_eq!(centre(Cfa::Gbrg), [99, 95, 47]);
}

#[test]
fn the_smallest_mosaic_has_every_colour_everywhere() {
    let colours = [10, 20, 30];
    for cfa in Cfa::ALL {
        let raw: Vec<u8> =
            [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| colours[cfa.colour_at(x, y)]).to_vec();
        assert_eq!(rgb(cfa, &raw, 2, &LINEAR), [colours; 4], "{cfa}");
    }
}

#[test]
fn flat_grey_stays_flat_to_the_edges() {
    for (width, height) in [(2, 2), (3, 2), (2, 5), (33, 17)] {
        for cfa in Cfa::ALL {
            for demosaic in Demosaic::ALL {
                let params = IspParams { demosaic, ..IspParams::default() };
                let pixels = rgb(cfa, &vec![100; width * height], width, &params);
                assert_eq!(pixels.len(), width * height);
                // 255 * ((100 - 16) / (255 - 16)) ^ (1 / 2.2) = 158.58
                assert!(pixels.iter().all(|pixel| *pixel == [159; 3]), "{width}x{height} {cfa}");
            }
        }
    }
}

#[test]
fn black_level_gains_and_clipping_are_those_of_the_formula() {
    let params = IspParams { black_level: 55.0 / 255.0, gains: [2.0, 1.0, 0.5], ..LINEAR };
    // (155 - 55) / 200 = 0.5
    assert_eq!(rgb(Cfa::Rggb, &[155; 4], 2, &params), [[255, 128, 64]; 4]);
    // Above full scale and below black.
    assert_eq!(rgb(Cfa::Rggb, &[255; 4], 2, &params), [[255, 255, 128]; 4]);
    assert_eq!(rgb(Cfa::Rggb, &[54; 4], 2, &params), [[0; 3]; 4]);
}

#[test]
fn every_bit_of_every_format_counts() {
    for format in RawFormat::all() {
        let params = IspParams { gains: [16.0; 3], ..LINEAR };
        let level = |sample: u16| {
            let mut bytes = vec![0; 2 * format.row_bytes(4) as usize];
            let stride = bytes.len() / 2;
            bytes.chunks_mut(stride).for_each(|row| format.pack(&[sample; 4], row));
            let raw = RawImage { format, size: (4, 2), stride, bytes: &bytes };
            develop(&raw, &params).levels[0]
        };
        let step = 1.0 / f32::from(format.white());
        // White balance is for colours.
        let gain = if format.cfa().is_some() { 16.0 } else { 1.0 };
        let difference = level(7)[1] - level(6)[1];
        let should = (gain * step).min(1.0);
        assert!((difference - should).abs() < 0.1 * should, "{format}: {difference} {should}");
    }
}

#[test]
fn what_sticks_out_is_replaced_by_the_nearest_neighbour_of_its_colour() {
    let (width, params) = (9, IspParams { defects: Some(Defects { threshold: 0.1 }), ..LINEAR });
    for cfa in [Some(Cfa::Rggb), None] {
        for (defect, neighbour, replaced) in
            [(200, 110, 110), (0, 90, 90), (130, 110, 130), (80, 90, 80)]
        {
            let mut raw = vec![100; 81];
            let period = if cfa.is_some() { 2 } else { 1 };
            raw[4 * width + 4] = defect;
            raw[4 * width + 4 + period] = neighbour;
            let raw = image(RawFormat::SRGGB8.with_cfa(cfa), &raw, width);
            let [red, ..] = develop(&raw, &params).levels[4 * width + 4];
            assert_eq!((red * 255.0).round(), f32::from(replaced as u8), "{defect} {neighbour}");
        }
    }
}

#[test]
fn corners_become_as_light_as_the_middle() {
    let shading = Shading { coefficients: [[0.5, 0.25, 0.25]; 3] };
    let raw = image("Y8".parse().unwrap(), &[100; 9 * 9], 9);
    let picture = develop(&raw, &IspParams { shading, ..LINEAR });
    let level = |x: usize, y: usize| (picture.levels[y * 9 + x][1] * 255.0).round();
    assert_eq!((level(4, 4), level(0, 0), level(8, 8)), (100.0, 200.0, 200.0));
    // Half-way to the side: r^2 is 1/8.
    assert_eq!(level(6, 4), (100.0_f32 * (1.0 + 0.5 / 8.0 + 0.25 / 64.0 + 0.25 / 512.0)).round());
}

#[test]
fn noise_becomes_less_and_edges_stay() {
    let noisy: Vec<u8> = (0..32 * 32u32)
        .map(|at| {
            let noise = (at.wrapping_mul(0x9e37_79b9) >> 28) as u8;
            if at % 32 < 16 { 40 + noise } else { 200 + noise }
        })
        .collect();
    let spread = |params: &IspParams| {
        let picture = develop(&image(RawFormat::SRGGB8, &noisy, 32), params);
        let row = |x: std::ops::Range<usize>| {
            let levels: Vec<f32> = (8..24)
                .flat_map(|y| x.clone().map(move |x| (x, y)))
                .map(|(x, y)| picture.levels[y * 32 + x][1] * 255.0)
                .collect();
            let mean = levels.iter().sum::<f32>() / levels.len() as f32;
            let variance = levels.iter().map(|level| (level - mean).powi(2)).sum::<f32>();
            (mean, variance / levels.len() as f32)
        };
        (row(2..12), row(20..30))
    };
    let ((dark, noise), (light, _)) = spread(&LINEAR);
    let denoised = IspParams { denoise: Some(Denoise { range: 0.2 }), ..LINEAR };
    let ((dark_after, noise_after), (light_after, _)) = spread(&denoised);
    assert!(noise_after < 0.5 * noise, "{noise} became {noise_after}");
    assert!((dark - dark_after).abs() < 1.0 && (light - light_after).abs() < 1.0);
}

#[test]
fn sharpening_steepens_edges_and_leaves_flat_parts() {
    let raw: Vec<u8> = (0..16 * 16).map(|at| if at % 16 < 8 { 100 } else { 150 }).collect();
    let levels = |sharpen| {
        let picture =
            develop(&image("Y8".parse().unwrap(), &raw, 16), &IspParams { sharpen, ..LINEAR });
        [1, 7, 8, 14].map(|x| (picture.levels[8 * 16 + x][0] * 255.0).round())
    };
    assert_eq!(levels(0.0), [100.0, 100.0, 150.0, 150.0]);
    // The blur takes a quarter of the step.
    assert_eq!(levels(1.0), [100.0, 88.0, 163.0, 150.0]);
}

/// A picture of pixels that are all different.
fn ramp(width: usize, height: usize) -> DevelopedImage {
    DevelopedImage::new(width, height, |x, y| [x as f32 / 100.0, y as f32 / 100.0, 0.5])
}

#[test]
fn turning_moves_the_corners() {
    let picture = ramp(3, 2);
    // Column and row in the picture of the output's first pixel, and of its last in the first row.
    for (orientation, first, last) in [
        (Orientation::UPRIGHT, (0, 0), (2, 0)),
        (Orientation::ROTATE_90, (0, 1), (0, 0)),
        (Orientation::ROTATE_180, (2, 1), (0, 1)),
        (Orientation::ROTATE_270, (2, 0), (2, 1)),
        (Orientation { mirror: true, ..Orientation::UPRIGHT }, (2, 0), (0, 0)),
        (Orientation { flip: true, ..Orientation::UPRIGHT }, (0, 1), (2, 1)),
        (Orientation { transpose: true, ..Orientation::UPRIGHT }, (0, 0), (0, 1)),
    ] {
        let view = View { orientation, ..View::default() };
        let size = orientation.size((3, 2));
        let shown = view::show(&picture, &view, size);
        let source = |(x, y): (usize, usize)| picture.levels[y * 3 + x];
        assert_eq!(shown.levels[0], source(first), "{orientation:?}");
        assert_eq!(shown.levels[shown.width - 1], source(last), "{orientation:?}");
    }
}

#[test]
fn scaling_keeps_a_ramp_and_a_crop_its_place() {
    let picture = ramp(64, 32);
    let crop = Crop { x: 16, y: 8, width: 32, height: 16 };
    for size in [(32, 16), (16, 8), (64, 32), (11, 5)] {
        let view = View { crop: Some(crop), ..View::default() };
        let shown = view::show(&picture, &view, size);
        // The middle of the crop is the middle of the output.
        let middle: [f32; 2] = [0, 1].map(|channel| {
            shown.levels.iter().map(|levels| levels[channel]).sum::<f32>()
                / shown.levels.len() as f32
        });
        assert!((middle[0] - 0.315).abs() < 1e-3 && (middle[1] - 0.155).abs() < 1e-3, "{size:?}");
        assert!(shown.levels.iter().all(|[x, ..]| (0.16..=0.47).contains(x)), "{size:?}");
    }
}

#[test]
fn bytes_are_in_the_order_of_the_format() {
    let picture = DevelopedImage { width: 1, height: 1, levels: vec![[1.0, 0.5, 0.0]] };
    let bytes = |format| encode::bytes(&picture, format, ColourSpace::SRGB);
    for (format, expected) in [
        (Fourcc::XRGB8888, vec![0, 128, 255, 255]),
        (Fourcc::ARGB8888, vec![0, 128, 255, 255]),
        (Fourcc::XBGR8888, vec![255, 128, 0, 255]),
        (Fourcc::ABGR8888, vec![255, 128, 0, 255]),
        (Fourcc::RGB565, (31u16 << 11 | 32 << 5).to_le_bytes().to_vec()),
        (Fourcc::XRGB2101010, (3u32 << 30 | 1023 << 20 | 512 << 10).to_le_bytes().to_vec()),
    ] {
        assert_eq!(bytes(format), [expected], "{format}");
    }
}

#[test]
fn yuv_is_that_of_the_standards() {
    // Pure red: luma 76.245 and 54.213 of 255.
    let red = DevelopedImage { width: 3, height: 3, levels: vec![[1.0, 0.0, 0.0]; 9] };
    let [sd, hd, jpeg] = [ColourSpace::of_video(576), ColourSpace::REC709, ColourSpace::SYCC];
    let bytes = |format, space| encode::bytes(&red, format, space);
    let (y, cb, cr) = (76, 85, 255);
    let full = bytes(Fourcc::NV12, jpeg);
    assert_eq!(full, [vec![y; 9], [cb, cr].repeat(4)]);
    let full = bytes(Fourcc::NV21, jpeg);
    assert_eq!(full, [vec![y; 9], [cr, cb].repeat(4)]);
    let full = bytes(Fourcc::YUV420, jpeg);
    assert_eq!(full, [vec![y; 9], vec![cb; 4], vec![cr; 4]]);
    let full = bytes(Fourcc::YUYV, jpeg);
    assert_eq!(full, [[y, cb, y, cr].repeat(6)]);
    // ITU-R BT.601 and BT.709 give red as 81, 90, 240 and 63, 102, 240.
    let limited = bytes(Fourcc::NV12, sd);
    assert_eq!(limited, [vec![81; 9], [90, 240].repeat(4)]);
    let limited = bytes(Fourcc::NV12, hd);
    assert_eq!(limited, [vec![63; 9], [102, 240].repeat(4)]);
}
