//! Listening sockets.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::ListenAddress;
use crate::background::{ClosedInChildren, bind_all_interfaces, no_forks, set_backlog};

/// The number of TCP connections that may wait to be accepted. The standard library uses 128; of a larger burst the kernel
/// drops some, which clients retry only after a second.
const BACKLOG: i32 = 1024;

/// A listening socket. Forked children close it; otherwise the port would stay in use, and clients that connect would
/// wait in vain, for as long as a child lives.
pub(super) enum BoundSocket {
    Tcp(ClosedInChildren<StdTcpListener>),
    Unix(ClosedInChildren<StdUnixListener>),
}

impl BoundSocket {
    /// Binds an address. Returns the socket, the URL to scrape, and the file of a Unix socket.
    pub(super) fn new(
        address: &ListenAddress,
        telemetry_path: &str,
    ) -> io::Result<(BoundSocket, String, Option<SocketFile>)> {
        let no_forks = no_forks();
        match address {
            ListenAddress::Tcp(address) => {
                let listener = ClosedInChildren::new(bind_tcp(address)?, &no_forks);
                set_backlog(listener.as_fd(), BACKLOG)?;
                listener.set_nonblocking(true)?;
                let url = format!("http://{}{telemetry_path}", listener.local_addr()?);
                Ok((BoundSocket::Tcp(listener), url, None))
            }
            ListenAddress::Unix(path) => {
                let listener = ClosedInChildren::new(bind_unix(path)?, &no_forks);
                let file = SocketFile::find(path)?;
                listener.set_nonblocking(true)?;
                let url = format!("unix:{}", path.display());
                Ok((BoundSocket::Unix(listener), url, Some(file)))
            }
        }
    }
}

/// Binds `HOST:PORT`, or all interfaces for `:PORT`: `[::]`, which also accepts IPv4, or `0.0.0.0` if the kernel has no
/// IPv6.
fn bind_tcp(address: &str) -> io::Result<StdTcpListener> {
    let Some(port) = address.strip_prefix(':') else {
        return StdTcpListener::bind(address);
    };
    let port = port.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    unless_ipv6_is_missing(bind_all_interfaces(port).map(StdTcpListener::from), || {
        StdTcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
    })
}

/// The result of binding an IPv6 socket, or of `bind_ipv4` if the kernel has no IPv6.
fn unless_ipv6_is_missing<T>(
    result: io::Result<T>,
    bind_ipv4: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match result {
        // NOTE: socket(2) fails in this way if the kernel has no IPv6, as with `ipv6.disable=1`.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => bind_ipv4(),
        result => result,
    }
}

/// Binds a Unix socket. A socket file on which no process listens is replaced; any other file is an error.
fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    match StdUnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket || StdUnixStream::connect(path).is_ok() {
                return Err(error);
            }
            fs::remove_file(path)?;
            StdUnixListener::bind(path)
        }
        result => result,
    }
}

/// The file of a Unix socket. It is removed when this is dropped, unless another exporter has replaced it.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// Device, inode number and, if the file system has it, creation time: inode numbers are reused.
type FileIdentity = (u64, u64, Option<SystemTime>);

fn identity(path: &Path) -> io::Result<FileIdentity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

impl SocketFile {
    fn find(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listening socket of the runtime.
pub(super) trait ListeningSocket {
    type Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl ListeningSocket for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

impl ListeningSocket for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

/// Accepts a connection, which forked children close. Forks are delayed until it is registered.
pub(super) fn poll_accept<L: ListeningSocket<Stream: AsFd>>(
    listener: &L,
    context: &mut Context<'_>,
) -> Poll<io::Result<ClosedInChildren<L::Stream>>> {
    let no_forks = no_forks();
    listener.poll_accept(context).map_ok(|stream| ClosedInChildren::new(stream, &no_forks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn all_interfaces_are_bound_by_ipv4_only_without_ipv6() {
        let bind = |ipv6| unless_ipv6_is_missing(ipv6, || Ok("0.0.0.0"));
        let failed = |error| Err(io::Error::from_raw_os_error(error));
        assert_eq!(bind(Ok("[::]")).unwrap(), "[::]");
        assert_eq!(bind(failed(libc::EAFNOSUPPORT)).unwrap(), "0.0.0.0");
        // A port that is in use has no fallback.
        let error = bind(failed(libc::EADDRINUSE)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn a_port_that_is_not_a_number_is_an_error() {
        assert_eq!(bind_tcp(":http").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_socket_of_a_successor_is_not_removed() {
        let dir = TestDir::new();
        let path = dir.join("socket");
        let address = ListenAddress::Unix(path.clone());
        let (bound, _, file) = BoundSocket::new(&address, "/metrics").unwrap();
        drop(bound);
        let (successor, _, other_file) = BoundSocket::new(&address, "/metrics").unwrap();
        drop(file);
        assert!(StdUnixStream::connect(&path).is_ok());
        drop(other_file);
        assert!(!path.exists());
        drop(successor);
    }
}
