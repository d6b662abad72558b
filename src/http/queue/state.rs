//! What is queued, and for whom.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::MAX_QUEUED_LEN;
use crate::error::Error;
use crate::http::compress::Coding;
use crate::http::connection::Connection;
use crate::http::wanted::Wanted;

/// How long gatherings may wait for clients in all before they queue what they have. Sources may be locked meanwhile.
pub(super) const MAX_PATIENCE: Duration = Duration::from_millis(250);
/// Patience comes back at one part in so many of the time: slow clients cost others that much, however many they are.
const PATIENCE_DIVISOR: u32 = 20;
/// How long what is queued for a client may take it at its rate, or how long it may read nothing, before it is slow.
pub(super) const MAX_LAG: Duration = Duration::from_millis(500);
/// A client's rate is unknown before it has read so much, in bytes.
const MIN_RATE_LEN: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) gatherings: BTreeMap<u64, Gathering>,
    pub(super) last_id: u64,
    /// Bytes of all chunks.
    pub(super) len: usize,
    pub(super) patience: Patience,
    /// Senders that wait for room.
    pub(super) blocked: usize,
}

#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) wanted: Arc<Wanted>,
    pub(super) phase: Phase,
    /// When the body has begun.
    pub(super) head: Option<Head>,
    pub(super) chunks: VecDeque<Bytes>,
    /// The index of the first of the chunks.
    pub(super) first: u64,
    pub(super) deliveries: Vec<Delivery>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Waiting,
    Running { is_blocked: bool },
    Ended(End),
}

/// How a body ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    Whole,
    Broken(Failure),
}

/// Why there is no body, or not all of it.
#[derive(Clone, Debug)]
pub(in crate::http) enum Failure {
    /// The source failed, for this reason where it has one.
    Source(Option<Arc<str>>),
    /// The body must be whole before it is sent, and is too long for that.
    TooLong,
}

impl Failure {
    /// Why a body could not be written.
    pub(in crate::http) fn new(error: &io::Error) -> Failure {
        match error.get_ref() {
            Some(error) if error.is::<TooLong>() => Failure::TooLong,
            // The error of a collector.
            Some(error) => {
                Failure::Source(error.downcast_ref::<Error>().map(|it| format!("{it:#}").into()))
            }
            None => Failure::Source(None),
        }
    }
}

/// The error of a [`Sender`] whose body is too long.
#[derive(Debug)]
pub(super) struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body has more than {MAX_QUEUED_LEN} bytes")
    }
}

impl std::error::Error for TooLong {}

/// What is known of a body when it begins.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Head {
    pub(in crate::http) coding: Option<Coding>,
    /// In bytes, where the body is gathered whole.
    pub(in crate::http) len: Option<u64>,
}

/// What one connection has of a gathering.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) id: u64,
    pub(super) connection: Arc<Connection>,
    /// The index of the chunk that is taken next.
    pub(super) next: u64,
    /// Chunks before this index are written.
    pub(super) written: u64,
    pub(super) written_len: usize,
    /// Bytes of the chunks that are not written.
    pub(super) backlog: usize,
    /// When there was something to take for the first time.
    pub(super) begin: Option<Instant>,
    /// When a chunk was written, or there was something to take again.
    pub(super) progress: Instant,
    pub(super) waker: Option<Waker>,
}

impl Delivery {
    /// How far the client is behind: how long its backlog takes it, or how long it has read nothing.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let Some(begin) = self.begin.filter(|_| self.backlog > 0) else {
            return Duration::ZERO;
        };
        let time = now.saturating_duration_since(begin).as_secs_f64();
        let rest = time * self.backlog as f64 / self.written_len.max(MIN_RATE_LEN) as f64;
        now.saturating_duration_since(self.progress).max(Duration::from_secs_f64(rest))
    }
}

impl Gathering {
    pub(super) fn end(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// How many chunks it is ahead of its fastest client.
    pub(super) fn ahead(&self) -> u64 {
        let fastest = self.deliveries.iter().map(|delivery| delivery.next).max();
        self.end() - fastest.unwrap_or(self.first)
    }

    /// Whether a client has everything that there is and waits for more.
    fn keeps_client_waiting(&self) -> bool {
        let end = self.end();
        self.head.is_none() || self.deliveries.iter().any(|delivery| delivery.next == end)
    }

    /// Forgets chunks that every client has; returns their bytes.
    pub(super) fn trim(&mut self) -> usize {
        let written = self.deliveries.iter().map(|delivery| delivery.written).min();
        let written = written.unwrap_or(u64::MAX);
        let mut len = 0;
        while self.first < written
            && let Some(chunk) = self.chunks.pop_front()
        {
            len += chunk.len();
            self.first += 1;
        }
        len
    }

    pub(super) fn push(&mut self, chunk: Bytes, now: Instant) {
        for delivery in &mut self.deliveries {
            if delivery.backlog == 0 {
                delivery.progress = now;
                delivery.begin.get_or_insert(now);
            }
            delivery.backlog += chunk.len();
        }
        self.chunks.push_back(chunk);
    }

    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.deliveries.iter_mut().filter_map(|delivery| delivery.waker.take()).collect()
    }
}

/// How long gatherings may still wait.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) left: Duration,
    /// When that was so.
    pub(super) at: Instant,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { left: MAX_PATIENCE, at: Instant::now() }
    }
}

impl Patience {
    pub(super) fn left(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at) / PATIENCE_DIVISOR;
        *self = Patience { left: MAX_PATIENCE.min(self.left + gained), at: now };
        self.left
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

impl State {
    /// Whether anybody waits for a source that this gathering may have locked, or for more of its chunks.
    pub(super) fn is_wanted(&self, id: u64) -> bool {
        self.gatherings.iter().any(|(other, gathering)| match gathering.phase {
            _ if *other == id => gathering.keeps_client_waiting(),
            Phase::Waiting | Phase::Running { is_blocked: false } => true,
            _ => false,
        })
    }

    /// The slow response with the most bytes that are not written: its gathering and its delivery.
    pub(super) fn slowest(&self, now: Instant) -> Option<(u64, u64)> {
        let all = self.gatherings.iter().flat_map(|(id, gathering)| {
            gathering.deliveries.iter().map(move |delivery| (*id, delivery))
        });
        let slow = all.filter(|(_, delivery)| delivery.lag(now) >= MAX_LAG);
        let slowest = slow.max_by_key(|(_, delivery)| delivery.backlog);
        slowest.map(|(gathering, delivery)| (gathering, delivery.id))
    }

    /// Takes a connection off a gathering, and forgets what only it needed.
    pub(super) fn remove(&mut self, (id, delivery): (u64, u64)) -> Option<Delivery> {
        let gathering = self.gatherings.get_mut(&id)?;
        let at = gathering.deliveries.iter().position(|known| known.id == delivery)?;
        let removed = gathering.deliveries.swap_remove(at);
        self.len -= gathering.trim();
        if gathering.deliveries.is_empty() && !matches!(gathering.phase, Phase::Running { .. }) {
            self.gatherings.remove(&id);
        }
        Some(removed)
    }

    pub(super) fn set_blocked(&mut self, id: u64, is_blocked: bool) {
        if let Some(Gathering { phase: Phase::Running { is_blocked: known }, .. }) =
            self.gatherings.get_mut(&id)
            && mem::replace(known, is_blocked) != is_blocked
        {
            self.blocked = if is_blocked { self.blocked + 1 } else { self.blocked - 1 };
        }
    }
}
