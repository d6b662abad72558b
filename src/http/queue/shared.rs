//! The lock of the queues.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::state::QueueState;
use crate::http::request::ExpositionRequest;
use crate::panics;

/// The queues of one exporter.
#[derive(Debug, Default)]
pub(in crate::http) struct Queues {
    state: Mutex<QueueState>,
    /// Notified when a waiting sender may proceed.
    changed: Condvar,
}

impl Queues {
    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        panics::lock(&self.state)
    }

    /// Waits for [`wake_senders`](Queues::wake_senders), at most for `limit`.
    pub(super) fn wait<'q>(
        &self,
        state: MutexGuard<'q, QueueState>,
        limit: Duration,
    ) -> MutexGuard<'q, QueueState> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn wake_senders(&self) {
        self.changed.notify_all();
    }

    /// The gathering that waits for the end of one for the same exposition.
    pub(in crate::http) fn successor(&self, request: &ExpositionRequest) -> Option<u64> {
        self.lock().pending(request)
    }
}
