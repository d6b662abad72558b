//! Locks and leases: the kernel's word on whether a writer lives.
//!
//! A writer holds an open-file-description write lock on each of its files for as long as it lives.
//! Closing some other descriptor of the file does not free it, as it would a POSIX lock, and its end
//! frees it even after SIGKILL. A forked child must not keep it, so an atfork handler closes the
//! inherited descriptors; it does not unlock, which would free the parent's lock.
//!
//! Files of the Python client have no lock. For them, and as a second proof for ours, a read lease
//! tells whether anybody has the file open for writing.
//!
//! See: fcntl(2), "Open file description locks", "Leases"; pthread_atfork(3).
#![expect(unsafe_code, reason = "fcntl and pthread_atfork")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use super::sys::{self, Identity};

/// Not in the libc crate. See: fcntl(2), "Managing signals"; the same number on every architecture.
const F_SETSIG: libc::c_int = 10;

/// Whether a writer holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockState {
    Held,
    Free,
}

/// Whether anybody has a file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteState {
    Written,
    Unwritten,
    /// The kernel does not say: the file is another user's, or the file system has no leases.
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

/// Takes the write lock that shows that the writer of `file` lives, and keeps it for life.
///
/// A child that is forked from now on closes its copy of the descriptor.
pub(crate) fn hold_for_life(file: &File) -> io::Result<()> {
    close_in_children(file.as_raw_fd());
    let lock = whole_file(libc::F_WRLCK);
    // SAFETY: `lock` is valid; the kernel only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a read lock on the file of a writer that has ended: other readers still see it as free.
pub(crate) fn hold_to_read(file: &File) -> io::Result<LockState> {
    let lock = whole_file(libc::F_RDLCK);
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

/// Gives a lock back, also where a child still has a copy of the descriptor.
pub(crate) fn release(file: &File) {
    let lock = whole_file(libc::F_UNLCK);
    // SAFETY: `lock` is valid; the kernel only reads it.
    let _ = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
}

/// Asks whether a writer holds its lock on `file`, without taking any.
///
/// Asks for a read lock: a writer's lock is seen, another reader's is not.
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

/// Asks whether anybody has `file` open for writing. `file` is opened read-only.
///
/// Takes a read lease and gives it back at once; a writer that opens the file in between waits for
/// that long.
pub(crate) fn writers(file: &File) -> WriteState {
    let fd = file.as_raw_fd();
    // NOTE: the signal of a broken lease is SIGIO, which ends a process, unless it is set before each
    // lease: unlocking resets it. SIGURG is ignored by default. See: fcntl(2), F_SETSIG.
    // SAFETY: takes numbers only.
    let signal = unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) };
    if signal != 0 {
        return WriteState::Unknown;
    }
    // SAFETY: takes numbers only.
    let lease = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) };
    if lease != 0 {
        return match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => WriteState::Written,
            _ => WriteState::Unknown,
        };
    }
    // SAFETY: takes numbers only.
    unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    WriteState::Unwritten
}

/// How often this process has begun to fork, as far as libc knows.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// How many of these forks are over.
static ENDED: AtomicU64 = AtomicU64::new(0);

extern "C" fn begin_fork() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn end_fork() {
    // OK because a fork that had begun before the handlers were registered ends here without having begun.
    let more = |ended| (ended < BEGUN.load(Ordering::SeqCst)).then_some(ended + 1);
    let _ = ENDED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
}

extern "C" fn begin_child() {
    // Other threads' forks do not go on in a child.
    ENDED.store(BEGUN.load(Ordering::SeqCst), Ordering::SeqCst);
    close_inherited();
}

/// Registers the handlers that run at every fork. A fork that has begun before is not seen.
pub(crate) fn watch_forks() {
    // No `Once`: a child that is forked while another thread is in it would wait for ever.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers call only async-signal-safe functions and are never unloaded.
        let _ =
            unsafe { libc::pthread_atfork(Some(begin_fork), Some(end_fork), Some(begin_child)) };
    }
}

/// A moment in which this process does not fork, or `None` where it goes on forking.
///
/// A birth notes the moment first. If a fork has begun when
/// the file is locked, a child may hold a copy of the descriptor that no handler knew of, and would keep the
/// lock for as long as it lives. The same holds for a fork that had begun before: other handlers run between
/// ours and the copy.
pub(crate) fn no_fork() -> Option<NoFork> {
    /// How often other threads are let run, to end their forks.
    const YIELDS: usize = 1000;
    watch_forks();
    for _ in 0..YIELDS {
        // Read before the begun ones: if both are equal there was a moment without any.
        let ended = ENDED.load(Ordering::SeqCst);
        if BEGUN.load(Ordering::SeqCst) == ended {
            return Some(NoFork(ended));
        }
        std::thread::yield_now();
    }
    None
}

/// How many forks had begun, all of which were over.
#[derive(Clone, Copy)]
pub(crate) struct NoFork(u64);

impl NoFork {
    /// Whether no fork has begun since.
    pub(crate) fn holds(self) -> bool {
        BEGUN.load(Ordering::SeqCst) == self.0
    }
}

/// A descriptor that forked children close. Written under no lock, one slot by one thread.
struct Inherited {
    /// The number, or -1 in a free slot.
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// A process has up to 13 series files for each directory that it writes to.
const MAX_INHERITED: usize = 1024;

static INHERITED: [Inherited; MAX_INHERITED] = [const {
    Inherited { fd: AtomicI32::new(-1), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
}; MAX_INHERITED];

/// The number of a slot that is being filled.
const CLAIMED: RawFd = -2;

/// Has children that are forked from now on close `fd`, if it is still the same file there.
///
/// Where all slots are taken the children keep it, and the writer is seen as alive for longer.
fn close_in_children(fd: RawFd) {
    let Some(identity) = sys::identity(fd) else {
        return;
    };
    for slot in &INHERITED {
        let claim = slot.fd.compare_exchange(-1, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        if claim.is_ok() {
            slot.device.store(identity.device, Ordering::Relaxed);
            slot.inode.store(identity.inode, Ordering::Relaxed);
            // ORDERING: release, so that a child which sees the number sees the identity.
            slot.fd.store(fd, Ordering::Release);
            return;
        }
    }
}

/// Runs in the child after each fork, where only async-signal-safe calls are allowed.
fn close_inherited() {
    for slot in &INHERITED {
        let fd = slot.fd.load(Ordering::Acquire);
        let identity = Identity {
            device: slot.device.load(Ordering::Relaxed),
            inode: slot.inode.load(Ordering::Relaxed),
        };
        if fd >= 0 && sys::identity(fd) == Some(identity) {
            // SAFETY: the number still is the inherited copy of our file, and nobody in this process
            // uses it: what the parent wrote with is dropped by the epoch.
            unsafe { libc::close(fd) };
        }
        slot.fd.store(-1, Ordering::Relaxed);
    }
}

/// Forgets a descriptor that is about to be closed, or that the host has closed.
pub(crate) fn forget(fd: RawFd, identity: Identity) {
    for slot in &INHERITED {
        // The number may be that of another file of ours by now, which stays.
        let is_same = slot.fd.load(Ordering::Acquire) == fd
            && slot.device.load(Ordering::Relaxed) == identity.device
            && slot.inode.load(Ordering::Relaxed) == identity.inode;
        if is_same {
            let _ = slot.fd.compare_exchange(fd, -1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn lock_and_lease_tell_whether_a_writer_is_there() {
        let path = std::env::temp_dir().join(format!("multiprom-lock-{}", std::process::id()));
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
        forget(writer.as_raw_fd(), sys::identity(writer.as_raw_fd()).unwrap());
        drop(writer);
        assert_eq!(probe(&reader).unwrap(), LockState::Free);
        assert_eq!(writers(&reader), WriteState::Unwritten);
        std::fs::remove_file(&path).unwrap();
    }
}
