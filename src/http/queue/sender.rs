//! The thread that gathers: its end of the queues.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::state::{End, Failure, Gathering, Head, Phase, State, TooLong};
use super::{MAX_QUEUED_LEN, Queues};
use crate::http::compress::Coding;
use crate::http::dropped::Reason;
use crate::http::wanted::{Framing, Wanted};

/// How many chunks a gathering may be ahead of its fastest client while there is patience.
pub(super) const MAX_AHEAD: u64 = 2;
/// How often a gathering that waits for room looks whether a client has become slow.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A gathering that runs until this is dropped. Its body is broken if it is not finished by then.
pub(in crate::http) struct Running {
    pub(super) queues: Arc<Queues>,
    pub(super) id: u64,
    pub(super) wanted: Arc<Wanted>,
    pub(super) failure: Failure,
}

impl Running {
    pub(in crate::http) fn wanted(&self) -> &Arc<Wanted> {
        &self.wanted
    }

    /// The end that the body is written to.
    pub(in crate::http) fn sender(&self) -> Sender {
        Sender { queues: Arc::clone(&self.queues), id: self.id }
    }

    /// Says why the body is broken.
    pub(in crate::http) fn fail(&mut self, failure: Failure) {
        self.failure = failure;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.queues.lock();
        state.set_blocked(self.id, false);
        let Some(gathering) = state.gatherings.get_mut(&self.id) else {
            return;
        };
        if !matches!(gathering.phase, Phase::Ended(_)) {
            gathering.phase = Phase::Ended(End::Broken(self.failure.clone()));
        }
        for delivery in &gathering.deliveries {
            delivery.connection.set_gathering(false);
        }
        let wakers = gathering.wakers();
        if gathering.deliveries.is_empty() {
            state.gatherings.remove(&self.id);
        }
        let is_blocked = state.blocked > 0;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if is_blocked {
            self.queues.changed.notify_all();
        }
    }
}

/// What a sender queues.
struct Chunk {
    bytes: Bytes,
    coding: Option<Coding>,
    is_last: bool,
}

/// The end that is written to.
pub(in crate::http) struct Sender {
    queues: Arc<Queues>,
    id: u64,
}

impl Sender {
    /// Waits for room, and queues a chunk that is not the last one. Fails when no client is left.
    pub(in crate::http) fn send(&self, chunk: Bytes, coding: Option<Coding>) -> io::Result<()> {
        let state = self.keep_pace(self.queues.lock())?;
        self.push(state, Chunk { bytes: chunk, coding, is_last: false })
    }

    /// Ends the body with its last chunk.
    pub(in crate::http) fn finish(self, last: Bytes, coding: Option<Coding>) -> io::Result<()> {
        self.push(self.queues.lock(), Chunk { bytes: last, coding, is_last: true })
    }

    /// Waits for the fastest client, as long as there is patience.
    fn keep_pace<'q>(&self, mut state: MutexGuard<'q, State>) -> io::Result<MutexGuard<'q, State>> {
        let begin = Instant::now();
        // What comes back while it waits is for the next one.
        let patience = state.patience.left(begin);
        loop {
            let gathering = self.gathering(&mut state)?;
            let is_ahead = gathering.ahead() >= MAX_AHEAD;
            if !is_ahead || gathering.wanted.framing == Framing::Length {
                return Ok(state);
            }
            let now = Instant::now();
            let Some(left) = patience.checked_sub(now - begin).filter(|left| !left.is_zero())
            else {
                return Ok(state);
            };
            let waited = self.queues.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.patience.spend(now.elapsed());
        }
    }

    /// Waits for room under the limit of all responses, and makes it where somebody waits.
    fn wait_for_room<'q>(
        &self,
        mut state: MutexGuard<'q, State>,
        len: usize,
    ) -> io::Result<MutexGuard<'q, State>> {
        let result = loop {
            let gathering = match self.gathering(&mut state) {
                Ok(gathering) => gathering,
                Err(error) => break Err(error),
            };
            let must_be_whole = gathering.wanted.framing == Framing::Length;
            let own_len = if must_be_whole { gathering.len() } else { 0 };
            if state.len + len <= MAX_QUEUED_LEN {
                break Ok(());
            }
            if must_be_whole && own_len == state.len {
                break Err(io::Error::other(TooLong));
            }
            if state.is_wanted(self.id)
                && let Some(slowest) = state.slowest(Instant::now())
                && let Some(delivery) = state.remove(slowest)
            {
                delivery.connection.drop_for(Reason::Memory);
                continue;
            }
            state.set_blocked(self.id, true);
            let waited = self.queues.changed.wait_timeout(state, CHECK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.set_blocked(self.id, false);
        result.map(|()| state)
    }

    /// Queues a chunk, if it is not empty.
    fn push(&self, mut state: MutexGuard<'_, State>, chunk: Chunk) -> io::Result<()> {
        let Chunk { bytes, coding, is_last } = chunk;
        let len = bytes.len();
        state = self.wait_for_room(state, len)?;
        let gathering = self.gathering(&mut state)?;
        if len > 0 {
            gathering.push(bytes, Instant::now());
        }
        if gathering.head.is_none() && (is_last || gathering.wanted.framing == Framing::Chunked) {
            let len = is_last.then(|| gathering.len() as u64);
            gathering.head = Some(Head { coding, len });
        }
        // That it was the last one is seen together with it.
        if is_last {
            gathering.phase = Phase::Ended(End::Whole);
        }
        let wakers = if gathering.head.is_some() { gathering.wakers() } else { Vec::new() };
        state.len += len;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// The gathering, if a client is left.
    fn gathering<'s>(&self, state: &'s mut State) -> io::Result<&'s mut Gathering> {
        let gathering = state.gatherings.get_mut(&self.id);
        gathering
            .filter(|gathering| !gathering.deliveries.is_empty())
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}
