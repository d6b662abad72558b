//! Bodies of responses. A short body is sent whole, with its length; a longer one in chunks while it is gathered.
//!
//! A response in progress holds in memory the encoder's buffer, the chunk that is being filled, the chunks in the queue,
//! and the chunk that is being written.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io::{self, Write};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::coding::Coding;
use super::connection::Connection;
use super::queue::{Receiver, Sender};
use super::request::Framing;
use super::scrapes::Scrape;

/// The maximum length in bytes of a body that is sent whole, and of the first chunk of a longer one. A body that is sent
/// whole wakes the connection's thread once, and waking is the largest part of the cost of sending.
pub(super) const MAX_WHOLE_LEN: usize = 320 * 1024;
/// The maximum length in bytes of every later chunk.
const MAX_CHUNK_LEN: usize = 128 * 1024;

/// The body of a [`Response`](super::Response), which may still be gathered while it is sent.
///
/// It implements `http_body::Body`, and [`chunk`](ResponseBody::chunk) returns one chunk after another. If it ends with an error, the
/// server must abort the response, so that the client does not take it for a complete one.
pub struct ResponseBody {
    content: Content,
    /// Notified when hyper has taken the whole body.
    connection: Arc<Connection>,
    /// Ended when the whole body is written.
    scrape: Option<Scrape>,
}

enum Content {
    Whole(Bytes),
    /// The receiver, the length if it is known, and when the rest is of no use to the client.
    Queued(Receiver, Option<u64>, Option<Pin<Box<Sleep>>>),
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl ResponseBody {
    pub(super) fn whole(bytes: Bytes, connection: Arc<Connection>) -> ResponseBody {
        ResponseBody { content: Content::Whole(bytes), connection, scrape: None }
    }

    /// A body that is aborted at the deadline. A body of known length is complete and has none.
    pub(super) fn queued(
        receiver: Receiver,
        len: Option<u64>,
        deadline: Option<Instant>,
        connection: Arc<Connection>,
    ) -> ResponseBody {
        let deadline = deadline.filter(|_| len.is_none());
        let sleep = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        ResponseBody { content: Content::Queued(receiver, len, sleep), connection, scrape: None }
    }

    /// Ends a scrape when the body is completely written.
    pub(super) fn of_scrape(mut self, scrape: Option<Scrape>) -> ResponseBody {
        self.scrape = scrape;
        self
    }

    /// Returns the length in bytes if it is known.
    #[expect(clippy::len_without_is_empty, reason = "the length may be unknown")]
    pub fn len(&self) -> Option<u64> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Queued(_, len, _) => *len,
        }
    }

    /// Returns the next chunk; `None` after the last one.
    ///
    /// # Errors
    ///
    /// If the response must be aborted: a source has failed, the client is too slow, or its timeout has passed.
    pub async fn chunk(&mut self) -> Option<io::Result<Bytes>> {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(mem::take(bytes)))),
            Content::Queued(receiver, _, sleep) => {
                let chunk = receiver.poll_next(context);
                if chunk.is_pending()
                    && let Some(sleep) = sleep
                {
                    ready!(sleep.as_mut().poll(context));
                    let error = "gathering takes longer than the timeout of the scrape";
                    return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, error))));
                }
                chunk
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // After HEAD, and when the response is aborted, the body is dropped before its end.
        let scrape = self.scrape.take().filter(|_| hyper::body::Body::is_end_stream(self));
        self.connection.body_taken(scrape);
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.get_mut().poll_chunk(context).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Queued(receiver, ..) => receiver.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Writes a body in chunks. If it is dropped without [`finish`](BodyWriter::finish), the body is truncated, or absent if
/// no chunk was sent.
pub(super) struct BodyWriter {
    sender: Sender,
    coding: Option<Coding>,
    chunk: Vec<u8>,
    /// The maximum length of the current chunk.
    max_len: usize,
}

impl BodyWriter {
    pub(super) fn new(sender: Sender, framing: Framing) -> BodyWriter {
        let max_len = match framing {
            Framing::Chunked => MAX_WHOLE_LEN,
            Framing::Length => MAX_CHUNK_LEN,
        };
        BodyWriter { sender, coding: None, chunk: Vec::new(), max_len }
    }

    /// Declares that the bytes are compressed.
    pub(super) fn coding(mut self, coding: Coding) -> BodyWriter {
        self.coding = Some(coding);
        self
    }

    /// Sends the rest and completes the body. Fails if no client is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.sender.finish(mem::take(&mut self.chunk).into(), self.coding)
    }

    fn send_chunk(&mut self) -> io::Result<()> {
        self.max_len = MAX_CHUNK_LEN;
        // Allocated with exactly this capacity: excess capacity would not count towards the limit of queued bytes.
        let chunk = mem::replace(&mut self.chunk, Vec::with_capacity(MAX_CHUNK_LEN));
        self.sender.send(chunk.into(), self.coding)
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= self.max_len {
            self.send_chunk()?;
        }
        let (bytes, _) = bytes.split_at(bytes.len().min(self.max_len - self.chunk.len()));
        self.chunk.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: chunks are sent when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::coding::CodingChoice;
    use super::super::queue::{Failure, Head, Queues, Running, Start};
    use super::super::request::ExpositionRequest;
    use super::*;
    use crate::exposition::Format;
    use hyper::body::Body as _;
    use std::future::Future;
    use std::thread;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Begins a gathering; returns it with its writer and the receiver of its only client.
    pub(in crate::http) fn begin(framing: Framing) -> (Running, BodyWriter, Receiver) {
        let (format, choice) = (Format::Text.into(), CodingChoice::new(""));
        let request = ExpositionRequest { source: 0, format, choice, names: None, framing };
        let queues = Arc::new(Queues::default());
        let (receiver, start) = Receiver::join(&queues, request, Connection::new(Arc::default()));
        assert_eq!(start, Start::Now);
        let running = Running::begin(&queues, receiver.gathering()).unwrap();
        let writer = BodyWriter::new(running.sender(), framing);
        (running, writer, receiver)
    }

    pub(in crate::http) fn head(receiver: &Receiver) -> Result<Head, Failure> {
        block_on(poll_fn(|context| receiver.poll_head(context)))
    }

    /// The bytes that a connection would send.
    pub(in crate::http) fn collect(receiver: Receiver, head: Head) -> io::Result<Vec<u8>> {
        let connection = Connection::new(Arc::default());
        let mut body = ResponseBody::queued(receiver, head.len, None, connection);
        let mut bytes = Vec::new();
        while let Some(chunk) = block_on(body.chunk()) {
            let chunk = chunk?;
            assert!(chunk.len() <= MAX_WHOLE_LEN);
            bytes.extend_from_slice(&chunk);
        }
        assert!(body.is_end_stream());
        Ok(bytes)
    }

    fn numbers(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_body_that_fits_into_the_first_chunk_is_sent_whole_and_a_longer_one_in_chunks() {
        for len in [0, 1, MAX_WHOLE_LEN, MAX_WHOLE_LEN + 1, 10 * MAX_WHOLE_LEN, 1_000_000] {
            let (running, mut writer, receiver) = begin(Framing::Chunked);
            let writing = thread::spawn(move || {
                numbers(len).chunks(10_007).try_for_each(|part| writer.write_all(part))?;
                let result = writer.finish();
                drop(running);
                result
            });
            let head = head(&receiver).unwrap();
            assert_eq!(head.len, (len <= MAX_WHOLE_LEN).then_some(len as u64));
            assert!(collect(receiver, head).unwrap() == numbers(len), "{len}");
            writing.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_body_whose_length_must_be_known_is_sent_when_it_is_complete() {
        let (running, mut writer, receiver) = begin(Framing::Length);
        writer.write_all(&numbers(1_000_000)).unwrap();
        let context = Context::from_waker(std::task::Waker::noop());
        assert!(receiver.poll_head(&context).is_pending());
        writer.finish().unwrap();
        drop(running);
        let head = head(&receiver).unwrap();
        assert_eq!(head.len, Some(1_000_000));
        assert!(collect(receiver, head).unwrap() == numbers(1_000_000));
    }

    #[test]
    fn a_gathering_that_ends_early_leaves_no_body_or_a_truncated_one() {
        for framing in [Framing::Chunked, Framing::Length] {
            let (running, mut writer, receiver) = begin(framing);
            writer.write_all(&numbers(MAX_WHOLE_LEN)).unwrap();
            drop((writer, running));
            assert!(matches!(head(&receiver), Err(Failure::Source(None))));
        }
        let (running, mut writer, receiver) = begin(Framing::Chunked);
        writer.write_all(&numbers(MAX_WHOLE_LEN + 1)).unwrap();
        drop((writer, running));
        let head = head(&receiver).unwrap();
        assert!(collect(receiver, head).is_err());
    }

    #[test]
    fn a_client_that_goes_away_ends_the_writing_at_the_next_chunk() {
        let (_running, mut writer, receiver) = begin(Framing::Chunked);
        drop(receiver);
        assert!(writer.write_all(&numbers(MAX_WHOLE_LEN)).is_ok());
        assert!(writer.write_all(&numbers(1)).is_err());
        let (_running, mut writer, receiver) = begin(Framing::Chunked);
        writer.write_all(&numbers(MAX_WHOLE_LEN + 1)).unwrap();
        drop(receiver);
        assert!(writer.write_all(&numbers(MAX_WHOLE_LEN)).is_err());
    }
}
