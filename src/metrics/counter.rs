//! Counters: totals that only grow.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Metric;
use super::core::{ChildRef, Ignored, SplitTyped, Typed};
use super::functions::{Order, Target};
use super::handle::{ignored_handle, impl_handle};
use super::settings::Settings;
use super::split::{earliest, release, restart, split_storage, total};
use crate::model::{MetricType, SampleKind};
use crate::store::fork::{Home, Release, SlowPath, StaticRef, WordRef};
use crate::store::{Cell, IgnoredValue, SampleCells, SeriesOpener, Split};

/// A total that only increases: a handle of one series, whose copies record into the same series.
///
/// The name may end in `_total` or not; the name of the sample always does.
///
/// Totals are 64-bit floats: each integer up to 2<sup>53</sup> (9,007,199,254,740,992) is exact, and larger ones are rounded to
/// the nearest float. Beyond that a thread with a cell of its own still counts its calls of [`inc`](Counter::inc), but a cell that
/// threads share stays at 2<sup>53</sup> (`docs/format.md`, Exactness).
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
            None => self.0.record_shared(1.0),
        }
    }

    /// Adds `amount`. An amount that is negative or not finite is ignored, because a total never decreases, and counted in
    /// `multiprom_ignored_values_total`.
    #[inline]
    pub fn inc_by(&self, amount: f64) {
        if !(0.0..f64::INFINITY).contains(&amount) {
            return self.ignore(amount);
        }
        self.0.record(amount);
    }

    #[cold]
    #[inline(never)]
    fn ignore(self, amount: f64) {
        let is_negative = amount < 0.0 && amount.is_finite();
        let reason = if is_negative { IgnoredValue::Negative } else { IgnoredValue::NotFinite };
        self.0.ignore(reason, amount);
    }

    /// Mirrors a total that something else counts in this process, such as the statistics of a library: adds what `total` has
    /// grown since the highest one so far. A total that is lower than that changes nothing, and one that is negative or not
    /// finite is ignored, as by [`inc_by`](Counter::inc_by).
    ///
    /// The growth is per process. A forked child, which has a copy of the total, adds only what the total grows in the child;
    /// the merged counter is then exact. A total that several processes read from one source would be added up several
    /// times: mirror it in one of them. A series that was removed and comes back begins at 0, and adds what `total` grows from
    /// then on.
    ///
    /// ```
    /// use multiprom::{Counter, Static};
    ///
    /// static ALLOCATED: Static<Counter> = Counter::declare("pool_allocated_total", "Buffers allocated.");
    ///
    /// ALLOCATED.set_at_least(40.0);
    /// ALLOCATED.set_at_least(42.0);
    /// ALLOCATED.set_at_least(41.0);
    /// assert_eq!(ALLOCATED.get(), 42.0);
    /// ```
    pub fn set_at_least(&self, total: f64) {
        if !(0.0..f64::INFINITY).contains(&total) {
            return self.ignore(total);
        }
        let growth = self.0.state.raise_to(total);
        if growth > 0.0 {
            self.0.record(growth);
        }
    }

    /// Sets a function that returns a total which something else counts in this process. The counter
    /// [mirrors](Counter::set_at_least) it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use multiprom::{Counter, Static};
    ///
    /// static SENT: Static<Counter> = Counter::declare("client_sent_total", "Messages sent.");
    ///
    /// let sent = Arc::new(AtomicU64::new(7));
    /// let total = Arc::clone(&sent);
    /// SENT.set_function(move || total.load(Ordering::Relaxed) as f64);
    /// assert!(multiprom::render(None).to_string().contains("\nclient_sent_total 7\n"));
    /// ```
    ///
    /// It is called as that of [`Gauge::set_function`](crate::Gauge::set_function), with the same rules. A total that falls
    /// changes nothing until it is higher than before. The first total in a forked child, and the first one of a function that
    /// replaces another, count from 0 if they are lower than the last one: the source has begun anew. Otherwise they add
    /// what the total has grown. A child so counts once more what the total has grown in the parent between its last
    /// refresh and the fork, unless the parent calls [`Registry::flush`](crate::Registry::flush) before it forks.
    pub fn set_function(&self, function: impl Fn() -> f64 + Send + Sync + 'static) {
        if !self.0.is_removed() {
            let family = self.0.family();
            family.functions.set(*self, self.0.address(), self.0.store(), function);
        }
    }

    /// Calls `work`, and adds 1 if it returns an error. Returns what `work` returns.
    ///
    /// ```
    /// use multiprom::{Counter, Static};
    ///
    /// static ERRORS: Static<Counter> = Counter::declare("parse_errors_total", "Malformed numbers.");
    ///
    /// assert_eq!(ERRORS.count_errors(|| "7".parse::<u32>()), Ok(7));
    /// assert!(ERRORS.count_errors(|| "x".parse::<u32>()).is_err());
    /// assert_eq!(ERRORS.get(), 1.0);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub fn count_errors<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.count_errors_if(work, |_| true)
    }

    /// As [`count_errors`](Counter::count_errors), but counts only the errors for which `is_counted` returns `true`.
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    ///
    /// use multiprom::{Counter, Static};
    ///
    /// static ERRORS: Static<Counter> = Counter::declare("read_errors_total", "Failed reads.");
    ///
    /// for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied] {
    ///     let read = || Err::<(), Error>(kind.into());
    ///     let _ = ERRORS.count_errors_if(read, |error| error.kind() != ErrorKind::NotFound);
    /// }
    /// assert_eq!(ERRORS.get(), 1.0);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub fn count_errors_if<T, E>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
        is_counted: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let result = work();
        if result.as_ref().is_err_and(is_counted) {
            self.inc();
        }
        result
    }

    /// Calls `work`, and adds 1 if it panics. Returns what `work` returns; the panic continues.
    ///
    /// ```
    /// use multiprom::{Counter, Static};
    ///
    /// static PANICS: Static<Counter> = Counter::declare("job_panics_total", "Jobs that panicked.");
    ///
    /// # std::panic::set_hook(Box::new(|_| {}));
    /// let job = std::thread::spawn(|| PANICS.count_panics(|| panic!("the job is broken")));
    /// assert!(job.join().is_err());
    /// assert_eq!(PANICS.count_panics(|| 7), 7);
    /// assert_eq!(PANICS.get(), 1.0);
    /// ```
    pub fn count_panics<R>(&self, work: impl FnOnce() -> R) -> R {
        let guard = IncOnDrop(*self);
        let result = work();
        mem::forget(guard);
        result
    }

    /// The total of this process: what it has added since its start or since it was forked.
    pub fn get(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |split| total(split, |cells| cells.total().get()))
    }
}

impl Target for Counter {
    fn accepts(&self, total: f64) -> bool {
        let is_accepted = (0.0..f64::INFINITY).contains(&total);
        if !is_accepted {
            self.ignore(total);
        }
        is_accepted
    }

    fn record_computed(&self, total: f64, order: Order, lock: &SlowPath) {
        if order == Order::First {
            self.0.state.restart_above(total);
        }
        let growth = self.0.state.raise_to(total);
        // The first one exports the counter, also if it is 0.
        if growth > 0.0 || order == Order::First {
            self.0.record_locked(growth.max(0.0), lock);
        }
    }
}

/// Adds 1 when it is dropped.
struct IncOnDrop(Counter);

impl Drop for IncOnDrop {
    fn drop(&mut self) {
        self.0.inc();
    }
}

/// The highest total that a counter has mirrored, as bits. The growth by several threads at once adds up to that total.
#[derive(Default)]
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct Mirrored(AtomicU64);

impl Mirrored {
    /// Begins at 0 again if the highest total so far is above `total`.
    fn restart_above(&self, total: f64) {
        let highest = self.0.load(Ordering::Relaxed);
        if f64::from_bits(highest) > total {
            // OK because another total was mirrored meanwhile.
            let _ = self.0.compare_exchange(highest, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns how much `total`, which is 0 or more, is above the highest one so far.
    fn raise_to(&self, total: f64) -> f64 {
        // ORDERING: relaxed, as no other memory depends on it. The bits of numbers from 0 are in the order of the numbers.
        let total = total.abs();
        let former = f64::from_bits(self.0.fetch_max(total.to_bits(), Ordering::Relaxed));
        total - former
    }
}

/// The alignment of a cache line: threads that record other counters do not slow this one down.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
#[repr(align(64))]
pub struct CacheLine;

/// The cells of a counter series for one thread.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct CounterCells {
    /// What is exported.
    total: WordRef,
    /// How often 1 was added. This integer keeps the floating-point addition out of the dependency chain from one
    /// increment to the next.
    ones: AtomicU64,
    /// The sum of all other amounts, as bits.
    others: AtomicU64,
    /// When these cells were created, in Unix seconds.
    created: WordRef,
}

impl CounterCells {
    #[inline]
    fn total(&self) -> Cell {
        Cell::at(&self.total)
    }

    /// Called by the owner only.
    ///
    /// ORDERING: relaxed. The hand-over of the owner index makes these words visible to the next owner.
    #[inline]
    fn inc(&self) {
        let ones = self.ones.load(Ordering::Relaxed) + 1;
        self.ones.store(ones, Ordering::Relaxed);
        // OK because a signed conversion is one instruction, and the sign is never reached.
        self.total().set(ones as i64 as f64 + Cell::read(&self.others));
    }

    /// Called by the owner only.
    #[inline]
    fn add(&self, amount: f64) {
        let others = Cell::read(&self.others) + amount;
        self.others.store(others.to_bits(), Ordering::Relaxed);
        self.total().set(self.ones.load(Ordering::Relaxed) as i64 as f64 + others);
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
    const LEAD_SAMPLE: SampleKind = SampleKind::Total;
    type Options = ();
    type State = Mirrored;
    type Slots = Split<CounterCells, CacheLine>;

    impl_handle!(Counter);
    split_storage!();

    fn options(_: &Settings) {}

    fn prefetch(split: &Split<CounterCells, CacheLine>) {
        if let Some(cells) = split.first() {
            cells.total().prefetch();
        }
    }

    fn collect(
        split: &Split<CounterCells, CacheLine>,
        (): (),
        sink: &mut dyn FnMut(SampleKind, f64),
    ) {
        sink(SampleKind::Total, total(split, |cells| cells.total().get()));
    }
}

impl SplitTyped for Counter {
    type Cells = CounterCells;
    type Alignment = CacheLine;

    fn samples((): ()) -> impl Iterator<Item = SampleKind> + Clone {
        std::iter::once(SampleKind::Total)
    }

    fn cells((): (), samples: &[SampleCells], _: Home) -> CounterCells {
        let (ones, others) = (AtomicU64::new(0), AtomicU64::new(0));
        let SampleCells { value, time } = samples[0];
        CounterCells { total: value.address(), ones, others, created: time.address() }
    }

    fn activity(split: &Split<CounterCells, CacheLine>, (): ()) -> f64 {
        total(split, |cells| cells.total().get())
    }

    fn created_cell(cells: &CounterCells) -> Cell {
        Cell::at(&cells.created)
    }

    fn words(cells: &CounterCells) -> impl Iterator<Item = Cell> {
        std::iter::once(cells.total())
    }

    #[inline]
    fn record(cells: &CounterCells, amount: f64) {
        cells.add(amount);
    }

    fn record_shared(cells: &CounterCells, amount: f64) -> u32 {
        cells.total().add_counting_failures(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last integer up to which floats represent each integer.
    const LIMIT: u64 = 1 << 53;

    fn cells(ones: u64, others: f64) -> CounterCells {
        let sample = SampleCells::on_heap(ones as f64 + others, 0.0);
        let cells = Counter::cells((), &[sample], Home::HEAP);
        cells.ones.store(ones, Ordering::Relaxed);
        cells.others.store(others.to_bits(), Ordering::Relaxed);
        cells
    }

    #[test]
    fn a_thread_counts_increments_by_1_beyond_the_limit_and_rounds_the_total_once() {
        let cells = cells(LIMIT - 1, 0.0);
        let mut totals = Vec::new();
        for _ in 0..5 {
            cells.inc();
            totals.push(cells.total().get() as u64 - LIMIT);
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
        assert_eq!(cells.total().get() as u64, LIMIT);
        Counter::record(&cells, 2.0);
        assert_eq!(cells.total().get() as u64, LIMIT + 2);
        (0..4).for_each(|_| cells.inc());
        assert_eq!(cells.total().get() as u64, LIMIT + 6);
    }

    #[test]
    fn shared_cells_stop_counting_increments_by_1_at_the_limit() {
        let cells = cells(0, 0.0);
        cells.total().set((LIMIT - 2) as f64);
        let mut totals = Vec::new();
        for _ in 0..4 {
            Counter::record_shared(&cells, 1.0);
            totals.push(cells.total().get() as u64);
        }
        assert_eq!(totals, [LIMIT - 1, LIMIT, LIMIT, LIMIT]);
        Counter::record_shared(&cells, 2.0);
        assert_eq!(cells.total().get() as u64, LIMIT + 2);
    }

    #[test]
    fn a_series_takes_the_memory_that_the_design_states() {
        assert_eq!(
            (size_of::<Split<CounterCells, CacheLine>>(), size_of::<CounterCells>()),
            (64, 32)
        );
    }
}
