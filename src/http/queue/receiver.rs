//! The side of the connections: joining a gathering and taking its chunks.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::Bytes;

use super::shared::Queues;
use super::state::{BodyEnd, Failure, Gathering, GatheringPhase, Head, QueueState};
use crate::http::connection::Connection;
use crate::http::request::ExpositionRequest;

/// What the caller of [`Receiver::join`] has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Start {
    /// Start a thread that begins the gathering.
    Now,
    /// Nothing: a thread was already started, or will be at the end of the running gathering for the same exposition.
    Later,
}

/// The delivery of a gathering to one connection, which ends when this is dropped.
#[derive(Debug)]
struct Subscription {
    queues: Arc<Queues>,
    gathering: u64,
    delivery: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let removed = self.queues.lock().remove((self.gathering, self.delivery));
        if removed.is_some() {
            self.queues.wake_senders();
        }
    }
}

/// The end of a queue from which a connection takes chunks.
#[derive(Debug)]
pub(in crate::http) struct Receiver(Arc<Subscription>);

impl Receiver {
    /// Adds a request to the gathering for its exposition that has not begun yet, or to a new one.
    pub(in crate::http) fn join(
        queues: &Arc<Queues>,
        request: ExpositionRequest,
        connection: Arc<Connection>,
    ) -> (Receiver, Start) {
        connection.begin_gathering();
        let mut state = queues.lock();
        let is_first = !state.has_any(&request);
        let pending = state.pending(&request);
        let start = if is_first { Start::Now } else { Start::Later };
        let gathering = pending.unwrap_or_else(|| state.add_gathering(request));
        let delivery = state.add_delivery(gathering, connection);
        let is_blocked = state.blocked > 0;
        drop(state);
        if is_blocked {
            queues.wake_senders();
        }
        let subscription = Subscription { queues: Arc::clone(queues), gathering, delivery };
        (Receiver(Arc::new(subscription)), start)
    }

    /// The id of the gathering.
    pub(in crate::http) fn gathering(&self) -> u64 {
        self.0.gathering
    }

    /// Waits until the body begins.
    pub(in crate::http) fn poll_head(&self, context: &Context<'_>) -> Poll<Result<Head, Failure>> {
        let mut state = self.0.queues.lock();
        let Some((gathering, at)) = self.find(&mut state) else {
            return Poll::Ready(Err(Failure::Source(None)));
        };
        match (gathering.head, &gathering.phase) {
            (Some(head), _) => Poll::Ready(Ok(head)),
            (None, GatheringPhase::Ended(BodyEnd::Truncated(failure))) => {
                Poll::Ready(Err(failure.clone()))
            }
            _ => {
                gathering.deliveries[at].waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next chunk. After the last one, `None` for a complete body and an error for a truncated one.
    pub(in crate::http) fn poll_next(
        &self,
        context: &Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let truncated = |why| Poll::Ready(Some(Err(io::Error::other(why))));
        let mut state = self.0.queues.lock();
        let Some((gathering, at)) = self.find(&mut state) else {
            return truncated("the response is aborted");
        };
        let delivery = &mut gathering.deliveries[at];
        if let Some(bytes) = gathering.chunks.get((delivery.next - gathering.first) as usize) {
            delivery.next += 1;
            let bytes = bytes.clone();
            // The sender is woken only when the queue is empty, and then fills it: waking a thread costs more than
            // queueing a chunk.
            let is_drained = gathering.ahead() == 0;
            drop(state);
            if is_drained {
                self.0.queues.wake_senders();
            }
            let chunk = InFlight { subscription: Arc::clone(&self.0), bytes };
            return Poll::Ready(Some(Ok(Bytes::from_owner(chunk))));
        }
        match gathering.phase {
            GatheringPhase::Ended(BodyEnd::Complete) => Poll::Ready(None),
            GatheringPhase::Ended(BodyEnd::Truncated(_)) => truncated("gathering failed"),
            _ => {
                delivery.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether all chunks of a complete body were taken.
    pub(in crate::http) fn is_at_end(&self) -> bool {
        let mut state = self.0.queues.lock();
        self.find(&mut state).is_some_and(|(gathering, at)| {
            let is_complete = matches!(gathering.phase, GatheringPhase::Ended(BodyEnd::Complete));
            is_complete && gathering.deliveries[at].next == gathering.end()
        })
    }

    /// The gathering and the index of the delivery; `None` if the response was aborted.
    fn find<'s>(&self, state: &'s mut QueueState) -> Option<(&'s mut Gathering, usize)> {
        let gathering = state.gatherings.get_mut(&self.0.gathering)?;
        let at = gathering.deliveries.iter().position(|found| found.id == self.0.delivery)?;
        Some((gathering, at))
    }
}

/// A chunk that is being written; dropping it records that the chunk is written. It keeps the subscription alive.
#[derive(Debug)]
struct InFlight {
    subscription: Arc<Subscription>,
    bytes: Bytes,
}

impl AsRef<[u8]> for InFlight {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Subscription { queues, gathering, delivery } = &*self.subscription;
        let len = self.bytes.len();
        let mut state = queues.lock();
        let Some(gathering) = state.gatherings.get_mut(gathering) else {
            return;
        };
        let mut deliveries = gathering.deliveries.iter_mut();
        let Some(delivery) = deliveries.find(|found| found.id == *delivery) else {
            return;
        };
        delivery.written += 1;
        delivery.written_len += len;
        delivery.backlog -= len;
        delivery.progress = Instant::now();
        let len = gathering.trim();
        state.len -= len;
        let is_blocked = state.blocked > 0;
        drop(state);
        if is_blocked {
            queues.wake_senders();
        }
    }
}
