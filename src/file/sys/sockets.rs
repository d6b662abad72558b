//! Sockets.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::call::check;

/// Has a socket that listens take up to `backlog` connections that are not accepted yet, which the kernel cuts down
/// to its own limit (`net.core.somaxconn`).
///
/// See: listen(2); a second call changes the first one's number.
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "of exporters"))]
pub(crate) fn set_backlog(socket: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}
