//! The cells of a gauge.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::clock::now;
use crate::model::{GaugeMode, SampleKind};
use crate::store::fork::{self, NO_EPOCH};
use crate::store::{Gate, Opened, SampleCells, SeriesOpener};

/// What a recording does to the value.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Set(f64),
    Add(f64),
}

/// The cells of a gauge series, which all threads share.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct GaugeCells {
    sample: SampleCells,
    /// The epoch of the process in which recordings only change the value, else `NO_EPOCH`: the first one also stores the time,
    /// and so does every one in the modes mostrecent; recordings of a waiting gauge pass its gate. One comparison shows a
    /// recording thread both this and that the process is still the same.
    ///
    /// ORDERING: relaxed. The other fields do not change after the cells are published.
    plain_in: AtomicU64,
    is_most_recent: bool,
    /// Set while the gauge waits.
    pub(super) gate: Option<&'static Gate>,
    /// See [`Store::generation`](crate::store::Store::generation).
    pub(super) generation: u64,
}

impl GaugeCells {
    /// Opens the cells of a sample, which live as long as the process.
    pub(super) fn open(
        opener: &SeriesOpener<'_>,
        kind: SampleKind,
        mode: GaugeMode,
    ) -> &'static GaugeCells {
        let Opened { cells, gate } = opener.open(std::iter::once(kind), 0.0);
        Box::leak(Box::new(GaugeCells {
            sample: cells[0],
            plain_in: AtomicU64::new(NO_EPOCH),
            is_most_recent: mode.is_most_recent(),
            gate,
            generation: opener.generation(),
        }))
    }

    pub(super) fn value(&self) -> f64 {
        self.sample.value.get()
    }

    /// Whether the gauge was set since it was opened or reset.
    pub(super) fn is_set(&self) -> bool {
        self.sample.time.get() != 0.0
    }

    /// Whether the value was moved into a file, so that the cells must not be used any more.
    pub(super) fn is_moved(&self) -> bool {
        self.gate.is_some_and(Gate::is_closed)
    }

    /// Makes the gauge one that was never set, also if it was removed.
    pub(super) fn reset(&self) {
        self.sample.reset();
        self.plain_in.store(NO_EPOCH, Ordering::Relaxed);
    }

    /// Makes the gauge one that was never set if it was removed.
    pub(super) fn reset_if_removed(&self) {
        if self.sample.time.get() < 0.0 {
            self.reset();
        }
    }

    /// Whether a recording in this process only changes the value.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.plain_in.load(Ordering::Relaxed) == fork::seen_epoch()
    }

    #[inline]
    pub(super) fn apply(&self, change: Change) {
        match change {
            Change::Set(value) => self.sample.value.set(value),
            Change::Add(amount) => self.sample.value.add(amount),
        }
    }

    /// Returns `false` if the value was moved into a file.
    #[inline]
    pub(super) fn try_apply(&self, change: Change) -> bool {
        if !self.is_plain() {
            return self.pass_gate(change);
        }
        self.apply(change);
        true
    }

    /// Stores the time too: of every recording in the modes mostrecent, else of the first.
    ///
    /// The time is stored before the value, so a reader takes no new value for an old one's time.
    #[cold]
    pub(super) fn apply_with_time(&self, change: Change) {
        let seen = self.sample.time.get();
        // OK because the time of a gauge that was removed meanwhile is negative, and stays.
        if seen == 0.0 || (self.is_most_recent && seen > 0.0) {
            self.sample.time.replace(seen, now());
        }
        let is_plain = !self.is_most_recent && self.gate.is_none();
        self.plain_in.store(if is_plain { fork::epoch() } else { NO_EPOCH }, Ordering::Relaxed);
        self.apply(change);
    }

    /// Passes the gate, if there is one, and stores the time too. Returns `false` if the value was moved into a file.
    #[cold]
    pub(super) fn pass_gate(&self, change: Change) -> bool {
        match self.gate {
            Some(gate) => gate.pass(|| self.apply_with_time(change)),
            None => {
                self.apply_with_time(change);
                true
            }
        }
    }
}
