//! A gate in front of cells that are going to be moved: the protocol between those who record and the one who moves.
//!
//! Recordings go through the gate one by one and wait for nothing. Who moves the cells closes the gate and looks
//! whether it is empty: from then on nobody writes the cells, and he sees everything that was written.

use super::sync::{AtomicU64, Ordering};

/// How many are inside, and whether the gate is closed.
pub(crate) struct Gate(AtomicU64);

const CLOSED: u64 = 1 << 63;

impl Gate {
    /// An open gate.
    pub(crate) fn new() -> Gate {
        Gate(AtomicU64::new(0))
    }

    /// Runs `record`, which writes the cells, unless the gate is closed. Returns whether it did.
    pub(crate) fn pass(&self, record: impl FnOnce()) -> bool {
        let is_open = self.0.fetch_add(1, Ordering::Relaxed) & CLOSED == 0;
        if is_open {
            record();
        }
        // ORDERING: release, so that who finds the gate empty sees what was recorded. Steps of others in between are
        // read-modify-writes, which keep that.
        self.0.fetch_sub(1, Ordering::Release);
        is_open
    }

    /// Keeps out all that come from now on.
    pub(crate) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// Whether the gate is closed and nobody is inside any more.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: acquire, to see what was recorded.
        self.0.load(Ordering::Acquire) == CLOSED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Lets recordings in again: the cells stay where they are.
    pub(crate) fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::Relaxed);
    }
}
