//! The state of one connection, its timeouts, and how dispensable it is at the connection limit.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::counters::{DropReason, HttpCounters};
use super::scrapes::Scrape;
use crate::panics::lock;

/// How long a connection may be idle: longer than the usual scrape intervals, so that scrapers keep their connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long the head of a request may take from its first byte on. It fits into a few packets.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a response may take, from the end of the request's head until the kernel has its last byte. Scrape timeouts
/// are shorter: a longer response is of no use, and its memory may be needed for others.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of the next request has arrived.
    Idle,
    /// A part of the request's head has arrived.
    Head,
    /// The request has arrived, and its response is not completely written.
    Response,
}

#[derive(Debug)]
struct Activity {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// Whether bytes have arrived since the last request.
    has_unread: bool,
    /// Whether hyper has taken the whole body of the response.
    is_body_taken: bool,
    /// The scrape that ends when the response is written.
    scrape: Option<Scrape>,
    /// The number of bytes of the response that are written.
    written: u64,
    /// Whether a write waits for the client to read.
    is_blocked: bool,
}

impl Activity {
    fn enter(&mut self, phase: Phase, counters: &HttpCounters) {
        let now = Instant::now();
        if self.phase == Phase::Response {
            counters.end_response(now.saturating_duration_since(self.since));
        }
        if phase == Phase::Response {
            counters.begin_response();
        }
        self.phase = phase;
        self.since = now;
    }
}

/// The state of a connection, shared by its task, the threads that gather for it, and the accepting task.
#[derive(Debug)]
pub(super) struct Connection {
    activity: Mutex<Activity>,
    /// Whether a gathering for it is pending or running.
    is_gathering: AtomicBool,
    /// Whether the response is aborted.
    is_aborted: AtomicBool,
    closing: Notify,
    counters: Arc<HttpCounters>,
}

/// How dispensable a connection is. At the connection limit the maximum is closed: the longest idle connection, else the
/// oldest incomplete head, else the slowest reader, else the oldest response that does not wait for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dispensability {
    /// The age of the response.
    Response(Duration),
    /// The time that the client has taken per KiB.
    Blocked(Duration),
    /// The age of the head.
    Head(Duration),
    /// The idle time.
    Idle(Duration),
}

impl Connection {
    pub(super) fn new(counters: Arc<HttpCounters>) -> Arc<Connection> {
        let activity = Activity {
            phase: Phase::Idle,
            since: Instant::now(),
            has_unread: false,
            is_body_taken: false,
            scrape: None,
            written: 0,
            is_blocked: false,
        };
        Arc::new(Connection {
            activity: Mutex::new(activity),
            is_gathering: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
            closing: Notify::new(),
            counters,
        })
    }

    pub(super) fn counters(&self) -> &HttpCounters {
        &self.counters
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        lock(&self.activity)
    }

    /// Records that bytes have arrived.
    pub(super) fn received(&self) {
        let mut activity = self.activity();
        activity.has_unread = true;
        if activity.phase == Phase::Idle {
            activity.enter(Phase::Head, &self.counters);
        }
    }

    /// Records that the handshake of TLS is complete.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "used with TLS"))]
    pub(super) fn ready(&self) {
        self.activity().enter(Phase::Idle, &self.counters);
    }

    /// Records that a request is complete.
    pub(super) fn begin_response(&self) {
        let mut activity = self.activity();
        activity.enter(Phase::Response, &self.counters);
        activity.has_unread = false;
        activity.is_body_taken = false;
        activity.scrape = None;
        activity.written = 0;
        activity.is_blocked = false;
    }

    /// Records that hyper has taken the whole body, or will not take the rest. The scrape ends when it is written.
    pub(super) fn body_taken(&self, scrape: Option<Scrape>) {
        let mut activity = self.activity();
        activity.is_body_taken = true;
        activity.scrape = scrape;
    }

    /// Records that bytes were written.
    pub(super) fn wrote(&self, count: usize) {
        let mut activity = self.activity();
        activity.written += count as u64;
        activity.is_blocked = false;
    }

    /// Records that a write waits for the client to read.
    pub(super) fn blocked(&self) {
        self.activity().is_blocked = true;
    }

    /// Records that all bytes that hyper has taken are written.
    pub(super) fn flushed(&self) {
        let mut activity = self.activity();
        activity.is_blocked = false;
        if activity.phase == Phase::Response && activity.is_body_taken {
            let next = if activity.has_unread { Phase::Head } else { Phase::Idle };
            activity.enter(next, &self.counters);
            if let Some(scrape) = activity.scrape.take() {
                scrape.end();
            }
        }
    }

    /// Records that the connection has joined a gathering.
    pub(super) fn begin_gathering(&self) {
        self.is_gathering.store(true, Ordering::Relaxed);
    }

    /// Records that the gathering has ended.
    pub(super) fn end_gathering(&self) {
        self.is_gathering.store(false, Ordering::Relaxed);
    }

    /// Whether a gathering for it is pending or running.
    pub(super) fn is_gathering(&self) -> bool {
        self.is_gathering.load(Ordering::Relaxed)
    }

    /// Whether there is a request whose response is not completely written.
    pub(super) fn is_responding(&self) -> bool {
        self.activity().phase == Phase::Response
    }

    /// Whether the rest of the response must not be sent.
    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Relaxed)
    }

    pub(super) fn dispensability(&self, now: Instant) -> Dispensability {
        let activity = self.activity();
        let age = now.saturating_duration_since(activity.since);
        match activity.phase {
            Phase::Idle => Dispensability::Idle(age),
            Phase::Head => Dispensability::Head(age),
            Phase::Response if activity.is_blocked => {
                let kib = (activity.written / 1024).try_into().unwrap_or(u32::MAX);
                Dispensability::Blocked(age / kib.saturating_add(1))
            }
            Phase::Response => Dispensability::Response(age),
        }
    }

    /// Makes the connection's task close it, and counts the reason.
    pub(super) fn drop_for(&self, reason: DropReason) {
        self.counters.count_drop(reason);
        let is_aborted = self.activity().phase == Phase::Response;
        self.is_aborted.store(is_aborted, Ordering::Relaxed);
        self.closing.notify_one();
    }

    /// Waits until the connection is to be closed: by [`drop_for`](Connection::drop_for), or because a phase takes too
    /// long. It must be polled after each change of the phase.
    pub(super) async fn closed(&self) {
        let mut closing = pin!(self.closing.notified());
        let mut timer = pin!(tokio::time::sleep(IDLE_TIMEOUT));
        let poll = |context: &mut Context<'_>| {
            if closing.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            let (deadline, reason) = self.deadline();
            let deadline = deadline.into();
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            // A later deadline is set only when the timer fires, as each scrape goes through several phases.
            while timer.as_mut().poll(context).is_ready() {
                if deadline <= tokio::time::Instant::now() {
                    return Poll::Ready(reason);
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        };
        if let Some(reason) = poll_fn(poll).await {
            self.drop_for(reason);
        }
    }

    /// When the phase must be over, and the reason for which the connection is counted as dropped if it is not. Idle
    /// connections are closed without being counted.
    fn deadline(&self) -> (Instant, Option<DropReason>) {
        let activity = self.activity();
        let (limit, reason) = match activity.phase {
            Phase::Idle => (IDLE_TIMEOUT, None),
            Phase::Head => (HEAD_TIMEOUT, Some(DropReason::Head)),
            Phase::Response => (RESPONSE_TIMEOUT, Some(DropReason::Time)),
        };
        (activity.since + limit, reason)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let activity = self.activity.get_mut().unwrap_or_else(PoisonError::into_inner);
        activity.enter(Phase::Idle, &self.counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_closed_first_then_incomplete_heads_then_the_slowest_reader() {
        let connections: Vec<_> = (0..6).map(|_| Connection::new(Arc::default())).collect();
        let [responding, quick, slow, head, idle, longest_idle] = &connections[..] else {
            unreachable!()
        };
        for connection in [responding, quick, slow] {
            connection.received();
            connection.begin_response();
        }
        for (connection, written) in [(quick, 5_000_000), (slow, 10_000)] {
            connection.wrote(written);
            connection.blocked();
        }
        head.received();
        idle.activity().since += Duration::from_secs(1);
        let now = Instant::now() + Duration::from_secs(10);
        let mut sorted: Vec<_> = connections.iter().collect();
        sorted.sort_by_key(|connection| connection.dispensability(now));
        let expected = [responding, quick, slow, head, idle, longest_idle];
        assert!(sorted.iter().zip(expected).all(|(one, other)| Arc::ptr_eq(one, other)));
    }

    #[test]
    fn a_phase_that_takes_too_long_closes_the_connection() {
        type Begin = fn(&Connection);
        let phases: [(Begin, Duration, Option<DropReason>); 3] = [
            (|_| {}, IDLE_TIMEOUT, None),
            (Connection::received, HEAD_TIMEOUT, Some(DropReason::Head)),
            (Connection::begin_response, RESPONSE_TIMEOUT, Some(DropReason::Time)),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for (begin, limit, reason) in phases {
            let counters = Arc::new(HttpCounters::default());
            let connection = Connection::new(Arc::clone(&counters));
            begin(&connection);
            let wait = |time| {
                let closed = async { tokio::time::timeout(time, connection.closed()).await };
                runtime.block_on(closed).is_ok()
            };
            assert!(!wait(Duration::from_millis(20)));
            let mut activity = connection.activity();
            activity.since = activity.since.checked_sub(limit).unwrap();
            drop(activity);
            assert!(wait(Duration::from_secs(20)));
            assert_eq!(connection.is_aborted(), reason == Some(DropReason::Time));
            for other in [DropReason::Head, DropReason::Time] {
                assert_eq!(counters.dropped(other), u64::from(reason == Some(other)));
            }
        }
    }

    #[test]
    fn a_connection_is_idle_after_its_response_is_written() {
        let connection = Connection::new(Arc::default());
        let phase = || connection.activity().phase;
        connection.received();
        assert_eq!(phase(), Phase::Head);
        connection.begin_response();
        connection.flushed();
        assert_eq!(phase(), Phase::Response);
        connection.body_taken(None);
        assert_eq!(phase(), Phase::Response);
        connection.flushed();
        assert_eq!(phase(), Phase::Idle);
        // A client may send the next request before it has received the response.
        connection.received();
        connection.begin_response();
        connection.received();
        connection.body_taken(None);
        connection.flushed();
        assert_eq!(phase(), Phase::Head);
    }
}
