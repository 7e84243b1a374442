//! Hints of the libraries, in the words of the command: with the flags that follow them.

use vcam_pipeline::Hint;

/// Logs a hint with the flag that changes what it is about.
pub(crate) fn log(hint: &Hint) {
    match hint {
        Hint::SlowIsp { .. } => tracing::warn!("{hint}: --isp auto or cpu would be faster"),
        Hint::CheaperCopy { .. } => tracing::info!("{hint}; --fresh measures again"),
        _ => tracing::info!("{hint}"),
    }
}
