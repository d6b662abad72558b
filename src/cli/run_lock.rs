//! The lock that every `run` holds on its directory.
//!
//! A `run` that resets its directory takes the lock exclusively, so that it never resets values that another
//! one counts, and then downgrades it to a shared lock. A `run` that resets nothing takes the shared lock.
//!
//! It is an open-file-description lock on a hidden file, whose name is not that of a series file. The directory
//! itself is not locked, as compactors lock it. The descriptor is closed on exec, so the end of a `run` releases
//! the lock although its descendants live on.
//!
//! See: fcntl(2), "Open file description locks".

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::file::lock::{self, LockState};
use crate::file::place;
use crate::file::sys;

/// The name of the lock file, which stays in the directory.
pub(super) const LOCK_NAME: &str = ".multiprom-run.lock";

/// The content of the lock file of a private directory, which a user id follows.
const PRIVATE_MARK: &str = "private directory of multiprom, given to user ";

/// How long a `run` that resets nothing waits for a reset by another one.
const RESET_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The lock, which is released on drop.
pub(super) struct RunLock {
    file: File,
}

/// Whether another `run` uses the directory too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    None,
    Some,
}

impl RunLock {
    /// Takes the exclusive lock; `None` if another `run` holds the lock.
    pub(super) fn try_exclusive(dir: &Path) -> io::Result<Option<RunLock>> {
        loop {
            let handle = place::open(dir)?;
            let lock = RunLock::open_or_create(&handle)?;
            if lock::hold_alone(&lock.file)? == LockState::Held {
                return Ok(None);
            }
            if lock.is_in(&handle) {
                return Ok(Some(lock));
            }
        }
    }

    /// Takes the exclusive lock if the lock file exists; `None` if another `run` holds the lock.
    pub(super) fn try_existing(dir: &File) -> io::Result<Option<RunLock>> {
        let lock = RunLock { file: open(dir, 0)? };
        let is_free = lock::hold_alone(&lock.file)? == LockState::Free;
        Ok((is_free && lock.is_in(dir)).then_some(lock))
    }

    /// Marks a directory as private, and stores its owner.
    pub(super) fn mark_private(&self, owner: u32) -> io::Result<()> {
        self.file.write_all_at(format!("{PRIVATE_MARK}{owner}\n").as_bytes(), 0)
    }

    /// The stored owner of a private directory; `None` if the directory is not marked as private.
    pub(super) fn private_owner(&self) -> Option<u32> {
        let mut text = [0; PRIVATE_MARK.len() + 16];
        let len = self.file.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        text.strip_prefix(PRIVATE_MARK)?.strip_suffix('\n')?.parse().ok()
    }

    /// Metadata of the lock file.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Takes the shared lock.
    ///
    /// Fails with `WouldBlock` if another `run` holds the exclusive lock for longer than [`RESET_TIMEOUT`].
    pub(super) fn lock_shared(dir: &Path) -> io::Result<(RunLock, Others)> {
        let deadline = Instant::now() + RESET_TIMEOUT;
        loop {
            if let Some(lock) = RunLock::try_exclusive(dir)? {
                return Ok((lock.downgrade()?, Others::None));
            }
            let handle = place::open(dir)?;
            let lock = RunLock::open_or_create(&handle)?;
            if lock::hold_to_read(&lock.file)? == LockState::Free && lock.is_in(&handle) {
                return Ok((lock, Others::Some));
            }
            if Instant::now() >= deadline {
                let seconds = RESET_TIMEOUT.as_secs();
                let message = format!(
                    "another `multiprom run` has been resetting it for more than {seconds} s"
                );
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Downgrades to the shared lock, without releasing it in between.
    pub(super) fn downgrade(self) -> io::Result<RunLock> {
        lock::hold_to_read(&self.file)?;
        Ok(self)
    }

    fn open_or_create(dir: &File) -> io::Result<RunLock> {
        loop {
            match open(dir, 0) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map(|file| RunLock { file }),
            }
            match open(dir, libc::O_CREAT | libc::O_EXCL) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created.map(|file| RunLock { file }),
            }
        }
    }

    /// Whether the path still leads to the locked file, which may have been removed.
    fn is_in(&self, dir: &File) -> bool {
        let named = sys::stat_at(dir.as_fd(), LOCK_NAME).map(|stat| stat.identity);
        let locked = sys::stat(&self.file).map(|stat| stat.identity);
        matches!((named, locked), (Ok(named), Ok(locked)) if named == locked)
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        lock::release(&self.file);
    }
}

/// Opens the lock file. Another user with write access may have replaced it by something else.
fn open(dir: &File, flags: libc::c_int) -> io::Result<File> {
    let flags = flags | libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = sys::open_at(dir.as_fd(), LOCK_NAME, flags, 0o600)?;
    if sys::stat(&file)?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Whether the kernel or the file system does not support such locks.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| {
        [libc::EINVAL, libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP].contains(&code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::fs;

    #[test]
    fn a_lock_is_exclusive_then_shared_then_released() {
        let dir = TestDir::new();
        let first = RunLock::try_exclusive(&dir).unwrap().unwrap();
        assert!(RunLock::try_exclusive(&dir).unwrap().is_none());
        let first = first.downgrade().unwrap();
        assert!(RunLock::try_exclusive(&dir).unwrap().is_none());
        let (second, others) = RunLock::lock_shared(&dir).unwrap();
        assert_eq!(others, Others::Some);
        drop(first);
        assert!(RunLock::try_exclusive(&dir).unwrap().is_none());
        drop(second);
        assert_eq!(RunLock::lock_shared(&dir).unwrap().1, Others::None);
    }

    #[test]
    fn a_shared_lock_waits_for_the_end_of_a_reset() {
        let dir = TestDir::new();
        let first = RunLock::try_exclusive(&dir).unwrap().unwrap();
        thread::scope(|scope| {
            let joining = scope.spawn(|| RunLock::lock_shared(&dir).unwrap());
            thread::sleep(5 * RETRY_INTERVAL);
            assert!(!joining.is_finished());
            let first = first.downgrade().unwrap();
            assert_eq!(joining.join().unwrap().1, Others::Some);
            drop(first);
        });
    }

    #[test]
    fn a_private_directory_has_a_stored_owner() {
        let dir = TestDir::new();
        let lock = RunLock::try_exclusive(&dir).unwrap().unwrap();
        assert_eq!(lock.private_owner(), None);
        for owner in [0, 65534, u32::MAX] {
            lock.file.set_len(0).unwrap();
            lock.mark_private(owner).unwrap();
            assert_eq!(lock.private_owner(), Some(owner));
        }
        for other in ["", "7\n", &format!("{PRIVATE_MARK}7"), &format!("{PRIVATE_MARK}x\n")] {
            lock.file.set_len(0).unwrap();
            lock.file.write_all_at(other.as_bytes(), 0).unwrap();
            assert_eq!(lock.private_owner(), None, "{other}");
        }
    }

    #[test]
    fn links_and_directories_are_neither_followed_nor_locked() {
        let dir = TestDir::new();
        let target = dir.join("target");
        fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, dir.join(LOCK_NAME)).unwrap();
        assert!(RunLock::try_exclusive(&dir).is_err());
        fs::remove_file(dir.join(LOCK_NAME)).unwrap();
        fs::create_dir(dir.join(LOCK_NAME)).unwrap();
        assert!(RunLock::try_exclusive(&dir).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    }
}
