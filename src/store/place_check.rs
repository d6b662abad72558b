//! Checks that files can be written to a directory.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::file::place::{self, PlaceError};
use crate::file::sys;
use crate::file::write_error::WriteError;
use crate::logging::log_line;

/// Whether a check has found the directory usable. Its file system is checked until that succeeds.
#[derive(Default)]
pub(super) struct PlaceCheck(AtomicBool);

impl PlaceCheck {
    /// Checks that files can be created in the directory now.
    pub(super) fn check_writable(&self, path: &Path) -> Result<()> {
        let writable = || sys::check_writable(path).map_err(PlaceError::Open);
        self.check_usable(path).and_then(|()| writable()).map_err(|cause| unusable(path, cause))
    }

    fn check_usable(&self, path: &Path) -> Result<(), PlaceError> {
        if self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let dir = place::check(path)?;
        if place::is_open_to_others(&dir) {
            let path = path.display();
            log_line(&format_args!("directory `{path}`: other users may create files in it"));
        }
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that the directory is usable, before a file is created.
    pub(super) fn check_to_write(&self, path: &Path) -> Result<(), WriteError> {
        self.check_usable(path).map_err(|cause| {
            WriteError::Directory(match cause {
                PlaceError::Open(error) => error,
                PlaceError::FileSystem(_) => io::Error::new(io::ErrorKind::Unsupported, cause),
            })
        })
    }
}

/// The error of a directory that cannot be used.
pub(super) fn unusable(path: &Path, cause: PlaceError) -> Error {
    match cause {
        PlaceError::FileSystem(_) => Error::at(ErrorKind::Unsupported, path, cause),
        PlaceError::Open(error) => Error::at(ErrorKind::Directory, path, error),
    }
}
