//! Calls for listening sockets.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::call::check;

/// Sets how many connections may wait for `accept` on a listening socket, up to the limit of the kernel
/// (`net.core.somaxconn`). Another call of listen(2) replaces the earlier backlog.
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn set_backlog(socket: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}
