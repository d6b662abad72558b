//! The log of the command: lines with a level on standard error, as text, JSON or logfmt.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::SystemTime;

use super::log_args::{Level, LogArguments, LogFormat};
use super::log_record::{Field, Record};
use super::output::{SlowReader, print_message, slow_reader};
use crate::logging::{self, LogLevel};

/// Set once, by commands that run for long.
static SETTINGS: OnceLock<LogArguments> = OnceLock::new();

const DEFAULT: LogArguments = LogArguments { format: LogFormat::Text, level: Level::Info };

fn settings() -> &'static LogArguments {
    SETTINGS.get().unwrap_or(&DEFAULT)
}

/// Sets the format and the level, also for the lines of the library.
pub(super) fn configure(arguments: LogArguments) {
    let is_default = (arguments.format, arguments.level) == (DEFAULT.format, DEFAULT.level);
    if SETTINGS.set(arguments).is_err() || is_default {
        return;
    }
    // The library writes the default form itself.
    logging::set_log_hook(|line| {
        let level = match line.level {
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
        };
        log_with(level, &line.message, &[], SlowReader::Drop);
    });
}

pub(super) fn info(message: &dyn Display) {
    log(Level::Info, message, &[]);
}

pub(super) fn warn(message: &dyn Display) {
    log(Level::Warn, message, &[]);
}

pub(super) fn error(message: &dyn Display) {
    log(Level::Error, message, &[]);
}

/// Logs one line. Fields are a part of structured lines only: the message has what people need.
pub(super) fn log(level: Level, message: &dyn Display, fields: &[(&str, Field<'_>)]) {
    log_with(level, message, fields, slow_reader());
}

fn log_with(
    level: Level,
    message: &dyn Display,
    fields: &[(&str, Field<'_>)],
    slow_reader: SlowReader,
) {
    let LogArguments { format, level: lowest } = *settings();
    if level < lowest {
        return;
    }
    if format == LogFormat::Text {
        return match slow_reader {
            SlowReader::Wait => print_message(message),
            SlowReader::Drop => logging::write_line(message),
        };
    }
    let message = format!("{message:#}");
    let record = Record { time: SystemTime::now(), level, message: &message, fields };
    let line = match format {
        LogFormat::Json => record.to_json(),
        LogFormat::Logfmt | LogFormat::Text => record.to_logfmt(),
    };
    match slow_reader {
        SlowReader::Drop => logging::write_whole_line(&line),
        SlowReader::Wait => {
            // OK because there is no other place to report it.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}
