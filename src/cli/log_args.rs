//! Arguments of the log of commands that run for long.

use clap::{Args, ValueEnum};

/// The format and the level of the log.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct LogArguments {
    /// Format of log lines on standard error
    #[arg(long = "log.format", value_enum, value_name = "FORMAT", default_value = "text")]
    pub(super) format: LogFormat,
    /// Lowest level of log lines
    #[arg(long = "log.level", value_enum, value_name = "LEVEL", default_value = "info")]
    pub(super) level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// `multiprom: MESSAGE`, for people
    Text,
    /// One JSON object per line, with time, level, msg and fields
    Json,
    /// `time=... level=... msg="..."` and fields, as Prometheus logs
    Logfmt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Level {
    /// Also each of the problems that are logged as one line
    Debug,
    /// Also what the command does, and the end of problems
    Info,
    /// Problems that affect a part of the metrics or of the work
    Warn,
    /// Failures only
    Error,
}
