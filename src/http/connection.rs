//! One connection: what it is doing, how long that may take, and which one is closed for another.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::dropped::{Dropped, Reason};

/// How long a connection may stay idle. Above the usual scrape intervals, so that scrapers keep their connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long the head of a request may take from its first byte: it fits into a few packets.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a response may take, from the end of the request's head until the kernel has its last byte. Scrape timeouts are
/// shorter: one that takes longer is of no use, and its memory may be needed.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of a request has arrived.
    Idle,
    /// A part of a request's head has arrived.
    Head,
    /// A request has arrived, and its response is not written yet.
    Response,
}

#[derive(Debug)]
struct Activity {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// Whether something arrived since the last request.
    has_unread: bool,
    /// Whether all of the response was passed on to be written.
    is_body_taken: bool,
    /// How much of the response was written, in bytes.
    written: u64,
    /// Whether a write waits for the client.
    is_blocked: bool,
}

impl Activity {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

/// What of a connection its task, the threads that gather for it and the accepting task share.
#[derive(Debug)]
pub(super) struct Connection {
    activity: Mutex<Activity>,
    /// Whether its response is being gathered or waits for that.
    is_gathering: AtomicBool,
    /// Whether the response is broken off.
    is_broken_off: AtomicBool,
    closing: Notify,
    dropped: Arc<Dropped>,
}

/// How dispensable a connection is; the most dispensable one is closed for another: the longest idle one, then the
/// oldest unfinished head, then the slowest reader, then the oldest response of which nothing waits to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dispensability {
    /// For so long.
    Response(Duration),
    /// With so much time for each KiB.
    Blocked(Duration),
    /// For so long.
    Head(Duration),
    /// For so long.
    Idle(Duration),
}

impl Connection {
    pub(super) fn new(dropped: Arc<Dropped>) -> Arc<Connection> {
        let activity = Activity {
            phase: Phase::Idle,
            since: Instant::now(),
            has_unread: false,
            is_body_taken: false,
            written: 0,
            is_blocked: false,
        };
        Arc::new(Connection {
            activity: Mutex::new(activity),
            is_gathering: AtomicBool::new(false),
            is_broken_off: AtomicBool::new(false),
            closing: Notify::new(),
            dropped,
        })
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that bytes arrived.
    pub(super) fn received(&self) {
        let mut activity = self.activity();
        activity.has_unread = true;
        if activity.phase == Phase::Idle {
            activity.enter(Phase::Head);
        }
    }

    /// Notes that a request is complete.
    pub(super) fn begin_response(&self) {
        let mut activity = self.activity();
        activity.enter(Phase::Response);
        activity.has_unread = false;
        activity.is_body_taken = false;
        activity.written = 0;
        activity.is_blocked = false;
    }

    /// Notes that the rest of the response was passed on to be written.
    pub(super) fn body_taken(&self) {
        self.activity().is_body_taken = true;
    }

    /// Notes that bytes were written.
    pub(super) fn wrote(&self, count: usize) {
        let mut activity = self.activity();
        activity.written += count as u64;
        activity.is_blocked = false;
    }

    /// Notes that a write waits for the client.
    pub(super) fn blocked(&self) {
        self.activity().is_blocked = true;
    }

    /// Notes that everything that was passed on is written.
    pub(super) fn flushed(&self) {
        let mut activity = self.activity();
        activity.is_blocked = false;
        if activity.phase == Phase::Response && activity.is_body_taken {
            let next = if activity.has_unread { Phase::Head } else { Phase::Idle };
            activity.enter(next);
        }
    }

    /// Notes that a response is gathered from now on, or no longer.
    pub(super) fn set_gathering(&self, is_gathering: bool) {
        self.is_gathering.store(is_gathering, Ordering::Relaxed);
    }

    /// Whether a response is being gathered or waits for that.
    pub(super) fn is_gathering(&self) -> bool {
        self.is_gathering.load(Ordering::Relaxed)
    }

    /// Whether there is a request that is not answered whole.
    pub(super) fn is_responding(&self) -> bool {
        self.activity().phase == Phase::Response
    }

    /// Whether what is left of a response must not be sent any more.
    pub(super) fn is_broken_off(&self) -> bool {
        self.is_broken_off.load(Ordering::Relaxed)
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

    /// Has the connection's task close it.
    pub(super) fn drop_for(&self, reason: Reason) {
        self.dropped.count(reason);
        let is_broken_off = self.activity().phase == Phase::Response;
        self.is_broken_off.store(is_broken_off, Ordering::Relaxed);
        self.closing.notify_one();
    }

    /// Waits until it is to be closed: because another thread says so, or because a phase takes too long. A change of
    /// phase must be followed by a poll of this.
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
            // It is set later when it fires early only, as each scrape has several phases.
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

    /// When the phase must be over, and why the connection is dropped if it is not; idle ones just end.
    fn deadline(&self) -> (Instant, Option<Reason>) {
        let activity = self.activity();
        let (limit, reason) = match activity.phase {
            Phase::Idle => (IDLE_TIMEOUT, None),
            Phase::Head => (HEAD_TIMEOUT, Some(Reason::Head)),
            Phase::Response => (RESPONSE_TIMEOUT, Some(Reason::Time)),
        };
        (activity.since + limit, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_closed_first_then_heads_then_the_slowest_reader() {
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
        let wanted = [responding, quick, slow, head, idle, longest_idle];
        assert!(sorted.iter().zip(wanted).all(|(one, other)| Arc::ptr_eq(one, other)));
    }

    #[test]
    fn a_phase_that_takes_too_long_closes_the_connection() {
        type Begin = fn(&Connection);
        let phases: [(Begin, Duration, Option<Reason>); 3] = [
            (|_| {}, IDLE_TIMEOUT, None),
            (Connection::received, HEAD_TIMEOUT, Some(Reason::Head)),
            (Connection::begin_response, RESPONSE_TIMEOUT, Some(Reason::Time)),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for (begin, limit, reason) in phases {
            let dropped = Arc::new(Dropped::default());
            let connection = Connection::new(Arc::clone(&dropped));
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
            assert_eq!(connection.is_broken_off(), reason == Some(Reason::Time));
            for other in [Reason::Head, Reason::Time] {
                assert_eq!(dropped.get(other), u64::from(reason == Some(other)));
            }
        }
    }

    #[test]
    fn a_connection_is_idle_again_when_its_response_is_written() {
        let connection = Connection::new(Arc::default());
        let phase = || connection.activity().phase;
        connection.received();
        assert_eq!(phase(), Phase::Head);
        connection.begin_response();
        connection.flushed();
        assert_eq!(phase(), Phase::Response);
        connection.body_taken();
        assert_eq!(phase(), Phase::Response);
        connection.flushed();
        assert_eq!(phase(), Phase::Idle);
        // A client may send the next request before it has the response.
        connection.received();
        connection.begin_response();
        connection.received();
        connection.body_taken();
        connection.flushed();
        assert_eq!(phase(), Phase::Head);
    }
}
