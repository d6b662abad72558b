//! Why a series cannot be written to a file, and when the operation is retried.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::layout::{MAX_FILE_LEN, MAX_KEY_LEN};

/// Why a series cannot be written to a file. It stays on the heap then.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The directory cannot be opened.
    Directory(io::Error),
    /// A file cannot be created, locked or named.
    Create(io::Error),
    /// No space can be reserved: a disk, a quota or a limit is exhausted.
    Reserve(io::Error),
    /// The file cannot be mapped.
    Map(io::Error),
    KeyTooLong {
        len: usize,
    },
    FileFull,
    /// The host closed the descriptor, or its number now belongs to another file.
    DescriptorLost,
    /// The process forked while the file was created; it is created again.
    Forked,
    /// The function of [`process_id`](crate::DirectoryOptions::process_id) has not returned yet.
    Unnamed,
}

impl WriteError {
    /// Returns a copy of the error.
    fn repeated(&self) -> WriteError {
        let copy = |error: &io::Error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        match self {
            WriteError::Directory(error) => WriteError::Directory(copy(error)),
            WriteError::Create(error) => WriteError::Create(copy(error)),
            WriteError::Reserve(error) => WriteError::Reserve(copy(error)),
            WriteError::Map(error) => WriteError::Map(copy(error)),
            WriteError::KeyTooLong { len } => WriteError::KeyTooLong { len: *len },
            WriteError::FileFull => WriteError::FileFull,
            WriteError::DescriptorLost => WriteError::DescriptorLost,
            WriteError::Forked => WriteError::Forked,
            WriteError::Unnamed => WriteError::Unnamed,
        }
    }

    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self, WriteError::KeyTooLong { .. })
    }

    /// The value of the label `reason` of `multiprom_dropped_series_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            WriteError::Directory(_) => "directory",
            WriteError::Create(_) => "create",
            WriteError::Reserve(_) => "space",
            WriteError::Map(_) => "map",
            WriteError::KeyTooLong { .. } => "key_too_long",
            WriteError::FileFull => "file_full",
            WriteError::DescriptorLost | WriteError::Forked => "descriptor",
            WriteError::Unnamed => "other",
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Directory(_) => f.write_str("cannot open the directory"),
            WriteError::Create(_) => f.write_str("cannot create a series file"),
            WriteError::Reserve(_) => f.write_str("cannot reserve space"),
            WriteError::Map(_) => f.write_str("cannot map the series file"),
            WriteError::KeyTooLong { len } => {
                write!(f, "key has {len} bytes, the limit is {MAX_KEY_LEN}")
            }
            WriteError::FileFull => write!(f, "series file has reached {MAX_FILE_LEN} bytes"),
            WriteError::DescriptorLost => {
                f.write_str("the program closed the descriptor of the series file")
            }
            WriteError::Forked => {
                f.write_str("the process forked while the file was being created")
            }
            WriteError::Unnamed => f.write_str("the process id is not known yet"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Directory(error)
            | WriteError::Create(error)
            | WriteError::Reserve(error)
            | WriteError::Map(error) => Some(error),
            _ => None,
        }
    }
}

/// The last failure of an operation that is retried after a pause. The pause keeps recording fast where each failure
/// takes milliseconds.
#[derive(Default)]
pub(crate) struct Refused(Option<(Instant, WriteError)>);

impl Refused {
    /// The time between a failure and the next attempt.
    pub(crate) const PAUSE: Duration = Duration::from_secs(1);

    /// Returns the failure again until the pause is over.
    pub(crate) fn check(&self) -> Result<(), WriteError> {
        match &self.0 {
            Some((since, error)) if since.elapsed() < Refused::PAUSE => Err(error.repeated()),
            _ => Ok(()),
        }
    }

    /// Forgets the failure.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Returns the failure, also after the pause.
    pub(crate) fn last(&self) -> Option<&WriteError> {
        self.0.as_ref().map(|(_, error)| error)
    }

    /// Stores the failure and returns it.
    pub(crate) fn note(&mut self, error: WriteError) -> WriteError {
        self.0 = Some((Instant::now(), error.repeated()));
        error
    }
}
