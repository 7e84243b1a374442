//! Controls that hold for every frame.

use vcam_pipeline::StartError;
use vcam_pipeline::controls::{self, ControlList};
use vcam_pipeline::sensor::Settings;
use vcam_pipeline::sensor::timing::Timing;

use crate::args::Setting;
use crate::exit::Error;

/// The controls that these arguments set. A value that is set by hand turns its automatic off.
pub(super) fn resolve(args: &[Setting], sensor: &Settings) -> Result<ControlList, Error> {
    let timing = Timing::new(sensor.size.width, sensor.size.height);
    let infos = controls::infos(sensor.size, &timing, sensor.format);
    let mut list = ControlList::default();
    for Setting { name, value } in args {
        list.set_by_name(&infos, name, value).map_err(StartError::from)?;
    }
    if list.get(controls::ExposureTime).is_some() && list.get(controls::ExposureTimeMode).is_none()
    {
        list.set(controls::ExposureTimeMode, controls::mode::MANUAL);
    }
    if list.get(controls::AnalogueGain).is_some() && list.get(controls::AnalogueGainMode).is_none()
    {
        list.set(controls::AnalogueGainMode, controls::mode::MANUAL);
    }
    let sets_white = list.get(controls::ColourGains).is_some()
        || list.get(controls::ColourTemperature).is_some();
    if sets_white && list.get(controls::AwbEnable).is_none() {
        list.set(controls::AwbEnable, false);
    }
    Ok(list)
}
