//! Calls that name a file relative to an open directory.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::call::{c_string, check};

/// Opens `name` relative to a directory.
pub(crate) fn open_at(
    dir: BorrowedFd<'_>,
    name: &str,
    flags: libc::c_int,
    mode: libc::mode_t,
) -> io::Result<File> {
    let name = c_string(name)?;
    // SAFETY: `name` is a C string that lives through the call; the kernel does not keep it.
    let result = unsafe {
        libc::openat(
            dir.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            libc::c_uint::from(mode),
        )
    };
    let fd = check(result)?;
    // SAFETY: openat returned this descriptor, which has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Returns the error of a directory in which this process cannot create files.
///
/// NOTE: kernels before 5.8 and some sandboxes do not have the call that regards the effective user. It is not known then
/// whether the directory is writable, and no error is returned. See: access(2), AT_EACCESS.
pub(crate) fn check_writable(dir: &Path) -> io::Result<()> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that lives through the call.
    let result = unsafe {
        libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS)
    };
    match check(result) {
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM | libc::EINVAL) => Ok(()),
            _ => Err(error),
        },
        Ok(_) => Ok(()),
    }
}

/// Links a file from `O_TMPFILE` to a name. The error for a taken name is `AlreadyExists`.
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

/// What happens to a file that already has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is replaced atomically.
    Replaced,
    /// It is kept, and the error is `AlreadyExists`.
    Kept,
}

/// Renames a file within a directory or into another one.
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

/// Creates a directory that only its owner may access.
pub(crate) fn make_dir_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: `name` is a C string that lives through the call.
    let result = unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), 0o700) };
    check(result).map(drop)
}

/// Removes a file from a directory.
pub(crate) fn unlink_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    remove_at(dir, name, 0)
}

/// Removes an empty subdirectory from a directory.
pub(crate) fn remove_dir_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    remove_at(dir, name, libc::AT_REMOVEDIR)
}

fn remove_at(dir: BorrowedFd<'_>, name: &str, flags: libc::c_int) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: `name` is a C string that lives through the call.
    let result = unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) };
    check(result).map(drop)
}
