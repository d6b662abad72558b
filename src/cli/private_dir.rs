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
    pub(super) fn create() -> Result<PrivateDir> {
        let mut last = None;
        for parent in [PathBuf::from(SHARED_MEMORY), std::env::temp_dir()] {
            let random = random_u32().map_err(|error| Error::new(ErrorKind::Io, error))?;
            let dir = parent.join(format!("multiprom-{}-{random:08x}", std::process::id()));
            match create(&dir) {
                Ok(()) => return Ok(PrivateDir(dir)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Directory, "no place for a directory")))
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

/// Makes a directory that only we may enter, and its parents.
pub(super) fn create(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir)
        .map_err(|error| Error::at(ErrorKind::Directory, dir, error))
}
