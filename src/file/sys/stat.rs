//! Metadata of files and file systems: fstat, fstatat, fstatfs.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::call::{c_string, check};

/// Identifies a file as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// Returns the identity of the file behind a descriptor number, which the host may own.
///
/// Async-signal-safe: one `fstat`.
pub(crate) fn identity(fd: RawFd) -> Option<Identity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is large enough for the result; an invalid descriptor causes EBADF.
    let result = unsafe { libc::fstat(fd, stat.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: fstat returned 0, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    Some(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Longer than the resolution of the time stamps of any file system.
const TICK: Duration = Duration::from_millis(20);

/// The metadata by which a change of a file is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) identity: Identity,
    pub(crate) len: u64,
    links: libc::nlink_t,
    mode: libc::mode_t,
    /// The user that the file belongs to.
    pub(crate) owner: u32,
    /// The time of change (`ctime`), in nanoseconds since the Unix epoch. Stores to a mapping may leave it unchanged.
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

    /// Whether a later change will change `changed`. Two changes within the resolution of the time stamps have the same
    /// time.
    pub(crate) fn is_settled(&self) -> bool {
        is_settled(self.changed)
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Whether it has several names (hard links).
    pub(crate) fn is_linked(&self) -> bool {
        self.links > 1
    }
}

/// Whether a change from now on has another time than this one, in nanoseconds since the Unix epoch.
pub(crate) fn is_settled(changed: i128) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as i128 - changed > TICK.as_nanos() as i128
}

/// NOTE: `fstat` of glibc since 2.33 makes the system call `newfstatat` with an empty path, which takes longer.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
fn fstat(fd: RawFd, stat: &mut MaybeUninit<libc::stat>) -> libc::c_int {
    // SAFETY: `stat` is large enough: the structure of the C library is that of the kernel.
    let result = unsafe { libc::syscall(libc::SYS_fstat, fd, stat.as_mut_ptr()) };
    result as libc::c_int
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
fn fstat(fd: RawFd, stat: &mut MaybeUninit<libc::stat>) -> libc::c_int {
    // SAFETY: `stat` is large enough.
    unsafe { libc::fstat(fd, stat.as_mut_ptr()) }
}

/// Returns the metadata of an open file.
pub(crate) fn stat(file: &File) -> io::Result<Stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    check(fstat(file.as_raw_fd(), &mut stat))?;
    // SAFETY: fstat returned 0, so it filled the structure.
    Ok(Stat::new(unsafe { stat.assume_init_ref() }))
}

/// Returns the metadata of a file in a directory, without following a link.
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

/// Returns the type of the file system of a file. See: statfs(2).
pub(crate) fn file_system(file: &File) -> io::Result<u64> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `stat` is large enough for the result.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) };
    check(result)?;
    // SAFETY: fstatfs returned 0, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_type as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_descriptor_number_has_no_identity() {
        assert_eq!(identity(-1), None);
        let file = File::open("/dev/null").unwrap();
        assert!(identity(file.as_raw_fd()).is_some());
    }
}
