//! Bodies of answers: what is short is sent whole and with its length, the rest while it is gathered.
//!
//! Of an answer that is being sent there are in memory what is encoded and not yet handed on, the chunk that is being
//! filled, the chunks in the queue, and the one that is being written.

use std::io::{self, Write};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::oneshot;

use super::compress::Coding;
use super::queue::{Receiver, Sender, queue};

/// The longest body, in bytes, that is sent whole, or as the first chunk. One that is gathered by then wakes the
/// connection once, which is most of what sending costs.
pub(super) const MAX_WHOLE_LEN: usize = 320 * 1024;
/// The most, in bytes, of each chunk that follows.
const MAX_CHUNK_LEN: usize = 128 * 1024;
/// How long one request may hold up its gatherer, which may be locked, because its client reads slowly.
const PATIENCE: Duration = Duration::from_millis(250);

/// The body of an answer.
pub(super) enum Body {
    Whole(Bytes),
    Streamed(Receiver),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Body::Streamed(receiver) => receiver.poll_next(context).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_empty(),
            Body::Streamed(receiver) => receiver.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Streamed(_) => SizeHint::default(),
        }
    }
}

/// A body of which at least the first chunk is there, and how it is compressed.
pub(super) struct Begun {
    pub(super) body: Body,
    pub(super) coding: Option<Coding>,
}

/// Writes a body. Dropped without [`finish`](BodyWriter::finish), it leaves a broken one, or none where
/// nothing was sent of it.
pub(super) struct BodyWriter {
    /// Until the first chunk is sent.
    begin: Option<(oneshot::Sender<Begun>, Receiver)>,
    sender: Sender,
    coding: Option<Coding>,
    chunk: Vec<u8>,
    /// How long the current chunk may become.
    max_len: usize,
}

impl BodyWriter {
    /// Up to `max_whole_len` bytes are sent whole.
    pub(super) fn new(max_whole_len: usize) -> (BodyWriter, oneshot::Receiver<Begun>) {
        let (begin, begun) = oneshot::channel();
        let (sender, receiver) = queue(PATIENCE);
        let begin = Some((begin, receiver));
        let (chunk, max_len) = (Vec::new(), max_whole_len);
        let writer = BodyWriter { begin, sender, coding: None, chunk, max_len };
        (writer, begun)
    }

    /// The same, for bytes that are compressed.
    pub(super) fn coding(mut self, coding: Coding) -> BodyWriter {
        self.coding = Some(coding);
        self
    }

    /// Fails when nobody takes the body any more.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let last = Bytes::from(mem::take(&mut self.chunk));
        match self.begin.take() {
            Some((begin, _)) => {
                let begun = Begun { body: Body::Whole(last), coding: self.coding };
                begin.send(begun).map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
            None => {
                self.sender.finish(last);
                Ok(())
            }
        }
    }

    fn send_chunk(&mut self) -> io::Result<()> {
        if let Some((begin, receiver)) = self.begin.take() {
            let begun = Begun { body: Body::Streamed(receiver), coding: self.coding };
            begin.send(begun).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        self.max_len = MAX_CHUNK_LEN;
        self.sender.send(mem::take(&mut self.chunk).into())
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

    /// Chunks are sent when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use hyper::body::Body as _;
    use std::future::poll_fn;
    use std::thread;

    /// Everything that a connection would send.
    pub(in crate::http) fn collect(mut body: Body) -> io::Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut bytes = Vec::new();
        while let Some(frame) =
            runtime.block_on(poll_fn(|context| Pin::new(&mut body).poll_frame(context)))
        {
            let data = frame?.into_data().unwrap();
            assert!(data.len() <= MAX_WHOLE_LEN);
            bytes.extend_from_slice(&data);
        }
        assert!(body.is_end_stream());
        Ok(bytes)
    }

    fn numbers(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_fits_into_a_chunk_is_sent_whole_and_the_rest_in_chunks() {
        for len in [0, 1, MAX_WHOLE_LEN, MAX_WHOLE_LEN + 1, 10 * MAX_WHOLE_LEN, 1_000_000] {
            let (mut writer, begun) = BodyWriter::new(MAX_WHOLE_LEN);
            let writing = thread::spawn(move || {
                numbers(len).chunks(10_007).try_for_each(|part| writer.write_all(part))?;
                writer.finish()
            });
            let body = begun.blocking_recv().unwrap().body;
            let whole = (len <= MAX_WHOLE_LEN).then_some(len as u64);
            assert_eq!(body.size_hint().exact(), whole);
            assert!(collect(body).unwrap() == numbers(len), "{len}");
            writing.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_body_whose_length_must_be_known_is_sent_whole() {
        let (mut writer, mut begun) = BodyWriter::new(usize::MAX);
        writer.write_all(&numbers(1_000_000)).unwrap();
        assert!(begun.try_recv().is_err());
        writer.finish().unwrap();
        let body = begun.try_recv().unwrap().body;
        assert_eq!(body.size_hint().exact(), Some(1_000_000));
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_no_body_or_a_broken_one() {
        let (mut writer, begun) = BodyWriter::new(MAX_WHOLE_LEN);
        writer.write_all(&numbers(MAX_WHOLE_LEN)).unwrap();
        drop(writer);
        assert!(begun.blocking_recv().is_err());
        let (mut writer, begun) = BodyWriter::new(MAX_WHOLE_LEN);
        writer.write_all(&numbers(MAX_WHOLE_LEN + 1)).unwrap();
        drop(writer);
        assert!(collect(begun.blocking_recv().unwrap().body).is_err());
    }

    #[test]
    fn a_client_that_is_gone_ends_the_writing_at_the_next_chunk() {
        let (mut writer, begun) = BodyWriter::new(MAX_WHOLE_LEN);
        drop(begun);
        assert!(writer.write_all(&numbers(MAX_WHOLE_LEN)).is_ok());
        assert!(writer.write_all(&numbers(1)).is_err());
        let (mut writer, begun) = BodyWriter::new(MAX_WHOLE_LEN);
        writer.write_all(&numbers(MAX_WHOLE_LEN + 1)).unwrap();
        drop(begun.blocking_recv().unwrap());
        assert!(writer.write_all(&numbers(MAX_WHOLE_LEN)).is_err());
    }
}
