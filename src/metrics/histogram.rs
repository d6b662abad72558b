//! Histograms: observations counted in buckets.

use std::borrow::Cow;

use super::core::{
    Child, ChildRef, FamilySpec, SplitTyped, Typed, ignored_child, split_storage, total,
};
use super::timer::{Observe, Timer};
use super::{Family, Metric, MetricBuilder, buckets, statics};
use crate::error::Result;
use crate::model::{MetricType, SampleKind, name};
use crate::store::fork::{SlowPath, StaticRef};
use crate::store::{Cell, SampleCells, SeriesOpener, Split};

/// Observations counted in buckets, declared as a static.
///
/// ```
/// use multiprom::{Family, Histogram, buckets};
///
/// static LATENCY: Family<Histogram, 1> = Histogram::new("latency_seconds", "Latency by route.")
///     .buckets(&buckets::GO_DEFAULT)
///     .labels(["route"]);
///
/// LATENCY.with(["/"]).observe(0.2);
/// ```
pub struct Histogram {
    name: &'static str,
    help: &'static str,
    bounds: &'static [f64],
    child: StaticRef<Child<Histogram>>,
}

impl Histogram {
    /// Declares a histogram with [the bounds of the Python client](buckets::DEFAULT); it registers
    /// with the default registry at its first use.
    ///
    /// # Panics
    ///
    /// If the name is not a metric name, which in a static fails the build. For names that are known
    /// only at run time there is [`builder`](Histogram::builder).
    pub const fn new(name: &'static str, help: &'static str) -> Histogram {
        assert!(name::is_metric_name(name), "not a metric name");
        Histogram { name, help, bounds: &buckets::DEFAULT, child: StaticRef::empty() }
    }

    /// Sets the upper bounds of the buckets, each inclusive; `+Inf` is added if it is not the last.
    ///
    /// # Panics
    ///
    /// If the bounds are empty, unsorted or not numbers, which in a static fails the build.
    pub const fn buckets(self, bounds: &'static [f64]) -> Histogram {
        assert!(buckets::are_valid(bounds), "bounds must be numbers in rising order");
        Histogram { bounds, ..self }
    }

    /// Makes it a family with these labels.
    ///
    /// # Panics
    ///
    /// If a label name is malformed, reserved or given twice, which in a static fails the build. `le`
    /// is reserved.
    pub const fn labels<const N: usize>(self, labels: [&'static str; N]) -> Family<Histogram, N> {
        Family::declare(self.name, self.help, labels, Bounds(self.bounds))
    }

    /// A histogram whose name is known only at run time.
    pub fn builder(name: impl Into<String>, help: impl Into<String>) -> MetricBuilder<Histogram> {
        MetricBuilder::new(name.into(), help.into(), Bounds(&buckets::DEFAULT))
    }

    /// The handle of this histogram: one load less for each recording.
    #[inline]
    pub fn handle(&self) -> HistogramHandle {
        HistogramHandle(statics::child(&self.child, || self.spec()))
    }

    /// As [`HistogramHandle::observe`].
    #[inline]
    pub fn observe(&self, value: f64) {
        self.handle().observe(value);
    }

    /// As [`HistogramHandle::start_timer`].
    pub fn start_timer(&self) -> Timer<HistogramHandle> {
        self.handle().start_timer()
    }

    fn spec(&self) -> FamilySpec<'_, Histogram> {
        let options = Bounds(self.bounds).into();
        FamilySpec { name: self.name, help: self.help, label_names: &[], options }
    }
}

statics::impl_declare!(Histogram);

/// Records into one histogram series. A copy is another name of the same series.
#[derive(Clone, Copy)]
pub struct HistogramHandle(ChildRef<Histogram>);

impl HistogramHandle {
    /// Counts one observation. NaN is ignored: it would stay in the sum for ever.
    #[inline]
    pub fn observe(&self, value: f64) {
        if !value.is_nan() {
            self.0.record(value);
        }
    }

    /// Observes the seconds that pass until the timer stops.
    pub fn start_timer(&self) -> Timer<HistogramHandle> {
        Timer::start(*self)
    }

    /// How many observations this process has made.
    pub fn get_count(&self) -> u64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, HistogramCells::count)) as u64
    }

    /// The sum of the observations that this process has made.
    pub fn get_sum(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.sum.get()))
    }
}

impl Observe for HistogramHandle {
    fn observe(&self, value: f64) {
        HistogramHandle::observe(self, value);
    }
}

impl Metric for Histogram {
    type Handle = HistogramHandle;

    fn handle(child: ChildRef<Histogram>) -> HistogramHandle {
        HistogramHandle(child)
    }
}

/// The upper bounds of a histogram's buckets.
#[derive(Clone, Copy)]
pub struct Bounds(pub(super) &'static [f64]);

/// Bounds as a builder holds them.
#[derive(Clone)]
pub struct GivenBounds(pub(super) Cow<'static, [f64]>);

impl From<Bounds> for GivenBounds {
    fn from(bounds: Bounds) -> GivenBounds {
        GivenBounds(Cow::Borrowed(bounds.0))
    }
}

impl From<GivenBounds> for Bounds {
    /// Keeps the bounds for the life of the process.
    fn from(given: GivenBounds) -> Bounds {
        Bounds(match given.0 {
            Cow::Borrowed(bounds) => bounds,
            Cow::Owned(bounds) => bounds.leak(),
        })
    }
}

impl PartialEq<Bounds> for GivenBounds {
    fn eq(&self, bounds: &Bounds) -> bool {
        *self.0 == *bounds.0
    }
}

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
pub struct HistogramCells {
    bounds: &'static [f64],
    sum: Cell,
    /// One for each bound, each counting what the ones before do not; then that of `+Inf`.
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
    const RESERVED_LABEL: Option<&'static str> = Some("le");
    type Options = Bounds;
    type Given = GivenBounds;
    type Slots = Split<HistogramCells>;

    fn check(bounds: &GivenBounds) -> Result<()> {
        buckets::check(&bounds.0)
    }

    split_storage!();

    fn ignored() -> ChildRef<Histogram> {
        static CHILD: StaticRef<Child<Histogram>> = StaticRef::empty();
        ignored_child(&CHILD, Bounds(&buckets::DEFAULT))
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

    fn parts(bounds: Bounds) -> impl Iterator<Item = SampleKind> {
        let bounds = bounds.finite().iter().copied().chain([f64::INFINITY]);
        std::iter::once(SampleKind::Sum).chain(bounds.map(SampleKind::Bucket))
    }

    fn cells(bounds: Bounds, samples: &[SampleCells]) -> HistogramCells {
        let buckets = samples[1..].iter().map(|cells| cells.value).collect();
        HistogramCells { bounds: bounds.finite(), sum: samples[0].value, buckets }
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
