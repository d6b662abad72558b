//! The directories that a compactor works in.

use std::cell::OnceCell;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

use crate::file::archive::RETIRED_DIR;
use crate::file::sys;
use crate::multiproc::dir_lock::CompactorLock;

/// The directory that is locked and, once it is there, the one in it for retired files. Neither is found by
/// its path again.
pub(super) struct Dirs {
    lock: CompactorLock,
    retired: OnceCell<File>,
}

impl Dirs {
    pub(super) fn new(lock: CompactorLock) -> Dirs {
        Dirs { lock, retired: OnceCell::new() }
    }

    pub(super) fn locked(&self) -> &File {
        self.lock.dir()
    }

    pub(super) fn main(&self) -> BorrowedFd<'_> {
        self.lock.dir().as_fd()
    }

    /// The directory for retired files, which has the owner and the permissions of the one that it is in.
    pub(super) fn retired(&self) -> io::Result<&File> {
        if let Some(retired) = self.retired.get() {
            return Ok(retired);
        }
        let is_new = match sys::make_dir_at(self.main(), RETIRED_DIR) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            result => result.map(|()| true)?,
        };
        let retired = self.open_retired()?;
        if is_new {
            let mode = self.lock.dir().metadata()?.mode() & 0o1777;
            retired.set_permissions(Permissions::from_mode(mode))?;
            give_to_owner_of(self.lock.dir(), retired)?;
        }
        Ok(retired)
    }

    /// Opens the directory for retired files once, if it is there.
    fn open_retired(&self) -> io::Result<&File> {
        if let Some(retired) = self.retired.get() {
            return Ok(retired);
        }
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = sys::open_at(self.main(), RETIRED_DIR, flags, 0)?;
        Ok(self.retired.get_or_init(|| opened))
    }

    /// Where a source is: its directory, and its name there.
    pub(super) fn place<'a>(&'a self, source: &'a str) -> io::Result<(&'a File, &'a str)> {
        let Some(name) = source.strip_prefix(RETIRED_DIR).and_then(|it| it.strip_prefix('/'))
        else {
            return Ok((self.lock.dir(), source));
        };
        Ok((self.open_retired()?, name))
    }

    /// Removes the directory for retired files, if nothing is in it.
    pub(super) fn remove_retired(&self) {
        // OK because an empty directory is as good as none.
        let _ = sys::remove_dir_at(self.main(), RETIRED_DIR);
    }

    /// Removes a file; one that is gone is no error.
    pub(super) fn remove(&self, source: &str) -> io::Result<()> {
        match self.place(source).and_then(|(dir, name)| sys::unlink_at(dir.as_fd(), name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// What root makes belongs to whom the directory belongs to.
pub(super) fn give_to_owner_of(dir: &File, file: &File) -> io::Result<()> {
    let metadata = dir.metadata()?;
    // OK because nobody but root may, and others own what they make.
    let _ = fchown(file, Some(metadata.uid()), Some(metadata.gid()));
    Ok(())
}
