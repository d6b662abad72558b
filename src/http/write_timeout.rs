//! Connections whose clients must take what is written.

use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::background::{ClosedInChildren, no_forks};

/// A connection on which a write fails when its client has taken nothing for so long.
pub(super) struct WriteTimeout<S> {
    stream: ClosedInChildren<S>,
    limit: Duration,
    /// When the write that waits fails.
    end: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S: AsFd> WriteTimeout<S> {
    pub(super) fn new(stream: ClosedInChildren<S>, limit: Duration) -> WriteTimeout<S> {
        let end = Box::pin(tokio::time::sleep(limit));
        WriteTimeout { stream, limit, end, is_waiting: false }
    }

    /// What a write gives that may wait no longer.
    fn limited(
        &mut self,
        written: Poll<io::Result<usize>>,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !mem::replace(&mut self.is_waiting, true) {
            self.end.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.end.as_mut().poll(context));
        self.is_waiting = false;
        Poll::Ready(match self.write_now(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            result => result,
        })
    }

    /// Writes into what room there is.
    ///
    /// NOTE: Linux tells of room when a third of the buffer is free, which may be more than a megabyte; a client that
    /// reads slowly has made room long before.
    /// See: `sk_stream_write_space` in `net/core/stream.c`.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let _no_forks = no_forks();
        // OK because the system call is the same for every kind of socket.
        let mut socket = TcpStream::from(self.stream.as_fd().try_clone_to_owned()?);
        socket.write(bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(context, bytes);
        self.limited(written, bytes, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write_vectored(context, slices);
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.limited(written, first.map_or(&[], |slice| slice), context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream as StdUnixStream;
    use tokio::net::UnixStream;

    const LIMIT: Duration = Duration::from_millis(50);

    /// Runs with a connection whose buffer is full, and its client.
    fn with_full_buffer(run: impl AsyncFnOnce(WriteTimeout<UnixStream>, StdUnixStream)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, server) = StdUnixStream::pair().unwrap();
            server.set_nonblocking(true).unwrap();
            let stream = UnixStream::from_std(server).unwrap();
            stream.writable().await.unwrap();
            while stream.try_write(&[0; 4096]).is_ok() {}
            let stream = ClosedInChildren::new(stream, &no_forks());
            run(WriteTimeout::new(stream, LIMIT), client).await;
        });
    }

    async fn write(stream: &mut WriteTimeout<UnixStream>, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await
    }

    async fn poll_write(stream: &mut WriteTimeout<UnixStream>) -> Poll<io::Result<usize>> {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_write(context, b"x"))).await
    }

    #[test]
    fn a_client_that_takes_nothing_ends_the_writing() {
        with_full_buffer(async |mut stream, _client| {
            let error = write(&mut stream, b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_client_that_takes_a_little_is_waited_for() {
        with_full_buffer(async |mut stream, mut client| {
            for _ in 0..3 {
                // Too little for the kernel to tell of it.
                client.read_exact(&mut [0; 4096]).unwrap();
                assert_eq!(write(&mut stream, &[0; 4096]).await.unwrap(), 4096);
            }
        });
    }

    #[test]
    fn each_wait_has_the_whole_time() {
        with_full_buffer(async |mut stream, mut client| {
            assert!(poll_write(&mut stream).await.is_pending());
            client.set_nonblocking(true).unwrap();
            while client.read(&mut [0; 4096]).is_ok() {}
            write(&mut stream, b"x").await.unwrap();
            tokio::time::sleep(2 * LIMIT).await;
            while stream.stream.try_write(&[0; 4096]).is_ok() {}
            assert!(poll_write(&mut stream).await.is_pending());
        });
    }
}
