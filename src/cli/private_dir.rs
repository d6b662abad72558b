//! A directory of our own, in memory where there is a file system for that.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::file::sys::random_u32;

/// Where Linux has a tmpfs for everyone.
const SHARED_MEMORY: &str = "/dev/shm";

/// A private multiprocess directory, removed when it is dropped.
pub(super) struct PrivateDir(PathBuf);

impl PrivateDir {
    /// What metrics call such a directory, whose path is another one at each start.
    pub(super) const LABEL: &str = "private";

    /// Creates one; the error tells why it is not in memory, where that is so.
    pub(super) fn create() -> Result<(PrivateDir, Option<Error>)> {
        match PrivateDir::create_in(Path::new(SHARED_MEMORY)) {
            Ok(dir) => Ok((dir, None)),
            Err(error) => Ok((PrivateDir::create_in(&std::env::temp_dir())?, Some(error))),
        }
    }

    fn create_in(parent: &Path) -> Result<PrivateDir> {
        let random = random_u32().map_err(|error| Error::new(ErrorKind::Io, error))?;
        let dir = parent.join(format!("multiprom-{}-{random:08x}", std::process::id()));
        create(&dir)?;
        Ok(PrivateDir(dir))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // OK because a directory that stays behind is small, and its name says whose it was.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Creates a directory that only its owner may enter, and its parents.
pub(super) fn create(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir)
        .map_err(|error| Error::at(ErrorKind::Directory, dir, error))
}
