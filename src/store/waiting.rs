//! Waiting series: series that could not be written to a file yet, and whose cells are on the heap.
//!
//! Recordings of a waiting series pass a gate and write cells that all threads share. To write the series to a file, its
//! gate is closed and all its samples are appended in one step. The next recording opens new cells in the file; readers
//! add up both entries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::gate::Gate;
use super::unwritten::UnwrittenSeries;
use crate::file::write_error::Refused;

/// How long a retry waits for recordings inside gates, in total. They take nanoseconds unless their thread is not
/// scheduled.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(50);

/// A series that could not be written yet.
pub(super) struct WaitingSeries {
    pub(super) series: UnwrittenSeries,
    pub(super) gate: &'static Gate,
    /// The reason for which the series was counted as dropped, if it was.
    pub(super) reason: Option<&'static str>,
}

impl WaitingSeries {
    /// Closes the gate and waits until it is empty. After the deadline, opens it again and returns `false`.
    pub(super) fn close_gate(&self, deadline: Instant) -> bool {
        self.gate.close();
        while !self.gate.is_empty() {
            if Instant::now() > deadline {
                self.gate.open();
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}

/// The time of the next retry to write waiting series. Recordings read it without a lock.
pub(super) struct Retry {
    start: Instant,
    /// Milliseconds since `start`.
    at: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Retry {
    pub(super) fn new() -> Retry {
        Retry { start: Instant::now(), at: AtomicU64::new(NEVER) }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Returns the time after a pause, rounded up, so that the pause of the failed operation is over by then.
    fn next(&self) -> u64 {
        self.now() + 1 + Refused::PAUSE.as_millis() as u64
    }

    /// Whether a retry is due. Returns `true` to one caller, and postpones the retry by a pause for all others.
    pub(super) fn claim(&self) -> bool {
        // ORDERING: relaxed, as waiting series are read under a lock.
        let at = self.at.load(Ordering::Relaxed);
        at != NEVER
            && self.now() >= at
            && self
                .at
                .compare_exchange(at, self.next(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Schedules a retry after a pause, unless one is scheduled earlier.
    pub(super) fn schedule(&self) {
        self.at.fetch_min(self.next(), Ordering::Relaxed);
    }

    /// Makes a retry due now.
    pub(super) fn schedule_now(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    /// Cancels the retry, as no series waits.
    pub(super) fn cancel(&self) {
        self.at.store(NEVER, Ordering::Relaxed);
    }
}
