//! The directories of a collector or a compactor: the check at construction, and their names in labels.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::file::place::{self, PlaceError};

/// Which file systems a directory may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystems {
    /// Those on which multiprom is tested.
    Supported,
    Any,
}

/// Checks that a path is a directory that can be listed, on an allowed file system.
pub(super) fn check(dir: &Path, allowed: FileSystems) -> Result<()> {
    let missing = |error| Error::at(ErrorKind::Directory, dir, error);
    fs::read_dir(dir).map(drop).map_err(missing)?;
    match place::check(dir) {
        Err(cause @ PlaceError::FileSystem(_)) if allowed == FileSystems::Supported => {
            Err(Error::at(ErrorKind::Unsupported, dir, cause))
        }
        _ => Ok(()),
    }
}

/// Values of the label `directory` that replace the path, by path.
pub(super) type DirectoryLabels = HashMap<PathBuf, String>;

/// A distinct name for each directory: its path, with a number where two paths that are not UTF-8 display alike.
pub(super) fn names(dirs: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let path = dir.display().to_string();
        let numbered = (2..).map(|number| format!("{path}#{number}"));
        let mut free = std::iter::once(path.clone()).chain(numbered);
        names.extend(free.find(|name| !names.contains(name)));
    }
    names
}
