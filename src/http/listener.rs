//! Listening sockets.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::ListenAddress;
use super::endpoint::{Endpoint, SocketName};
use crate::background::bind_unix as bind_with_mode;
use crate::background::{
    ClosedInChildren, bind_all_interfaces, no_forks, passed_sockets, set_backlog,
};

/// The number of connections that may wait to be accepted on each socket. The standard library uses 128; of a larger burst
/// of TCP connections the kernel drops some, which clients retry only after a second.
const BACKLOG: i32 = 1024;

/// A listening socket. Forked children close it; otherwise the port would stay in use, and clients that connect would
/// wait in vain, for as long as a child lives.
pub(super) enum BoundSocket {
    Tcp(ClosedInChildren<StdTcpListener>),
    Unix(ClosedInChildren<StdUnixListener>),
}

/// A socket, its address and URLs, and the file of a Unix socket, if it is removed at the end.
pub(super) struct Bound {
    pub(super) socket: BoundSocket,
    pub(super) endpoint: Endpoint,
    pub(super) file: Option<SocketFile>,
}

/// Where the metrics are, for URLs.
#[derive(Clone, Copy)]
pub(super) struct Location<'a> {
    pub(super) scheme: &'static str,
    pub(super) path: &'a str,
}

impl Location<'_> {
    fn of(self, socket: SocketName) -> Endpoint {
        Endpoint { socket, scheme: self.scheme, telemetry_path: self.path.to_owned() }
    }
}

impl Bound {
    /// Binds an address. Those of systemd are several. `socket_mode` has the permissions of the file of a Unix socket.
    pub(super) fn all(
        address: &ListenAddress,
        socket_mode: Option<u32>,
        location: Location<'_>,
    ) -> io::Result<Vec<Bound>> {
        let no_forks = no_forks();
        match address {
            ListenAddress::Tcp(address) => {
                let listener = ClosedInChildren::new(bind_tcp(address)?, &no_forks);
                set_backlog(listener.as_fd(), BACKLOG)?;
                Ok(vec![Bound::tcp(listener, location)?])
            }
            ListenAddress::Unix(path) => {
                let listener = ClosedInChildren::new(bind_unix(path, socket_mode)?, &no_forks);
                let file = Some(SocketFile::find(path)?);
                Ok(vec![Bound { file, ..Bound::unix(listener, location)? }])
            }
            ListenAddress::Systemd => {
                let passed = passed_sockets()?;
                if passed.is_empty() {
                    let text = "no socket activation file descriptors found";
                    return Err(io::Error::new(io::ErrorKind::NotFound, text));
                }
                let bound = passed.into_iter().map(|socket| {
                    // `local_addr` fails for an address of another family.
                    let tcp = StdTcpListener::from(socket);
                    if tcp.local_addr().is_ok() {
                        return Bound::tcp(ClosedInChildren::new(tcp, &no_forks), location);
                    }
                    let unix = StdUnixListener::from(OwnedFd::from(tcp));
                    Bound::unix(ClosedInChildren::new(unix, &no_forks), location)
                });
                bound.collect()
            }
        }
    }

    fn tcp(
        listener: ClosedInChildren<StdTcpListener>,
        location: Location<'_>,
    ) -> io::Result<Bound> {
        listener.set_nonblocking(true)?;
        let endpoint = location.of(SocketName::Tcp(listener.local_addr()?));
        Ok(Bound { socket: BoundSocket::Tcp(listener), endpoint, file: None })
    }

    fn unix(
        listener: ClosedInChildren<StdUnixListener>,
        location: Location<'_>,
    ) -> io::Result<Bound> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().unwrap_or(Path::new(""));
        let endpoint = location.of(SocketName::Unix(path.to_owned()));
        Ok(Bound { socket: BoundSocket::Unix(listener), endpoint, file: None })
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
fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<StdUnixListener> {
    match listen_unix(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket || StdUnixStream::connect(path).is_ok() {
                return Err(error);
            }
            fs::remove_file(path)?;
            listen_unix(path, mode)
        }
        result => result,
    }
}

/// Creates a listening Unix socket, and its file with these permissions, or with all permissions less the umask.
fn listen_unix(path: &Path, mode: Option<u32>) -> io::Result<StdUnixListener> {
    let Some(mode) = mode else {
        return StdUnixListener::bind(path);
    };
    let socket = bind_with_mode(path, mode)?;
    // The umask may have removed some permissions. Nobody can connect before the last call.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    if file.metadata()?.file_type().is_socket() {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    set_backlog(socket.as_fd(), BACKLOG)?;
    Ok(StdUnixListener::from(socket))
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
        let location = Location { scheme: "http", path: "/metrics" };
        let bind = || Bound::all(&address, None, location).unwrap().pop().unwrap();
        let Bound { socket, file, .. } = bind();
        drop(socket);
        let successor = bind();
        drop(file);
        assert!(StdUnixStream::connect(&path).is_ok());
        drop(successor.file);
        assert!(!path.exists());
    }
}
