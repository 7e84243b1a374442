//! `bayer2rgb` of GStreamer, which demosaics bytes bilinearly, by code that ORC makes for the
//! processor.

use std::io;
use std::process::Command;

/// Frames of the shorter run, which is taken off the longer one: what the start costs goes with it.
const SHORT: u32 = 20;

/// The nanoseconds that a frame takes, as the mean of so many; one thread does it all.
pub(crate) fn frame(size: (u32, u32), frames: u32) -> io::Result<f64> {
    let (short, long) = (run(size, SHORT)?, run(size, SHORT + frames)?);
    Ok((long - short) / f64::from(frames))
}

/// The nanoseconds between the first frame and the last.
///
/// The source gives memory as it comes and the sink takes pictures without a look, so that nothing
/// else costs time. It must be a sink that has a say in buffers: GStreamer 1.26 allocates too small
/// ones for `fakesink`, and `bayer2rgb` then skips each frame with a warning.
fn run((width, height): (u32, u32), frames: u32) -> io::Result<f64> {
    let pipeline = format!(
        "fakesrc num-buffers={frames} sizetype=fixed sizemax={} filltype=nothing \
         ! video/x-bayer,format=rggb,width={width},height={height},framerate=30/1 ! bayer2rgb \
         ! video/x-raw,format=BGRx ! fakevideosink sync=false",
        width * height
    );
    let output = Command::new("gst-launch-1.0")
        .args(pipeline.split_whitespace())
        .envs([("GST_DEBUG", "2"), ("GST_DEBUG_NO_COLOR", "1"), ("GST_REGISTRY_FORK", "no")])
        .env("GST_REGISTRY", std::env::temp_dir().join("gstreamer-registry"))
        .env("LC_ALL", "C")
        .output()?;
    let (said, warned) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if warned.contains("bayer2rgb") {
        return Err(io::Error::other(warned));
    }
    let time = said.lines().find_map(|line| line.strip_prefix("Execution ended after "));
    let seconds = time.and_then(|time| {
        time.split(':').try_fold(0.0, |sum, part| Some(60.0 * sum + part.parse::<f64>().ok()?))
    });
    Ok(1e9 * seconds.ok_or_else(|| io::Error::other(format!("{said}{warned}")))?)
}
