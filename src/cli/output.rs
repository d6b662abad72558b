//! Standard output and standard error of the command.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::logging;

/// What happens to a message if the reader of standard error is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlowReader {
    /// The command waits for the reader.
    Wait,
    /// The message is dropped, as a command that serves must not wait.
    Drop,
}

static WAITS_FOR_READER: AtomicBool = AtomicBool::new(true);

/// Sets what happens to messages if the reader of standard error is slow. By default the command waits.
pub(super) fn set_slow_reader(policy: SlowReader) {
    WAITS_FOR_READER.store(policy == SlowReader::Wait, Ordering::Relaxed);
}

/// What happens to a message if the reader of standard error is slow.
pub(super) fn slow_reader() -> SlowReader {
    if WAITS_FOR_READER.load(Ordering::Relaxed) { SlowReader::Wait } else { SlowReader::Drop }
}

/// Writes one line to standard error, as text: about wrong usage, or the result of a command that does not run for long.
pub(super) fn print_message(message: &dyn std::fmt::Display) {
    match slow_reader() {
        SlowReader::Drop => logging::write_line(message),
        SlowReader::Wait => {
            let line = format!("multiprom: {}\n", logging::one_line(message));
            // OK because there is no other place to report it.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// Writes to standard output.
pub(super) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    check_output(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Converts the result of writing to standard output. A closed pipe, as after `head`, counts as success; an
/// error of a collector is returned unchanged.
pub(super) fn check_output(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let other = |error| Error::at(ErrorKind::Io, "standard output", error);
            Err(error.downcast::<Error>().unwrap_or_else(other))
        }
        _ => Ok(()),
    }
}
