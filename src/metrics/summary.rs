//! Summaries: count and sum of observations.

use std::fmt;
use std::time::Duration;

use super::Metric;
use super::core::{ChildRef, Ignored, SplitTyped, Typed};
use super::handle::{ignored_handle, impl_handle};
use super::settings::Settings;
use super::split::{earliest, release, restart, split_storage, total};
use super::timer::{Observation, Observe, Timer, guarded};
use crate::model::{MetricType, SampleKind};
use crate::store::fork::{Home, Release, SlowPath, StaticRef, WordRef};
use crate::store::{Cell, IgnoredValue, SampleCells, SeriesOpener, Split};

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
    /// NaN is ignored, because it would stay in the sum for ever, and counted in `multiprom_ignored_values_total`.
    #[inline]
    pub fn observe(&self, value: impl Observation) {
        let value = value.value();
        if value.is_nan() {
            self.ignore_nan();
        } else {
            self.0.record(value);
        }
    }

    #[cold]
    #[inline(never)]
    fn ignore_nan(self) {
        self.0.ignore(IgnoredValue::Nan, f64::NAN);
    }

    /// Starts a timer that observes the elapsed seconds when it stops.
    pub fn start_timer(&self) -> Timer<Summary> {
        Timer::start(*self)
    }

    /// Calls `work` and observes the seconds that it takes, also if it panics. Returns what `work` returns.
    ///
    /// ```
    /// use multiprom::{Summary, Static};
    ///
    /// static LOADING: Static<Summary> = Summary::declare("loading_seconds", "Time to load.");
    ///
    /// assert_eq!(LOADING.time(|| 6 * 7), 42);
    /// assert_eq!(LOADING.get_count(), 1);
    /// ```
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        work()
    }

    /// Wraps a future, and observes the seconds from its first poll until it completes or is dropped.
    ///
    /// ```
    /// use multiprom::{Summary, Static};
    ///
    /// static LOADING: Static<Summary> = Summary::declare("loading_seconds", "Time to load.");
    ///
    /// async fn load() -> u32 {
    ///     LOADING.time_future(async { 42 }).await
    /// }
    /// # use std::pin::pin;
    /// # use std::task::{Context, Poll, Waker};
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # assert_eq!(pin!(load()).poll(&mut context), Poll::Ready(42));
    /// # assert_eq!(LOADING.get_count(), 1);
    /// ```
    pub fn time_future<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let metric = *self;
        guarded(move || metric.start_timer(), future)
    }

    /// The number of observations of this process.
    pub fn get_count(&self) -> u64 {
        self.0.slots_if_bound().map_or(0, |split| total(split, |cells| cells.count().get()) as u64)
    }

    /// The sum of the observations of this process.
    pub fn get_sum(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.sum().get()))
    }
}

impl Observe for Summary {
    fn observe_elapsed(self, elapsed: Duration) {
        Summary::observe(&self, elapsed);
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
    count: WordRef,
    sum: WordRef,
    /// When these cells were created, in Unix seconds.
    created: WordRef,
}

impl SummaryCells {
    #[inline]
    fn count(&self) -> Cell {
        Cell::at(&self.count)
    }

    #[inline]
    fn sum(&self) -> Cell {
        Cell::at(&self.sum)
    }
}

impl Typed for Summary {
    const TYPE: MetricType = MetricType::Summary;
    const LEAD_SAMPLE: SampleKind = SampleKind::Sum;
    type Options = ();
    type State = ();
    type Slots = Split<SummaryCells>;

    impl_handle!(Summary);
    split_storage!();

    fn options(_: &Settings) {}

    fn collect(split: &Split<SummaryCells>, (): (), sink: &mut dyn FnMut(SampleKind, f64)) {
        sink(SampleKind::Sum, total(split, |cells| cells.sum().get()));
        sink(SampleKind::Count, total(split, |cells| cells.count().get()));
    }
}

impl SplitTyped for Summary {
    type Cells = SummaryCells;
    type Alignment = ();

    fn samples((): ()) -> impl Iterator<Item = SampleKind> + Clone {
        [SampleKind::Count, SampleKind::Sum].into_iter()
    }

    fn cells((): (), samples: &[SampleCells], _: Home) -> SummaryCells {
        let SampleCells { value: count, time: created } = samples[0];
        let sum = samples[1].value.address();
        SummaryCells { count: count.address(), sum, created: created.address() }
    }

    fn activity(split: &Split<SummaryCells>, (): ()) -> f64 {
        total(split, |cells| cells.count().get())
    }

    fn created_cell(cells: &SummaryCells) -> Cell {
        Cell::at(&cells.created)
    }

    fn words(cells: &SummaryCells) -> impl Iterator<Item = Cell> {
        [cells.count(), cells.sum()].into_iter()
    }

    #[inline]
    fn record(cells: &SummaryCells, value: f64) {
        cells.count().add_owned(1.0);
        cells.sum().add_owned(value);
    }

    fn record_shared(cells: &SummaryCells, value: f64) -> u32 {
        cells.count().add_counting_failures(1.0) + cells.sum().add_counting_failures(value)
    }
}
