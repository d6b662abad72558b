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
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inherited;

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
    inherited::close_in_children(file.as_raw_fd());
    let lock = whole_file(libc::F_WRLCK);
    // SAFETY: `lock` is valid; the kernel only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a read lock on the file of a writer that has ended: other readers still see it as free.
pub(crate) fn hold_to_read(file: &File) -> io::Result<LockState> {
    try_lock(file, libc::F_RDLCK)
}

/// Takes a lock without waiting: `Held` where a lock of another open file description is in the way.
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

/// Takes a write lock without waiting. Others see it as held.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn hold_alone(file: &File) -> io::Result<LockState> {
    try_lock(file, libc::F_WRLCK)
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

/// Forks of this process that are under way, as far as libc knows.
static FORKING: AtomicU64 = AtomicU64::new(0);
/// Births that are under way, or wait for forks to end.
static BIRTHS: AtomicU64 = AtomicU64::new(0);
/// Forks that did not wait for a birth to its end.
static FORCED: AtomicU64 = AtomicU64::new(0);

/// How long forks and births wait for each other. Both take a fraction of a millisecond, but a birth in the
/// very thread that forks in a signal handler never ends, nor does a fork whose handlers wait for us.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// Lets other threads run until a condition holds, for a while at most.
fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let mut deadline = None;
    while !holds() {
        let now = Instant::now();
        if now >= *deadline.get_or_insert(now + MAX_WAIT) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

// ORDERING: sequentially consistent, here and in `NoFork`: of a fork and a birth that begin at once one sees
// the other. If both do, the fork steps back.
extern "C" fn begin_fork() {
    let is_alone = wait_until(|| {
        if BIRTHS.load(Ordering::SeqCst) > 0 {
            return false;
        }
        FORKING.fetch_add(1, Ordering::SeqCst);
        if BIRTHS.load(Ordering::SeqCst) == 0 {
            return true;
        }
        one_fewer(&FORKING);
        false
    });
    if !is_alone {
        FORKING.fetch_add(1, Ordering::SeqCst);
        FORCED.fetch_add(1, Ordering::SeqCst);
    }
}

extern "C" fn end_fork() {
    one_fewer(&FORKING);
}

extern "C" fn begin_child() {
    // Other threads' forks and births do not go on in a child.
    FORKING.store(0, Ordering::SeqCst);
    BIRTHS.store(0, Ordering::SeqCst);
    inherited::close_all();
}

/// Counts down, and not below 0: a fork may have begun before it was watched, and a child forgets births.
fn one_fewer(count: &AtomicU64) {
    let fewer = |count: u64| count.checked_sub(1);
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
}

/// Registers the handlers that run at every fork. A fork that has begun before is not seen: a child of it may
/// keep the lock of a file that is born meanwhile, which then looks alive for as long as that child lives.
pub(crate) fn watch_forks() {
    // No `Once`: a child that is forked while another thread is in it would wait for ever.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers call only async-signal-safe functions and are never unloaded.
        let _ =
            unsafe { libc::pthread_atfork(Some(begin_fork), Some(end_fork), Some(begin_child)) };
    }
}

/// A time in which this process does not fork: forks that begin wait for its end, but not for long.
///
/// A child that is forked between the creation of a file and the note that children close it has a copy
/// of the descriptor that no handler knows of, and would keep the lock for as long as it lives.
pub(crate) struct NoFork {
    forced: u64,
}

impl NoFork {
    /// Waits for forks to end; `None` where one does not.
    pub(crate) fn begin() -> Option<NoFork> {
        watch_forks();
        let forced = FORCED.load(Ordering::SeqCst);
        BIRTHS.fetch_add(1, Ordering::SeqCst);
        let no_fork = NoFork { forced };
        wait_until(|| FORKING.load(Ordering::SeqCst) == 0).then_some(no_fork)
    }

    /// Whether no fork has begun all the same.
    pub(crate) fn holds(&self) -> bool {
        FORCED.load(Ordering::SeqCst) == self.forced
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        one_fewer(&BIRTHS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::sys;
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
        inherited::forget(writer.as_raw_fd(), sys::identity(writer.as_raw_fd()).unwrap());
        drop(writer);
        assert_eq!(probe(&reader).unwrap(), LockState::Free);
        assert_eq!(writers(&reader), WriteState::Unwritten);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_write_lock_excludes_others_and_becomes_a_read_lock_in_one_step() {
        let path = std::env::temp_dir().join(format!("multiprom-locks-{}", std::process::id()));
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
        std::fs::remove_file(&path).unwrap();
    }
}
