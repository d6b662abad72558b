//! Counters: totals that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use super::core::{
    Child, ChildRef, FamilySpec, SplitTyped, Typed, ignored_child, split_storage, total,
};
use super::{Family, Metric, MetricBuilder, statics};
use crate::model::{MetricType, SampleKind, name};
use crate::store::fork::{SlowPath, StaticRef};
use crate::store::{Cell, SampleCells, SeriesOpener, Split};

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
    pub fn builder(name: impl Into<String>, help: impl Into<String>) -> MetricBuilder<Counter> {
        MetricBuilder::new(name.into(), help.into(), ())
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
        match self.0.owned() {
            Some(cells) => cells.inc(),
            None => self.0.record_claimed(1.0),
        }
    }

    /// Adds `amount`. One that is negative or not finite is ignored: a total never falls.
    #[inline]
    pub fn inc_by(&self, amount: f64) {
        if (0.0..f64::INFINITY).contains(&amount) {
            self.0.record(amount);
        }
    }

    /// What this process has counted.
    pub fn get(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.total.get()))
    }
}

/// The cells of a counter series for one thread, in a cache line of their own.
#[repr(align(64))]
pub struct CounterCells {
    /// What is exported.
    total: Cell,
    /// How often 1 was added. An integer of our own beside the cell takes the floating-point addition
    /// out of the chain from one increment to the next.
    ones: AtomicU64,
    /// The sum of all other amounts, as bits.
    others: AtomicU64,
}

impl CounterCells {
    /// By the owner only.
    ///
    /// ORDERING: relaxed. The next owner sees these words by the hand-over of the index.
    #[inline]
    fn inc(&self) {
        let ones = self.ones.load(Ordering::Relaxed) + 1;
        self.ones.store(ones, Ordering::Relaxed);
        // OK because a signed conversion is one instruction, and the sign is never reached.
        self.total.set(ones as i64 as f64 + Cell::read(&self.others));
    }

    /// By the owner only.
    #[inline]
    fn add(&self, amount: f64) {
        let others = Cell::read(&self.others) + amount;
        self.others.store(others.to_bits(), Ordering::Relaxed);
        self.total.set(self.ones.load(Ordering::Relaxed) as i64 as f64 + others);
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
    type Given = ();
    type Slots = Split<CounterCells>;

    split_storage!();

    fn ignored() -> ChildRef<Counter> {
        static CHILD: StaticRef<Child<Counter>> = StaticRef::empty();
        ignored_child(&CHILD, ())
    }

    fn fetch(split: &Split<CounterCells>) {
        if let Some(cells) = split.first() {
            cells.total.prefetch();
        }
    }

    fn collect(split: &Split<CounterCells>, (): (), sink: &mut dyn FnMut(SampleKind, f64)) {
        sink(SampleKind::Total, total(split, |cells| cells.total.get()));
    }
}

impl SplitTyped for Counter {
    type Cells = CounterCells;

    fn parts((): ()) -> impl Iterator<Item = SampleKind> {
        std::iter::once(SampleKind::Total)
    }

    fn cells((): (), samples: &[SampleCells]) -> CounterCells {
        let (ones, others) = (AtomicU64::new(0), AtomicU64::new(0));
        CounterCells { total: samples[0].value, ones, others }
    }

    #[inline]
    fn record(cells: &CounterCells, amount: f64) {
        cells.add(amount);
    }

    fn record_shared(cells: &CounterCells, amount: f64) {
        cells.total.add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_takes_the_memory_that_the_design_states() {
        assert_eq!((size_of::<Split<CounterCells>>(), size_of::<CounterCells>()), (320, 64));
    }
}
