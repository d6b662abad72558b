//! The lock that every `run` holds on its directory for as long as it lives.
//!
//! A `run` that resets its directory first takes the lock alone, so that it never resets what another one
//! has counted, and then shares it. One that resets nothing shares it from the start.
//!
//! The lock is an open-file-description lock on a hidden file in the directory, which no reader takes for a
//! series file: compactors lock the directory itself. Its descriptor is closed on exec, so that the end of a
//! `run` frees it, however it ends and whatever its descendants do.
//!
//! See: fcntl(2), "Open file description locks".

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::file::lock::{self, LockState};
use crate::file::place;
use crate::file::sys;

/// The file that is locked. It stays in the directory.
pub(super) const LOCK_NAME: &str = ".multiprom-run.lock";

/// How long a `run` that resets nothing waits for one that does.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Held until it is dropped.
pub(super) struct RunLock {
    file: File,
}

/// Whether another `run` has a directory too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    None,
    Some,
}

impl RunLock {
    /// Takes the lock alone; `None` where another `run` has it.
    pub(super) fn try_alone(dir: &Path) -> io::Result<Option<RunLock>> {
        loop {
            let handle = place::open(dir)?;
            let lock = RunLock::open(&handle)?;
            if lock::hold_alone(&lock.file)? == LockState::Held {
                return Ok(None);
            }
            if lock.is_in(&handle) {
                return Ok(Some(lock));
            }
        }
    }

    /// Shares the lock.
    ///
    /// Fails as `WouldBlock` where another `run` has it alone for long.
    pub(super) fn join(dir: &Path) -> io::Result<(RunLock, Others)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = RunLock::try_alone(dir)? {
                return Ok((lock.share()?, Others::None));
            }
            let handle = place::open(dir)?;
            let lock = RunLock::open(&handle)?;
            if lock::hold_to_read(&lock.file)? == LockState::Free && lock.is_in(&handle) {
                return Ok((lock, Others::Some));
            }
            if Instant::now() >= deadline {
                let message = "another `multiprom run` has been resetting it for long";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Lets others join. There is no moment in which the lock is free.
    pub(super) fn share(self) -> io::Result<RunLock> {
        lock::hold_to_read(&self.file)?;
        Ok(self)
    }

    /// Opens the file, and creates it where it is missing. Whoever may write to the directory may have put
    /// something else there.
    fn open(dir: &File) -> io::Result<RunLock> {
        let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let open = |flags| sys::open_at(dir.as_fd(), LOCK_NAME, flags, 0o600);
        let file = loop {
            match open(flags) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => break opened?,
            }
            match open(flags | libc::O_CREAT | libc::O_EXCL) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => break created?,
            }
        };
        if !sys::stat(&file)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(RunLock { file })
    }

    /// Whether the name still leads to the file that is locked, which may have been removed.
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

/// Whether the kernel or the file system has no such locks at all.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| {
        [libc::EINVAL, libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP].contains(&code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let name = format!("multiprom-run-lock-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_lock_is_taken_alone_shared_and_freed() {
        let dir = directory("shared");
        let first = RunLock::try_alone(&dir).unwrap().unwrap();
        assert!(RunLock::try_alone(&dir).unwrap().is_none());
        let first = first.share().unwrap();
        assert!(RunLock::try_alone(&dir).unwrap().is_none());
        let (second, others) = RunLock::join(&dir).unwrap();
        assert_eq!(others, Others::Some);
        drop(first);
        assert!(RunLock::try_alone(&dir).unwrap().is_none());
        drop(second);
        assert_eq!(RunLock::join(&dir).unwrap().1, Others::None);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn who_joins_waits_for_a_reset_to_end() {
        let dir = directory("waits");
        let first = RunLock::try_alone(&dir).unwrap().unwrap();
        thread::scope(|scope| {
            let joining = scope.spawn(|| RunLock::join(&dir).unwrap());
            thread::sleep(5 * PAUSE);
            assert!(!joining.is_finished());
            let first = first.share().unwrap();
            assert_eq!(joining.join().unwrap().1, Others::Some);
            drop(first);
        });
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_no_plain_file_is_neither_followed_nor_locked() {
        let dir = directory("link");
        let target = dir.join("target");
        fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, dir.join(LOCK_NAME)).unwrap();
        assert!(RunLock::try_alone(&dir).is_err());
        fs::remove_file(dir.join(LOCK_NAME)).unwrap();
        fs::create_dir(dir.join(LOCK_NAME)).unwrap();
        assert!(RunLock::try_alone(&dir).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
        fs::remove_dir_all(&dir).unwrap();
    }
}
