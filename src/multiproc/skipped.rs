//! What was skipped, and how it is counted.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::file::archive::ArchiveError;
use crate::file::key::KeyError;
use crate::file::layout::LayoutError;
use crate::file::reader::ReadError;

/// The label value of `multiprom_file_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Directory,
    Name,
    Open,
    NotRegular,
    Linked,
    Empty,
    Truncated,
    Header,
    Layout,
    Checksum,
    Key,
    Sample,
    Archive,
}

impl Reason {
    pub(super) const ALL: [Reason; 13] = [
        Reason::Directory,
        Reason::Name,
        Reason::Open,
        Reason::NotRegular,
        Reason::Linked,
        Reason::Empty,
        Reason::Truncated,
        Reason::Header,
        Reason::Layout,
        Reason::Checksum,
        Reason::Key,
        Reason::Sample,
        Reason::Archive,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Reason::Directory => "directory",
            Reason::Name => "name",
            Reason::Open => "open",
            Reason::NotRegular => "not_regular",
            Reason::Linked => "linked",
            Reason::Empty => "empty",
            Reason::Truncated => "truncated",
            Reason::Header => "header",
            Reason::Layout => "layout",
            Reason::Checksum => "checksum",
            Reason::Key => "key",
            Reason::Sample => "sample",
            Reason::Archive => "archive",
        }
    }
}

pub(super) const UNKNOWN_NAME: &str = "the name is not that of a series file";

/// Why a file, an entry or a directory was skipped.
#[derive(Debug)]
pub(super) enum Cause {
    Directory(std::io::Error),
    UnknownName,
    Read(ReadError),
    Entry(LayoutError),
    Key(KeyProblem),
    Archive(ArchiveError),
    /// The archive was replaced during each of many attempts to read it together with the files.
    ArchiveMoving,
}

/// Why the entries with some key cannot be used.
#[derive(Clone, Debug)]
pub(super) enum KeyProblem {
    Malformed(KeyError),
    /// A sample that does not belong to its family.
    Sample {
        family: String,
        sample: String,
    },
}

impl Cause {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Cause::Directory(_) => Reason::Directory,
            Cause::UnknownName => Reason::Name,
            Cause::Read(ReadError::Open(_) | ReadError::Read(_)) => Reason::Open,
            Cause::Read(ReadError::NotRegular) => Reason::NotRegular,
            Cause::Read(ReadError::Linked) => Reason::Linked,
            Cause::Read(ReadError::Empty) => Reason::Empty,
            Cause::Read(ReadError::Layout(error)) | Cause::Entry(error) => match error {
                LayoutError::HeaderTruncated { .. }
                | LayoutError::UsedPastEnd { .. }
                | LayoutError::EntryTruncated { .. } => Reason::Truncated,
                LayoutError::UsedInvalid { .. }
                | LayoutError::UsedTooLarge { .. }
                | LayoutError::VersionUnknown { .. }
                | LayoutError::MagicUnknown => Reason::Header,
                LayoutError::LayoutUnknown { .. } => Reason::Layout,
                LayoutError::ChecksumMismatch { .. } => Reason::Checksum,
            },
            Cause::Key(KeyProblem::Malformed(_)) => Reason::Key,
            Cause::Key(KeyProblem::Sample { .. }) => Reason::Sample,
            Cause::Archive(_) | Cause::ArchiveMoving => Reason::Archive,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Directory(_) => f.write_str("cannot be read"),
            Cause::UnknownName => write!(f, "skipped: {UNKNOWN_NAME}"),
            Cause::Read(error) => write!(f, "skipped: {error}"),
            Cause::Entry(error) => write!(f, "skipped from there on: {error}"),
            Cause::Key(problem) => write!(f, "entry skipped: {problem}"),
            Cause::Archive(error) => write!(f, "skipped: {error}"),
            Cause::ArchiveMoving => {
                f.write_str("replaced again and again while it was read: totals may be off")
            }
        }
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyProblem::Malformed(error) => error.fmt(f),
            KeyProblem::Sample { family, sample } => {
                write!(f, "`{sample}` is no sample of the family `{family}`")
            }
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Cause::Directory(error) => Some(error),
            Cause::Read(error) => error.source(),
            _ => None,
        }
    }
}

/// What was skipped in one scrape: of each file at most one of each reason.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<(PathBuf, Cause)>,
}

impl Problems {
    pub(super) fn add(&mut self, path: &Path, cause: Cause) {
        let known = self.found.iter().rev().take_while(|(other, _)| other == path);
        if !known.into_iter().any(|(_, other)| other.reason() == cause.reason()) {
            self.found.push((path.to_owned(), cause));
        }
    }

    /// The error of a directory whose archive this release cannot read. Without the archive its totals would
    /// fall.
    pub(super) fn unsupported_archive(&self) -> Option<Error> {
        let found = self.found.iter().find_map(|(path, cause)| match cause {
            Cause::Archive(error @ ArchiveError::VersionUnknown { .. }) => Some((path, *error)),
            _ => None,
        });
        found.map(|(path, error)| Error::at(ErrorKind::Unsupported, path, Cause::Archive(error)))
    }

    pub(super) fn into_errors(self) -> impl Iterator<Item = (Reason, Error)> {
        self.found.into_iter().map(|(path, cause)| {
            let reason = cause.reason();
            let kind = match reason {
                Reason::Directory => ErrorKind::Directory,
                _ => ErrorKind::SeriesFile,
            };
            (reason, Error::at(kind, path, cause))
        })
    }
}
