//! Tests of the queues.

use super::sender::{CHECK_INTERVAL, MAX_AHEAD};
use super::state::{MAX_LAG, MAX_WAIT, WaitBudget};
use super::*;
use crate::exposition::Format;
use crate::http::coding::CodingChoice;
use crate::http::connection::Connection;
use crate::http::counters::HttpCounters;
use crate::http::request::{ExpositionRequest, Framing};
use hyper::body::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK_LEN: usize = 128 * 1024;
/// The number of chunks that fill the queues.
const MAX_CHUNKS: usize = MAX_QUEUED_LEN / CHUNK_LEN;

fn request(name: &str) -> ExpositionRequest {
    let (format, choice) = (Format::Text.into(), CodingChoice::new(""));
    ExpositionRequest {
        source: 0,
        format,
        choice,
        names: Some(vec![name.to_owned()]),
        framing: Framing::Chunked,
    }
}

/// The queues of an exporter, and its counts of dropped connections.
#[derive(Default)]
struct TestQueues {
    inner: Arc<Queues>,
    counters: Arc<HttpCounters>,
}

impl TestQueues {
    fn join(&self, name: &str) -> (Receiver, Start) {
        Receiver::join(&self.inner, request(name), Connection::new(Arc::clone(&self.counters)))
    }

    fn begin(&self, receiver: &Receiver) -> Running {
        Running::begin(&self.inner, receiver.gathering()).unwrap()
    }

    /// Begins a gathering for one client.
    fn start(&self, name: &str) -> (Receiver, Running) {
        let (receiver, start) = self.join(name);
        assert_eq!(start, Start::Now);
        let running = self.begin(&receiver);
        (receiver, running)
    }

    fn len(&self) -> usize {
        self.inner.lock().len
    }

    /// Uses up the wait budget.
    fn use_up_budget(&self) {
        self.inner.lock().budget = WaitBudget { left: Duration::ZERO, at: Instant::now() };
    }
}

fn chunk(number: u8) -> Bytes {
    Bytes::from(vec![number; CHUNK_LEN])
}

fn next(receiver: &Receiver) -> Poll<Option<io::Result<Bytes>>> {
    receiver.poll_next(&Context::from_waker(Waker::noop()))
}

/// Waits for the next chunk.
fn taken(receiver: &Receiver) -> Option<io::Result<Bytes>> {
    loop {
        if let Poll::Ready(data) = next(receiver) {
            return data;
        }
        thread::yield_now();
    }
}

fn take_number(receiver: &Receiver) -> u8 {
    taken(receiver).unwrap().unwrap()[0]
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_gathering_keeps_pace_with_its_client() {
    let queues = TestQueues::default();
    let (receiver, running) = queues.start("a");
    let sender = running.sender();
    let sending = thread::spawn(move || {
        for number in 0..=99 {
            sender.send(chunk(number), None).unwrap();
        }
        sender.finish(chunk(100), None).unwrap();
        drop(running);
    });
    for number in 0..=100 {
        assert_eq!(take_number(&receiver), number);
        // The chunks ahead, the last one, which does not wait, and the one that is being sent.
        assert!(queues.len() <= (MAX_AHEAD as usize + 2) * CHUNK_LEN);
    }
    assert!(receiver.is_at_end() && taken(&receiver).is_none());
    sending.join().unwrap();
    assert_eq!(queues.len(), 0);
}

#[test]
fn a_gathering_queues_chunks_up_to_the_limit_when_the_wait_budget_is_used_up() {
    let queues = TestQueues::default();
    let (receiver, running) = queues.start("a");
    let begin = Instant::now();
    let sender = running.sender();
    for number in 0..MAX_CHUNKS - 1 {
        sender.send(chunk(number as u8), None).unwrap();
    }
    // The budget covers all chunks together.
    assert!(begin.elapsed() >= MAX_WAIT);
    sender.finish(chunk(0), None).unwrap();
    drop(running);
    assert_eq!(queues.len(), MAX_QUEUED_LEN);
    assert_eq!((0..MAX_CHUNKS).filter_map(|_| taken(&receiver)).count(), MAX_CHUNKS);
    assert!(receiver.is_at_end());
}

#[test]
fn the_wait_budget_regains_a_fraction_of_the_elapsed_time() {
    let start = Instant::now();
    let mut budget = WaitBudget { left: MAX_WAIT, at: start };
    budget.spend(MAX_WAIT * 2);
    assert_eq!(budget.left(start), Duration::ZERO);
    assert_eq!(budget.left(start + Duration::from_secs(2)), Duration::from_millis(100));
    assert_eq!(budget.left(start + Duration::from_secs(3600)), MAX_WAIT);
}

#[test]
fn pending_requests_for_the_same_exposition_share_one_gathering() {
    let queues = TestQueues::default();
    let (first, running) = queues.start("a");
    let (second, start) = queues.join("a");
    assert_eq!(start, Start::Later);
    let (third, start) = queues.join("a");
    assert_eq!((start, third.gathering()), (Start::Later, second.gathering()));
    let (other, start) = queues.join("b");
    assert_eq!(start, Start::Now);
    assert_ne!(other.gathering(), second.gathering());
    running.sender().finish(chunk(1), None).unwrap();
    let request = Arc::clone(running.request());
    drop(running);
    assert_eq!(queues.inner.successor(&request), Some(second.gathering()));
    let running = queues.begin(&second);
    assert!(Running::begin(&queues.inner, second.gathering()).is_none());
    assert_eq!(queues.inner.successor(&request), None);
    running.sender().finish(chunk(2), None).unwrap();
    drop(running);
    // Both responses share the bytes.
    assert_eq!(queues.len(), 2 * CHUNK_LEN);
    assert_eq!(take_number(&first), 1);
    assert_eq!((take_number(&second), take_number(&third)), (2, 2));
    assert_eq!(queues.len(), 0);
}

#[test]
fn a_gathering_whose_clients_have_gone_away_does_not_begin() {
    let queues = TestQueues::default();
    let (receiver, _) = queues.join("a");
    let id = receiver.gathering();
    drop(receiver);
    assert!(Running::begin(&queues.inner, id).is_none());
    assert!(queues.inner.lock().gatherings.is_empty());
}

#[test]
fn bytes_count_until_they_are_written() {
    let queues = TestQueues::default();
    let (receiver, running) = queues.start("a");
    running.sender().finish(chunk(1), None).unwrap();
    drop(running);
    let data = taken(&receiver).unwrap().unwrap();
    assert!(receiver.is_at_end());
    // The body is dropped when its last chunk is taken.
    drop(receiver);
    assert_eq!(queues.len(), CHUNK_LEN);
    drop(data);
    assert_eq!(queues.len(), 0);
    assert!(queues.inner.lock().gatherings.is_empty());
}

/// Fills the queues with one response, of which the client has taken only the first chunk.
fn full(queues: &TestQueues) -> (Receiver, Bytes) {
    queues.use_up_budget();
    let (receiver, running) = queues.start("slow");
    for _ in 1..MAX_CHUNKS {
        running.sender().send(chunk(7), None).unwrap();
    }
    running.sender().finish(chunk(7), None).unwrap();
    let held = taken(&receiver).unwrap().unwrap();
    (receiver, held)
}

#[test]
fn the_slow_response_with_the_most_queued_bytes_is_aborted_at_the_limit() {
    let queues = TestQueues::default();
    let (slow, held) = full(&queues);
    let (quick, running) = queues.start("quick");
    let sender = running.sender();
    let sending = thread::spawn(move || {
        for number in 0..250 {
            sender.send(chunk(number), None).unwrap();
        }
        sender.finish(chunk(250), None).unwrap();
        drop(running);
    });
    assert!((0..=250).all(|number| take_number(&quick) == number));
    sending.join().unwrap();
    // The truncated body does not look complete.
    assert!(!slow.is_at_end());
    assert!(taken(&slow).unwrap().is_err());
    drop(held);
    assert_eq!(queues.len(), 0);
}

#[test]
fn at_the_limit_a_gathering_waits_for_its_client_if_no_other_client_waits() {
    let queues = TestQueues::default();
    queues.use_up_budget();
    let (receiver, running) = queues.start("a");
    let sender = running.sender();
    let sending = thread::spawn(move || {
        for number in 0..3 * MAX_CHUNKS {
            sender.send(chunk(number as u8), None).unwrap();
        }
        sender.finish(chunk(99), None).unwrap();
        drop(running);
    });
    wait_until("the limit", || queues.inner.lock().blocked == 1);
    // Pretend that the client has read nothing for longer than it may while other clients wait.
    let mut state = queues.inner.lock();
    for delivery in state.gatherings.values_mut().flat_map(|gathering| &mut gathering.deliveries) {
        delivery.progress = delivery.progress.checked_sub(2 * MAX_LAG).unwrap();
        assert!(delivery.lag(Instant::now()) >= 2 * MAX_LAG);
    }
    drop(state);
    thread::park_timeout(5 * CHECK_INTERVAL);
    for number in 0..3 * MAX_CHUNKS {
        assert_eq!(take_number(&receiver), number as u8);
        assert!(queues.len() <= MAX_QUEUED_LEN);
    }
    assert_eq!(take_number(&receiver), 99);
    sending.join().unwrap();
}

#[test]
fn at_the_limit_a_slow_response_is_aborted_when_a_request_arrives() {
    let queues = TestQueues::default();
    queues.use_up_budget();
    let (slow, running) = queues.start("slow");
    let sender = running.sender();
    let sending = thread::spawn(move || {
        let result = (0..3 * MAX_CHUNKS).try_for_each(|_| sender.send(chunk(1), None));
        drop(running);
        result.map_err(|error| error.kind())
    });
    wait_until("the limit", || queues.inner.lock().blocked == 1);
    let (_other, _) = queues.join("other");
    assert_eq!(sending.join().unwrap(), Err(io::ErrorKind::BrokenPipe));
    assert!(taken(&slow).unwrap().is_err());
    assert_eq!(queues.len(), 0);
}

#[test]
fn clients_that_do_not_read_do_not_delay_another_client_of_their_gathering() {
    let queues = TestQueues::default();
    queues.use_up_budget();
    let (first, _) = queues.join("a");
    let others: Vec<_> = (0..20).map(|_| queues.join("a").0).collect();
    let running = queues.begin(&first);
    let sender = running.sender();
    let sending = thread::spawn(move || {
        for number in 0..200 {
            sender.send(chunk(number), None).unwrap();
        }
        sender.finish(chunk(200), None).unwrap();
        drop(running);
    });
    assert!((0..=200).all(|number| take_number(&first) == number));
    sending.join().unwrap();
    assert!(others.iter().all(|other| taken(other).unwrap().is_err()));
}

#[test]
fn a_body_without_chunks_that_exceeds_the_limit_fails() {
    let queues = TestQueues::default();
    let request = ExpositionRequest { framing: Framing::Length, ..request("a") };
    let (receiver, _) = Receiver::join(&queues.inner, request, Connection::new(Arc::default()));
    let mut running = queues.begin(&receiver);
    let sender = running.sender();
    let error = (0..=MAX_CHUNKS).try_for_each(|_| sender.send(chunk(1), None)).unwrap_err();
    running.fail(Failure::new(&error));
    drop(running);
    let head = receiver.poll_head(&Context::from_waker(Waker::noop()));
    assert!(matches!(head, Poll::Ready(Err(Failure::TooLong))), "{head:?}");
}

#[test]
fn a_waiting_sender_fails_when_its_client_goes_away() {
    let queues = TestQueues::default();
    let (receiver, running) = queues.start("a");
    let sender = running.sender();
    for number in 0..MAX_AHEAD {
        sender.send(chunk(number as u8), None).unwrap();
    }
    let sending = thread::spawn(move || sender.send(chunk(9), None).map_err(|error| error.kind()));
    drop(receiver);
    assert_eq!(sending.join().unwrap(), Err(io::ErrorKind::BrokenPipe));
    assert_eq!(queues.len(), 0);
    drop(running);
    assert!(queues.inner.lock().gatherings.is_empty());
}

#[test]
fn a_gathering_that_panics_truncates_the_body() {
    let queues = TestQueues::default();
    let (receiver, running) = queues.start("a");
    running.sender().send(chunk(1), None).unwrap();
    let panicking = thread::spawn(move || {
        let _running = running;
        std::panic::resume_unwind(Box::new("a gatherer fails"));
    });
    assert!(panicking.join().is_err());
    assert_eq!(take_number(&receiver), 1);
    assert!(!receiver.is_at_end());
    assert!(taken(&receiver).unwrap().is_err());
}

#[test]
fn a_waiting_receiver_is_woken_by_the_head_by_a_chunk_and_by_the_end() {
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
    let context = Context::from_waker(&waker);
    let queues = TestQueues::default();
    let (receiver, running) = queues.start("a");
    assert!(receiver.poll_head(&context).is_pending());
    running.sender().send(chunk(1), None).unwrap();
    assert_eq!(woken(), 1);
    assert!(receiver.poll_head(&context).is_ready());
    assert!(receiver.poll_next(&context).is_ready());
    assert!(receiver.poll_next(&context).is_pending());
    running.sender().send(chunk(2), None).unwrap();
    assert_eq!(woken(), 2);
    assert!(receiver.poll_next(&context).is_ready());
    assert!(receiver.poll_next(&context).is_pending());
    running.sender().finish(Bytes::new(), None).unwrap();
    assert_eq!(woken(), 3);
    assert!(matches!(receiver.poll_next(&context), Poll::Ready(None)));
}
