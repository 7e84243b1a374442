//! Properties that hold for all frames and all controls.

use proptest::prelude::*;
use vcam_isp_gpu::Zone;

use super::*;

const LIMITS: Limits = Limits { exposure_us: 20.0..=33_000.0, gain: 1.0..=16.0 };

fn any_zone() -> impl Strategy<Value = Zone> {
    let sum = prop_oneof![any::<[f32; 3]>(), proptest::array::uniform3(0.0_f32..1e6)];
    (sum, any::<u32>(), any::<u32>()).prop_map(|(sum, quads, saturated)| Zone {
        sum,
        quads,
        saturated,
    })
}

fn any_statistics() -> impl Strategy<Value = Statistics> {
    let zones = proptest::collection::vec(any_zone(), 4);
    let bins = proptest::collection::vec((0_usize..256, any::<u32>()), 0..4);
    (zones, bins).prop_map(|(zones, bins)| {
        let mut statistics = Statistics::default();
        for (zone, any) in statistics.zones.iter_mut().zip(zones.iter().cycle()) {
            *zone = *any;
        }
        bins.into_iter().for_each(|(bin, count)| statistics.histogram[bin] = count);
        statistics
    })
}

fn any_controls() -> impl Strategy<Value = Controls> {
    let exposure = prop_oneof![any::<f32>(), 20.0_f32..33_000.0];
    (exposure, 1.0_f32..16.0).prop_map(|(exposure_us, gain)| Controls { exposure_us, gain })
}

fn any_asked() -> impl Strategy<Value = IpaControls> {
    let setting = || {
        prop_oneof![
            3 => Just(Setting::Auto),
            1 => Just(Setting::Locked),
            1 => (1.0_f32..1e6).prop_map(Setting::Manual),
        ]
    };
    let flicker = prop_oneof![Just(Flicker::Off), (100.0_f32..1e6).prop_map(Flicker::Manual)];
    let awb = prop_oneof![
        3 => Just(AwbMode::Auto),
        1 => Just(AwbMode::Locked),
        1 => (100.0_f32..1e5).prop_map(AwbMode::ColourTemperature),
    ];
    (setting(), setting(), -8.0_f32..8.0, flicker, awb).prop_map(
        |(exposure_time, analogue_gain, exposure_value, flicker, awb)| {
            let ae = AeControls { exposure_time, analogue_gain, exposure_value, flicker };
            IpaControls { ae, awb }
        },
    )
}

proptest! {
    #[test]
    fn whatever_frames_say_decisions_are_within_limits(
        frames in proptest::collection::vec((any_asked(), any_controls(), any_statistics()), 1..12)
    ) {
        let calibration = Calibration::of_sensor().unwrap();
        let mut ipa = Ipa::new(LIMITS, Controls::default(), Some(calibration));
        for (asked, taken, statistics) in frames {
            ipa.set_controls(asked).unwrap();
            let Decision { controls, colour, .. } = ipa.process(taken, &statistics);
            prop_assert!(LIMITS.exposure_us.contains(&controls.exposure_us));
            prop_assert!(LIMITS.gain.contains(&controls.gain));
            prop_assert!(colour.gains.iter().all(|gain| (1.0..32.0).contains(gain)));
            prop_assert!(colour.kelvin.is_some_and(|kelvin| (1999.0..12_001.0).contains(&kelvin)));
            for row in colour.ccm {
                prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn a_camera_without_colours_has_exposure_alone() {
    let mut ipa = Ipa::new(LIMITS, Controls::default(), None);
    let mut statistics = Statistics::default();
    statistics.histogram[11] = 100;
    let decision = ipa.process(Controls::default(), &statistics);
    assert_eq!(decision.colour, AwbResult::NONE);
    assert!(decision.controls.exposure_us > Controls::default().exposure_us);
}

#[test]
fn bad_controls_change_nothing() {
    let mut ipa = Ipa::new(LIMITS, Controls::default(), None);
    let awb = AwbMode::ColourTemperature(f32::NAN);
    assert!(ipa.set_controls(IpaControls { awb, ..IpaControls::default() }).is_err());
    assert_eq!(ipa.controls, IpaControls::default());
}
