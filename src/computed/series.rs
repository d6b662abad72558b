//! One series of a custom collector in the files of a process.

use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot::{FamilySnapshot, WrittenSamples};
use crate::model::clock::now;
use crate::model::{GaugeMode, KeptLabels, MetricType, SampleKind, Unit};
use crate::store::fork::{self, Bound, NO_EPOCH, SlowPath};
use crate::store::{Gate, Opened, Rebind, SampleCells, SeriesOpener, Store, any_removed};

/// Identifies a series of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesId {
    pub(super) family: Box<str>,
    pub(super) metric_type: MetricType,
    pub(super) mode: Option<GaugeMode>,
    pub(super) labels: KeptLabels,
}

/// A series, which lives as long as the process. A forked child inherits it: `last` stays valid there, and `recorded_in`,
/// `removed_in` and `bound` are valid only in the process that has set them.
///
/// Written under the lock of the slow path.
pub(super) struct ComputedSeries {
    id: SeriesId,
    store: Store,
    help: Box<str>,
    unit: Option<Unit>,
    samples: Box<[SampleKind]>,
    /// The last values of the source, as bits. A child adds the growth since the last refresh of its parent.
    last: Box<[AtomicU64]>,
    /// The epoch of the process that has recorded last.
    recorded_in: AtomicU64,
    /// The epoch of the process that has removed the series and not recorded since.
    removed_in: AtomicU64,
    bound: Bound<Opened>,
    /// The refresh that has recorded last.
    pub(super) round: AtomicU64,
}

impl ComputedSeries {
    pub(super) fn new(
        store: Store,
        id: SeriesId,
        family: &FamilySnapshot,
        unit: Option<Unit>,
        samples: &[SampleKind],
    ) -> ComputedSeries {
        ComputedSeries {
            id,
            store,
            help: family.help.as_str().into(),
            unit,
            samples: samples.into(),
            last: samples.iter().map(|_| AtomicU64::new(0)).collect(),
            recorded_in: AtomicU64::new(NO_EPOCH),
            removed_in: AtomicU64::new(NO_EPOCH),
            bound: Bound::empty(),
            round: AtomicU64::new(0),
        }
    }

    pub(super) fn id(&self) -> &SeriesId {
        &self.id
    }

    /// Whether the series has these samples. The bounds of a histogram do not change.
    pub(super) fn has_samples(&self, samples: &[SampleKind]) -> bool {
        *self.samples == *samples
    }

    fn opener(&self) -> SeriesOpener<'_> {
        let SeriesId { family, metric_type, mode, labels } = &self.id;
        SeriesOpener::new(self.store, family, &self.help, *metric_type, *mode, labels)
            .with_unit(self.unit)
    }

    /// The sample whose key names the series in removal records.
    fn lead(&self) -> SampleKind {
        let sum = self.samples.iter().find(|kind| **kind == SampleKind::Sum);
        *sum.or(self.samples.first()).unwrap_or(&SampleKind::Value)
    }

    /// Records the values of the source.
    pub(super) fn record(
        &'static self,
        written: &WrittenSamples,
        created: Option<f64>,
        lock: &SlowPath,
    ) {
        let epoch = fork::epoch();
        let was_removed = self.removed_in.load(Ordering::Relaxed) == epoch;
        let is_first = was_removed || self.recorded_in.load(Ordering::Relaxed) != epoch;
        // A metric of the same name may have removed the series, too.
        if was_removed || (is_first && any_removed()) {
            self.opener().restore(self.lead());
            self.removed_in.store(NO_EPOCH, Ordering::Relaxed);
        }
        let opened = self.bind(created, lock);
        self.recorded_in.store(epoch, Ordering::Relaxed);
        let values = &*written.values;
        let write = || match self.id.mode {
            None => self.add_growth(&opened.cells, values, is_first),
            Some(mode) => self.set(&opened.cells, values, mode),
        };
        match opened.gate {
            // OK because gates are closed under the lock.
            Some(gate) => _ = gate.pass(write),
            None => write(),
        }
    }

    /// The cells in this process, created if necessary.
    fn bind(&'static self, created: Option<f64>, lock: &SlowPath) -> &'static Opened {
        match self.bound.get() {
            Some(opened) if opened.gate.is_some_and(Gate::is_closed) => self.bound.clear(),
            Some(opened) => return opened,
            None => {}
        }
        let time = match self.id.mode {
            Some(_) => 0.0,
            None => created.unwrap_or_else(now),
        };
        let opened = self.opener().open(self.samples.iter().copied(), time);
        let opened = &*Box::leak(Box::new(opened));
        self.store.bound(self);
        self.bound.set(opened, lock);
        opened
    }

    /// Adds what the totals have grown since the last refresh. If the count has fallen, the source has begun anew: it counts
    /// from 0 if the process has just begun to record the series, and otherwise once it is higher than before.
    fn add_growth(&self, cells: &[SampleCells], values: &[f64], is_first: bool) {
        let last = |at: usize| f64::from_bits(self.last[at].load(Ordering::Relaxed));
        let samples = || self.samples.iter().copied().enumerate();
        let counts = || samples().filter(|(_, kind)| *kind != SampleKind::Sum);
        let count: f64 = counts().map(|(at, _)| values[at]).sum();
        let last_count: f64 = counts().map(|(at, _)| last(at)).sum();
        if count < last_count {
            if !is_first {
                return;
            }
            self.last.iter().for_each(|last| last.store(0, Ordering::Relaxed));
        }
        for (at, kind) in samples() {
            let growth = values[at] - last(at);
            // Observations may be negative, so a sum may fall.
            if growth > 0.0 || kind == SampleKind::Sum {
                self.last[at].store(values[at].to_bits(), Ordering::Relaxed);
                cells[at].value.add(growth);
            }
        }
    }

    /// Sets values that are not added up. The time is stored before the value, as other gauges do.
    fn set(&self, cells: &[SampleCells], values: &[f64], mode: GaugeMode) {
        for (cells, value) in cells.iter().zip(values) {
            if cells.time.get() == 0.0 || mode.is_most_recent() {
                cells.time.set(now());
            }
            let is_lower = *value < cells.value.get();
            if !(self.id.metric_type == MetricType::Counter && is_lower) {
                cells.value.set(*value);
            }
        }
    }

    /// Whether this process has recorded the series, and not removed it since.
    pub(super) fn is_present(&self) -> bool {
        let epoch = fork::epoch();
        self.recorded_in.load(Ordering::Relaxed) == epoch
            && self.removed_in.load(Ordering::Relaxed) != epoch
    }

    /// Removes the series, which the source does not return any more.
    pub(super) fn remove(&self, _lock: &SlowPath) {
        if self.is_present() {
            self.opener().remove(self.lead());
            self.removed_in.store(fork::epoch(), Ordering::Relaxed);
        }
    }
}

impl Rebind for ComputedSeries {
    fn unbind(&self) {
        self.bound.clear();
    }
}
