//! The side of the gathering threads: beginning a gathering and queueing its chunks.

use std::io;
use std::sync::{Arc, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::shared::Queues;
use super::state::{
    BodyEnd, Failure, Gathering, GatheringPhase, Head, MAX_QUEUED_LEN, QueueState, RoomWait,
    TooLong,
};
use crate::http::coding::Coding;
use crate::http::counters::DropReason;
use crate::http::request::{ExpositionRequest, Framing};

/// How many chunks a gathering may be ahead of its fastest client while the wait budget lasts.
pub(super) const MAX_AHEAD: u64 = 2;
/// How often a gathering that waits for room checks whether a client has become slow.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A running gathering, which ends when this is dropped. Its body is then truncated unless a [`Sender`] has finished
/// it.
pub(in crate::http) struct Running {
    queues: Arc<Queues>,
    id: u64,
    request: Arc<ExpositionRequest>,
    failure: Failure,
}

impl Running {
    /// Begins a gathering; later requests do not join it. `None` if it has already begun, or if no client is left.
    pub(in crate::http) fn begin(queues: &Arc<Queues>, id: u64) -> Option<Running> {
        let mut state = queues.lock();
        let gathering = state.gatherings.get_mut(&id)?;
        if !matches!(gathering.phase, GatheringPhase::Pending) {
            return None;
        }
        gathering.phase = GatheringPhase::Running(RoomWait::No);
        let request = Arc::clone(&gathering.request);
        let failure = Failure::Source(None);
        Some(Running { queues: Arc::clone(queues), id, request, failure })
    }

    pub(in crate::http) fn request(&self) -> &Arc<ExpositionRequest> {
        &self.request
    }

    /// The end of the queue that the body is written to.
    pub(in crate::http) fn sender(&self) -> Sender {
        Sender { queues: Arc::clone(&self.queues), id: self.id }
    }

    /// Sets the reason why the body is truncated.
    pub(in crate::http) fn fail(&mut self, failure: Failure) {
        self.failure = failure;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.queues.lock();
        state.set_room_wait(self.id, RoomWait::No);
        let Some(gathering) = state.gatherings.get_mut(&self.id) else {
            return;
        };
        if !matches!(gathering.phase, GatheringPhase::Ended(_)) {
            gathering.phase = GatheringPhase::Ended(BodyEnd::Truncated(self.failure.clone()));
        }
        for delivery in &gathering.deliveries {
            delivery.connection.end_gathering();
        }
        let wakers = gathering.wakers();
        if gathering.deliveries.is_empty() {
            state.gatherings.remove(&self.id);
        }
        let is_blocked = state.blocked > 0;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if is_blocked {
            self.queues.wake_senders();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Middle,
    Last,
}

/// The end of a queue that a body is written to.
pub(in crate::http) struct Sender {
    queues: Arc<Queues>,
    id: u64,
}

impl Sender {
    /// Waits for room and queues a chunk that is not the last one. Fails if no client is left.
    pub(in crate::http) fn send(&self, chunk: Bytes, coding: Option<Coding>) -> io::Result<()> {
        let state = self.wait_for_clients(self.queues.lock())?;
        self.push(state, chunk, coding, Position::Middle)
    }

    /// Queues the last chunk, which may be empty, and completes the body.
    pub(in crate::http) fn finish(self, last: Bytes, coding: Option<Coding>) -> io::Result<()> {
        self.push(self.queues.lock(), last, coding, Position::Last)
    }

    /// Waits for the fastest client while the wait budget lasts.
    fn wait_for_clients<'q>(
        &self,
        mut state: MutexGuard<'q, QueueState>,
    ) -> io::Result<MutexGuard<'q, QueueState>> {
        let begin = Instant::now();
        // What the budget regains during the wait is left to later waits.
        let budget = state.budget.left(begin);
        loop {
            let gathering = self.gathering(&mut state)?;
            let is_ahead = gathering.ahead() >= MAX_AHEAD;
            if !is_ahead || gathering.request.framing == Framing::Length {
                return Ok(state);
            }
            let now = Instant::now();
            let Some(left) = budget.checked_sub(now - begin).filter(|left| !left.is_zero()) else {
                return Ok(state);
            };
            state = self.queues.wait(state, left);
            state.budget.spend(now.elapsed());
        }
    }

    /// Waits for room below the limit of all responses. If another client is kept waiting, aborts slow responses to make
    /// room.
    fn wait_for_room<'q>(
        &self,
        mut state: MutexGuard<'q, QueueState>,
        len: usize,
    ) -> io::Result<MutexGuard<'q, QueueState>> {
        let result = loop {
            let gathering = match self.gathering(&mut state) {
                Ok(gathering) => gathering,
                Err(error) => break Err(error),
            };
            let must_be_whole = gathering.request.framing == Framing::Length;
            let own_len = if must_be_whole { gathering.len() } else { 0 };
            if state.len + len <= MAX_QUEUED_LEN {
                break Ok(());
            }
            if must_be_whole && own_len == state.len {
                break Err(io::Error::other(TooLong));
            }
            if state.delays_a_client(self.id)
                && let Some(slowest) = state.slowest(Instant::now())
                && let Some(delivery) = state.remove(slowest)
            {
                delivery.connection.drop_for(DropReason::Memory);
                continue;
            }
            state.set_room_wait(self.id, RoomWait::Yes);
            state = self.queues.wait(state, CHECK_INTERVAL);
        };
        state.set_room_wait(self.id, RoomWait::No);
        result.map(|()| state)
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, QueueState>,
        bytes: Bytes,
        coding: Option<Coding>,
        position: Position,
    ) -> io::Result<()> {
        let len = bytes.len();
        let is_last = position == Position::Last;
        state = self.wait_for_room(state, len)?;
        let gathering = self.gathering(&mut state)?;
        if len > 0 {
            gathering.push(bytes, Instant::now());
        }
        if gathering.head.is_none() && (is_last || gathering.request.framing == Framing::Chunked) {
            let len = is_last.then(|| gathering.len() as u64);
            gathering.head = Some(Head { coding, len });
        }
        // Set under the lock that queues the chunk, so that receivers see both at once.
        if is_last {
            gathering.phase = GatheringPhase::Ended(BodyEnd::Complete);
        }
        let wakers = if gathering.head.is_some() { gathering.wakers() } else { Vec::new() };
        state.len += len;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// The gathering, if a client is left.
    fn gathering<'s>(&self, state: &'s mut QueueState) -> io::Result<&'s mut Gathering> {
        let gathering = state.gatherings.get_mut(&self.id);
        gathering
            .filter(|gathering| !gathering.deliveries.is_empty())
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}
