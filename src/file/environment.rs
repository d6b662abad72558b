//! Environment variables. No other module reads the environment.

use std::ffi::OsString;

/// The variable of the Python client that names the multiprocess directory.
pub(crate) const DIR_VARIABLE: &str = "PROMETHEUS_MULTIPROC_DIR";
/// The name of that variable in the Python client up to 0.8.0.
pub(crate) const OLD_DIR_VARIABLE: &str = "prometheus_multiproc_dir";

/// The variables by which systemd passes sockets. See: sd_listen_fds(3).
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "removed by launchers"))]
pub(crate) const SOCKET_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Returns how many sockets systemd has passed to this process.
#[cfg(target_os = "linux")]
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn passed_socket_count() -> u16 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_for_this = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| is_for_this);
    count.and_then(|count| count.try_into().ok()).unwrap_or(0)
}

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
