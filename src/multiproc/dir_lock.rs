//! The lock that one compactor of a directory holds at a time.
//!
//! It is a lock on the directory itself: one on a file in it could be removed, and two compactors would hold
//! two files. Everything that a compactor opens, renames and removes is named relative to the directory that
//! it has locked, so that a directory that takes its place is not touched.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::background::{ClosedInChildren, no_forks};
use crate::file::place;

/// Held until it is dropped.
pub(super) struct CompactorLock {
    /// A child that is forked in the middle of a pass closes its copy, which would keep the lock when this process
    /// is killed.
    dir: ClosedInChildren<File>,
}

impl CompactorLock {
    fn open(dir: &Path) -> io::Result<CompactorLock> {
        let no_forks = no_forks();
        let dir = ClosedInChildren::new(place::open(dir)?, &no_forks);
        Ok(CompactorLock { dir })
    }

    /// Takes the lock alone; `None` where another compactor or a reader has it.
    pub(super) fn try_take(dir: &Path) -> io::Result<Option<CompactorLock>> {
        let lock = CompactorLock::open(dir)?;
        match fs2::FileExt::try_lock_exclusive(&*lock.dir) {
            Ok(()) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps compactors away, if it can be done at once: one that was stopped would be waited for in vain.
    pub(super) fn try_share(dir: &Path) -> Option<CompactorLock> {
        let lock = CompactorLock::open(dir).ok()?;
        fs2::FileExt::try_lock_shared(&*lock.dir).ok()?;
        Some(lock)
    }

    /// The directory that is locked, whatever has its path by now.
    pub(super) fn dir(&self) -> &File {
        &self.dir
    }
}

impl Drop for CompactorLock {
    fn drop(&mut self) {
        // The child of a raw `clone` may have a copy of the descriptor. OK because closing it unlocks else.
        let _ = fs2::FileExt::unlock(&*self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_compactor_or_many_readers_have_the_lock() {
        let dir = std::env::temp_dir().join(format!("multiprom-lock-dir-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let lock = CompactorLock::try_take(&dir).unwrap().unwrap();
        assert!(CompactorLock::try_take(&dir).unwrap().is_none());
        assert!(CompactorLock::try_share(&dir).is_none());
        drop(lock);
        let shared = CompactorLock::try_share(&dir).unwrap();
        assert!(CompactorLock::try_share(&dir).is_some());
        assert!(CompactorLock::try_take(&dir).unwrap().is_none());
        drop(shared);
        assert!(CompactorLock::try_take(&dir).unwrap().is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
