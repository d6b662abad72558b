//! Chunks of a body on their way from the thread that gathers to the connection.
//!
//! A sender waits while the queue is full, but only for so long in all: what it gathers from may be locked meanwhile,
//! and others are not to wait for a client that reads slowly. After that it queues without waiting, and only the length
//! of the body bounds the queue.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::body::Bytes;

/// The most chunks that lie in a queue while its sender has patience.
const MAX_QUEUED: usize = 2;

/// A queue whose sender waits for so long in all.
pub(super) fn queue(patience: Duration) -> (Sender, Receiver) {
    let queue = Arc::new(Queue::default());
    (Sender { queue: Arc::clone(&queue), patience }, Receiver(queue))
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Notified by the receiver when it takes a chunk or goes away.
    room: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    end: Option<End>,
    is_abandoned: bool,
    /// Of the receiver, where it waits.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells the receiver.
    fn tell(mut state: MutexGuard<'_, State>, change: impl FnOnce(&mut State)) {
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The end that is written to. Dropped without [`finish`](Sender::finish), it leaves a broken body.
pub(super) struct Sender {
    queue: Arc<Queue>,
    /// How long it may still wait.
    patience: Duration,
}

impl Sender {
    /// Fails when the receiver is gone.
    pub(super) fn send(&mut self, chunk: Bytes) -> io::Result<()> {
        let begin = Instant::now();
        let is_full = |state: &mut State| state.chunks.len() >= MAX_QUEUED && !state.is_abandoned;
        let waited = self.queue.room.wait_timeout_while(self.queue.lock(), self.patience, is_full);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.patience = self.patience.saturating_sub(begin.elapsed());
        if state.is_abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Queue::tell(state, |state| state.chunks.push_back(chunk));
        Ok(())
    }

    /// Ends the body with its last chunk, for which there is always room.
    pub(super) fn finish(self, last: Bytes) {
        Queue::tell(self.queue.lock(), |state| {
            state.chunks.push_back(last);
            state.end = Some(End::Whole);
        });
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        Queue::tell(self.queue.lock(), |state| {
            state.end.get_or_insert(End::Broken);
        });
    }
}

/// The end that the connection takes chunks from.
pub(super) struct Receiver(Arc<Queue>);

impl Receiver {
    /// The next chunk; `None` after the last one of a whole body, an error after that of a broken one.
    pub(super) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut state = self.0.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            // A sender that waits is woken to fill the whole queue: waking it costs more than what it does.
            if state.chunks.is_empty() {
                self.0.room.notify_one();
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        match state.end {
            Some(End::Whole) => Poll::Ready(None),
            Some(End::Broken) => Poll::Ready(Some(Err(io::Error::other("gathering failed")))),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether a whole body was taken.
    pub(super) fn is_at_end(&self) -> bool {
        let state = self.0.lock();
        state.chunks.is_empty() && state.end == Some(End::Whole)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_abandoned = true;
        state.chunks.clear();
        drop(state);
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    /// Longer than any test runs.
    const ENDLESS: Duration = Duration::from_secs(3600);

    fn chunk(number: u8) -> Bytes {
        Bytes::from(vec![number; 10])
    }

    fn next(receiver: &mut Receiver) -> Poll<Option<io::Result<Bytes>>> {
        receiver.poll_next(&Context::from_waker(Waker::noop()))
    }

    fn taken(receiver: &mut Receiver) -> Option<io::Result<Bytes>> {
        loop {
            if let Poll::Ready(chunk) = next(receiver) {
                return chunk;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn a_sender_waits_for_room() {
        let (mut sender, mut receiver) = queue(ENDLESS);
        let queue = Arc::clone(&receiver.0);
        let sending = thread::spawn(move || {
            for number in 0..100 {
                sender.send(chunk(number)).unwrap();
            }
            sender.finish(chunk(100));
        });
        for number in 0..=100 {
            assert_eq!(taken(&mut receiver).unwrap().unwrap(), chunk(number));
            // The last chunk needs no room.
            assert!(queue.lock().chunks.len() <= MAX_QUEUED + 1);
        }
        assert!(taken(&mut receiver).is_none());
        sending.join().unwrap();
    }

    #[test]
    fn a_sender_without_patience_queues_everything() {
        let (mut sender, mut receiver) = queue(Duration::from_millis(20));
        for number in 0..100 {
            sender.send(chunk(number)).unwrap();
        }
        // The patience is for all chunks together.
        assert_eq!(sender.patience, Duration::ZERO);
        sender.finish(chunk(100));
        for number in 0..=100 {
            assert!(!receiver.is_at_end());
            assert_eq!(taken(&mut receiver).unwrap().unwrap(), chunk(number));
        }
        assert!(receiver.is_at_end() && taken(&mut receiver).is_none());
    }

    #[test]
    fn a_sender_that_waits_fails_when_the_receiver_goes_away() {
        let (mut sender, receiver) = queue(ENDLESS);
        for number in 0..MAX_QUEUED {
            sender.send(chunk(number as u8)).unwrap();
        }
        let sending = thread::spawn(move || sender.send(chunk(9)).map_err(|error| error.kind()));
        drop(receiver);
        assert_eq!(sending.join().unwrap(), Err(io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_sender_that_is_dropped_leaves_a_broken_body() {
        let (mut sender, mut receiver) = queue(ENDLESS);
        sender.send(chunk(1)).unwrap();
        let panicking = thread::spawn(move || {
            let _sender = sender;
            std::panic::resume_unwind(Box::new("a gatherer fails"));
        });
        assert!(panicking.join().is_err());
        assert_eq!(taken(&mut receiver).unwrap().unwrap(), chunk(1));
        assert!(!receiver.is_at_end());
        assert!(taken(&mut receiver).unwrap().is_err());
    }

    #[test]
    fn a_receiver_that_waits_is_woken_by_a_chunk_and_by_the_end() {
        #[derive(Default)]
        struct Counting(AtomicUsize);

        impl Wake for Counting {
            fn wake(self: Arc<Counting>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let counting = Arc::new(Counting::default());
        let woken = || counting.0.load(Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&counting));
        let (mut sender, mut receiver) = queue(ENDLESS);
        assert!(receiver.poll_next(&Context::from_waker(&waker)).is_pending());
        sender.send(chunk(1)).unwrap();
        assert_eq!(woken(), 1);
        assert!(next(&mut receiver).is_ready());
        assert!(receiver.poll_next(&Context::from_waker(&waker)).is_pending());
        sender.finish(chunk(2));
        assert_eq!(woken(), 2);
    }
}
