//! The environment, which is read here and nowhere else.

use std::ffi::OsString;

/// The variable that names the multiprocess directory, as the Python client has it.
pub(crate) const DIR_VARIABLE: &str = "PROMETHEUS_MULTIPROC_DIR";
/// The same, as the Python client up to 0.8.0 had it.
pub(crate) const OLD_DIR_VARIABLE: &str = "prometheus_multiproc_dir";

/// The directory that the environment names. An empty variable counts as unset.
///
/// A program that has more rights than who started it does not follow it.
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
