//! Summaries: count and sum of observations.

use std::fmt;

use super::Metric;
use super::core::{
    ChildRef, SplitTyped, Typed, ignored_handle, impl_handle, restart, split_storage, total,
};
use super::settings::Settings;
use super::timer::{Observation, Observe, Timer};
use crate::model::{MetricType, SampleKind};
use crate::store::fork::{SlowPath, StaticRef};
use crate::store::{Cell, SampleCells, SeriesOpener, Split};

/// The count and the sum of observations: a handle of one series, whose copies record into the same series.
///
/// ```
/// use multiprom::{Static, Summary};
///
/// static UPLOADS: Static<Summary> = Summary::declare("upload_bytes", "Size of uploads.");
///
/// UPLOADS.observe(1500.0);
/// assert_eq!((UPLOADS.get_count(), UPLOADS.get_sum()), (1, 1500.0));
/// ```
#[derive(Clone, Copy)]
pub struct Summary(ChildRef<Summary>);

impl Summary {
    /// Counts an observation: a number in the unit of the metric, or a [`Duration`](std::time::Duration) in seconds.
    ///
    /// NaN is ignored, because it would stay in the sum for ever.
    #[inline]
    pub fn observe(&self, value: impl Observation) {
        let value = value.value();
        if !value.is_nan() {
            self.0.record(value);
        }
    }

    /// Starts a timer that observes the elapsed seconds when it stops.
    pub fn start_timer(&self) -> Timer<Summary> {
        Timer::start(*self)
    }

    /// The number of observations of this process.
    pub fn get_count(&self) -> u64 {
        self.0.slots_if_bound().map_or(0, |split| total(split, |cells| cells.count.get()) as u64)
    }

    /// The sum of the observations of this process.
    pub fn get_sum(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.sum.get()))
    }
}

impl Observe for Summary {
    fn observe(&self, value: f64) {
        Summary::observe(self, value);
    }
}

impl Metric for Summary {}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The cells of a summary series for one thread.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct SummaryCells {
    count: Cell,
    sum: Cell,
}

impl Typed for Summary {
    const TYPE: MetricType = MetricType::Summary;
    const MAIN_SAMPLE: SampleKind = SampleKind::Sum;
    const RESERVED_LABEL: Option<&'static str> = Some("quantile");
    type Options = ();
    type Slots = Split<SummaryCells>;

    impl_handle!(Summary);
    split_storage!();

    fn options(_: &Settings) {}

    fn collect(split: &Split<SummaryCells>, (): (), sink: &mut dyn FnMut(SampleKind, f64)) {
        sink(SampleKind::Sum, total(split, |cells| cells.sum.get()));
        sink(SampleKind::Count, total(split, |cells| cells.count.get()));
    }
}

impl SplitTyped for Summary {
    type Cells = SummaryCells;

    fn samples((): ()) -> impl Iterator<Item = SampleKind> {
        [SampleKind::Count, SampleKind::Sum].into_iter()
    }

    fn cells((): (), samples: &[SampleCells]) -> SummaryCells {
        SummaryCells { count: samples[0].value, sum: samples[1].value }
    }

    fn words(cells: &SummaryCells) -> impl Iterator<Item = Cell> {
        [cells.count, cells.sum].into_iter()
    }

    #[inline]
    fn record(cells: &SummaryCells, value: f64) {
        cells.count.add_owned(1.0);
        cells.sum.add_owned(value);
    }

    fn record_shared(cells: &SummaryCells, value: f64) {
        cells.count.add(1.0);
        cells.sum.add(value);
    }
}
