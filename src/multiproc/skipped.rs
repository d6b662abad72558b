//! Files, entries and directories that a scrape skips.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::file::archive::ArchiveError;
use crate::file::key::KeyError;
use crate::file::layout::LayoutError;
use crate::file::name::NameError;
use crate::file::reader::ReadError;
use crate::model::own_metrics::FILE_ERRORS;

/// Why something was skipped, as `multiprom_file_errors_total` counts it: the index of a value of its label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SkipReason {
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
    Kind,
    Archive,
}

impl SkipReason {
    /// The value of the label.
    pub(super) fn as_str(self) -> &'static str {
        FILE_ERRORS.values()[self as usize]
    }
}

/// Why a file, an entry or a directory was skipped.
#[derive(Debug)]
pub(super) enum SkipCause {
    Directory(std::io::Error),
    Name(NameError),
    Read(ReadError),
    Entry(LayoutError),
    Key(KeyProblem),
    Archive(ArchiveError),
    /// The archive was replaced during each of many attempts to read it together with the files.
    ArchiveReplaced,
}

/// Why entries with a key cannot be used.
#[derive(Clone, Debug)]
pub(super) enum KeyProblem {
    Malformed(KeyError),
    /// A sample that does not belong to its family.
    Sample {
        family: String,
        sample: String,
    },
    /// An entry of a kind that this release does not know.
    UnknownKind {
        kind: u32,
    },
}

impl SkipCause {
    pub(super) fn reason(&self) -> SkipReason {
        match self {
            SkipCause::Directory(_) => SkipReason::Directory,
            SkipCause::Name(_) => SkipReason::Name,
            SkipCause::Read(ReadError::Open(_) | ReadError::Read(_)) => SkipReason::Open,
            SkipCause::Read(ReadError::NotRegular) => SkipReason::NotRegular,
            SkipCause::Read(ReadError::Linked) => SkipReason::Linked,
            SkipCause::Read(ReadError::Empty) => SkipReason::Empty,
            SkipCause::Read(ReadError::Layout(error)) | SkipCause::Entry(error) => match error {
                LayoutError::HeaderTruncated { .. }
                | LayoutError::UsedPastEnd { .. }
                | LayoutError::EntryTruncated { .. } => SkipReason::Truncated,
                LayoutError::UsedInvalid { .. }
                | LayoutError::UsedTooLarge { .. }
                | LayoutError::VersionUnknown { .. }
                | LayoutError::MagicUnknown => SkipReason::Header,
                LayoutError::LayoutUnknown { .. } | LayoutError::PayloadInvalid { .. } => {
                    SkipReason::Layout
                }
                LayoutError::ChecksumMismatch { .. } => SkipReason::Checksum,
            },
            SkipCause::Key(KeyProblem::Malformed(_)) => SkipReason::Key,
            SkipCause::Key(KeyProblem::Sample { .. }) => SkipReason::Sample,
            SkipCause::Key(KeyProblem::UnknownKind { .. })
            | SkipCause::Archive(ArchiveError::SectionUnknown { .. }) => SkipReason::Kind,
            SkipCause::Archive(_) | SkipCause::ArchiveReplaced => SkipReason::Archive,
        }
    }
}

impl fmt::Display for SkipCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipCause::Directory(_) => f.write_str("cannot be read"),
            SkipCause::Name(error) => write!(f, "skipped: {error}"),
            SkipCause::Read(error) => write!(f, "skipped: {error}"),
            SkipCause::Entry(error) => write!(f, "skipped from there on: {error}"),
            SkipCause::Key(problem) => write!(f, "entry skipped: {problem}"),
            SkipCause::Archive(error) => write!(f, "skipped: {error}"),
            SkipCause::ArchiveReplaced => {
                f.write_str("replaced during each attempt to read it: totals may be wrong")
            }
        }
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyProblem::Malformed(error) => error.fmt(f),
            KeyProblem::Sample { family, sample } => {
                write!(f, "`{sample}` is not a sample of the family `{family}`")
            }
            KeyProblem::UnknownKind { kind } => {
                write!(f, "its kind is {kind}, which this release of multiprom does not know")
            }
        }
    }
}

impl std::error::Error for SkipCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SkipCause::Directory(error) => Some(error),
            SkipCause::Read(error) => error.source(),
            _ => None,
        }
    }
}

/// What one scrape has skipped. Each reason is kept once per path.
#[derive(Default)]
pub(super) struct Skipped {
    items: Vec<(PathBuf, SkipCause)>,
}

impl Skipped {
    pub(super) fn add(&mut self, path: &Path, cause: SkipCause) {
        let mut same_path = self.items.iter().rev().take_while(|(other, _)| other == path);
        if !same_path.any(|(_, other)| other.reason() == cause.reason()) {
            self.items.push((path.to_owned(), cause));
        }
    }

    /// The error that fails the scrape if this release cannot read an archive: without it totals would fall.
    pub(super) fn unsupported_archive(&self) -> Option<Error> {
        let found = self.items.iter().find_map(|(path, cause)| match cause {
            SkipCause::Archive(error @ ArchiveError::VersionUnknown { .. }) => Some((path, *error)),
            _ => None,
        });
        found
            .map(|(path, error)| Error::at(ErrorKind::Unsupported, path, SkipCause::Archive(error)))
    }

    pub(super) fn into_errors(self) -> impl Iterator<Item = (SkipReason, Error)> {
        self.items.into_iter().map(|(path, cause)| {
            let reason = cause.reason();
            let kind = match reason {
                SkipReason::Directory => ErrorKind::Directory,
                _ => ErrorKind::SeriesFile,
            };
            (reason, Error::at(kind, path, cause))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_the_label_value_of_its_name() {
        let reasons = [
            SkipReason::Directory,
            SkipReason::Name,
            SkipReason::Open,
            SkipReason::NotRegular,
            SkipReason::Linked,
            SkipReason::Empty,
            SkipReason::Truncated,
            SkipReason::Header,
            SkipReason::Layout,
            SkipReason::Checksum,
            SkipReason::Key,
            SkipReason::Sample,
            SkipReason::Kind,
            SkipReason::Archive,
        ];
        let values = reasons.map(|reason| FILE_ERRORS.values()[reason as usize].replace('_', ""));
        assert_eq!(values, reasons.map(|reason| format!("{reason:?}").to_lowercase()));
        assert_eq!(FILE_ERRORS.values().len(), reasons.len());
    }
}
