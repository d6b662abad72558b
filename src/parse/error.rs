//! What is wrong with an exposition, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};

/// What a [`ParseError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The source cannot be read.
    Io,
    /// One of the [`Limits`](super::Limits) is passed.
    Limit,
    /// Bytes that are not of the format.
    Syntax,
    /// Well-formed lines that break a rule of OpenMetrics together.
    Rule,
}

/// Why an exposition was refused, and where.
///
/// [`Display`](fmt::Display) gives one line: `line 3, column 7: ...`, and for protobuf
/// `message 3, byte 7: ...`.
#[derive(Debug)]
pub struct ParseError {
    pub(super) is_binary: bool,
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) fault: Fault,
}

impl ParseError {
    /// The line, from 1; of protobuf the message, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The column in characters, from 1; of protobuf the byte of the message, from 1.
    pub fn column(&self) -> u64 {
        self.column
    }

    /// What the error is about.
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

    /// The error of this crate that names the source, such as a file or `standard input`.
    pub fn in_source(self, source: impl Into<PathBuf>) -> Error {
        let kind = match self.kind() {
            ParseErrorKind::Io => ErrorKind::Io,
            _ => ErrorKind::Exposition,
        };
        Error::at(kind, source, self)
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

/// What is wrong, without the place.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    /// What has a limit, and the limit.
    Limit(&'static str, usize),
    NotUtf8,
    Expected(&'static str),
    Syntax(String),
    /// What kind of number, and the text that is none.
    Number(&'static str, String),
    Rule(String),
}

/// How much of a text that is wrong is shown.
const SHOWN_LEN: usize = 80;

/// The beginning of a text of any length.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_LEN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl Fault {
    pub(super) fn number(what: &'static str, text: &str) -> Fault {
        Fault::Number(what, shown(text))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io(error) => write!(f, "{error}"),
            Fault::Limit(what, limit) => write!(f, "{what} is above the limit of {limit}"),
            Fault::NotUtf8 => f.write_str("the bytes are not UTF-8"),
            Fault::Expected(what) => write!(f, "expected {what}"),
            Fault::Number(what, text) => write!(f, "expected {what}, got `{text}`"),
            Fault::Syntax(text) | Fault::Rule(text) => f.write_str(text),
        }
    }
}
