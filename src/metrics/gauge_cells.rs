//! The cells of a gauge.

use std::sync::atomic::AtomicU64;

use crate::model::clock::now;
use crate::model::{GaugeMode, SampleKind};
use crate::store::fork::{Release, Shortcut, StaticRef, WordRef};
use crate::store::{Cell, Gate, Opened, SampleCells, SeriesOpener, release_words};

/// What a recording does to the value.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Set(f64),
    Add(f64),
}

/// The cell of the value while recordings change nothing else: not the first recording of a process, which stores the time
/// too, none in the modes mostrecent, and none of a waiting gauge, which pass its gate.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct PlainCell(pub(super) Shortcut);

impl PlainCell {
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// The cell. Not part of an `Option`, as the compiler would then check that the address is not null.
    #[inline]
    pub(super) fn cell(&self) -> Cell {
        Cell::new(self.0.word())
    }
}

impl Default for PlainCell {
    fn default() -> PlainCell {
        static NO_CELL: AtomicU64 = AtomicU64::new(0);
        PlainCell(Shortcut::closed(&NO_CELL))
    }
}

/// The cells of a gauge series, which all threads share.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct GaugeCells {
    value: WordRef,
    time: WordRef,
    is_most_recent: bool,
    /// Set while the gauge waits.
    pub(super) gate: StaticRef<Gate>,
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
        let SampleCells { value, time } = cells[0];
        opener.home().place(GaugeCells {
            value: value.address(),
            time: time.address(),
            is_most_recent: mode.is_most_recent(),
            gate: StaticRef::new(gate),
            generation: opener.generation(),
        })
    }

    /// Releases the storage of a gauge that does not come back.
    pub(super) fn release(&'static self, release: &mut Release) {
        release_words(self.sample().time, 1, release);
        release.value(self);
    }

    #[inline]
    fn sample(&self) -> SampleCells {
        SampleCells { value: Cell::at(&self.value), time: Cell::at(&self.time) }
    }

    pub(super) fn value(&self) -> f64 {
        self.sample().value.get()
    }

    /// Whether the gauge was set since it was opened or reset.
    pub(super) fn is_set(&self) -> bool {
        self.sample().time.get() != 0.0
    }

    /// Whether the value was moved into a file, so that the cells must not be used any more.
    pub(super) fn is_moved(&self) -> bool {
        self.gate.get().is_some_and(Gate::is_closed)
    }

    /// Makes the gauge one that was never set, also if it was removed.
    pub(super) fn reset(&self) {
        self.sample().reset();
    }

    /// Makes the gauge one that was never set if it was removed.
    pub(super) fn reset_if_removed(&self) {
        if self.sample().time.get() < 0.0 {
            self.reset();
        }
    }

    #[inline]
    pub(super) fn apply(&self, change: Change) {
        match change {
            Change::Set(value) => self.sample().value.set(value),
            Change::Add(amount) => self.sample().value.add(amount),
        }
    }

    /// Changes only the value, or returns `false` if recordings store the time too or pass the gate.
    pub(super) fn try_apply(&self, change: Change) -> bool {
        let is_plain = self.sample().time.get() > 0.0 && self.is_plain_after_first();
        if is_plain {
            self.apply(change);
        }
        is_plain
    }

    /// Ends a guard. Returns `false` if the value was moved into a file.
    pub(super) fn end(&self, change: Change) -> bool {
        self.try_apply(change) || self.pass_gate(change)
    }

    /// Whether all recordings but the first one only change the value.
    pub(super) fn is_plain_after_first(&self) -> bool {
        !self.is_most_recent && self.gate.get().is_none()
    }

    /// Whether each recording stores the time, and none passes a gate.
    pub(super) fn is_timed(&self) -> bool {
        self.is_most_recent && self.gate.get().is_none()
    }

    /// The word of the value.
    pub(super) fn word(&self) -> &'static AtomicU64 {
        self.sample().value.word()
    }

    /// Stores the time too: of every recording in the modes mostrecent, else of the first.
    ///
    /// The time is stored before the value, so a reader takes no new value for an old one's time.
    #[cold]
    pub(super) fn apply_with_time(&self, change: Change) {
        let seen = self.sample().time.get();
        // OK because the time of a gauge that was removed meanwhile is negative, and stays.
        if seen == 0.0 || (self.is_most_recent && seen > 0.0) {
            self.sample().time.replace(seen, now());
        }
        self.apply(change);
    }

    /// Passes the gate, if there is one, and stores the time too. Returns `false` if the value was moved into a file.
    #[cold]
    pub(super) fn pass_gate(&self, change: Change) -> bool {
        match self.gate.get() {
            Some(gate) => gate.pass(|| self.apply_with_time(change)),
            None => {
                self.apply_with_time(change);
                true
            }
        }
    }
}
