//! The one public error: what kind, which path, which cause.
//!
//! Modules describe what went wrong with private enums of their own; those become the `source()` of
//! an [`Error`]. The text of an error is one line, lower case, and names the file or the argument.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A metric name that the data model does not allow.
    InvalidName,
    /// A label name that is malformed, reserved or given twice, or label values that do not fit.
    InvalidLabels,
    /// Histogram bounds that are empty, unsorted or not numbers.
    InvalidBuckets,
    /// A family with this name, or with a sample of this name, is registered already.
    AlreadyRegistered,
    /// The backend of the default registry was chosen before.
    BackendChosen,
    /// A multiprocess directory that is missing, not a directory, or not accessible.
    Directory,
    /// A series file that cannot be used.
    SeriesFile,
    /// Processes that disagree on a family, so that a part of it is not exported as they have it.
    Conflict,
    /// An exposition that does not parse.
    Exposition,
    /// An address that cannot be listened on.
    Listen,
    /// A call from a signal handler or an allocator that interrupted this crate in the same thread.
    Reentrant,
    /// The platform or the build lacks what was asked for.
    Unsupported,
    /// An argument, flag or environment variable that makes no sense.
    Usage,
    /// Any other failure of the operating system.
    Io,
}

/// What went wrong, where, and why.
///
/// [`Display`](fmt::Display) gives one complete line; [`source`](StdError::source) gives the cause
/// alone.
pub struct Error {
    kind: ErrorKind,
    path: Option<PathBuf>,
    cause: Box<dyn StdError + Send + Sync>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error { kind, path: None, cause: cause.into() }
    }

    pub(crate) fn at(
        kind: ErrorKind,
        path: impl Into<PathBuf>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        Error { kind, path: Some(path.into()), cause: cause.into() }
    }

    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file or directory that the error is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            let what = match self.kind {
                ErrorKind::Directory => "directory ",
                ErrorKind::SeriesFile => "series file ",
                _ => "",
            };
            write!(f, "{what}`{}`: ", path.display())?;
        }
        write!(f, "{}", self.cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.cause.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_keeps_its_cause() {
        let cause = std::io::Error::other("used is 70000, file has 65536 bytes");
        let error = Error::at(ErrorKind::SeriesFile, "/run/app/counter_1.db", cause);
        assert_eq!(
            error.to_string(),
            "series file `/run/app/counter_1.db`: used is 70000, file has 65536 bytes"
        );
        assert_eq!(error.source().unwrap().to_string(), "used is 70000, file has 65536 bytes");
        assert_eq!(error.path(), Some(Path::new("/run/app/counter_1.db")));
    }
}
