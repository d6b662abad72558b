//! The lock that one compactor of a directory holds at a time.
//!
//! The directory itself is locked: a lock file in it could be removed, and two compactors would lock two files. A
//! compactor names everything that it opens, renames and removes relative to the locked directory, so it never changes
//! a directory that has replaced it.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::background::{ClosedInChildren, no_forks};
use crate::file::place;

/// The lock on a directory, held until it is dropped.
pub(super) struct CompactorLock {
    /// A child that is forked during a pass closes its copy, which would otherwise hold the lock after this process is
    /// killed.
    dir: ClosedInChildren<File>,
}

impl CompactorLock {
    fn open(dir: &Path) -> io::Result<CompactorLock> {
        let no_forks = no_forks();
        let dir = ClosedInChildren::new(place::open(dir)?, &no_forks);
        Ok(CompactorLock { dir })
    }

    /// Takes the lock exclusively; `None` if another compactor or a reader holds it.
    pub(super) fn try_take(dir: &Path) -> io::Result<Option<CompactorLock>> {
        let lock = CompactorLock::open(dir)?;
        match fs2::FileExt::try_lock_exclusive(&*lock.dir) {
            Ok(()) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks compactors out; `None` if one holds the lock. Does not wait, because a compactor that is stopped would
    /// never release it.
    pub(super) fn try_share(dir: &Path) -> Option<CompactorLock> {
        let lock = CompactorLock::open(dir).ok()?;
        fs2::FileExt::try_lock_shared(&*lock.dir).ok()?;
        Some(lock)
    }

    /// The locked directory. Another one may have its path now.
    pub(super) fn dir(&self) -> &File {
        &self.dir
    }
}

impl Drop for CompactorLock {
    fn drop(&mut self) {
        // Needed if the child of a raw `clone` has a copy of the descriptor. OK because otherwise closing unlocks.
        let _ = fs2::FileExt::unlock(&*self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn one_compactor_or_many_readers_hold_the_lock() {
        let dir = TestDir::new();
        let lock = CompactorLock::try_take(&dir).unwrap().unwrap();
        assert!(CompactorLock::try_take(&dir).unwrap().is_none());
        assert!(CompactorLock::try_share(&dir).is_none());
        drop(lock);
        let shared = CompactorLock::try_share(&dir).unwrap();
        assert!(CompactorLock::try_share(&dir).is_some());
        assert!(CompactorLock::try_take(&dir).unwrap().is_none());
        drop(shared);
        assert!(CompactorLock::try_take(&dir).unwrap().is_some());
    }
}
