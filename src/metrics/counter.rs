//! Counters: totals that only grow.

use std::sync::atomic::AtomicU64;

use super::core::{Child, ChildRef, FamilySpec, Typed, now};
use super::{Builder, Family, Metric, statics};
use crate::model::{MetricType, Part, name};
use crate::store::fork::StaticRef;
use crate::store::{Cell, SeriesOpener};

/// A total that only grows, declared as a static.
///
/// The name may end in `_total` or not; the sample's name always does.
///
/// ```
/// use multiprom::Counter;
///
/// static HITS: Counter = Counter::new("hits_total", "Page hits.");
///
/// HITS.inc();
/// HITS.inc_by(2.0);
/// assert_eq!(HITS.get(), 3.0);
/// ```
pub struct Counter {
    name: &'static str,
    help: &'static str,
    child: StaticRef<Child<Counter>>,
}

impl Counter {
    /// Declares a counter; it registers with the default registry at its first use.
    ///
    /// # Panics
    ///
    /// If the name is not a metric name, which in a static fails the build. For names that are known
    /// only at run time there is [`builder`](Counter::builder).
    pub const fn new(name: &'static str, help: &'static str) -> Counter {
        assert!(name::is_metric_name(name), "not a metric name");
        Counter { name, help, child: StaticRef::empty() }
    }

    /// Makes it a family with these labels.
    ///
    /// # Panics
    ///
    /// If a label name is malformed, reserved or given twice, which in a static fails the build.
    pub const fn labels<const N: usize>(self, labels: [&'static str; N]) -> Family<Counter, N> {
        Family::declare(self.name, self.help, labels, ())
    }

    /// A counter whose name is known only at run time.
    pub fn builder(name: impl Into<String>, help: impl Into<String>) -> Builder<Counter> {
        Builder::new(name.into(), help.into(), ())
    }

    /// The handle of this counter: one load less for each recording.
    #[inline]
    pub fn handle(&self) -> CounterHandle {
        CounterHandle(statics::child(&self.child, || self.spec()))
    }

    /// As [`CounterHandle::inc`].
    #[inline]
    pub fn inc(&self) {
        self.handle().inc();
    }

    /// As [`CounterHandle::inc_by`].
    #[inline]
    pub fn inc_by(&self, amount: f64) {
        self.handle().inc_by(amount);
    }

    /// As [`CounterHandle::get`].
    pub fn get(&self) -> f64 {
        self.handle().get()
    }

    fn spec(&self) -> FamilySpec<'_, Counter> {
        FamilySpec { name: self.name, help: self.help, label_names: &[], options: () }
    }
}

statics::impl_declare!(Counter);

/// Records into one counter series. A copy is another name of the same series.
#[derive(Clone, Copy)]
pub struct CounterHandle(ChildRef<Counter>);

impl CounterHandle {
    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        Cell::new(self.0.cells()).add(1.0);
    }

    /// Adds `amount`. One that is negative or not finite is ignored: a total never falls.
    #[inline]
    pub fn inc_by(&self, amount: f64) {
        if (0.0..f64::INFINITY).contains(&amount) {
            Cell::new(self.0.cells()).add(amount);
        }
    }

    /// What this process has counted.
    pub fn get(&self) -> f64 {
        self.0.cells_if_bound().map_or(0.0, |word| Cell::new(word).get())
    }
}

impl Metric for Counter {
    type Handle = CounterHandle;

    fn handle(child: ChildRef<Counter>) -> CounterHandle {
        CounterHandle(child)
    }
}

impl Typed for Counter {
    const TYPE: MetricType = MetricType::Counter;
    type Options = ();
    type Cells = AtomicU64;

    fn open(opener: &mut SeriesOpener<'_>, (): ()) -> &'static AtomicU64 {
        opener.cells(Part::Total, now()).value.word()
    }

    fn collect(cells: &AtomicU64, (): (), sink: &mut dyn FnMut(Part, f64)) {
        sink(Part::Total, Cell::read(cells));
    }
}
