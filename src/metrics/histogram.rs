//! Histograms: observations counted in buckets.

use std::borrow::Cow;
use std::fmt;

use super::core::{
    ChildRef, SplitTyped, Typed, ignored_handle, impl_handle, restart, split_storage, total,
};
use super::settings::Settings;
use super::timer::{Observation, Observe, Timer};
use super::{Metric, buckets};
use crate::error::Result;
use crate::model::{MetricType, SampleKind};
use crate::store::fork::{SlowPath, StaticRef};
use crate::store::{Cell, SampleCells, SeriesOpener, Split};

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
    /// NaN is ignored, because it would stay in the sum for ever.
    #[inline]
    pub fn observe(&self, value: impl Observation) {
        let value = value.value();
        if !value.is_nan() {
            self.0.record(value);
        }
    }

    /// Starts a timer that observes the elapsed seconds when it stops.
    pub fn start_timer(&self) -> Timer<Histogram> {
        Timer::start(*self)
    }

    /// The number of observations of this process.
    pub fn get_count(&self) -> u64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, HistogramCells::count)) as u64
    }

    /// The sum of the observations of this process.
    pub fn get_sum(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.sum.get()))
    }
}

impl Observe for Histogram {
    fn observe(&self, value: f64) {
        Histogram::observe(self, value);
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
    bounds: &'static [f64],
    sum: Cell,
    /// Counts that are not cumulative: one for each bound, then that of `+Inf`.
    buckets: Box<[Cell]>,
}

impl HistogramCells {
    /// The bucket that counts a value.
    #[inline]
    fn bucket(&self, value: f64) -> Cell {
        self.buckets[buckets::position(self.bounds, value)]
    }

    fn count(&self) -> f64 {
        self.buckets.iter().map(|cell| cell.get()).sum()
    }
}

impl Typed for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
    const MAIN_SAMPLE: SampleKind = SampleKind::Sum;
    const RESERVED_LABEL: Option<&'static str> = Some("le");
    type Options = Bounds;
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
            count += total(split, |cells| cells.buckets[at].get());
            sink(SampleKind::Bucket(bound), count);
        }
        sink(SampleKind::Sum, total(split, |cells| cells.sum.get()));
        sink(SampleKind::Count, count);
    }
}

impl SplitTyped for Histogram {
    type Cells = HistogramCells;

    fn samples(bounds: Bounds) -> impl Iterator<Item = SampleKind> {
        let bounds = bounds.finite().iter().copied().chain([f64::INFINITY]);
        std::iter::once(SampleKind::Sum).chain(bounds.map(SampleKind::Bucket))
    }

    fn cells(bounds: Bounds, samples: &[SampleCells]) -> HistogramCells {
        let buckets = samples[1..].iter().map(|cells| cells.value).collect();
        HistogramCells { bounds: bounds.finite(), sum: samples[0].value, buckets }
    }

    fn words(cells: &HistogramCells) -> impl Iterator<Item = Cell> {
        std::iter::once(cells.sum).chain(cells.buckets.iter().copied())
    }

    #[inline]
    fn record(cells: &HistogramCells, value: f64) {
        cells.bucket(value).add_owned(1.0);
        cells.sum.add_owned(value);
    }

    fn record_shared(cells: &HistogramCells, value: f64) {
        cells.bucket(value).add(1.0);
        cells.sum.add(value);
    }
}
