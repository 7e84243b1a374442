//! Completes requests: fills in their metadata, and queues them for the application.

use std::sync::Arc;
use std::time::Duration;

use crate::completions::Completions;
use crate::controls::*;
use crate::engine::error::StageError;
use crate::engine::frame_context::{CompletedFrame, FrameConsumer, FrameContext, FrameMetadata};
use crate::error::chain;

/// Completes requests, on the thread that finished the frame.
pub(super) struct ToApplication(pub(super) Arc<Completions>);

impl Drop for ToApplication {
    /// Ends the frames, also where a stage failed, so that no wait is in vain.
    fn drop(&mut self) {
        self.0.end_of_frames();
    }
}

impl FrameConsumer for ToApplication {
    fn consume(&mut self, done: CompletedFrame) -> Result<(), StageError> {
        let metadata = metadata(&done);
        let CompletedFrame { mut frame, ready, result, .. } = done;
        if let Err(error) = &result {
            // The application sees it at the buffers; the next frame may succeed.
            tracing::warn!("{}", chain(error));
        }
        let sequence = frame.sequence;
        if let Some(mut request) = frame.request.take() {
            // The camera's own hold on the buffers goes first, so that one that the application
            // lets go of is free.
            drop(frame);
            request.complete(sequence, metadata, ready.as_ref(), result.is_ok());
            self.0.push(request);
        }
        Ok(())
    }
}

/// Returns the metadata of a frame.
fn metadata(done: &CompletedFrame) -> ControlList {
    let FrameContext { taken, controls, .. } = &done.frame;
    let mut list = ControlList::default();
    let nanoseconds = i64::try_from(taken.timestamp.as_nanos()).unwrap_or(i64::MAX);
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    list.set(SensorTimestamp, nanoseconds)
        .set(ExposureTime, taken.controls.exposure_us.round() as i32)
        .set(AnalogueGain, taken.controls.gain)
        .set(DigitalGain, 1.0)
        .set(FrameDuration, micros(taken.frame_duration))
        .set(TestPatternMode, controls.pattern_mode());
    let Some(FrameMetadata { params, colour, ae_state, lux, focus }) = done.metadata else {
        return list;
    };
    let [red, _, blue] = params.gains;
    let mut matrix = [0.0; 9];
    matrix.copy_from_slice(params.colour.matrix.as_flattened());
    let black = (params.black_level * 65_535.0).round() as i32;
    list.set(AeState, ae_state)
        .set(ColourGains, [red, blue])
        .set(ColourCorrectionMatrix, matrix)
        .set(Contrast, params.tone.contrast)
        .set(Gamma, params.tone.gamma)
        .set(Saturation, params.colour.saturation)
        .set(Sharpness, params.sharpen)
        .set(NoiseReductionMode, i32::from(params.denoise.is_some()))
        .set(SensorBlackLevels, [black; 4]);
    if let Some(crop) = controls.crop {
        list.set(ScalerCrop, crop);
    }
    if let Some(kelvin) = colour.and_then(|colour| colour.kelvin) {
        list.set(ColourTemperature, kelvin.round() as i32);
    }
    if let Some(lux) = lux {
        list.set(Lux, lux);
    }
    if let Some(focus) = focus {
        list.set(FocusFoM, focus.round() as i32);
    }
    list
}
