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

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapOptions;

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

/// Forks and file creations in progress.
///
/// They are counted in a page that the kernel wipes in forked children, because the forks and creations of other
/// threads do not continue there. Fork handlers of the host that run in the child before ours see the wiped page.
#[repr(C)]
struct UnderWay {
    /// See [`process`]; 0 until it is drawn.
    process: AtomicU64,
    /// Forks that libc knows of.
    forks: AtomicU64,
    /// File creations, including those that wait for forks to end.
    creations: AtomicU64,
    /// Forks that stopped waiting for a creation.
    forced: AtomicU64,
}

/// Replaces the page until it is mapped, and on kernels that wipe no pages.
static UNWIPED: UnderWay = UnderWay {
    process: AtomicU64::new(0),
    forks: AtomicU64::new(0),
    creations: AtomicU64::new(0),
    forced: AtomicU64::new(0),
};

static UNDER_WAY: AtomicPtr<UnderWay> = AtomicPtr::new((&raw const UNWIPED).cast_mut());

fn under_way() -> &'static UnderWay {
    // ORDERING: acquire, after the page was mapped.
    let page = UNDER_WAY.load(Ordering::Acquire);
    // SAFETY: points to `UNWIPED`, or to zeroed memory that is aligned to a page, never unmapped and accessed in no
    // other way: zeros are a valid `UnderWay`.
    unsafe { &*page }
}

/// Maps the page. If that fails, [`begin_child`] resets the counts.
fn map_page() {
    let Ok(page) = MmapOptions::new().len(size_of::<UnderWay>()).map_anon() else {
        return;
    };
    // Never unmapped once it is published.
    let mut page = ManuallyDrop::new(page);
    let address = page.as_mut_ptr();
    // SAFETY: the range is private anonymous memory, mapped above.
    let advised = unsafe { libc::madvise(address.cast(), page.len(), libc::MADV_WIPEONFORK) };
    if advised == 0 {
        UNDER_WAY.store(address.cast(), Ordering::Release);
    } else {
        drop(ManuallyDrop::into_inner(page));
    }
}

/// A number that identifies this process among its ancestors.
fn process() -> u64 {
    /// The highest number that this process or an ancestor has drawn. Not wiped.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let own = &under_way().process;
    let seen = own.load(Ordering::Relaxed);
    if seen != 0 {
        return seen;
    }
    let drawn = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match own.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => drawn,
        Err(other) => other,
    }
}

thread_local! {
    /// The process in which this thread runs fork handlers, before the fork or in the parent. A file creation in
    /// such a handler would wait for its own thread.
    static FORKS_IN: Cell<u64> = const { Cell::new(0) };
}

/// How long forks and creations wait for each other. Both take a fraction of a millisecond, but a creation in the
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

// ORDERING: sequentially consistent, here and in `NoFork`: of a fork and a creation that begin at once one sees
// the other. If both do, the fork steps back.
extern "C" fn begin_fork() {
    FORKS_IN.set(process());
    let UnderWay { forks, creations, forced, .. } = under_way();
    let is_alone = wait_until(|| {
        if creations.load(Ordering::SeqCst) > 0 {
            return false;
        }
        forks.fetch_add(1, Ordering::SeqCst);
        if creations.load(Ordering::SeqCst) == 0 {
            return true;
        }
        one_fewer(forks);
        false
    });
    if !is_alone {
        forks.fetch_add(1, Ordering::SeqCst);
        forced.fetch_add(1, Ordering::SeqCst);
    }
}

extern "C" fn end_fork() {
    one_fewer(&under_way().forks);
    FORKS_IN.set(0);
}

extern "C" fn begin_child() {
    let under_way = under_way();
    if std::ptr::eq(under_way, &raw const UNWIPED) {
        under_way.process.store(0, Ordering::Relaxed);
        under_way.forks.store(0, Ordering::SeqCst);
        under_way.creations.store(0, Ordering::SeqCst);
    }
    close_inherited();
}

/// Counts down, and not below 0: a fork or creation may have begun before the page was mapped.
fn one_fewer(count: &AtomicU64) {
    let fewer = |count: u64| count.checked_sub(1);
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
}

/// Registers the handlers that run at every fork. A fork that has begun before is not seen: a child of it may
/// keep the lock of a file that is created meanwhile, which then looks alive for as long as that child lives.
pub(crate) fn watch_forks() {
    // No `Once`: a child that is forked while another thread is in it would wait for ever.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        map_page();
        // SAFETY: the handlers call only async-signal-safe functions and are never unloaded.
        let _ =
            unsafe { libc::pthread_atfork(Some(begin_fork), Some(end_fork), Some(begin_child)) };
    }
}

/// Whether a creation waits for a fork in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkWait {
    Long,
    None,
}

/// A time in which this process does not fork: forks that begin wait for its end, but not for long.
///
/// A child that is forked between the creation of a file and the note that children close it has a copy
/// of the descriptor that no handler knows of, and would keep the lock for as long as it lives.
pub(crate) struct NoFork {
    under_way: &'static UnderWay,
    forced: u64,
}

impl NoFork {
    /// Waits for forks to end; `None` if one does not, or if this thread itself forks.
    pub(crate) fn begin(wait: ForkWait) -> Option<NoFork> {
        watch_forks();
        if FORKS_IN.get() == process() {
            return None;
        }
        let under_way = under_way();
        let forced = under_way.forced.load(Ordering::SeqCst);
        under_way.creations.fetch_add(1, Ordering::SeqCst);
        let no_fork = NoFork { under_way, forced };
        let is_alone = || under_way.forks.load(Ordering::SeqCst) == 0;
        (is_alone() || wait == ForkWait::Long && wait_until(is_alone)).then_some(no_fork)
    }

    /// Whether no fork has begun all the same.
    pub(crate) fn holds(&self) -> bool {
        self.under_way.forced.load(Ordering::SeqCst) == self.forced
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        one_fewer(&self.under_way.creations);
    }
}

/// A descriptor that forked children close. Written under no lock, one slot by one thread.
struct Inherited {
    /// The number, or -1 in a free slot.
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    /// The [`process`] that opened the descriptor.
    process: AtomicU64,
}

/// A process has up to 13 series files for each directory that it writes to.
const MAX_INHERITED: usize = 1024;

static INHERITED: [Inherited; MAX_INHERITED] = [const {
    Inherited {
        fd: AtomicI32::new(-1),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
        process: AtomicU64::new(0),
    }
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
            slot.process.store(process(), Ordering::Relaxed);
            // ORDERING: release, so that a child which sees the number sees the identity.
            slot.fd.store(fd, Ordering::Release);
            return;
        }
    }
}

/// Runs in the child after each fork, where only async-signal-safe calls are allowed. Keeps descriptors that the child
/// opened itself, in a fork handler of the host that ran before.
fn close_inherited() {
    let process = process();
    for slot in &INHERITED {
        let fd = slot.fd.load(Ordering::Acquire);
        if fd >= 0 && slot.process.load(Ordering::Relaxed) == process {
            continue;
        }
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
