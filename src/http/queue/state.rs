//! The gatherings, and the deliveries of their chunks to clients.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use crate::error::Error;
use crate::http::coding::Coding;
use crate::http::connection::Connection;
use crate::http::request::ExpositionRequest;

/// The maximum number of bytes that are gathered and not yet written, over all responses. Bytes that several responses
/// share count once.
pub(in crate::http) const MAX_QUEUED_LEN: usize = 16 * 1024 * 1024;
/// How long all gatherings together may wait for clients before they queue their chunks. The source may hold a lock
/// during the wait.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(250);
/// The budget regains this fraction of the elapsed time. It is what slow clients, however many, may delay other scrapes.
const REGAIN_DIVISOR: u32 = 20;
/// A client is slow if it needs longer than this for its queued bytes at its rate, or has read nothing for this long.
pub(super) const MAX_LAG: Duration = Duration::from_millis(500);
/// The number of bytes that a client must have read before its rate is used.
const MIN_RATE_LEN: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct QueueState {
    pub(super) gatherings: BTreeMap<u64, Gathering>,
    last_id: u64,
    /// The number of bytes of all chunks.
    pub(super) len: usize,
    pub(super) budget: WaitBudget,
    /// The number of senders that wait for room.
    pub(super) blocked: usize,
}

#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) request: Arc<ExpositionRequest>,
    pub(super) phase: GatheringPhase,
    /// Set when the body begins.
    pub(super) head: Option<Head>,
    pub(super) chunks: VecDeque<Bytes>,
    /// The index of the first of `chunks` in the body.
    pub(super) first: u64,
    pub(super) deliveries: Vec<Delivery>,
}

#[derive(Debug)]
pub(super) enum GatheringPhase {
    /// Not begun: requests can join.
    Pending,
    Running(RoomWait),
    Ended(BodyEnd),
}

/// Whether a gathering waits for room below [`MAX_QUEUED_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomWait {
    No,
    Yes,
}

/// How a body ends.
#[derive(Clone, Debug)]
pub(super) enum BodyEnd {
    Complete,
    Truncated(Failure),
}

/// Why there is no body, or only the beginning of one.
#[derive(Clone, Debug)]
pub(in crate::http) enum Failure {
    /// The source failed, for this reason if it reported one.
    Source(Option<Arc<str>>),
    /// The body cannot be sent in chunks and exceeds [`MAX_QUEUED_LEN`].
    TooLong,
}

impl Failure {
    /// Converts the error that ended the writing of a body.
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

/// The error of a sender whose body exceeds [`MAX_QUEUED_LEN`].
#[derive(Debug)]
pub(super) struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body has more than {MAX_QUEUED_LEN} bytes")
    }
}

impl std::error::Error for TooLong {}

/// The properties of a body that are known when it begins.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Head {
    pub(in crate::http) coding: Option<Coding>,
    /// The length in bytes, if the body was complete when it began.
    pub(in crate::http) len: Option<u64>,
}

/// The progress of one connection in a gathering.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) id: u64,
    pub(super) connection: Arc<Connection>,
    /// The index of the chunk that is taken next.
    pub(super) next: u64,
    /// The number of chunks that are written.
    pub(super) written: u64,
    /// The number of bytes of the chunks that are written.
    pub(super) written_len: usize,
    /// The number of bytes of the chunks that are not written yet.
    pub(super) backlog: usize,
    /// When the first chunk was queued.
    begin: Option<Instant>,
    /// When a chunk was last written, or queued after the backlog was empty.
    pub(super) progress: Instant,
    pub(super) waker: Option<Waker>,
}

impl Delivery {
    /// How far the client is behind: the time it needs for its backlog, or for which it has read nothing.
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
    fn is_pending(&self) -> bool {
        matches!(self.phase, GatheringPhase::Pending)
    }

    /// The index of the next chunk that is queued.
    pub(super) fn end(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    /// The number of bytes of its chunks.
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// The number of chunks that its fastest client has not taken yet.
    pub(super) fn ahead(&self) -> u64 {
        let fastest = self.deliveries.iter().map(|delivery| delivery.next).max();
        self.end() - fastest.unwrap_or(self.first)
    }

    /// Whether a client has taken all chunks and waits for more.
    fn keeps_client_waiting(&self) -> bool {
        let end = self.end();
        self.head.is_none() || self.deliveries.iter().any(|delivery| delivery.next == end)
    }

    /// Removes the chunks that are written to every client; returns their number of bytes.
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

    /// Takes the wakers of the connections that wait.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.deliveries.iter_mut().filter_map(|delivery| delivery.waker.take()).collect()
    }
}

/// How long gatherings may still wait for clients.
#[derive(Debug)]
pub(super) struct WaitBudget {
    pub(super) left: Duration,
    /// When `left` was computed.
    pub(super) at: Instant,
}

impl Default for WaitBudget {
    fn default() -> WaitBudget {
        WaitBudget { left: MAX_WAIT, at: Instant::now() }
    }
}

impl WaitBudget {
    pub(super) fn left(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at) / REGAIN_DIVISOR;
        *self = WaitBudget { left: MAX_WAIT.min(self.left + gained), at: now };
        self.left
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

impl QueueState {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether a gathering for this exposition is pending or running.
    pub(super) fn has_any(&self, request: &ExpositionRequest) -> bool {
        let is_open = |gathering: &Gathering| !matches!(gathering.phase, GatheringPhase::Ended(_));
        self.gatherings.values().any(|found| is_open(found) && *found.request == *request)
    }

    /// The pending gathering for this exposition.
    pub(super) fn pending(&self, request: &ExpositionRequest) -> Option<u64> {
        let is_same = |found: &Gathering| found.is_pending() && *found.request == *request;
        self.gatherings.iter().find(|(_, found)| is_same(found)).map(|(id, _)| *id)
    }

    /// Adds a pending gathering; returns its id.
    pub(super) fn add_gathering(&mut self, request: ExpositionRequest) -> u64 {
        let id = self.next_id();
        let gathering = Gathering {
            request: Arc::new(request),
            phase: GatheringPhase::Pending,
            head: None,
            chunks: VecDeque::new(),
            first: 0,
            deliveries: Vec::new(),
        };
        self.gatherings.insert(id, gathering);
        id
    }

    /// Adds a connection to a pending gathering; returns the id of the delivery.
    pub(super) fn add_delivery(&mut self, gathering: u64, connection: Arc<Connection>) -> u64 {
        let id = self.next_id();
        let delivery = Delivery {
            id,
            connection,
            next: 0,
            written: 0,
            written_len: 0,
            backlog: 0,
            begin: None,
            progress: Instant::now(),
            waker: None,
        };
        if let Some(gathering) = self.gatherings.get_mut(&gathering) {
            gathering.deliveries.push(delivery);
        }
        id
    }

    /// Whether this gathering keeps a client waiting: one of its own, or one of another gathering, as this one may have
    /// locked the source.
    pub(super) fn delays_a_client(&self, id: u64) -> bool {
        self.gatherings.iter().any(|(other, gathering)| match gathering.phase {
            _ if *other == id => gathering.keeps_client_waiting(),
            GatheringPhase::Pending | GatheringPhase::Running(RoomWait::No) => true,
            _ => false,
        })
    }

    /// The slow response with the most unwritten bytes: the ids of its gathering and delivery.
    pub(super) fn slowest(&self, now: Instant) -> Option<(u64, u64)> {
        let all = self.gatherings.iter().flat_map(|(id, gathering)| {
            gathering.deliveries.iter().map(move |delivery| (*id, delivery))
        });
        let slow = all.filter(|(_, delivery)| delivery.lag(now) >= MAX_LAG);
        let slowest = slow.max_by_key(|(_, delivery)| delivery.backlog);
        slowest.map(|(gathering, delivery)| (gathering, delivery.id))
    }

    /// Removes a delivery, and the chunks and the gathering that no other delivery needs.
    pub(super) fn remove(&mut self, (id, delivery): (u64, u64)) -> Option<Delivery> {
        let gathering = self.gatherings.get_mut(&id)?;
        let at = gathering.deliveries.iter().position(|found| found.id == delivery)?;
        let removed = gathering.deliveries.swap_remove(at);
        self.len -= gathering.trim();
        let is_running = matches!(gathering.phase, GatheringPhase::Running(_));
        if gathering.deliveries.is_empty() && !is_running {
            self.gatherings.remove(&id);
        }
        Some(removed)
    }

    /// Sets whether a running gathering waits for room.
    pub(super) fn set_room_wait(&mut self, id: u64, room_wait: RoomWait) {
        if let Some(Gathering { phase: GatheringPhase::Running(current), .. }) =
            self.gatherings.get_mut(&id)
            && mem::replace(current, room_wait) != room_wait
        {
            match room_wait {
                RoomWait::Yes => self.blocked += 1,
                RoomWait::No => self.blocked -= 1,
            }
        }
    }
}
