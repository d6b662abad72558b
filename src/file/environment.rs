//! Environment variables. No other module reads the environment.

use std::ffi::OsString;

/// The variable of the Python client that names the multiprocess directory.
pub(crate) const DIR_VARIABLE: &str = "PROMETHEUS_MULTIPROC_DIR";
/// The name of that variable in the Python client up to 0.8.0.
pub(crate) const OLD_DIR_VARIABLE: &str = "prometheus_multiproc_dir";

/// Returns the directory that the environment names. An empty variable counts as unset.
///
/// A program with more privileges than the user who started it ignores the environment.
pub(crate) fn multiprocess_dir() -> Option<OsString> {
    #[cfg(target_os = "linux")]
    if super::sys::has_raised_privileges() {
        return None;
    }
    [DIR_VARIABLE, OLD_DIR_VARIABLE]
        .into_iter()
        .filter_map(std::env::var_os)
        .find(|value| !value.is_empty())
}
