//! Counters: totals that only grow.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Metric;
use super::core::{
    ChildRef, SplitTyped, Typed, ignored_handle, impl_handle, restart, split_storage, total,
};
use super::settings::Settings;
use crate::model::{MetricType, SampleKind};
use crate::store::fork::{SlowPath, StaticRef};
use crate::store::{Cell, SampleCells, SeriesOpener, Split};

/// A total that only increases: a handle of one series, whose copies record into the same series.
///
/// The name may end in `_total` or not; the name of the sample always does.
///
/// Totals are 64-bit floats: each integer up to 2<sup>53</sup> (9,007,199,254,740,992) is exact, and larger ones are rounded to
/// the nearest float. Beyond that a thread still counts its calls of [`inc`](Counter::inc), but the cell that is shared by threads
/// beyond sixteen at a time stays at 2<sup>53</sup> (`docs/format.md`, Exactness).
///
/// ```
/// use multiprom::{Counter, Static};
///
/// static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
///
/// HITS.inc();
/// HITS.inc_by(2.0);
/// assert_eq!(HITS.get(), 3.0);
/// ```
#[derive(Clone, Copy)]
pub struct Counter(ChildRef<Counter>);

impl Counter {
    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        match self.0.owned() {
            Some(cells) => cells.inc(),
            None => self.0.record_claimed(1.0),
        }
    }

    /// Adds `amount`. An amount that is negative or not finite is ignored, because a total never decreases.
    #[inline]
    pub fn inc_by(&self, amount: f64) {
        if (0.0..f64::INFINITY).contains(&amount) {
            self.0.record(amount);
        }
    }

    /// The total of this process: what it has added since its start or since it was forked.
    pub fn get(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.total.get()))
    }
}

/// The cells of a counter series for one thread, in a cache line of their own.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
#[repr(align(64))]
pub struct CounterCells {
    /// What is exported.
    total: Cell,
    /// How often 1 was added. This integer keeps the floating-point addition out of the dependency chain from one
    /// increment to the next.
    ones: AtomicU64,
    /// The sum of all other amounts, as bits.
    others: AtomicU64,
}

impl CounterCells {
    /// Called by the owner only.
    ///
    /// ORDERING: relaxed. The hand-over of the owner index makes these words visible to the next owner.
    #[inline]
    fn inc(&self) {
        let ones = self.ones.load(Ordering::Relaxed) + 1;
        self.ones.store(ones, Ordering::Relaxed);
        // OK because a signed conversion is one instruction, and the sign is never reached.
        self.total.set(ones as i64 as f64 + Cell::read(&self.others));
    }

    /// Called by the owner only.
    #[inline]
    fn add(&self, amount: f64) {
        let others = Cell::read(&self.others) + amount;
        self.others.store(others.to_bits(), Ordering::Relaxed);
        self.total.set(self.ones.load(Ordering::Relaxed) as i64 as f64 + others);
    }
}

impl Metric for Counter {}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Typed for Counter {
    const TYPE: MetricType = MetricType::Counter;
    const MAIN_SAMPLE: SampleKind = SampleKind::Total;
    type Options = ();
    type Slots = Split<CounterCells>;

    impl_handle!(Counter);
    split_storage!();

    fn options(_: &Settings) {}

    fn prefetch(split: &Split<CounterCells>) {
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

    fn samples((): ()) -> impl Iterator<Item = SampleKind> {
        std::iter::once(SampleKind::Total)
    }

    fn cells((): (), samples: &[SampleCells]) -> CounterCells {
        let (ones, others) = (AtomicU64::new(0), AtomicU64::new(0));
        CounterCells { total: samples[0].value, ones, others }
    }

    fn words(cells: &CounterCells) -> impl Iterator<Item = Cell> {
        std::iter::once(cells.total)
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

    /// The last integer up to which floats represent each integer.
    const LIMIT: u64 = 1 << 53;

    fn cells(ones: u64, others: f64) -> CounterCells {
        let total = SampleCells::on_heap(0.0).value;
        total.set(ones as f64 + others);
        CounterCells { total, ones: AtomicU64::new(ones), others: AtomicU64::new(others.to_bits()) }
    }

    #[test]
    fn a_thread_counts_increments_by_1_beyond_the_limit_and_rounds_the_total_once() {
        let cells = cells(LIMIT - 1, 0.0);
        let mut totals = Vec::new();
        for _ in 0..5 {
            cells.inc();
            totals.push(cells.total.get() as u64 - LIMIT);
        }
        // Even integers are exact; odd ones are rounded to a multiple of 4, without an effect on the next total.
        assert_eq!(totals, [0, 0, 2, 4, 4]);
        assert_eq!(cells.ones.load(Ordering::Relaxed), LIMIT + 4);
    }

    #[test]
    fn other_amounts_of_a_thread_are_a_float_to_which_amounts_of_1_add_nothing_beyond_the_limit() {
        let cells = cells(0, LIMIT as f64);
        for _ in 0..4 {
            Counter::record(&cells, 1.0);
        }
        assert_eq!(cells.total.get() as u64, LIMIT);
        Counter::record(&cells, 2.0);
        assert_eq!(cells.total.get() as u64, LIMIT + 2);
        (0..4).for_each(|_| cells.inc());
        assert_eq!(cells.total.get() as u64, LIMIT + 6);
    }

    #[test]
    fn shared_cells_stop_counting_increments_by_1_at_the_limit() {
        let cells = cells(0, 0.0);
        cells.total.set((LIMIT - 2) as f64);
        let mut totals = Vec::new();
        for _ in 0..4 {
            Counter::record_shared(&cells, 1.0);
            totals.push(cells.total.get() as u64);
        }
        assert_eq!(totals, [LIMIT - 1, LIMIT, LIMIT, LIMIT]);
        Counter::record_shared(&cells, 2.0);
        assert_eq!(cells.total.get() as u64, LIMIT + 2);
    }

    #[test]
    fn a_series_takes_the_memory_that_the_design_states() {
        assert_eq!((size_of::<Split<CounterCells>>(), size_of::<CounterCells>()), (320, 64));
    }
}
