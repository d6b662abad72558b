//! Series that found no place in a file: their cells are on the heap until there is one.
//!
//! Recordings of such a series go through a gate, and into cells that all threads share. When it can be placed the gate
//! is closed, and what was recorded is written into a file, all samples of the series at once. The next recording
//! opens cells in the file, which readers add to that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::gate::Gate;
use super::{Keys, SampleCells};
use crate::file::name::FileKind;
use crate::file::writer::{NewEntry, Refused};

/// How long recordings that are on their way through gates are waited for, in all. They take nanoseconds, unless their
/// thread is not scheduled.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(50);

/// A series without a place.
pub(super) struct WaitingSeries {
    pub(super) kind: FileKind,
    pub(super) keys: Keys,
    /// One for each key.
    pub(super) cells: Vec<SampleCells>,
    pub(super) gate: &'static Gate,
    /// Why it waits, if it was counted as dropped.
    pub(super) reason: Option<&'static str>,
}

impl WaitingSeries {
    /// What was recorded so far.
    pub(super) fn entries(&self) -> Vec<NewEntry<'_>> {
        let samples = self.keys.iter().zip(&self.cells);
        let entry = |(key, cells): (_, &SampleCells)| {
            let (value, time) = (cells.value.get(), cells.time.get());
            NewEntry { key, value, time }
        };
        samples.map(entry).collect()
    }

    /// Closes the gate and waits until nobody is inside; if that takes too long, opens it again and returns `false`.
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

/// When it is tried again to place what waits. Read by recordings without a lock.
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

    /// A pause from now; the pauses of the operations that failed are over then.
    fn next(&self) -> u64 {
        self.now() + 1 + Refused::PAUSE.as_millis() as u64
    }

    /// Whether it is time, for the first caller who asks; the others wait for another pause.
    pub(super) fn claim(&self) -> bool {
        // ORDERING: relaxed, as what waits is looked at under a lock.
        let at = self.at.load(Ordering::Relaxed);
        at != NEVER
            && self.now() >= at
            && self
                .at
                .compare_exchange(at, self.next(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// After a pause, unless it is sooner already.
    pub(super) fn schedule(&self) {
        self.at.fetch_min(self.next(), Ordering::Relaxed);
    }

    /// At the next chance.
    pub(super) fn schedule_now(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    pub(super) fn cancel(&self) {
        self.at.store(NEVER, Ordering::Relaxed);
    }
}
