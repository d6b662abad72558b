//! Summaries: count and sum of observations.

use super::core::{
    Child, ChildRef, FamilySpec, SplitTyped, Typed, ignored_child, split_storage, total,
};
use super::timer::{Observe, Timer};
use super::{Family, Metric, MetricBuilder, statics};
use crate::model::{MetricType, SampleKind, name};
use crate::store::fork::{SlowPath, StaticRef};
use crate::store::{Cell, SampleCells, SeriesOpener, Split};

/// Count and sum of observations, declared as a static.
///
/// ```
/// use multiprom::Summary;
///
/// static UPLOADS: Summary = Summary::new("upload_bytes", "Size of uploads.");
///
/// UPLOADS.observe(1500.0);
/// ```
pub struct Summary {
    name: &'static str,
    help: &'static str,
    child: StaticRef<Child<Summary>>,
}

impl Summary {
    /// Declares a summary; it registers with the default registry at its first use.
    ///
    /// # Panics
    ///
    /// If the name is not a metric name, which in a static fails the build. For names that are known
    /// only at run time there is [`builder`](Summary::builder).
    pub const fn new(name: &'static str, help: &'static str) -> Summary {
        assert!(name::is_metric_name(name), "not a metric name");
        Summary { name, help, child: StaticRef::empty() }
    }

    /// Makes it a family with these labels.
    ///
    /// # Panics
    ///
    /// If a label name is malformed, reserved or given twice, which in a static fails the build.
    /// `quantile` is reserved.
    pub const fn labels<const N: usize>(self, labels: [&'static str; N]) -> Family<Summary, N> {
        Family::declare(self.name, self.help, labels, ())
    }

    /// A summary whose name is known only at run time.
    pub fn builder(name: impl Into<String>, help: impl Into<String>) -> MetricBuilder<Summary> {
        MetricBuilder::new(name.into(), help.into(), ())
    }

    /// The handle of this summary: one load less for each recording.
    #[inline]
    pub fn handle(&self) -> SummaryHandle {
        SummaryHandle(statics::child(&self.child, || self.spec()))
    }

    /// As [`SummaryHandle::observe`].
    #[inline]
    pub fn observe(&self, value: f64) {
        self.handle().observe(value);
    }

    /// As [`SummaryHandle::start_timer`].
    pub fn start_timer(&self) -> Timer<SummaryHandle> {
        self.handle().start_timer()
    }

    fn spec(&self) -> FamilySpec<'_, Summary> {
        FamilySpec { name: self.name, help: self.help, label_names: &[], options: () }
    }
}

statics::impl_declare!(Summary);

/// Records into one summary series. A copy is another name of the same series.
#[derive(Clone, Copy)]
pub struct SummaryHandle(ChildRef<Summary>);

impl SummaryHandle {
    /// Counts one observation. NaN is ignored: it would stay in the sum for ever.
    #[inline]
    pub fn observe(&self, value: f64) {
        if !value.is_nan() {
            self.0.record(value);
        }
    }

    /// Observes the seconds that pass until the timer stops.
    pub fn start_timer(&self) -> Timer<SummaryHandle> {
        Timer::start(*self)
    }

    /// How many observations this process has made.
    pub fn get_count(&self) -> u64 {
        self.0.slots_if_bound().map_or(0, |split| total(split, |cells| cells.count.get()) as u64)
    }

    /// The sum of the observations that this process has made.
    pub fn get_sum(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.sum.get()))
    }
}

impl Observe for SummaryHandle {
    fn observe(&self, value: f64) {
        SummaryHandle::observe(self, value);
    }
}

impl Metric for Summary {
    type Handle = SummaryHandle;

    fn handle(child: ChildRef<Summary>) -> SummaryHandle {
        SummaryHandle(child)
    }
}

/// The cells of a summary series for one thread.
pub struct SummaryCells {
    count: Cell,
    sum: Cell,
}

impl Typed for Summary {
    const TYPE: MetricType = MetricType::Summary;
    const RESERVED_LABEL: Option<&'static str> = Some("quantile");
    type Options = ();
    type Given = ();
    type Slots = Split<SummaryCells>;

    split_storage!();

    fn ignored() -> ChildRef<Summary> {
        static CHILD: StaticRef<Child<Summary>> = StaticRef::empty();
        ignored_child(&CHILD, ())
    }

    fn collect(split: &Split<SummaryCells>, (): (), sink: &mut dyn FnMut(SampleKind, f64)) {
        sink(SampleKind::Sum, total(split, |cells| cells.sum.get()));
        sink(SampleKind::Count, total(split, |cells| cells.count.get()));
    }
}

impl SplitTyped for Summary {
    type Cells = SummaryCells;

    fn parts((): ()) -> impl Iterator<Item = SampleKind> {
        [SampleKind::Count, SampleKind::Sum].into_iter()
    }

    fn cells((): (), samples: &[SampleCells]) -> SummaryCells {
        SummaryCells { count: samples[0].value, sum: samples[1].value }
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
