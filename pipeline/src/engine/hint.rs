//! Hints for the user, which a program puts into its own words.

use std::fmt;

/// Something that a user may want to change; the camera works without that.
///
/// [`Display`](fmt::Display) gives the facts. The way to change it depends on the program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The ISP that was asked for is slower than the CPU's, as measured.
    SlowIsp {
        /// The ISP's name in reports.
        isp: String,
        /// Its time for a frame, in microseconds.
        isp_us: u64,
        /// The CPU's time for a frame, in microseconds.
        cpu_us: u64,
    },
    /// A link copies because that was measured to be cheaper than the import; the costs are kept,
    /// and used again until they are forgotten.
    CheaperCopy {
        /// The device's name in reports.
        device: String,
        /// The time of a frame by import, in microseconds.
        import_us: u64,
        /// The time of a frame by copy, in microseconds.
        copy_us: u64,
    },
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowIsp { isp, isp_us, cpu_us } => {
                let [isp_ms, cpu_ms] = [isp_us, cpu_us].map(|time| *time as f64 * 1e-3);
                write!(
                    f,
                    "a frame takes {isp_ms:.1} ms on {isp} and {cpu_ms:.1} ms on the CPU, as measured"
                )
            }
            Self::CheaperCopy { device, import_us, copy_us } => write!(
                f,
                "{device}: a frame takes {copy_us} µs by copy and {import_us} µs by import, as \
                 measured"
            ),
        }
    }
}
