use vcam_isp_gpu::raw::Packing;

use super::format::PictureFormat;
use super::model::Mains;
use super::model::lens::Lens;
use super::readout::Readout;
use super::settings::Pixels;
use super::*;

/// No noise, no fault, no lens: what a scene is, and nothing else.
fn ideal(scene: &str) -> Settings {
    Settings {
        source: scene.parse().unwrap(),
        lens: Some(Lens::IDEAL),
        pixels: Pixels { noise: false, hot: 0.0, seed: 0 },
        ..Settings::default()
    }
}

fn raw(text: &str) -> (RawFormat, Format) {
    let format = text.parse().unwrap();
    (format, Format::Raw(format))
}

/// The numbers of a frame, exposed at second 1.
fn frame(sensor: &mut Sensor, sequence: u64) -> Vec<u16> {
    let Format::Raw(format) = sensor.format() else { panic!("the sensor sends raw frames") };
    let Size { width, height } = sensor.size();
    let stride = format.row_bytes(width) as usize;
    let mut bytes = vec![0xee; stride * height as usize];
    sensor.expose(sequence, Duration::from_secs(1));
    sensor.fill(sequence, &mut bytes, stride);
    let mut numbers = vec![0; (width * height) as usize];
    for (row, numbers) in bytes.chunks(stride).zip(numbers.chunks_mut(width as usize)) {
        format.unpack(row, numbers);
    }
    numbers
}

fn mean(numbers: &[u16]) -> f64 {
    numbers.iter().map(|number| f64::from(*number)).sum::<f64>() / numbers.len() as f64
}

#[test]
fn sizes_are_bounded() {
    for (width, height) in [(0, 0), (1, 1), (127, 480), (640, 31), (65_536, 65_536)] {
        assert!(Sensor::new(width, height, Cfa::Rggb).is_err(), "{width}x{height}");
    }
    assert!(Sensor::new(129, 33, Cfa::Rggb).is_ok());
}

#[test]
fn a_bar_is_seen_through_its_colour_filters() {
    let (width, height) = (640, 480);
    let mut frame = vec![0; width * height];
    Sensor::new(640, 480, Cfa::Rggb).unwrap().fill(0, &mut frame, width);
    // The red bar is the sixth of eight; RGGB has red at even columns of even rows.
    let x = (640 * 11 / 16) & !1;
    let at = |x: usize, y: usize| frame[y * width + x];
    // Three quarters of the way from 16 to 255.
    assert_eq!([at(x, 200), at(x + 1, 200)], [195, BLACK_LEVEL]);
    assert_eq!([at(x, 201), at(x + 1, 201)], [BLACK_LEVEL, BLACK_LEVEL]);
}

#[test]
fn every_frame_differs_and_carries_its_number() {
    let (width, height, stride) = (320, 240, 512);
    let mut sensor = Sensor::new(320, 240, Cfa::Rggb).unwrap();
    let mut frames = Vec::new();
    for sequence in [0, 1, 2, 1000, u64::from(u32::MAX)] {
        let mut frame = vec![0; stride * height];
        sensor.fill(sequence, &mut frame, stride);
        assert_eq!(frame_counter::read(width, |x| frame[x]), Some(sequence as u32));
        assert!(!frames.contains(&frame));
        frames.push(frame);
    }
}

#[test]
fn padding_is_left_alone() {
    let noisy = Settings { size: (320, 240).into(), ..Settings::default() };
    let scene = Settings { source: "ball".parse().unwrap(), ..noisy.clone() };
    for settings in [noisy, scene.clone(), Settings { stamp: true, ..scene }] {
        let mut frame = vec![0xaa; 512 * 240 + 512];
        Sensor::open(&settings).unwrap().fill(3, &mut frame, 512);
        let rows = frame.chunks(512);
        assert!(rows.take(240).all(|row| row[320..].iter().all(|byte| *byte == 0xaa)));
        assert!(frame[512 * 240..].iter().all(|byte| *byte == 0xaa));
    }
}

#[test]
fn a_pattern_is_the_same_in_every_format() {
    for format in RawFormat::all() {
        for pattern in TestPattern::ALL {
            let make = |format: RawFormat| {
                let source = Source::Pattern(pattern);
                let format = Format::Raw(format);
                let settings =
                    Settings { size: (322, 64).into(), format, source, ..Settings::default() };
                frame(&mut Sensor::open(&settings).unwrap(), 5)
            };
            let eight_bits = make(RawFormat::SRGGB8.with_cfa(format.cfa()));
            let shift = format.bits() - 8;
            for (here, there) in make(format).iter().zip(&eight_bits) {
                let differs = (here >> shift).abs_diff(*there);
                assert!(differs <= 1, "{format} {pattern}: {here} {there}");
            }
        }
    }
}

#[test]
fn raw_frames_of_a_scene_are_the_same_in_every_packing() {
    for format in RawFormat::all().filter(|format| format.packing() == Packing::Csi2) {
        let unpacked = RawFormat::all()
            .find(|other| {
                other.packing() == Packing::Unpacked
                    && (other.bits(), other.cfa()) == (format.bits(), format.cfa())
            })
            .unwrap();
        let make = |format| {
            let format = Format::Raw(format);
            let source = "colorchecker".parse().unwrap();
            let settings =
                Settings { size: (320, 64).into(), format, source, ..Settings::default() };
            frame(&mut Sensor::open(&settings).unwrap(), 2)
        };
        assert_eq!(make(format), make(unpacked), "{format}");
    }
}

#[test]
fn numbers_follow_light_exposure_and_gain() {
    let settings = Settings { format: raw("Y12").1, ..ideal("solid") };
    let mut sensor = Sensor::open(&settings).unwrap();
    // 18 % of 500 lux for 10 ms free 900 electrons; a pixel holds 10 000.
    let expected = 256.0 + 0.18 * 0.5 * 3839.0;
    assert!((mean(&frame(&mut sensor, 0)) - expected).abs() < 1.5);
    sensor.set_controls(Controls { exposure_us: 20_000.0, gain: 4.0 });
    // Gain counts for the next frame, exposure for the one after.
    for (sequence, factor) in [(1, 4.0), (2, 8.0)] {
        let expected = 256.0 + factor * 0.18 * 0.5 * 3839.0;
        assert!((mean(&frame(&mut sensor, sequence)) - expected).abs() < 2.0, "{sequence}");
    }
    let controls = sensor.expose(3, Duration::ZERO).controls;
    assert!((controls.exposure_us - 20_000.0).abs() < 1.0 && controls.gain == 4.0);
}

#[test]
fn a_still_scene_follows_exposure_and_light_too() {
    for source in ["solid:still", "solid:moving"] {
        let settings = Settings { format: raw("SRGGB16").1, ..ideal(source) };
        let mut sensor = Sensor::open(&settings).unwrap();
        let first = frame(&mut sensor, 0);
        assert_eq!(frame(&mut sensor, 1), first);
        sensor.set_light(Light { lux: 1000.0, ..Light::default() }).unwrap();
        let brighter = frame(&mut sensor, 2);
        assert!(((mean(&brighter) - 4096.0) / (mean(&first) - 4096.0) - 2.0).abs() < 1e-3);
        sensor.set_light(Light { kelvin: 2800.0, ..Light::default() }).unwrap();
        let warm = frame(&mut sensor, 3);
        // Red rises, blue falls.
        assert!(warm[0] > first[0] && warm[641] < first[641]);
        assert!(sensor.set_light(Light { kelvin: 0.0, ..Light::default() }).is_err());
    }
}

#[test]
fn noise_is_the_seed_s_and_the_frame_s() {
    let make = |seed, sequence| {
        let pixels = Pixels { seed, ..Pixels::default() };
        let source = "solid".parse().unwrap();
        let settings = Settings { source, pixels, ..Settings::default() };
        frame(&mut Sensor::open(&settings).unwrap(), sequence)
    };
    assert_eq!(make(1, 1), make(1, 1));
    assert_ne!(make(1, 1), make(2, 1));
    assert_ne!(make(1, 1), make(1, 2));
}

#[test]
fn binning_halves_the_noise_and_skipping_does_not() {
    let deviation = |readout| {
        let pixels = Pixels { hot: 0.0, ..Pixels::default() };
        let format = raw("Y16").1;
        let settings = Settings { pixels, format, readout, ..ideal("solid") };
        let numbers = frame(&mut Sensor::open(&settings).unwrap(), 0);
        let mean = mean(&numbers);
        let squares = numbers.iter().map(|number| (f64::from(*number) - mean).powi(2));
        (squares.sum::<f64>() / numbers.len() as f64).sqrt()
    };
    let full = deviation(Readout::Full);
    assert!((deviation(Readout::Bin2) / full - 0.5).abs() < 0.01);
    assert!((deviation(Readout::Skip2) / full - 1.0).abs() < 0.02);
}

#[test]
fn hot_pixels_glow_in_the_dark_and_stay_where_they_are() {
    for noise in [false, true] {
        let pixels = Pixels { noise, hot: 1e-3, seed: 9 };
        let light = Some(Light { lux: 0.001, ..Light::default() });
        let source = "solid".parse().unwrap();
        let settings =
            Settings { pixels, light, source, format: raw("Y16").1, ..Settings::default() };
        let mut sensor = Sensor::open(&settings).unwrap();
        let glowing = |sensor: &mut Sensor, sequence| -> Vec<usize> {
            let numbers = frame(sensor, sequence);
            // 30 electrons above black: ten times the noise of reading.
            let bright = |(at, number): (usize, &u16)| (*number > 4096 + 184).then_some(at);
            numbers.iter().enumerate().filter_map(bright).collect()
        };
        let first = glowing(&mut sensor, 0);
        assert!((250..=307).contains(&first.len()), "{}", first.len());
        let again = glowing(&mut sensor, 1);
        assert!(first.iter().filter(|at| again.contains(at)).count() > 250);
    }
}

#[test]
fn a_lamp_flickers_and_whole_periods_do_not_show_it() {
    let rows = |exposure_us| {
        let light = Some(Light { lux: 100.0, mains: Some(Mains::Hz50), ..Light::default() });
        // Lines of 0.8 µs would read 480 rows in a twentieth of a flicker.
        let settings =
            Settings { light, format: raw("Y16").1, size: (16_384, 480).into(), ..ideal("solid") };
        let mut sensor = Sensor::open(&settings).unwrap();
        sensor.set_controls(Controls { exposure_us, gain: 8.0 });
        frame(&mut sensor, 0);
        frame(&mut sensor, 1);
        let numbers = frame(&mut sensor, 2);
        numbers.chunks(16_384).map(|row| f64::from(row[7]) - 4096.0).collect::<Vec<_>>()
    };
    let swing = |rows: &[f64]| {
        let (low, high) = (
            rows.iter().copied().fold(f64::MAX, f64::min),
            rows.iter().copied().fold(0.0, f64::max),
        );
        (high - low) / (high + low)
    };
    assert!(swing(&rows(1000.0)) > 0.3, "{}", swing(&rows(1000.0)));
    assert!(swing(&rows(20_000.0)) < 0.005, "{}", swing(&rows(20_000.0)));
}

#[test]
fn pictures_are_white_under_every_lamp() {
    for kelvin in [2800.0, 6500.0] {
        let light = Some(Light { kelvin, lux: 1000.0, ..Light::default() });
        let settings = Settings { light, ..ideal("colorchecker") };
        let xrgb = Format::Picture(PictureFormat::Xrgb8888);
        let mut sensor = Sensor::open(&Settings { format: xrgb, ..settings.clone() }).unwrap();
        let mut bytes = vec![0; 640 * 4 * 480];
        sensor.expose(0, Duration::ZERO);
        sensor.fill(0, &mut bytes, 640 * 4);
        // 1000 lux for 10 ms fill a pixel under white: each patch has its published colour.
        for (patch, rgb) in scene::colorchecker::PATCHES.iter().enumerate() {
            let (x, y) = (patch % 6 * 640 / 6 + 53, patch / 6 * 120 + 60);
            let pixel = &bytes[(y * 640 + x) * 4..][..4];
            for channel in 0..3 {
                let (here, there) = (pixel[2 - channel], rgb[channel]);
                assert!(here.abs_diff(there) <= 1, "{patch}: {pixel:?} {rgb:?}");
            }
        }
    }
}

#[test]
fn pictures_come_as_they_are_unless_a_lens_and_a_lamp_are_asked_for() {
    let level = |settings: Settings, x: usize, exposure_us: f32| {
        let format = Format::Picture(PictureFormat::Xrgb8888);
        let mut sensor = Sensor::open(&Settings { format, ..settings }).unwrap();
        sensor.start_with(Controls { exposure_us, gain: 1.0 });
        sensor.expose(0, Duration::ZERO);
        let mut bytes = vec![0; 640 * 4 * 480];
        sensor.fill(0, &mut bytes, 640 * 4);
        bytes[x * 4]
    };
    let white = || Settings { source: "bars100".parse().unwrap(), ..Settings::default() };
    // In the corner and in the middle of the white bar's top row, at every exposure.
    for (x, exposure_us) in [(0, 10_000.0), (70, 10_000.0), (70, 1000.0)] {
        assert_eq!(level(white(), x, exposure_us), 255);
    }
    // 1000 lux for 10 ms fill a pixel under white, and half of the light is level 188.
    let light = Some(Light { lux: 1000.0, ..Light::default() });
    assert_eq!(level(Settings { light, ..white() }, 0, 10_000.0), 255);
    let half = level(Settings { light, ..white() }, 0, 5000.0);
    assert!(half.abs_diff(188) <= 1, "{half}");
    // 70 % of the light is level 218.
    let lens = Some(Lens::ORDINARY);
    let corner = level(Settings { lens, ..white() }, 0, 10_000.0);
    assert!(corner.abs_diff(218) <= 1, "{corner}");
}

#[test]
fn pictures_in_yuv_have_all_their_planes() {
    for (format, planes) in [("NV12", 2), ("YUYV", 1)] {
        for scene in ["bars", "bars:moving", "test"] {
            let format = format.parse().unwrap();
            let settings = Settings { format, ..ideal(scene) };
            let mut sensor = Sensor::open(&settings).unwrap();
            let mut red = Vec::new();
            for plane in 0..planes {
                let stride = if planes == 2 { 640 } else { 1280 };
                let mut bytes = vec![0; stride * 480];
                sensor.fill_plane(0, plane, &mut bytes, stride);
                // The middle of the red bar, above the middle of the picture.
                let (x, y) = (440, if plane == 1 { 100 } else { 200 });
                let at = if planes == 2 { x } else { 2 * x };
                red.extend_from_slice(&bytes[y * stride + at..][..4]);
            }
            // Red of 75 %: level 191, or luma 65, blue difference 100, red difference 212.
            let expected: &[u8] = match planes {
                2 => &[65, 65, 65, 65, 100, 212, 100, 212],
                _ => &[65, 100, 65, 212],
            };
            for (here, there) in red.iter().zip(expected) {
                assert!(here.abs_diff(*there) <= 1, "{format} {scene} {red:?}");
            }
        }
    }
}

#[test]
fn a_stamp_tells_number_and_time() {
    for text in ["SRGGB8", "SBGGR10P", "Y16", "NV12", "YUYV", "XR24"] {
        let format: Format = text.parse().unwrap();
        let settings = Settings { format, stamp: true, ..ideal("zoneplate:moving") };
        let mut sensor = Sensor::open(&settings).unwrap();
        let time = Duration::from_micros(5_000_000_123);
        sensor.expose(77, time);
        let stride = 640 * 4;
        let mut bytes = vec![0; stride * 480];
        sensor.fill(77, &mut bytes, stride);
        let strip_rows = frame_counter::rows(480);
        let bright = |y: usize, x: usize| {
            let row = &bytes[y * stride..];
            match text {
                "SBGGR10P" => row[x / 4 * 5 + x % 4],
                "Y16" => row[x * 2 + 1],
                "YUYV" => row[x * 2],
                "XR24" => row[x * 4 + 1],
                _ => row[x],
            }
        };
        assert_eq!(frame_counter::read(640, |x| bright(1, x)), Some(77), "{text}");
        let stamped = frame_counter::read(640, |x| bright(strip_rows + 1, x));
        assert_eq!(stamped, Some(time.as_micros() as u32), "{text}");
        assert_eq!(frame_counter::read(640, |x| bright(2 * strip_rows + 1, x)), None, "{text}");
    }
}

#[test]
fn rows_are_exposed_one_after_the_other() {
    let mut sensor = Sensor::open(&ideal("solid")).unwrap();
    let metadata = sensor.expose(4, Duration::from_secs(10));
    // Lines of 640 + 160 pixels at 1 GHz.
    assert_eq!(metadata.line_duration, Duration::from_nanos(800));
    let row = metadata.row_exposure(100);
    assert_eq!(row.end, Duration::from_secs(10) + Duration::from_micros(80));
    let exposure = row.end - row.start;
    assert!(exposure.abs_diff(Duration::from_millis(10)) < Duration::from_micros(1));
}

#[test]
fn an_exposure_that_no_longer_fits_is_shortened() {
    let mut sensor = Sensor::open(&ideal("solid")).unwrap();
    let duration = sensor.set_frame_duration(Duration::from_millis(5));
    assert!(duration.abs_diff(Duration::from_millis(5)) < Duration::from_micros(1));
    let metadata = sensor.expose(0, Duration::ZERO);
    assert_eq!(metadata.frame_duration, duration);
    assert!(metadata.controls.exposure_us < 5000.0, "{metadata:?}");
    assert!(metadata.controls.exposure_us > 4990.0, "{metadata:?}");
}
