//! Errors of the parsers.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};

/// The kind of a [`ParseError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Reading the source failed.
    Io,
    /// One of the [`Limits`](super::Limits) is exceeded.
    Limit,
    /// The input does not follow the syntax of its format.
    Syntax,
    /// The lines are well-formed but break a rule of OpenMetrics.
    Rule,
}

/// An error in an exposition, with its position.
///
/// [`Display`](fmt::Display) writes one line: `line 3, column 7: ...`, for protobuf
/// `message 3, byte 7: ...`.
#[derive(Debug)]
pub struct ParseError {
    pub(super) is_binary: bool,
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) fault: Fault,
}

impl ParseError {
    /// The number of the line, from 1. In protobuf, the number of the message, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The column in characters, from 1. In protobuf, the byte within the message, from 1.
    pub fn column(&self) -> u64 {
        self.column
    }

    /// The kind of the error.
    pub fn kind(&self) -> ParseErrorKind {
        match &self.fault {
            Fault::Io(_) => ParseErrorKind::Io,
            Fault::Limit(..) => ParseErrorKind::Limit,
            Fault::Rule(_) => ParseErrorKind::Rule,
            Fault::NotUtf8 | Fault::Syntax(_) | Fault::Expected(_) | Fault::Number(..) => {
                ParseErrorKind::Syntax
            }
        }
    }

    /// Converts to the error type of this crate, which names the source, such as a path or `standard input`.
    pub fn in_source(self, source: impl Into<PathBuf>) -> Error {
        Error::at(self.error_kind(), source, self)
    }

    fn error_kind(&self) -> ErrorKind {
        match self.kind() {
            ParseErrorKind::Io => ErrorKind::Io,
            _ => ErrorKind::Exposition,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = if self.is_binary { ("message", "byte") } else { ("line", "column") };
        write!(f, "{line} {}, {column} {}: {}", self.line, self.column, self.fault)
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ParseError> for Error {
    /// An error of kind [`Exposition`](ErrorKind::Exposition) or [`Io`](ErrorKind::Io).
    /// [`in_source`](ParseError::in_source) also names the source.
    fn from(error: ParseError) -> Error {
        Error::new(error.error_kind(), error)
    }
}

/// An error without its position.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    /// The limited quantity, and its limit.
    Limit(&'static str, usize),
    NotUtf8,
    Expected(&'static str),
    Syntax(String),
    /// The kind of number that was expected, and the text found in its place.
    Number(&'static str, String),
    Rule(String),
}

/// The number of characters of the input that a message quotes.
const MAX_QUOTED_CHARS: usize = 80;

/// The beginning of `text`, for a message.
pub(super) fn truncated(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl Fault {
    pub(super) fn number(what: &'static str, text: &str) -> Fault {
        Fault::Number(what, truncated(text))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io(_) => f.write_str("the source cannot be read"),
            Fault::Limit(what, limit) => write!(f, "{what} is above the limit of {limit}"),
            Fault::NotUtf8 => f.write_str("the bytes are not UTF-8"),
            Fault::Expected(what) => write!(f, "expected {what}"),
            Fault::Number(what, text) => write!(f, "expected {what}, got `{text}`"),
            Fault::Syntax(text) | Fault::Rule(text) => f.write_str(text),
        }
    }
}
