//! Logs failures that have no caller to return to.
//!
//! A line goes to the hook of the program if it has set one, else, by the features `log` and `tracing`, to the logger
//! of the program, else to standard error. It is formatted at once, and passed on when the thread holds no lock of this
//! crate: see [`Deferred`].
//!
//! Logging never waits for a reader or for another thread, and never writes to a file of the program that has received
//! the descriptor number of standard error: see [`stderr`].

mod deferred;
mod hook;
mod line;
mod loggers;
mod stderr;

#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) use deferred::write_line;
pub(crate) use deferred::{Deferred, log_info, log_line};
pub use hook::{LogLevel, LogLine, set_log_hook};
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) use line::{MAX_LINE_LEN, one_line};
pub(crate) use stderr::note_standard_error;
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) use stderr::write_whole_line;
