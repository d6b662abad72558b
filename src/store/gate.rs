//! A gate that lets recordings into cells until the cells are moved to a file.
//!
//! Recordings never wait: they are counted while they are inside, and refused when the gate is closed. The thread that
//! moves the cells closes the gate and waits until the count is 0. After that no thread writes the cells, and the moving
//! thread sees everything that was written.

use super::sync::{AtomicU64, Ordering};

/// The count of recordings inside, and the flag [`CLOSED`].
pub(crate) struct Gate(AtomicU64);

const CLOSED: u64 = 1 << 63;

impl Gate {
    /// Creates an open gate.
    pub(crate) fn new() -> Gate {
        Gate(AtomicU64::new(0))
    }

    /// Calls `record`, which writes the cells, and returns `true`, or returns `false` if the gate is closed.
    pub(crate) fn pass(&self, record: impl FnOnce()) -> bool {
        let is_open = self.0.fetch_add(1, Ordering::Relaxed) & CLOSED == 0;
        if is_open {
            record();
        }
        // ORDERING: release, so that the load in `is_empty` sees the recorded values. Operations of other threads in
        // between are read-modify-writes, which continue the release sequence.
        self.0.fetch_sub(1, Ordering::Release);
        is_open
    }

    /// Refuses new recordings. Those that are inside continue.
    pub(crate) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// Whether the gate is closed and no recording is inside.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: acquire, to see the recorded values.
        self.0.load(Ordering::Acquire) == CLOSED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Lets recordings in again, because the cells were not moved.
    pub(crate) fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::Relaxed);
    }
}
