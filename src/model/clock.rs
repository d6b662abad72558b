//! The wall clock in the unit of samples and series files.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time in seconds since the Unix epoch, or 0 if the clock is set to before the epoch.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
