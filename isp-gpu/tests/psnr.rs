//! How near each demosaic comes to the scene before the colour filters: `cargo test --test psnr --
//! --nocapture` prints the table of `docs/isp.md`.

#![allow(clippy::unwrap_used)]

use vcam_isp_gpu::reference::develop;
use vcam_isp_gpu::{Cfa, Demosaic, IspParams, RawFormat, RawImage, Tone};
use vcam_testing::demosaic_scenes::{SCENES, SIDE, Scene};

/// The peak signal-to-noise ratio of all three channels in decibels, four pixels from the border.
fn psnr(scene: &Scene, cfa: Cfa, demosaic: Demosaic) -> f64 {
    let format: RawFormat = "SRGGB12".parse().unwrap();
    let format = format.with_cfa(Some(cfa));
    let light = |x: usize, y: usize| (scene.light)(x as f32, y as f32);
    let mut bytes = Vec::new();
    for y in 0..SIDE {
        let samples: Vec<u16> = (0..SIDE)
            .map(|x| {
                let seen = light(x, y)[cfa.colour_at(x as u32, y as u32)];
                (seen * f32::from(format.white())).round() as u16
            })
            .collect();
        let mut row = vec![0; 2 * SIDE];
        format.pack(&samples, &mut row);
        bytes.extend(row);
    }
    let side = SIDE as u32;
    let raw = RawImage { format, size: (side, side), stride: 2 * SIDE, bytes: &bytes };
    let params = IspParams {
        demosaic,
        black_level: 0.0,
        tone: Tone { gamma: 1.0, contrast: 1.0 },
        ..IspParams::default()
    };
    let picture = develop(&raw, &params);
    let (mut sum, mut count) = (0.0, 0.0);
    for y in 4..SIDE - 4 {
        for x in 4..SIDE - 4 {
            let (is, should) = (picture.levels[y * SIDE + x], light(x, y));
            for (is, should) in is.into_iter().zip(should) {
                sum += f64::from(is - should).powi(2);
                count += 1.0;
            }
        }
    }
    -10.0 * (sum / count).log10()
}

#[test]
fn each_demosaic_is_nearer_to_the_scene_than_the_one_before() {
    let mut means = [0.0; 3];
    println!("| scene | bilinear | Malvar | directional |\n|---|---|---|---|");
    for scene in &SCENES {
        let of_all = Demosaic::ALL.map(|demosaic| {
            Cfa::ALL.into_iter().map(|cfa| psnr(scene, cfa, demosaic)).sum::<f64>() / 4.0
        });
        let [bilinear, malvar, directional] = of_all;
        println!("| {} | {bilinear:.1} | {malvar:.1} | {directional:.1} |", scene.name);
        means.iter_mut().zip(of_all).for_each(|(mean, one)| *mean += one / SCENES.len() as f64);
    }
    let [bilinear, malvar, directional] = means;
    println!("| mean | {bilinear:.1} | {malvar:.1} | {directional:.1} |");
    assert!(malvar > bilinear + 2.0, "Malvar: {malvar:.2} dB, bilinear: {bilinear:.2} dB");
    assert!(directional > malvar + 0.5, "directional: {directional:.2} dB, {malvar:.2} dB");
}
