//! The users that this process and its threads act as, and lookups of users and groups.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use super::call::c_string;

/// Whether this process has more privileges than the user who started it: setuid, setgid or capabilities.
///
/// See: getauxval(3), AT_SECURE.
pub(crate) fn has_raised_privileges() -> bool {
    // SAFETY: takes an integer only.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    secure != 0
}

/// Returns the effective user id.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Returns the user id with which this thread accesses files.
///
/// See: setfsuid(2). The C library changes the calling thread alone, as the kernel does.
#[cfg(feature = "cli")]
pub(crate) fn file_user() -> u32 {
    const NO_USER: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: takes an integer only. No user has this id, so the call changes nothing and returns the current one.
    let user = unsafe { libc::setfsuid(NO_USER) };
    user as u32
}

/// Makes this thread access files as a user. Returns `false` if that is not permitted, or the user namespace lacks the
/// user.
///
/// NOTE: a change clears the parent-death signal of the thread and makes the process undumpable, so it leaves no
/// core file. See: prctl(2), PR_SET_PDEATHSIG and PR_SET_DUMPABLE.
#[cfg(feature = "cli")]
pub(crate) fn set_file_user(user: u32) -> bool {
    // The call does not report failures.
    // SAFETY: takes an integer only.
    unsafe { libc::setfsuid(user) };
    file_user() == user
}

/// Returns the ids of a user and of its primary group; `None` if there is no user of this name.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn find_user(name: &str) -> io::Result<Option<(u32, u32)>> {
    let name = c_string(name)?;
    find_account(|buffer| {
        let mut user = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name is a C string, the buffer has the given length, and both results are large enough.
        let error = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                user.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        // SAFETY: `found` is null, or points to `user`, which the call has initialized.
        let user = unsafe { found.as_ref() };
        (error, user.map(|user| (user.pw_uid, user.pw_gid)))
    })
}

/// Returns the id of a group; `None` if there is no group of this name.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn find_group(name: &str) -> io::Result<Option<u32>> {
    let name = c_string(name)?;
    find_account(|buffer| {
        let mut group = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name is a C string, the buffer has the given length, and both results are large enough.
        let error = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                group.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        // SAFETY: `found` is null, or points to `group`, which the call has initialized.
        let group = unsafe { found.as_ref() };
        (error, group.map(|group| group.gr_gid))
    })
}

/// Calls a lookup in the databases of users and groups, with a buffer that grows until it is large enough.
///
/// The lookup returns an error number and the result.
fn find_account<T>(
    mut look: impl FnMut(&mut [libc::c_char]) -> (libc::c_int, Option<T>),
) -> io::Result<Option<T>> {
    const FIRST_LEN: usize = 4 * 1024;
    const MAX_LEN: usize = 4 * 1024 * 1024;
    let mut buffer: Vec<libc::c_char> = vec![0; FIRST_LEN];
    loop {
        match look(&mut buffer) {
            (0, found) => return Ok(found),
            // NOTE: the error for a missing name depends on the C library. See: getpwnam_r(3), ERRORS.
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (libc::ERANGE, _) if buffer.len() < MAX_LEN => buffer.resize(buffer.len() * 4, 0),
            (libc::EINTR, _) => {}
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_names() {
        assert_eq!(find_user("root").unwrap(), Some((0, 0)));
        assert_eq!(find_group("root").unwrap(), Some(0));
        assert_eq!(find_user("no user of this name").unwrap(), None);
        assert_eq!(find_group("no group of this name").unwrap(), None);
    }
}
