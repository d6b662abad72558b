//! Tests of the queues of an exporter.

use super::sender::{CHECK_INTERVAL, MAX_AHEAD};
use super::state::{MAX_LAG, MAX_PATIENCE, Patience};
use super::*;
use crate::exposition::Format;
use crate::http::compress;
use crate::http::dropped::Dropped;
use crate::http::wanted::Framing;
use hyper::body::{Buf as _, Bytes};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

const CHUNK_LEN: usize = 128 * 1024;
/// Chunks that reach the limit of all responses.
const MAX_CHUNKS: usize = MAX_QUEUED_LEN / CHUNK_LEN;

fn wanted(name: &str) -> Wanted {
    let (format, choice) = (Format::Text.into(), compress::choose(""));
    Wanted { format, choice, names: Some(vec![name.to_owned()]), framing: Framing::Chunked }
}

/// An exporter's queues.
#[derive(Default)]
struct Exporter {
    queues: Arc<Queues>,
    dropped: Arc<Dropped>,
}

impl Exporter {
    fn join(&self, name: &str) -> (Receiver, Start) {
        self.queues.join(wanted(name), Connection::new(Arc::clone(&self.dropped)))
    }

    fn begin(&self, receiver: &Receiver) -> Running {
        self.queues.begin(receiver.gathering()).unwrap()
    }

    /// A gathering that has begun for one client.
    fn start(&self, name: &str) -> (Receiver, Running) {
        let (receiver, start) = self.join(name);
        assert_eq!(start, Start::Now);
        let running = self.begin(&receiver);
        (receiver, running)
    }

    fn len(&self) -> usize {
        self.queues.lock().len
    }

    /// Leaves no patience.
    fn lose_patience(&self) {
        self.queues.lock().patience = Patience { left: Duration::ZERO, at: Instant::now() };
    }
}

fn chunk(number: u8) -> Bytes {
    Bytes::from(vec![number; CHUNK_LEN])
}

fn next(receiver: &Receiver) -> Poll<Option<io::Result<Data>>> {
    receiver.poll_next(&Context::from_waker(Waker::noop()))
}

/// The next chunk, when it is there.
fn taken(receiver: &Receiver) -> Option<io::Result<Data>> {
    loop {
        if let Poll::Ready(data) = next(receiver) {
            return data;
        }
        thread::yield_now();
    }
}

fn take_number(receiver: &Receiver) -> u8 {
    taken(receiver).unwrap().unwrap().chunk()[0]
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
    let exporter = Exporter::default();
    let (receiver, running) = exporter.start("a");
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
        // Those ahead, the last one, which may be sent at once, and the one that is being sent.
        assert!(exporter.len() <= (MAX_AHEAD as usize + 2) * CHUNK_LEN);
    }
    assert!(receiver.is_at_end() && taken(&receiver).is_none());
    sending.join().unwrap();
    assert_eq!(exporter.len(), 0);
}

#[test]
fn a_gathering_without_patience_queues_everything_up_to_the_limit() {
    let exporter = Exporter::default();
    let (receiver, running) = exporter.start("a");
    let begin = Instant::now();
    let sender = running.sender();
    for number in 0..MAX_CHUNKS - 1 {
        sender.send(chunk(number as u8), None).unwrap();
    }
    // The patience is for all chunks together.
    assert!(begin.elapsed() >= MAX_PATIENCE);
    sender.finish(chunk(0), None).unwrap();
    drop(running);
    assert_eq!(exporter.len(), MAX_QUEUED_LEN);
    assert_eq!((0..MAX_CHUNKS).filter_map(|_| taken(&receiver)).count(), MAX_CHUNKS);
    assert!(receiver.is_at_end());
}

#[test]
fn patience_is_shared_and_comes_back_slowly() {
    let start = Instant::now();
    let mut patience = Patience { left: MAX_PATIENCE, at: start };
    patience.spend(MAX_PATIENCE * 2);
    assert_eq!(patience.left(start), Duration::ZERO);
    assert_eq!(patience.left(start + Duration::from_secs(2)), Duration::from_millis(100));
    assert_eq!(patience.left(start + Duration::from_secs(3600)), MAX_PATIENCE);
}

#[test]
fn requests_that_wait_for_the_same_share_one_gathering() {
    let exporter = Exporter::default();
    let (first, running) = exporter.start("a");
    let (second, start) = exporter.join("a");
    assert_eq!(start, Start::Later);
    let (third, start) = exporter.join("a");
    assert_eq!((start, third.gathering()), (Start::Later, second.gathering()));
    let (other, start) = exporter.join("b");
    assert_eq!(start, Start::Now);
    assert_ne!(other.gathering(), second.gathering());
    running.sender().finish(chunk(1), None).unwrap();
    let wanted = Arc::clone(running.wanted());
    drop(running);
    assert_eq!(exporter.queues.successor(&wanted), Some(second.gathering()));
    let running = exporter.begin(&second);
    assert!(exporter.queues.begin(second.gathering()).is_none());
    assert_eq!(exporter.queues.successor(&wanted), None);
    running.sender().finish(chunk(2), None).unwrap();
    drop(running);
    // The bytes are there once.
    assert_eq!(exporter.len(), 2 * CHUNK_LEN);
    assert_eq!(take_number(&first), 1);
    assert_eq!((take_number(&second), take_number(&third)), (2, 2));
    assert_eq!(exporter.len(), 0);
}

#[test]
fn a_gathering_that_nobody_waits_for_any_more_does_not_begin() {
    let exporter = Exporter::default();
    let (receiver, _) = exporter.join("a");
    let id = receiver.gathering();
    drop(receiver);
    assert!(exporter.queues.begin(id).is_none());
    assert!(exporter.queues.lock().gatherings.is_empty());
}

#[test]
fn bytes_count_until_they_are_written() {
    let exporter = Exporter::default();
    let (receiver, running) = exporter.start("a");
    running.sender().finish(chunk(1), None).unwrap();
    drop(running);
    let data = taken(&receiver).unwrap().unwrap();
    assert!(receiver.is_at_end());
    // The body is dropped when its last chunk is taken.
    drop(receiver);
    assert_eq!(exporter.len(), CHUNK_LEN);
    drop(data);
    assert_eq!(exporter.len(), 0);
    assert!(exporter.queues.lock().gatherings.is_empty());
}

/// Fills the queues with one response, most of which is not read. The client holds the one chunk that it has begun.
fn full(exporter: &Exporter) -> (Receiver, Data) {
    exporter.lose_patience();
    let (receiver, running) = exporter.start("slow");
    for _ in 1..MAX_CHUNKS {
        running.sender().send(chunk(7), None).unwrap();
    }
    running.sender().finish(chunk(7), None).unwrap();
    let held = taken(&receiver).unwrap().unwrap();
    (receiver, held)
}

#[test]
fn the_response_that_is_furthest_behind_is_broken_off_at_the_limit() {
    let exporter = Exporter::default();
    let (slow, held) = full(&exporter);
    let (quick, running) = exporter.start("quick");
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
    // It does not look whole.
    assert!(!slow.is_at_end());
    assert!(taken(&slow).unwrap().is_err());
    drop(held);
    assert_eq!(exporter.len(), 0);
}

#[test]
fn at_the_limit_a_gathering_waits_for_its_client_if_nobody_else_waits() {
    let exporter = Exporter::default();
    exporter.lose_patience();
    let (receiver, running) = exporter.start("a");
    let sender = running.sender();
    let sending = thread::spawn(move || {
        for number in 0..3 * MAX_CHUNKS {
            sender.send(chunk(number as u8), None).unwrap();
        }
        sender.finish(chunk(99), None).unwrap();
        drop(running);
    });
    wait_until("the limit", || exporter.queues.lock().blocked == 1);
    // As if the client had read nothing for longer than it may when somebody waits.
    let mut state = exporter.queues.lock();
    for delivery in state.gatherings.values_mut().flat_map(|known| &mut known.deliveries) {
        delivery.progress = delivery.progress.checked_sub(2 * MAX_LAG).unwrap();
        assert!(delivery.lag(Instant::now()) >= 2 * MAX_LAG);
    }
    drop(state);
    thread::park_timeout(5 * CHECK_INTERVAL);
    for number in 0..3 * MAX_CHUNKS {
        assert_eq!(take_number(&receiver), number as u8);
        assert!(exporter.len() <= MAX_QUEUED_LEN);
    }
    assert_eq!(take_number(&receiver), 99);
    sending.join().unwrap();
}

#[test]
fn at_the_limit_a_slow_response_is_broken_off_when_a_request_comes() {
    let exporter = Exporter::default();
    exporter.lose_patience();
    let (slow, running) = exporter.start("slow");
    let sender = running.sender();
    let sending = thread::spawn(move || {
        let result = (0..3 * MAX_CHUNKS).try_for_each(|_| sender.send(chunk(1), None));
        drop(running);
        result.map_err(|error| error.kind())
    });
    wait_until("the limit", || exporter.queues.lock().blocked == 1);
    let (_other, _) = exporter.join("other");
    assert_eq!(sending.join().unwrap(), Err(io::ErrorKind::BrokenPipe));
    assert!(taken(&slow).unwrap().is_err());
    assert_eq!(exporter.len(), 0);
}

#[test]
fn a_client_that_reads_holds_up_nobody_when_others_of_its_gathering_do_not() {
    let exporter = Exporter::default();
    exporter.lose_patience();
    let (first, _) = exporter.join("a");
    let others: Vec<_> = (0..20).map(|_| exporter.join("a").0).collect();
    let running = exporter.begin(&first);
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
fn a_body_that_must_be_whole_and_is_longer_than_the_limit_fails() {
    let exporter = Exporter::default();
    let wanted = Wanted { framing: Framing::Length, ..wanted("a") };
    let (receiver, _) = exporter.queues.join(wanted, Connection::new(Arc::default()));
    let mut running = exporter.begin(&receiver);
    let sender = running.sender();
    let error = (0..=MAX_CHUNKS).try_for_each(|_| sender.send(chunk(1), None)).unwrap_err();
    running.fail(Failure::new(&error));
    drop(running);
    let head = receiver.poll_head(&Context::from_waker(Waker::noop()));
    assert!(matches!(head, Poll::Ready(Err(Failure::TooLong))), "{head:?}");
}

#[test]
fn a_sender_that_waits_fails_when_its_client_goes_away() {
    let exporter = Exporter::default();
    let (receiver, running) = exporter.start("a");
    let sender = running.sender();
    for number in 0..MAX_AHEAD {
        sender.send(chunk(number as u8), None).unwrap();
    }
    let sending = thread::spawn(move || sender.send(chunk(9), None).map_err(|error| error.kind()));
    drop(receiver);
    assert_eq!(sending.join().unwrap(), Err(io::ErrorKind::BrokenPipe));
    assert_eq!(exporter.len(), 0);
    drop(running);
    assert!(exporter.queues.lock().gatherings.is_empty());
}

#[test]
fn a_gathering_that_panics_leaves_a_broken_body() {
    let exporter = Exporter::default();
    let (receiver, running) = exporter.start("a");
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
fn a_receiver_that_waits_is_woken_by_the_head_a_chunk_and_the_end() {
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
    let exporter = Exporter::default();
    let (receiver, running) = exporter.start("a");
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
