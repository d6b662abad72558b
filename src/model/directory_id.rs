//! The identity of a directory, whatever its path is.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// The identity of a multiprocess directory: paths that differ, through links for example, can have the same one.
///
/// It is that of the directory which a path named at the time of the call: a directory that replaces another one has
/// another identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DirectoryId(Identity);

/// Device and inode.
#[cfg(unix)]
type Identity = (u64, u64);

/// The absolute path, with all links resolved.
#[cfg(not(unix))]
type Identity = std::path::PathBuf;

impl DirectoryId {
    /// The identity of the directory at a path.
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](ErrorKind::Directory) if there is none.
    pub fn of(path: impl AsRef<Path>) -> Result<DirectoryId> {
        let path = path.as_ref();
        identity(path)
            .map(DirectoryId)
            .map_err(|error| Error::at(ErrorKind::Directory, path, error))
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> std::io::Result<Identity> {
    std::fs::canonicalize(path)
}
