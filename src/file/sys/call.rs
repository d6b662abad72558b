//! Arguments and results of system calls.

use std::ffi::CString;
use std::io;

/// Converts the result of a system call: a negative one stands for the error in `errno`.
pub(in crate::file) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Converts a text without NUL bytes.
pub(super) fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
