//! Calls for listening sockets.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::call::check;

/// Sets how many connections may wait for `accept` on a listening socket, up to the limit of the kernel
/// (`net.core.somaxconn`). Another call of listen(2) replaces the earlier backlog.
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn set_backlog(socket: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Binds a TCP port of all interfaces, for IPv6 and IPv4. The standard library keeps the default of `IPV6_V6ONLY`, which is
/// IPv6 only if the sysctl `net.ipv6.bindv6only` is set. The caller calls [`set_backlog`] to listen.
///
/// See: ipv6(7), IPV6_V6ONLY, which must be set before bind(2).
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn bind_all_interfaces(port: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_INET6, kind, 0) })?;
    // SAFETY: the descriptor was just created, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // As the standard library does, so that connections of an earlier server do not block the port.
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    let address = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `address`.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// Creates a Unix socket and its file, which has at most these permissions from its creation on, less the umask. The caller
/// calls [`set_backlog`] to listen.
///
/// NOTE: Linux creates the file with the mode of the socket's own inode. See: `unix_bind_bsd` in `net/unix/af_unix.c`.
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn bind_unix(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the descriptor was just created, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: takes integers only.
    check(unsafe { libc::fchmod(socket.as_raw_fd(), mode) })?;
    let mut address =
        libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, sun_path: [0; 108] };
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays zero.
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        let text = "the path has more than 107 bytes or a NUL byte";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for (to, byte) in address.sun_path.iter_mut().zip(bytes) {
        *to = *byte as libc::c_char;
    }
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `address`.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// Copies of the `count` listening sockets that systemd has passed to this process; the originals stay open, so that they can be
/// copied again, and are closed in programs that it starts.
///
/// See: sd_listen_fds(3).
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
pub(crate) fn passed_sockets(count: u16) -> io::Result<Vec<OwnedFd>> {
    const FIRST: libc::c_int = 3;
    let mut sockets = Vec::new();
    for fd in FIRST..FIRST + libc::c_int::from(count) {
        // SAFETY: takes integers only.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        // SAFETY: the call before has succeeded, so the descriptor is open; nothing closes it.
        let passed = unsafe { BorrowedFd::borrow_raw(fd) };
        if !is_listening(passed)? {
            let text = format!("descriptor {fd} is not a listening socket");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        sockets.push(passed.try_clone_to_owned()?);
    }
    Ok(sockets)
}

fn is_listening(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    let (fd, out) = (socket.as_raw_fd(), (&raw mut value).cast());
    // SAFETY: the pointer and the length are those of `value`.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, out, &raw mut len) };
    check(result).map(|_| value != 0)
}

fn set_option(
    socket: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const value).cast());
    // SAFETY: the pointer and the length are those of the parameter `value`.
    check(unsafe { libc::setsockopt(fd, level, option, value, len) }).map(drop)
}
