//! The connections: their ends of the queues.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Buf, Bytes};

use super::Queues;
use super::state::{End, Failure, Gathering, Head, Phase, State};

/// The place of a connection in a gathering, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) queues: Arc<Queues>,
    pub(super) gathering: u64,
    pub(super) delivery: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = self.queues.lock().remove((self.gathering, self.delivery));
        if removed.is_some() {
            self.queues.changed.notify_all();
        }
    }
}

/// The end that a connection takes chunks from.
#[derive(Debug)]
pub(in crate::http) struct Receiver(pub(super) Arc<Place>);

impl Receiver {
    /// The gathering that it is a part of.
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
            (None, Phase::Ended(End::Broken(failure))) => Poll::Ready(Err(failure.clone())),
            _ => {
                gathering.deliveries[at].waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next chunk; `None` after the last one of a whole body, an error after that of a broken one.
    pub(in crate::http) fn poll_next(
        &self,
        context: &Context<'_>,
    ) -> Poll<Option<io::Result<Data>>> {
        let broken = |why| Poll::Ready(Some(Err(io::Error::other(why))));
        let mut state = self.0.queues.lock();
        let Some((gathering, at)) = self.find(&mut state) else {
            return broken("the response is broken off");
        };
        let delivery = &mut gathering.deliveries[at];
        if let Some(bytes) = gathering.chunks.get((delivery.next - gathering.first) as usize) {
            delivery.next += 1;
            let (bytes, len) = (bytes.clone(), bytes.len());
            // A sender that waits is woken to fill the whole queue: waking it costs more than what it does.
            let is_drained = gathering.ahead() == 0;
            drop(state);
            if is_drained {
                self.0.queues.changed.notify_all();
            }
            let written = Some(Written { place: Arc::clone(&self.0), len });
            return Poll::Ready(Some(Ok(Data { bytes, written })));
        }
        match gathering.phase {
            Phase::Ended(End::Whole) => Poll::Ready(None),
            Phase::Ended(End::Broken(_)) => broken("gathering failed"),
            _ => {
                delivery.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether a whole body was taken.
    pub(in crate::http) fn is_at_end(&self) -> bool {
        let mut state = self.0.queues.lock();
        self.find(&mut state).is_some_and(|(gathering, at)| {
            let is_whole = matches!(gathering.phase, Phase::Ended(End::Whole));
            is_whole && gathering.deliveries[at].next == gathering.end()
        })
    }

    /// The gathering and the index of its delivery, unless that is broken off.
    fn find<'s>(&self, state: &'s mut State) -> Option<(&'s mut Gathering, usize)> {
        let gathering = state.gatherings.get_mut(&self.0.gathering)?;
        let at = gathering.deliveries.iter().position(|known| known.id == self.0.delivery)?;
        Some((gathering, at))
    }
}

/// Bytes that the connection holds until they are written.
#[derive(Debug)]
pub(in crate::http) struct Data {
    bytes: Bytes,
    #[expect(dead_code, reason = "acts when it is dropped")]
    written: Option<Written>,
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Data {
        Data { bytes, written: None }
    }
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// Notes that a chunk is written when it is dropped. The connection keeps its place for as long.
#[derive(Debug)]
struct Written {
    place: Arc<Place>,
    len: usize,
}

impl Drop for Written {
    fn drop(&mut self) {
        let mut state = self.place.queues.lock();
        let Some(gathering) = state.gatherings.get_mut(&self.place.gathering) else {
            return;
        };
        let mut deliveries = gathering.deliveries.iter_mut();
        let Some(delivery) = deliveries.find(|known| known.id == self.place.delivery) else {
            return;
        };
        delivery.written += 1;
        delivery.written_len += self.len;
        delivery.backlog -= self.len;
        delivery.progress = Instant::now();
        let len = gathering.trim();
        state.len -= len;
        let is_blocked = state.blocked > 0;
        drop(state);
        if is_blocked {
            self.place.queues.changed.notify_all();
        }
    }
}
