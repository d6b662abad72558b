//! The stream of a connection, which enforces a minimum rate of reading and records the progress.

use std::io::{self, IoSlice, Write as _};
use std::net::TcpStream as StdTcpStream;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};

use super::connection::Connection;
use super::counters::DropReason;
use crate::background::{ClosedInChildren, no_forks};

/// How long a client may take to read [`MIN_WINDOW_LEN`], from the first write that waits for it. The kernel reports room
/// when a third of its buffer is free, and frees the buffer in packets of up to 64 KiB, so a shorter window would not
/// measure the rate.
pub(super) const WINDOW: Duration = Duration::from_secs(15);
/// The minimum number of bytes that a client must read in a window: 8.5 KiB/s. At this rate no response of more than
/// 1 MiB would be complete within the response timeout, and shorter ones fit into the kernel's buffer.
const MIN_WINDOW_LEN: usize = 128 * 1024;

/// A socket that is connected to a client.
pub(super) trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// Makes closing the socket discard unsent bytes and reset the connection.
    fn discard_unsent(&self);
}

impl Socket for TcpStream {
    fn discard_unsent(&self) {
        // NOTE: the kernel otherwise keeps up to 4 MiB for each closed socket until the client has read them.
        // OK because `set_zero_linger` does the same, and closing does not wait if the time is zero.
        #[allow(
            deprecated,
            reason = "`set_zero_linger` is missing in older versions of tokio that are allowed"
        )]
        let _ = self.set_linger(Some(Duration::ZERO));
    }
}

impl Socket for UnixStream {
    /// Does nothing: the kernel frees unread bytes when the client closes its end.
    fn discard_unsent(&self) {}
}

/// A stream whose writes fail if the client reads too slowly.
pub(super) struct ClientStream<S: Socket> {
    socket: ClosedInChildren<S>,
    connection: Arc<Connection>,
    window_duration: Duration,
    /// The number of bytes written in the current window; `None` outside of a window.
    window: Option<usize>,
    /// The end of the current window.
    end: Pin<Box<Sleep>>,
    /// A byte that was received and is not read yet.
    #[cfg(feature = "tls")]
    first: Option<u8>,
}

impl<S: Socket> ClientStream<S> {
    pub(super) fn new(
        socket: ClosedInChildren<S>,
        connection: Arc<Connection>,
        window_duration: Duration,
    ) -> ClientStream<S> {
        let end = Box::pin(tokio::time::sleep(window_duration));
        ClientStream {
            socket,
            connection,
            window_duration,
            window: None,
            end,
            #[cfg(feature = "tls")]
            first: None,
        }
    }

    /// Waits for the first byte, which stays to be read. Returns `None` at the end of the stream.
    #[cfg(feature = "tls")]
    pub(super) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_read(context, &mut buffer))
            .await?;
        self.first = buffer.filled().first().copied();
        Ok(self.first)
    }

    /// Limits how long a write of `bytes` may be pending to the end of the current window.
    fn limited(
        &mut self,
        written: Poll<io::Result<usize>>,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            return Poll::Ready(result.inspect(|count| self.wrote(*count)));
        }
        self.connection.blocked();
        if self.window.is_none() {
            self.window = Some(0);
            self.end.as_mut().reset(Instant::now() + self.window_duration);
        }
        ready!(self.end.as_mut().poll(context));
        let result = match self.write_now(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        };
        Poll::Ready(result.and_then(|count| {
            self.wrote(count);
            if self.window.is_none() {
                return Ok(count);
            }
            if count == bytes.len() {
                // Room may be left, so the rate is unknown.
                self.window = None;
                return Ok(count);
            }
            self.connection.drop_for(DropReason::Slow);
            Err(io::ErrorKind::TimedOut.into())
        }))
    }

    fn wrote(&mut self, count: usize) {
        self.connection.wrote(count);
        let total = self.window.map(|window| window + count);
        self.window = total.filter(|total| *total < MIN_WINDOW_LEN);
    }

    /// Writes as much as the kernel's buffer has room for, also if it has not reported any.
    ///
    /// NOTE: Linux reports room when a third of the buffer is free, which may be more than a megabyte; a slow client has
    /// made some room long before.
    /// See: `sk_stream_write_space` in `net/core/stream.c`.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let _no_forks = no_forks();
        // OK because writing is the same system call for all kinds of sockets.
        let mut socket = StdTcpStream::from(self.socket.as_fd().try_clone_to_owned()?);
        socket.write(bytes)
    }
}

impl<S: Socket> Drop for ClientStream<S> {
    fn drop(&mut self) {
        if self.connection.is_aborted() {
            self.socket.discard_unsent();
        }
    }
}

impl<S: Socket> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        #[cfg(feature = "tls")]
        if buffer.remaining() > 0
            && let Some(byte) = self.first.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.received();
        }
        read
    }
}

impl<S: Socket> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.socket).poll_write(context, bytes);
        self.limited(written, bytes, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.socket).poll_write_vectored(context, slices);
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.limited(written, first.map_or(&[], |slice| slice), context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Called when all bytes so far are written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.window = None;
        self.connection.flushed();
        Pin::new(&mut *self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream as StdUnixStream;

    const LIMIT: Duration = Duration::from_millis(50);

    /// Runs a test with a connection whose buffer is full, and its client.
    fn with_full_buffer(run: impl AsyncFnOnce(ClientStream<UnixStream>, StdUnixStream)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, server) = StdUnixStream::pair().unwrap();
            server.set_nonblocking(true).unwrap();
            let stream = UnixStream::from_std(server).unwrap();
            stream.writable().await.unwrap();
            while stream.try_write(&[0; 4096]).is_ok() {}
            let stream = ClosedInChildren::new(stream, &no_forks());
            let connection = Connection::new(Arc::default());
            run(ClientStream::new(stream, connection, LIMIT), client).await;
        });
    }

    async fn write(stream: &mut ClientStream<UnixStream>, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await
    }

    async fn poll_write(stream: &mut ClientStream<UnixStream>) -> Poll<io::Result<usize>> {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_write(context, b"x"))).await
    }

    /// Reads `pieces` times 4 KiB.
    fn read(client: &mut StdUnixStream, pieces: usize) {
        for _ in 0..pieces {
            client.read_exact(&mut [0; 4096]).unwrap();
        }
    }

    #[test]
    fn a_write_fails_if_the_client_reads_nothing_in_a_window() {
        with_full_buffer(async |mut stream, _client| {
            let error = write(&mut stream, b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_write_fails_if_the_client_reads_too_little_in_a_window() {
        with_full_buffer(async |mut stream, mut client| {
            // Less than is to be written, and less than the minimum.
            read(&mut client, 4);
            let error = write(&mut stream, &vec![0; MIN_WINDOW_LEN]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_write_continues_if_the_client_makes_room_for_all_of_it() {
        with_full_buffer(async |mut stream, mut client| {
            for _ in 0..3 {
                // Too little for the kernel to report room.
                read(&mut client, 1);
                assert_eq!(write(&mut stream, &[0; 4096]).await.unwrap(), 4096);
            }
        });
    }

    #[test]
    fn each_window_has_its_full_duration() {
        with_full_buffer(async |mut stream, mut client| {
            assert!(poll_write(&mut stream).await.is_pending());
            client.set_nonblocking(true).unwrap();
            while client.read(&mut [0; 4096]).is_ok() {}
            write(&mut stream, b"x").await.unwrap();
            poll_fn(|context| Pin::new(&mut stream).poll_flush(context)).await.unwrap();
            tokio::time::sleep(2 * LIMIT).await;
            while stream.socket.try_write(&[0; 4096]).is_ok() {}
            assert!(poll_write(&mut stream).await.is_pending());
        });
    }
}
