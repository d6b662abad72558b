//! Versions of files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Identifies the content of a file, without reading it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files and their versions before they were read; `None` for a file that was not found.
pub(super) type Stamped = Vec<(PathBuf, Option<Stamp>)>;

impl Stamp {
    /// The version of a file. Links are followed, as Kubernetes replaces a directory by a link.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
