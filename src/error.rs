//! The error type of the crate.
//!
//! Modules describe problems with enums of their own, which become the problem of an [`Error`]. Messages are one line,
//! start in lower case, and name the file or the argument.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The data model does not allow the name of a metric.
    InvalidName,
    /// A label name is malformed, reserved or repeated, or the label values do not match the label names.
    InvalidLabels,
    /// Histogram bounds are empty, unsorted or not numbers.
    InvalidBuckets,
    /// A family with this name, or with a sample of this name, is already registered.
    AlreadyRegistered,
    /// No metric with this name is registered.
    NotRegistered,
    /// The backend of the default registry was already chosen.
    BackendChosen,
    /// A multiprocess directory is missing, not a directory, or not accessible.
    Directory,
    /// A series file cannot be used.
    SeriesFile,
    /// Processes define a family differently, so a part of it is not exported as they define it.
    Conflict,
    /// An exposition cannot be parsed.
    Exposition,
    /// The exporter cannot listen on an address.
    Listen,
    /// The target of a push cannot be reached, or refuses the push.
    Push,
    /// A signal handler or an allocator has interrupted this crate in the same thread and called it.
    Reentrant,
    /// The platform or the build does not support the operation.
    Unsupported,
    /// An argument, flag or environment variable is invalid.
    Usage,
    /// Another operation of the operating system failed.
    Io,
}

/// An error with its kind, the file or directory, the problem and its cause.
///
/// [`Display`](fmt::Display) writes one line that names the file and the problem, and leaves out the cause, which
/// [`source`](StdError::source) returns: an [`io::Error`], for example. The alternate form `{:#}` and `{:?}` append all
/// causes:
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// let error = multiprom::Backend::directory("/nonexistent").unwrap_err();
/// assert_eq!(error.to_string(), "cannot use directory `/nonexistent`");
/// assert_eq!(
///     format!("{error:#}"),
///     "cannot use directory `/nonexistent`: No such file or directory (os error 2)"
/// );
/// # }
/// ```
pub struct Error {
    kind: ErrorKind,
    path: Option<PathBuf>,
    problem: Problem,
}

enum Problem {
    /// The text of the problem; the cause is its source.
    Described(Box<dyn StdError + Send + Sync>),
    /// An operation of the operating system failed for this cause.
    Failed(io::Error),
}

impl Error {
    /// Creates an error from a message, an [`io::Error`], or an enum that describes the problem.
    pub(crate) fn new(
        kind: ErrorKind,
        problem: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        let problem = match problem.into().downcast::<io::Error>() {
            Ok(cause) => Problem::Failed(*cause),
            Err(problem) => Problem::Described(problem),
        };
        Error { kind, path: None, problem }
    }

    /// Creates an error about a file, a directory or another argument.
    pub(crate) fn at(
        kind: ErrorKind,
        path: impl Into<PathBuf>,
        problem: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        Error { path: Some(path.into()), ..Error::new(kind, problem) }
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the file or directory that the error is about, if any.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = match self.kind {
            ErrorKind::Directory => "directory ",
            ErrorKind::SeriesFile => "series file ",
            _ => "",
        };
        match (&self.path, &self.problem) {
            (Some(path), Problem::Described(problem)) => {
                write!(f, "{noun}`{}`: {problem}", path.display())?;
            }
            (Some(path), Problem::Failed(_)) => write!(f, "cannot use {noun}`{}`", path.display())?,
            (None, Problem::Described(problem)) => write!(f, "{problem}")?,
            (None, Problem::Failed(_)) => f.write_str("a system call failed")?,
        }
        if f.alternate() { write_causes(f, self.source()) } else { Ok(()) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.problem {
            Problem::Described(problem) => problem.source(),
            Problem::Failed(cause) => Some(cause),
        }
    }
}

/// Displays an error and all its causes in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        write_causes(f, self.0.source())
    }
}

fn write_causes(
    f: &mut fmt::Formatter<'_>,
    cause: Option<&(dyn StdError + 'static)>,
) -> fmt::Result {
    let mut next = cause;
    while let Some(cause) = next {
        write!(f, ": {cause}")?;
        next = cause.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_the_problem() {
        let problem = "used is 70000, file has 65536 bytes";
        let error = Error::at(ErrorKind::SeriesFile, "/run/app/counter_1.db", problem);
        let text = "series file `/run/app/counter_1.db`: used is 70000, file has 65536 bytes";
        assert_eq!((error.to_string(), format!("{error:#}")), (text.to_owned(), text.to_owned()));
        assert!(error.source().is_none());
        assert_eq!(error.path(), Some(Path::new("/run/app/counter_1.db")));
    }

    #[test]
    fn a_cause_is_a_source_and_part_of_the_alternate_form_only() {
        let cause = || io::Error::from_raw_os_error(libc::ENOENT);
        let error = Error::at(ErrorKind::Directory, "/run/app", cause());
        assert_eq!(error.to_string(), "cannot use directory `/run/app`");
        let text = format!("cannot use directory `/run/app`: {}", cause());
        assert_eq!(format!("{error:#}"), text);
        assert_eq!(format!("{error:?}"), format!("Directory: {text}"));
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }
}
