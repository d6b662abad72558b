//! Chunks of responses on their way from the threads that gather to the connections.
//!
//! A *gathering* is one run of the source for one exposition. All requests for that exposition that wait when it begins
//! get its chunks, each at the speed of its client: a request whose client reads nothing costs no gathering of its own.
//!
//! The source may be locked while it is gathered, so one slow client must not hold up the others. A gathering
//! keeps pace with its fastest client, as long as there is patience, which all gatherings share. After that it
//! queues what it has, up to a limit for all responses together. At the limit it waits for room if nobody waits for
//! the source, or for the rest of this response; else the slow response with the most bytes is broken off.
//!
//! All of it is changed under one lock, which is held for moments: chunks are large.

mod receiver;
mod sender;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::connection::Connection;
use super::wanted::Wanted;
use receiver::Place;
use state::{Delivery, Gathering, Phase, State};

pub(super) use receiver::{Data, Receiver};
pub(super) use sender::{Running, Sender};
pub(super) use state::{Failure, Head};

/// The most bytes of all responses that are gathered and not yet written, of those that share chunks once.
pub(super) const MAX_QUEUED_LEN: usize = 16 * 1024 * 1024;

/// The queues of one exporter.
#[derive(Debug, Default)]
pub(super) struct Queues {
    state: Mutex<State>,
    /// Notified when a sender that waits may go on.
    changed: Condvar,
}

/// What the caller of [`Queues::join`] has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Have a thread [`begin`](Queues::begin) the gathering.
    Now,
    /// Nothing: a thread will, or will do so after the one for the same exposition that is running.
    Later,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request to the gathering for what it wants that has not begun.
    pub(super) fn join(
        self: &Arc<Queues>,
        wanted: Wanted,
        connection: Arc<Connection>,
    ) -> (Receiver, Start) {
        connection.set_gathering(true);
        let mut state = self.lock();
        state.last_id += 2;
        let (new_id, delivery_id) = (state.last_id - 1, state.last_id);
        let mut same = state.gatherings.iter().filter(|(_, known)| *known.wanted == wanted);
        let is_running = |known: &Gathering| matches!(known.phase, Phase::Running { .. });
        let has_running = same.clone().any(|(_, known)| is_running(known));
        let waiting = same.find(|(_, known)| matches!(known.phase, Phase::Waiting));
        let (id, start) = match waiting {
            Some((id, _)) => (*id, Start::Later),
            None => (new_id, if has_running { Start::Later } else { Start::Now }),
        };
        let gathering = state.gatherings.entry(id).or_insert_with(|| Gathering {
            wanted: Arc::new(wanted),
            phase: Phase::Waiting,
            head: None,
            chunks: VecDeque::new(),
            first: 0,
            deliveries: Vec::new(),
        });
        gathering.deliveries.push(Delivery {
            id: delivery_id,
            connection,
            next: 0,
            written: 0,
            written_len: 0,
            backlog: 0,
            begin: None,
            progress: Instant::now(),
            waker: None,
        });
        let is_blocked = state.blocked > 0;
        drop(state);
        if is_blocked {
            self.changed.notify_all();
        }
        let place = Place { queues: Arc::clone(self), gathering: id, delivery: delivery_id };
        (Receiver(Arc::new(place)), start)
    }

    /// Begins a gathering; `None` where it has begun or nobody wants it any more. Requests that come later do not
    /// join it.
    pub(super) fn begin(self: &Arc<Queues>, id: u64) -> Option<Running> {
        let mut state = self.lock();
        let gathering = state.gatherings.get_mut(&id)?;
        if !matches!(gathering.phase, Phase::Waiting) {
            return None;
        }
        gathering.phase = Phase::Running { is_blocked: false };
        let wanted = Arc::clone(&gathering.wanted);
        let failure = Failure::Source(None);
        Some(Running { queues: Arc::clone(self), id, wanted, failure })
    }

    /// The gathering for the same exposition that waits for the end of this one.
    pub(super) fn successor(&self, wanted: &Wanted) -> Option<u64> {
        let state = self.lock();
        let is_next =
            |known: &Gathering| matches!(known.phase, Phase::Waiting) && *known.wanted == *wanted;
        let next = state.gatherings.iter().find(|(_, known)| is_next(known));
        next.map(|(id, _)| *id)
    }
}
