//! Sockets that are listened on.

use std::fs;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::ListenAddress;
use crate::background::{ClosedInChildren, no_forks, set_backlog};

/// How many TCP connections may wait to be accepted. The standard library has 128: of a burst of more the kernel drops
/// some, which clients repeat after a second.
const BACKLOG: i32 = 1024;

/// A socket on which clients can connect. Forked children close it: else its port would be taken, and clients that
/// connect would wait in vain, for as long as a child lives.
pub(super) enum Bound {
    Tcp(ClosedInChildren<StdTcpListener>),
    Unix(ClosedInChildren<StdUnixListener>),
}

impl Bound {
    /// Binds an address. Returns the socket, the URL to scrape, and the file of a Unix socket.
    pub(super) fn new(
        address: &ListenAddress,
        telemetry_path: &str,
    ) -> io::Result<(Bound, String, Option<SocketFile>)> {
        let no_forks = no_forks();
        match address {
            ListenAddress::Tcp(address) => {
                let listener = ClosedInChildren::new(StdTcpListener::bind(address)?, &no_forks);
                set_backlog(listener.as_fd(), BACKLOG)?;
                listener.set_nonblocking(true)?;
                let url = format!("http://{}{telemetry_path}", listener.local_addr()?);
                Ok((Bound::Tcp(listener), url, None))
            }
            ListenAddress::Unix(path) => {
                let listener = ClosedInChildren::new(bind_unix(path)?, &no_forks);
                let file = SocketFile::find(path)?;
                listener.set_nonblocking(true)?;
                let url = format!("unix:{}", path.display());
                Ok((Bound::Unix(listener), url, Some(file)))
            }
        }
    }
}

/// Takes the place of a socket on which no process listens any more, and of nothing else.
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

/// The file of a Unix socket. It is removed when this is dropped, unless another exporter has its path by then.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// Device, inode and, where the file system has it, the time of creation: inode numbers are used again.
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

/// A listening socket in the runtime.
pub(super) trait Listener {
    type Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

/// Accepts a connection that forked children close. Forks wait for the moment between the two.
pub(super) fn poll_accept<L: Listener<Stream: AsFd>>(
    listener: &L,
    context: &mut Context<'_>,
) -> Poll<io::Result<ClosedInChildren<L::Stream>>> {
    let no_forks = no_forks();
    listener.poll_accept(context).map_ok(|stream| ClosedInChildren::new(stream, &no_forks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_successor_is_not_removed() {
        let path = std::env::temp_dir().join(format!("multiprom-socket-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let address = ListenAddress::Unix(path.clone());
        let (bound, _, file) = Bound::new(&address, "/metrics").unwrap();
        drop(bound);
        let (successor, _, other_file) = Bound::new(&address, "/metrics").unwrap();
        drop(file);
        assert!(StdUnixStream::connect(&path).is_ok());
        drop(other_file);
        assert!(!path.exists());
        drop(successor);
    }
}
