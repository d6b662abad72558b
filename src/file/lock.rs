//! Locks and leases, by which the kernel shows whether a writer is alive.
//!
//! A writer holds an open-file-description write lock on each of its files for life. Unlike a POSIX lock, it is not freed
//! when another descriptor of the file is closed. The kernel frees it when the writer ends, also by SIGKILL. A forked
//! child must not keep it, so a fork handler closes the inherited descriptors (see `inherited`).
//!
//! Files of the Python client have no lock. For them, and as a second proof for files of multiprom, a read lease
//! shows whether a process has the file open for writing.
//!
//! See: fcntl(2), "Open file description locks", "Leases"; pthread_atfork(3).
#![expect(unsafe_code, reason = "fcntl and pthread_atfork")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::inherited;

/// Missing in the libc crate. The value is the same on all architectures. See: fcntl(2), "Managing signals".
const F_SETSIG: libc::c_int = 10;

/// Whether a writer holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockState {
    Held,
    Free,
}

/// Whether a process has a file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteState {
    Written,
    Unwritten,
    /// The kernel grants this process no lease, as it neither owns the file nor has CAP_LEASE.
    Refused,
    /// The kernel does not show it, for example because the file system has no leases.
    Unknown,
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the write lock that shows that the writer of `file` is alive.
///
/// Children that are forked from now on close their copy of the descriptor.
pub(crate) fn hold_for_life(file: &File) -> io::Result<()> {
    inherited::close_in_children(file.as_raw_fd());
    let lock = whole_file(libc::F_WRLCK);
    // SAFETY: `lock` is valid; the kernel only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a read lock on the file of a writer that has ended. Other readers still see the file as free.
pub(crate) fn hold_to_read(file: &File) -> io::Result<LockState> {
    try_lock(file, libc::F_RDLCK)
}

/// Takes a lock without waiting. Returns `Held` if a lock of another open file description conflicts.
fn try_lock(file: &File, kind: libc::c_int) -> io::Result<LockState> {
    let lock = whole_file(kind);
    // SAFETY: `lock` is valid; the kernel only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(LockState::Free);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(LockState::Held),
        _ => Err(error),
    }
}

/// Takes a write lock without waiting. Others see the file as locked.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn hold_alone(file: &File) -> io::Result<LockState> {
    try_lock(file, libc::F_WRLCK)
}

/// Releases a lock, even if a child still has a copy of the descriptor.
pub(crate) fn release(file: &File) {
    let lock = whole_file(libc::F_UNLCK);
    // SAFETY: `lock` is valid; the kernel only reads it.
    let _ = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
}

/// Returns whether a writer holds its lock on `file`, without taking a lock.
///
/// Tests for a read lock, with which the lock of a writer conflicts but not that of another reader.
pub(crate) fn probe(file: &File) -> io::Result<LockState> {
    let mut lock = whole_file(libc::F_RDLCK);
    // SAFETY: `lock` is valid and writable.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(if libc::c_int::from(lock.l_type) == libc::F_UNLCK {
        LockState::Free
    } else {
        LockState::Held
    })
}

/// Returns whether a process has `file` open for writing. `file` is open read-only.
///
/// Takes a read lease and releases it at once; a process that opens the file for writing in between waits until then. A
/// lease that cannot be released ends when `file` is closed.
pub(crate) fn writers(file: &File) -> WriteState {
    let fd = file.as_raw_fd();
    // NOTE: a broken lease raises SIGIO, which terminates a process, unless another signal is set before each
    // lease, as F_UNLCK resets it. SIGURG is ignored by default. See: fcntl(2), F_SETSIG.
    // SAFETY: takes integers only.
    let signal = unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) };
    if signal != 0 {
        return WriteState::Unknown;
    }
    // SAFETY: takes integers only.
    let lease = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) };
    if lease != 0 {
        return match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => WriteState::Written,
            Some(libc::EACCES) => WriteState::Refused,
            _ => WriteState::Unknown,
        };
    }
    // SAFETY: takes integers only.
    let released = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    if released == 0 { WriteState::Unwritten } else { WriteState::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::sys;
    use crate::test_dir::TestDir;
    use std::fs::OpenOptions;

    #[test]
    fn lock_and_lease_show_whether_a_writer_is_alive() {
        let dir = TestDir::new();
        let path = dir.join("file");
        let writer = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(probe(&reader).unwrap(), LockState::Free);
        assert_eq!(writers(&reader), WriteState::Written);
        hold_for_life(&writer).unwrap();
        assert_eq!(probe(&reader).unwrap(), LockState::Held);
        inherited::forget(writer.as_raw_fd(), sys::identity(writer.as_raw_fd()).unwrap());
        drop(writer);
        assert_eq!(probe(&reader).unwrap(), LockState::Free);
        assert_eq!(writers(&reader), WriteState::Unwritten);
    }

    #[test]
    fn a_write_lock_excludes_others_and_becomes_a_read_lock_in_one_step() {
        let dir = TestDir::new();
        let path = dir.join("file");
        let open = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).open(&path).unwrap()
        };
        let (first, second) = (open(), open());
        assert_eq!(hold_alone(&first).unwrap(), LockState::Free);
        assert_eq!(hold_alone(&second).unwrap(), LockState::Held);
        assert_eq!(hold_to_read(&second).unwrap(), LockState::Held);
        assert_eq!(hold_to_read(&first).unwrap(), LockState::Free);
        assert_eq!(hold_to_read(&second).unwrap(), LockState::Free);
        assert_eq!(hold_alone(&first).unwrap(), LockState::Held);
        drop(second);
        assert_eq!(hold_alone(&first).unwrap(), LockState::Free);
    }
}
