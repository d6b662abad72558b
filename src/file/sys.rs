//! System calls that have no safe wrapper in the standard library, each behind a safe function.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::ptr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells an open file from every other one while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The identity of the file behind a descriptor number, which may be anybody's.
///
/// Async-signal-safe: one `fstat`.
pub(crate) fn identity(fd: RawFd) -> Option<Identity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is large enough for what fstat writes; a bad number gives EBADF.
    let result = unsafe { libc::fstat(fd, stat.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: fstat returned 0, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    Some(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Longer than a tick of any file system's clock.
const TICK: Duration = Duration::from_millis(20);

/// What tells whether a file is still as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) identity: Identity,
    pub(crate) len: u64,
    links: libc::nlink_t,
    mode: libc::mode_t,
    /// The user that the file belongs to.
    pub(crate) owner: u32,
    /// Nanoseconds since the Unix epoch. Moved by whatever changes the file but for stores into a mapping.
    pub(crate) changed: i128,
}

impl Stat {
    fn new(stat: &libc::stat) -> Stat {
        Stat {
            identity: Identity { device: stat.st_dev, inode: stat.st_ino },
            len: stat.st_size as u64,
            links: stat.st_nlink,
            mode: stat.st_mode,
            owner: stat.st_uid,
            changed: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        }
    }

    /// Whether a later change will be seen as one: clocks of file systems tick, and what is changed twice within
    /// a tick shows one time.
    pub(crate) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_nanos() as i128 - self.changed > TICK.as_nanos() as i128
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Whether it has more than one name.
    pub(crate) fn is_linked(&self) -> bool {
        self.links > 1
    }
}

/// Asks for an open file.
pub(crate) fn stat(file: &File) -> io::Result<Stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the descriptor is open, and `stat` is large enough.
    let result = unsafe { libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()) };
    check(result)?;
    // SAFETY: fstat returned 0, so it filled the structure.
    Ok(Stat::new(unsafe { stat.assume_init_ref() }))
}

/// Asks for a file of a directory, without following a link.
pub(crate) fn stat_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<Stat> {
    let name = c_string(name)?;
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `name` is a C string that lives through the call, and `stat` is large enough.
    let result = unsafe {
        libc::fstatat(dir.as_raw_fd(), name.as_ptr(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW)
    };
    check(result)?;
    // SAFETY: fstatat returned 0, so it filled the structure.
    Ok(Stat::new(unsafe { stat.assume_init_ref() }))
}

/// How many files this process may have open.
pub(crate) fn descriptor_limit() -> usize {
    limits(libc::RLIMIT_NOFILE).map_or(0, |limits| limits.rlim_cur as usize)
}

/// Raises that number as far as the process may. Not for programs that start others, which may rely on it.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of exporters"))]
pub(crate) fn raise_descriptor_limit() {
    if let Some(limits) = limits(libc::RLIMIT_NOFILE) {
        let limits = libc::rlimit { rlim_cur: limits.rlim_max, ..limits };
        // SAFETY: the pointer is to a valid structure. Where it fails the limit stays as it is.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    }
}

#[cfg(target_env = "musl")]
type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Resource = libc::__rlimit_resource_t;

fn limits(resource: Resource) -> Option<libc::rlimit> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid and writable.
    let result = unsafe { libc::getrlimit(resource, &raw mut limits) };
    (result == 0).then_some(limits)
}

pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Opens `name` relative to a directory.
pub(crate) fn open_at(
    dir: BorrowedFd<'_>,
    name: &str,
    flags: libc::c_int,
    mode: libc::mode_t,
) -> io::Result<File> {
    let name = c_string(name)?;
    // SAFETY: `name` is a C string that lives through the call; the kernel keeps nothing of it.
    let result = unsafe {
        libc::openat(
            dir.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            libc::c_uint::from(mode),
        )
    };
    let fd = check(result)?;
    // SAFETY: openat gave this descriptor to us alone.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Gives a file from `O_TMPFILE` a name. A name that is taken is `AlreadyExists`.
pub(crate) fn link_at(file: &File, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // NOTE: AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH. See: open(2), O_TMPFILE.
    let source = c_string(&format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let name = c_string(name)?;
    // SAFETY: both paths are C strings that live through the call.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            source.as_ptr(),
            dir.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    check(result).map(drop)
}

/// What becomes of a file that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is replaced, in one step.
    Replaced,
    /// It stays; the error is `AlreadyExists`.
    Kept,
}

/// Renames a file of one directory into another, or into the same.
pub(crate) fn rename_at(
    (from_dir, from): (BorrowedFd<'_>, &str),
    (to_dir, to): (BorrowedFd<'_>, &str),
    taken: Taken,
) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    let flags = match taken {
        Taken::Replaced => 0,
        Taken::Kept => libc::RENAME_NOREPLACE,
    };
    // SAFETY: both names are C strings that live through the call.
    let result = unsafe {
        libc::renameat2(from_dir.as_raw_fd(), from.as_ptr(), to_dir.as_raw_fd(), to.as_ptr(), flags)
    };
    check(result).map(drop)
}

/// Makes a directory, for its owner only.
pub(crate) fn make_dir_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: `name` is a C string that lives through the call.
    let result = unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), 0o700) };
    check(result).map(drop)
}

/// Removes the name of a file from a directory.
pub(crate) fn unlink_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    remove_at(dir, name, 0)
}

/// Removes an empty directory from a directory.
pub(crate) fn remove_dir_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    remove_at(dir, name, libc::AT_REMOVEDIR)
}

fn remove_at(dir: BorrowedFd<'_>, name: &str, flags: libc::c_int) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: `name` is a C string that lives through the call.
    let result = unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) };
    check(result).map(drop)
}

/// Reserves the bytes of a file from `from`, where nobody reads yet, to `to`, and makes the file that long.
///
/// After success a store into them raises no signal on the supported file systems. On failure the
/// length is what it was. SIGXFSZ, which a limit on file sizes raises, never reaches the host.
pub(crate) fn reserve(file: &File, from: u64, to: u64) -> io::Result<()> {
    let signals = TakenSignals::new(&[libc::SIGXFSZ])?;
    let reserved = match reserve_beyond_end(file, from, to) {
        Err(error) if lacks_reservation(&error) => write_zeros(file, from, to),
        result => result.and_then(|()| file.set_len(to)),
    };
    signals.restore();
    reserved
}

/// Reserves bytes, and leaves the length as it is.
///
/// NOTE: a plain fallocate that fails can leave the file longer. See: fallocate(2).
fn reserve_beyond_end(file: &File, from: u64, to: u64) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe {
        libc::fallocate(
            file.as_raw_fd(),
            libc::FALLOC_FL_KEEP_SIZE,
            from as libc::off_t,
            (to - from) as libc::off_t,
        )
    };
    check(result).map(drop)
}

/// Whether a kernel or a file system has no such call: gVisor, ext4 without extents, overlayfs on them, or a
/// sandbox that denies it.
fn lacks_reservation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Writes zeros, so that the file system has to find space for them now.
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = from;
    while at < to {
        let len = ZEROS.len().min((to - at) as usize);
        if let Err(error) = file.write_all_at(&ZEROS[..len], at) {
            // OK because bytes beyond `used` are in nobody's way.
            let _ = file.set_len(from);
            return Err(error);
        }
        at += len as u64;
    }
    Ok(())
}

/// Signals that a call in this thread may raise, blocked for its time and taken after it.
pub(super) struct TakenSignals {
    signals: libc::sigset_t,
    before: libc::sigset_t,
}

impl TakenSignals {
    pub(super) fn new(signals: &[libc::c_int]) -> io::Result<TakenSignals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset fills the set it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: filled in the line before.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: the set is valid, the number is that of a signal.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        let mut before = set;
        // SAFETY: both sets are valid; only the mask of this thread changes.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // A signal that was blocked before is the host's, should it be pending.
        for signal in signals {
            // SAFETY: the set is valid, the number is that of a signal.
            let had_blocked = unsafe { libc::sigismember(&raw const before, *signal) } == 1;
            if had_blocked {
                // SAFETY: as above.
                unsafe { libc::sigdelset(&raw mut set, *signal) };
            }
        }
        Ok(TakenSignals { signals: set, before })
    }

    /// Takes signals that came meanwhile, and gives the thread the mask that it had.
    pub(super) fn restore(self) {
        let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            // SAFETY: set and time are valid; no information about the signal is asked for.
            let taken = unsafe {
                libc::sigtimedwait(&raw const self.signals, ptr::null_mut(), &raw const no_wait)
            };
            if taken < 0 {
                break;
            }
        }
        // SAFETY: `before` is the mask that pthread_sigmask gave.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

/// The signals that a thread raises by what it does. Where one is blocked, it ends the process without a handler.
///
/// See: sigprocmask(2), NOTES; seccomp(2), `SECCOMP_RET_TRAP`.
const SYNCHRONOUS_SIGNALS: [libc::c_int; 6] =
    [libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

/// Has a socket that listens take up to `backlog` connections that are not accepted yet, which the kernel cuts down
/// to its own limit (`net.core.somaxconn`).
///
/// See: listen(2); a second call changes the first one's number.
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "of exporters"))]
pub(crate) fn set_backlog(socket: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// All other signals, blocked in this thread until this is dropped there.
pub(crate) struct BlockedSignals {
    before: libc::sigset_t,
    /// A mask is that of one thread.
    _not_send: PhantomData<*const ()>,
}

impl BlockedSignals {
    pub(crate) fn new() -> io::Result<BlockedSignals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset fills the set it is given.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: filled in the line before.
        let mut set = unsafe { set.assume_init() };
        for signal in SYNCHRONOUS_SIGNALS {
            // SAFETY: the set is valid, the number is that of a signal.
            unsafe { libc::sigdelset(&raw mut set, signal) };
        }
        let mut before = set;
        // SAFETY: both sets are valid; only the mask of this thread changes.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        Ok(BlockedSignals { before, _not_send: PhantomData })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that pthread_sigmask returned for this thread.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

/// The type of the file system that a file is on. See: statfs(2).
pub(crate) fn file_system(file: &File) -> io::Result<u64> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `stat` is large enough for what fstatfs writes.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) };
    check(result)?;
    // SAFETY: fstatfs returned 0, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_type as u64)
}

/// Has a new file overwritten in place on btrfs, where a reservation does not hold otherwise.
///
/// NOTE: works on empty files only. Elsewhere the call fails, and nothing is lost by that.
pub(crate) fn write_in_place(file: &File) {
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: reads the flags into an integer of the kernel's size.
    let read = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    if read == 0 {
        flags |= FS_NOCOW_FL;
        // SAFETY: the kernel reads one integer.
        unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    }
}

/// Whether this process has more rights than who started it: setuid, setgid or capabilities.
///
/// See: getauxval(3), AT_SECURE.
pub(crate) fn has_raised_privileges() -> bool {
    // SAFETY: takes a number only.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    secure != 0
}

/// Whether the host may run out of addresses before it runs out of memory. See: getrlimit(2), RLIMIT_AS.
pub(crate) fn is_address_space_limited() -> bool {
    limits(libc::RLIMIT_AS).is_some_and(|limits| limits.rlim_cur != libc::RLIM_INFINITY)
}

/// The length of a page of memory.
pub(crate) fn page_len() -> usize {
    // SAFETY: takes a number only.
    let len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // OK because the kernel tells every process the length of its pages.
    usize::try_from(len).unwrap_or(MIN_PAGE_LEN)
}

/// The shortest page of the processors that this backend is built for.
const MIN_PAGE_LEN: usize = 4096;

/// The user with whose rights this process acts.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The user that this thread accesses files as.
///
/// See: setfsuid(2). The C library changes the calling thread alone, as the kernel does.
#[cfg(feature = "cli")]
pub(crate) fn file_user() -> u32 {
    const NO_USER: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: takes a number only. No user has this one: the call changes nothing and returns the present user.
    let user = unsafe { libc::setfsuid(NO_USER) };
    user as u32
}

/// Has this thread access files as a user; `false` where it may not, or where the user namespace lacks the
/// user.
///
/// NOTE: a change clears the parent-death signal of the thread and makes the process undumpable: it leaves no
/// core. See: prctl(2), PR_SET_PDEATHSIG and PR_SET_DUMPABLE.
#[cfg(feature = "cli")]
pub(crate) fn set_file_user(user: u32) -> bool {
    // The call reports no failure.
    // SAFETY: takes a number only.
    unsafe { libc::setfsuid(user) };
    file_user() == user
}

/// The id of a user and of its primary group; `None` where there is no user of this name.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn find_user(name: &str) -> io::Result<Option<(u32, u32)>> {
    let name = c_string(name)?;
    find_account(|buffer| {
        let mut user = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name is a C string, the buffer has the length that is given, and both results have
        // room for what is written.
        let error = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                user.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        // SAFETY: `found` is null, or points to `user`, which the call has filled.
        let user = unsafe { found.as_ref() };
        (error, user.map(|user| (user.pw_uid, user.pw_gid)))
    })
}

/// The id of a group; `None` where there is no group of this name.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn find_group(name: &str) -> io::Result<Option<u32>> {
    let name = c_string(name)?;
    find_account(|buffer| {
        let mut group = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name is a C string, the buffer has the length that is given, and both results have
        // room for what is written.
        let error = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                group.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        // SAFETY: `found` is null, or points to `group`, which the call has filled.
        let group = unsafe { found.as_ref() };
        (error, group.map(|group| group.gr_gid))
    })
}

/// Calls a lookup in the databases of users and groups with a buffer that is large enough for the answer.
///
/// The lookup returns its error number, and what it found.
fn find_account<T>(
    mut look: impl FnMut(&mut [libc::c_char]) -> (libc::c_int, Option<T>),
) -> io::Result<Option<T>> {
    const FIRST_LEN: usize = 4 * 1024;
    const MAX_LEN: usize = 4 * 1024 * 1024;
    let mut buffer: Vec<libc::c_char> = vec![0; FIRST_LEN];
    loop {
        match look(&mut buffer) {
            (0, found) => return Ok(found),
            // NOTE: what a missing name is called depends on the C library. See: getpwnam_r(3), ERRORS.
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (libc::ERANGE, _) if buffer.len() < MAX_LEN => buffer.resize(buffer.len() * 4, 0),
            (libc::EINTR, _) => {}
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Random bits from the kernel.
pub(crate) fn random_u32() -> io::Result<u32> {
    let mut bytes = [0u8; 4];
    // SAFETY: the buffer has the length that is given.
    let result = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if result == bytes.len() as isize {
        Ok(u32::from_le_bytes(bytes))
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_number_that_is_closed_has_no_identity() {
        assert_eq!(identity(-1), None);
        let file = File::open("/dev/null").unwrap();
        assert!(identity(file.as_raw_fd()).is_some());
    }

    #[test]
    fn accounts_are_found_by_their_names() {
        assert_eq!(find_user("root").unwrap(), Some((0, 0)));
        assert_eq!(find_group("root").unwrap(), Some(0));
        assert_eq!(find_user("no user of this name").unwrap(), None);
        assert_eq!(find_group("no group of this name").unwrap(), None);
    }
}
