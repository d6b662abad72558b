//! The directories that a compactor changes.

use std::cell::OnceCell;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

use crate::file::archive::RETIRED_DIR;
use crate::file::sys;
use crate::multiproc::dir_lock::CompactorLock;

/// The locked directory and, once it exists, the directory of retired files in it. Neither is looked up by its path
/// again.
pub(super) struct LockedDir {
    lock: CompactorLock,
    retired: OnceCell<File>,
}

impl LockedDir {
    pub(super) fn new(lock: CompactorLock) -> LockedDir {
        LockedDir { lock, retired: OnceCell::new() }
    }

    pub(super) fn handle(&self) -> &File {
        self.lock.dir()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.dir().as_fd()
    }

    /// The directory of retired files. It is created with the owner and the permissions of the locked directory.
    pub(super) fn retired(&self) -> io::Result<&File> {
        if let Some(retired) = self.retired.get() {
            return Ok(retired);
        }
        let is_new = match sys::make_dir_at(self.as_fd(), RETIRED_DIR) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            result => result.map(|()| true)?,
        };
        let retired = self.open_retired()?;
        if is_new {
            let mode = self.lock.dir().metadata()?.mode() & 0o1777;
            retired.set_permissions(Permissions::from_mode(mode))?;
            set_owner_of(self.lock.dir(), retired)?;
        }
        Ok(retired)
    }

    /// Opens the directory of retired files, if it exists.
    fn open_retired(&self) -> io::Result<&File> {
        if let Some(retired) = self.retired.get() {
            return Ok(retired);
        }
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = sys::open_at(self.as_fd(), RETIRED_DIR, flags, 0)?;
        Ok(self.retired.get_or_init(|| opened))
    }

    /// The directory of a source, and its name in that directory.
    pub(super) fn resolve<'a>(&'a self, source: &'a str) -> io::Result<(&'a File, &'a str)> {
        let Some(name) = source.strip_prefix(RETIRED_DIR).and_then(|it| it.strip_prefix('/'))
        else {
            return Ok((self.lock.dir(), source));
        };
        Ok((self.open_retired()?, name))
    }

    /// Removes the directory of retired files, if it is empty.
    pub(super) fn remove_retired(&self) {
        // OK because an empty directory does no harm.
        let _ = sys::remove_dir_at(self.as_fd(), RETIRED_DIR);
    }

    /// Removes a file. A file that does not exist is no error.
    pub(super) fn remove(&self, source: &str) -> io::Result<()> {
        match self.resolve(source).and_then(|(dir, name)| sys::unlink_at(dir.as_fd(), name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// Gives a file that root has created to the owner of the directory.
pub(super) fn set_owner_of(dir: &File, file: &File) -> io::Result<()> {
    let metadata = dir.metadata()?;
    // OK because only root may do it, and other users own the files that they create.
    let _ = fchown(file, Some(metadata.uid()), Some(metadata.gid()));
    Ok(())
}
