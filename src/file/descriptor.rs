//! Descriptors that the host owns: their type, and writing to them without waiting.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use super::sys::{Identity, TakenSignals, check};

/// The type of the file behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    CharacterDevice,
    Pipe,
    Socket,
    Regular,
    Other,
}

/// The file behind a descriptor number that the host may own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) identity: Identity,
    pub(crate) file_type: FileType,
    pub(crate) is_closed_on_exec: bool,
    /// Whether it is open for writing only, in append mode.
    pub(crate) is_append_only: bool,
}

/// Returns the file behind a descriptor number; `None` if the number is closed.
pub(crate) fn find(fd: RawFd) -> Option<Descriptor> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is large enough for the result; an invalid descriptor causes EBADF.
    let result = unsafe { libc::fstat(fd, stat.as_mut_ptr()) };
    check(result).ok()?;
    // SAFETY: fstat returned 0, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    // SAFETY: takes integers only.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).ok()?;
    // SAFETY: takes integers only.
    let status = check(unsafe { libc::fcntl(fd, libc::F_GETFL) }).ok()?;
    Some(Descriptor {
        identity: Identity { device: stat.st_dev, inode: stat.st_ino },
        file_type: match stat.st_mode & libc::S_IFMT {
            libc::S_IFCHR => FileType::CharacterDevice,
            libc::S_IFIFO => FileType::Pipe,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFREG => FileType::Regular,
            _ => FileType::Other,
        },
        is_closed_on_exec: flags & libc::FD_CLOEXEC != 0,
        is_append_only: status & (libc::O_ACCMODE | libc::O_APPEND)
            == libc::O_WRONLY | libc::O_APPEND,
    })
}

/// Writes bytes to a descriptor of this type in one call, or as many as fit without waiting for a reader.
///
/// A regular file has no reader, but the call waits for the file system. The host receives no signal.
pub(crate) fn write_at_once(fd: RawFd, file_type: FileType, bytes: &[u8]) -> io::Result<usize> {
    let signals = TakenSignals::new(&[libc::SIGPIPE, libc::SIGXFSZ])?;
    let written = match file_type {
        FileType::Socket => send_now(fd, bytes),
        FileType::Regular => write(fd, bytes),
        _ => write_now(fd, bytes),
    };
    signals.restore();
    written
}

fn send_now(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of `bytes`.
    let result = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
    check_len(result)
}

/// Writes to a pipe or a character device. Its flag `O_NONBLOCK` is not changed, as other processes share it.
fn write_now(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let (one, here) = (1 as libc::c_long, -1 as libc::c_long);
    let now = libc::c_long::from(libc::RWF_NOWAIT);
    // SAFETY: one part, which the kernel only reads and which lives through the call. An offset of -1 stands for the
    // current position.
    let result =
        unsafe { libc::syscall(libc::SYS_pwritev2, fd, &raw const part, one, here, here, now) };
    let error = match check_len(result as isize) {
        Err(error) if lacks_writing_now(&error) => error,
        result => return result,
    };
    // NOTE: terminals and pipes of older kernels do not support RWF_NOWAIT. Opening the entry in /proc returns the same
    // pipe or terminal with flags of its own.
    let own = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{fd}"));
    match own {
        Ok(own) => write(own.as_raw_fd(), bytes),
        // Another user owns the file, or /proc is missing. Another thread may use up the space before the write.
        Err(_) if can_be_written(fd) => write(fd, bytes),
        Err(_) => Err(error),
    }
}

fn lacks_writing_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM))
}

fn can_be_written(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid structure; the call does not wait.
    let result = unsafe { libc::poll(&raw mut asked, 1, 0) };
    result == 1 && asked.revents == libc::POLLOUT
}

fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of `bytes`.
    check_len(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    #[test]
    fn writes_to_full_pipes_and_sockets_do_not_wait() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
        let pipe = child.stdin.take().unwrap();
        let (socket, mut peer) = UnixStream::pair().unwrap();
        for (fd, file_type) in
            [(pipe.as_raw_fd(), FileType::Pipe), (socket.as_raw_fd(), FileType::Socket)]
        {
            let found = find(fd).unwrap();
            assert_eq!((found.file_type, found.is_closed_on_exec), (file_type, true));
            let line = [b'x'; 4096];
            let full = (0..10_000).find_map(|_| match write_at_once(fd, file_type, &line) {
                Ok(len) => {
                    assert!(len == line.len() || file_type == FileType::Socket);
                    None
                }
                Err(error) => Some(error.kind()),
            });
            assert_eq!(full, Some(io::ErrorKind::WouldBlock), "{file_type:?}");
        }
        peer.read_exact(&mut [0; 64]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // The pipe has no reader any more, and no signal terminates this process.
        let broken = write_at_once(pipe.as_raw_fd(), FileType::Pipe, b"x").unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    }
}
