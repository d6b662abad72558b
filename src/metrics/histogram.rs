//! Histograms: observations counted in buckets.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::core::{ChildRef, Ignored, SplitTyped, Typed};
use super::handle::{ignored_handle, impl_handle};
use super::settings::Settings;
use super::split::{earliest, release, restart, split_storage, total};
use super::timer::{Observation, Observe, Timer, guarded};
use super::{Metric, buckets};
use crate::error::Result;
use crate::model::{MetricType, SampleKind};
use crate::store::fork::{Home, Release, SlowPath, StaticRef, TransientSlice, WordRef};
use crate::store::{Cell, IgnoredValue, SampleCells, SeriesOpener, Split};

/// Observations, counted in buckets: a handle of one series, whose copies record into the same series.
///
/// ```
/// use std::time::Duration;
///
/// use multiprom::{Family, Histogram, Static, buckets};
///
/// static LATENCY: Static<Family<Histogram>> =
///     Histogram::declare("latency_seconds", "Latency by route.")
///         .buckets(&buckets::GO_DEFAULT)
///         .labels(["route"]);
///
/// LATENCY.with(["/"]).observe(0.2);
/// LATENCY.with(["/"]).observe(Duration::from_millis(300));
/// assert_eq!(LATENCY.with(["/"]).get_sum(), 0.5);
/// ```
#[derive(Clone, Copy)]
pub struct Histogram(ChildRef<Histogram>);

impl Histogram {
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
    pub fn start_timer(&self) -> Timer<Histogram> {
        Timer::start(*self)
    }

    /// Calls `work` and observes the seconds that it takes, also if it panics. Returns what `work` returns.
    ///
    /// ```
    /// use multiprom::{Histogram, Static};
    ///
    /// static LOADING: Static<Histogram> = Histogram::declare("loading_seconds", "Time to load.");
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
    /// use multiprom::{Histogram, Static};
    ///
    /// static LOADING: Static<Histogram> = Histogram::declare("loading_seconds", "Time to load.");
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
        self.0.slots_if_bound().map_or(0.0, |split| total(split, HistogramCells::count)) as u64
    }

    /// The buckets of this process: each upper bound, the last of which is `+Inf`, and the number of observations less than or
    /// equal to it.
    ///
    /// ```
    /// use multiprom::{Histogram, Static};
    ///
    /// static SIZES: Static<Histogram> = Histogram::declare("sizes", "Sizes.").buckets(&[1.0, 10.0]);
    ///
    /// SIZES.observe(0.5);
    /// SIZES.observe(7.0);
    /// SIZES.observe(70.0);
    /// assert_eq!(SIZES.get_buckets(), [(1.0, 1), (10.0, 2), (f64::INFINITY, 3)]);
    /// ```
    pub fn get_buckets(&self) -> Vec<(f64, u64)> {
        let slots = self.0.slots_if_bound();
        let mut count = 0.0;
        let bounds = self.0.family().options().finite().iter().copied().chain([f64::INFINITY]);
        let cumulative = |(at, bound): (usize, f64)| {
            let bucket = |cells: &HistogramCells| cells.bucket_at(at).get();
            count += slots.map_or(0.0, |split| total(split, bucket));
            (bound, count as u64)
        };
        bounds.enumerate().map(cumulative).collect()
    }

    /// The sum of the observations of this process.
    pub fn get_sum(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.sum().get()))
    }
}

impl Observe for Histogram {
    fn observe_elapsed(self, elapsed: Duration) {
        Histogram::observe(&self, elapsed);
    }
}

impl Metric for Histogram {}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The upper bounds of a histogram's buckets.
#[derive(Clone, Copy, Debug)]
pub struct Bounds(&'static [f64]);

impl Bounds {
    /// The bounds without a final `+Inf`, whose bucket every histogram has.
    const fn finite(self) -> &'static [f64] {
        match self.0 {
            [finite @ .., f64::INFINITY] => finite,
            all => all,
        }
    }
}

/// The cells of a histogram series for one thread.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct HistogramCells {
    bounds: TransientSlice<f64>,
    sum: WordRef,
    /// Counts that are not cumulative: one for each bound, then that of `+Inf`.
    buckets: TransientSlice<WordRef>,
    /// When these cells were created, in Unix seconds.
    created: WordRef,
}

impl HistogramCells {
    /// The bucket that counts a value.
    #[inline]
    fn bucket(&self, value: f64) -> Cell {
        self.bucket_at(buckets::position(self.bounds.get(), value))
    }

    #[inline]
    fn bucket_at(&self, at: usize) -> Cell {
        match self.buckets.get().get(at) {
            Some(word) => Cell::at(word),
            None => no_bucket(),
        }
    }

    #[inline]
    fn sum(&self) -> Cell {
        Cell::at(&self.sum)
    }

    fn count(&self) -> f64 {
        self.buckets.get().iter().map(|word| Cell::at(word).get()).sum()
    }
}

/// The bucket of a series whose memory was given back during a recording.
#[cold]
#[inline(never)]
fn no_bucket() -> Cell {
    static NO_CELL: AtomicU64 = AtomicU64::new(0);
    Cell::new(&NO_CELL)
}

impl Typed for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
    const LEAD_SAMPLE: SampleKind = SampleKind::Sum;
    type Options = Bounds;
    type State = ();
    type Slots = Split<HistogramCells>;

    impl_handle!(Histogram);
    split_storage!();

    fn check(settings: &Settings) -> Result<()> {
        buckets::check(&settings.bounds)
    }

    fn options(settings: &Settings) -> Bounds {
        Bounds(match &settings.bounds {
            Cow::Borrowed(bounds) => bounds,
            Cow::Owned(bounds) => bounds.clone().leak(),
        })
    }

    fn has_options(bounds: Bounds, settings: &Settings) -> bool {
        *bounds.0 == *settings.bounds
    }

    fn collect(
        split: &Split<HistogramCells>,
        bounds: Bounds,
        sink: &mut dyn FnMut(SampleKind, f64),
    ) {
        let mut count = 0.0;
        let bounds = bounds.finite().iter().copied().chain([f64::INFINITY]);
        for (at, bound) in bounds.enumerate() {
            count += total(split, |cells| cells.bucket_at(at).get());
            sink(SampleKind::Bucket(bound), count);
        }
        sink(SampleKind::Sum, total(split, |cells| cells.sum().get()));
        sink(SampleKind::Count, count);
    }
}

impl SplitTyped for Histogram {
    type Cells = HistogramCells;
    type Alignment = ();

    fn samples(bounds: Bounds) -> impl Iterator<Item = SampleKind> + Clone {
        let bounds = bounds.finite().iter().copied().chain([f64::INFINITY]);
        std::iter::once(SampleKind::Sum).chain(bounds.map(SampleKind::Bucket))
    }

    fn cells(bounds: Bounds, samples: &[SampleCells], home: Home) -> HistogramCells {
        let buckets = samples[1..].iter().map(|cells| cells.value.address()).collect();
        let SampleCells { value: sum, time: created } = samples[0];
        HistogramCells {
            bounds: TransientSlice::new(bounds.finite()),
            sum: sum.address(),
            buckets: TransientSlice::new(home.slice(buckets)),
            created: created.address(),
        }
    }

    fn release_cells(cells: &HistogramCells, release: &mut Release) {
        release.slice(cells.buckets.get());
    }

    fn activity(split: &Split<HistogramCells>, _: Bounds) -> f64 {
        total(split, HistogramCells::count)
    }

    fn created_cell(cells: &HistogramCells) -> Cell {
        Cell::at(&cells.created)
    }

    fn words(cells: &HistogramCells) -> impl Iterator<Item = Cell> {
        std::iter::once(cells.sum()).chain(cells.buckets.get().iter().map(Cell::at))
    }

    #[inline]
    fn record(cells: &HistogramCells, value: f64) {
        cells.bucket(value).add_owned(1.0);
        cells.sum().add_owned(value);
    }

    fn record_shared(cells: &HistogramCells, value: f64) -> u32 {
        cells.bucket(value).add_counting_failures(1.0) + cells.sum().add_counting_failures(value)
    }
}
