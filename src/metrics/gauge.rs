//! Gauges: values that go up and down.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::Metric;
use super::core::{ChildRef, Typed, ignored_handle, impl_handle};
use super::settings::Settings;
use super::timer::{Observe, Timer, guarded};
use crate::model::clock::now;
use crate::model::{GaugeMode, MetricType, SampleKind};
use crate::store::fork::{self, Shortcut, SlowPath, StaticRef};
use crate::store::{Cell, Gate, Opened, SampleCells, SeriesOpener, recording_ignored};

/// A value that goes up and down: a handle of one series, whose copies record into the same series.
///
/// Its [mode](GaugeMode) says how the values of several processes are merged. Without a mode, each process has a series
/// of its own.
///
/// ```
/// use multiprom::{Gauge, GaugeMode, Static};
///
/// static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
///
/// {
///     let _busy = BUSY.track_inprogress();
///     assert_eq!(BUSY.get(), 1.0);
/// }
/// assert_eq!(BUSY.get(), 0.0);
/// ```
#[derive(Clone, Copy)]
pub struct Gauge(ChildRef<Gauge>);

impl Gauge {
    /// Sets the value. NaN and the infinities are allowed.
    #[inline]
    pub fn set(&self, value: f64) {
        let plain = &self.0.state;
        if plain.is_open() {
            plain.cell().set(value);
        } else {
            self.record_with_time(Change::Set(value));
        }
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts 1.
    #[inline]
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// Adds `amount` to the value of this process.
    #[inline]
    pub fn add(&self, amount: f64) {
        let plain = &self.0.state;
        if plain.is_open() {
            plain.cell().add(amount);
        } else {
            self.record_with_time(Change::Add(amount));
        }
    }

    /// Subtracts `amount` from the value of this process.
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.add(-amount);
    }

    /// Sets the value to the wall clock, in seconds since the Unix epoch.
    pub fn set_to_current_time(&self) {
        self.set(now());
    }

    /// Adds 1 now and subtracts it when the guard is dropped.
    ///
    /// The guard subtracts from the value that it was added to. With a multiprocess directory, a guard that a forked child
    /// inherits changes nothing in the child, whose gauges begin at 0; in memory the child has a copy of the value, and
    /// the guard changes that. A guard that is dropped after [`Registry::close`](crate::Registry::close) changes nothing
    /// in new files.
    pub fn track_inprogress(&self) -> InProgress {
        let begin = Change::Add(1.0);
        let cells = match self.0.bound() {
            Some(cells) if cells.try_apply(begin) => Some(cells),
            _ => self.record_with_time(begin),
        };
        InProgress { gauge: *self, cells, removals: self.0.removals() }
    }

    /// Starts a timer that sets the value to the elapsed seconds when it stops.
    pub fn start_timer(&self) -> Timer<Gauge> {
        Timer::start(*self)
    }

    /// Calls `work` and sets the value to the seconds that it takes, also if it panics. Returns what `work` returns.
    ///
    /// ```
    /// use multiprom::{Gauge, Static};
    ///
    /// static LAST: Static<Gauge> = Gauge::declare("last_run_seconds", "Time of the last run.");
    ///
    /// assert_eq!(LAST.time(|| 6 * 7), 42);
    /// assert!(LAST.get() > 0.0);
    /// ```
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        let _timer = self.start_timer();
        work()
    }

    /// Wraps a future, and sets the value to the seconds from its first poll until it completes or is dropped.
    ///
    /// ```
    /// use multiprom::{Gauge, Static};
    ///
    /// static LAST: Static<Gauge> = Gauge::declare("last_run_seconds", "Time of the last run.");
    ///
    /// async fn load() -> u32 {
    ///     LAST.time_future(async { 42 }).await
    /// }
    /// # use std::pin::pin;
    /// # use std::task::{Context, Poll, Waker};
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # assert_eq!(pin!(load()).poll(&mut context), Poll::Ready(42));
    /// # assert!(LAST.get() > 0.0);
    /// ```
    pub fn time_future<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let metric = *self;
        guarded(move || metric.start_timer(), future)
    }

    /// Wraps a future, which counts as in progress from its first poll until it completes or is dropped: see
    /// [`track_inprogress`](Gauge::track_inprogress).
    ///
    /// ```
    /// use multiprom::{Gauge, GaugeMode, Static};
    ///
    /// static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
    ///
    /// async fn respond() -> f64 {
    ///     BUSY.track_inprogress_future(async { BUSY.get() }).await
    /// }
    /// # use std::pin::pin;
    /// # use std::task::{Context, Poll, Waker};
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # assert_eq!(pin!(respond()).poll(&mut context), Poll::Ready(1.0));
    /// assert_eq!(BUSY.get(), 0.0);
    /// ```
    pub fn track_inprogress_future<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let gauge = *self;
        guarded(move || gauge.track_inprogress(), future)
    }

    /// Records for the first time in this process, in a mode mostrecent, or while the series waits for a file. Returns the
    /// cells that changed; `None` if the recording was ignored.
    #[inline(never)]
    fn record_with_time(self, change: Change) -> Option<&'static GaugeCells> {
        match self.0.bound() {
            Some(cells) if cells.is_most_recent && cells.gate.is_none() => {
                cells.apply_with_time(change);
                Some(cells)
            }
            cells => self.record_slowly(cells, change),
        }
    }

    /// Records for the first time in this process, or while the series waits for a file.
    #[cold]
    fn record_slowly(
        self,
        cells: Option<&'static GaugeCells>,
        change: Change,
    ) -> Option<&'static GaugeCells> {
        if self.0.is_removed() {
            return None;
        }
        let store = self.0.store();
        if let Some(cells) = cells
            && cells.gate.is_some()
            && cells.pass_gate(change)
        {
            store.retry();
            return Some(cells);
        }
        store.prepare();
        let Some(lock) = fork::lock() else {
            // A signal handler or an allocator that interrupted the slow path.
            let cells = cells.filter(|cells| cells.pass_gate(change));
            if cells.is_none() {
                recording_ignored();
            }
            return cells;
        };
        // OK because the series may have been removed while this thread waited for the lock.
        if self.0.is_removed() {
            return None;
        }
        let cells = self.0.bind(&lock);
        cells.pass_gate(change);
        if !cells.is_most_recent && cells.gate.is_none() {
            self.0.state.0.open(cells.sample.value.word(), &lock);
        }
        Some(cells)
    }

    /// The value of this process; 0 if it has not set one. That is so in the modes `count` and `livecount` too, which export
    /// a number of processes.
    pub fn get(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |cells| cells.sample.value.get())
    }
}

impl Observe for Gauge {
    fn observe_elapsed(self, elapsed: Duration) {
        self.set(elapsed.as_secs_f64());
    }
}

/// Counts something as in progress until it is dropped.
#[must_use = "what is in progress ends when this is dropped"]
pub struct InProgress {
    gauge: Gauge,
    /// The cells that 1 was added to; `None` if that was ignored. A forked child must not follow them to the mapping.
    cells: Option<&'static GaugeCells>,
    /// How often the gauge had been removed when the guard began.
    removals: u32,
}

impl fmt::Debug for InProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InProgress").field(&self.gauge).finish()
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let Some(GaugeCells { generation, .. }) = self.cells else {
            return;
        };
        if self.gauge.0.removals() != self.removals {
            return;
        }
        match self.gauge.0.bound() {
            Some(now) if now.generation == *generation && now.end(Change::Add(-1.0)) => {}
            _ => self.gauge.end_slowly(*generation),
        }
    }
}

impl Gauge {
    /// Ends a guard whose cells are not the current ones of the gauge.
    #[cold]
    fn end_slowly(self, generation: u64) {
        let (store, end) = (self.0.store(), Change::Add(-1.0));
        if store.generation() == generation {
            store.prepare();
            let Some(lock) = fork::lock() else {
                return recording_ignored();
            };
            // OK because files are closed under the lock.
            if store.generation() == generation {
                self.0.bind(&lock).pass_gate(end);
                return;
            }
        }
        if let Some(former) = self.0.former().filter(|former| former.generation == generation) {
            former.apply(end);
        }
    }
}

impl Metric for Gauge {}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a recording does to the value.
#[derive(Clone, Copy)]
enum Change {
    Set(f64),
    Add(f64),
}

/// The cell of the value while recordings change nothing else: not the first recording of a process, which stores the time
/// too, none in the modes mostrecent, and none of a waiting gauge, which pass its gate.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct PlainCell(Shortcut<AtomicU64>);

impl PlainCell {
    #[inline]
    fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// The cell. Not part of an `Option`, as the compiler would then check that the address is not null.
    #[inline]
    fn cell(&self) -> Cell {
        Cell::new(self.0.value())
    }
}

impl Default for PlainCell {
    fn default() -> PlainCell {
        static NO_CELL: AtomicU64 = AtomicU64::new(0);
        PlainCell(Shortcut::closed(&NO_CELL))
    }
}

/// The cells of a gauge series, which all threads share.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct GaugeCells {
    sample: SampleCells,
    is_most_recent: bool,
    /// Set while the gauge waits.
    gate: Option<&'static Gate>,
    /// See [`Store::generation`](crate::store::Store::generation).
    generation: u64,
}

impl GaugeCells {
    #[inline]
    fn apply(&self, change: Change) {
        match change {
            Change::Set(value) => self.sample.value.set(value),
            Change::Add(amount) => self.sample.value.add(amount),
        }
    }

    /// Changes only the value, or returns `false` if recordings store the time too or pass the gate.
    #[inline]
    fn try_apply(&self, change: Change) -> bool {
        let has_time = self.sample.time.get() > 0.0;
        let is_plain = has_time && !self.is_most_recent && self.gate.is_none();
        if is_plain {
            self.apply(change);
        }
        is_plain
    }

    /// Ends a guard. Returns `false` if the value was moved into a file.
    fn end(&self, change: Change) -> bool {
        self.try_apply(change) || self.pass_gate(change)
    }

    /// Stores the time too: of every recording in the modes mostrecent, else of the first.
    ///
    /// The time is stored before the value, so a reader takes no new value for an old one's time.
    #[cold]
    fn apply_with_time(&self, change: Change) {
        let seen = self.sample.time.get();
        // OK because the time of a gauge that was removed meanwhile is negative, and stays.
        if seen == 0.0 || (self.is_most_recent && seen > 0.0) {
            self.sample.time.replace(seen, now());
        }
        self.apply(change);
    }

    /// Passes the gate, if there is one, and stores the time too. Returns `false` if the value was moved into a file.
    #[cold]
    fn pass_gate(&self, change: Change) -> bool {
        match self.gate {
            Some(gate) => gate.pass(|| self.apply_with_time(change)),
            None => {
                self.apply_with_time(change);
                true
            }
        }
    }
}

impl Typed for Gauge {
    const TYPE: MetricType = MetricType::Gauge;
    const LEAD_SAMPLE: SampleKind = SampleKind::Value;
    const HAS_MODE: bool = true;
    type Options = GaugeMode;
    type State = PlainCell;
    type Slots = GaugeCells;

    impl_handle!(Gauge);

    fn options(settings: &Settings) -> GaugeMode {
        settings.mode
    }

    fn has_options(mode: GaugeMode, settings: &Settings) -> bool {
        mode == settings.mode
    }

    fn open(
        opener: &SeriesOpener<'_>,
        mode: GaugeMode,
        _: Option<&'static GaugeCells>,
    ) -> &'static GaugeCells {
        let Opened { cells, gate } = opener.open(std::iter::once(SampleKind::Value), 0.0);
        Box::leak(Box::new(GaugeCells {
            sample: cells[0],
            is_most_recent: mode.is_most_recent(),
            gate,
            generation: opener.generation(),
        }))
    }

    fn resume(cells: &GaugeCells) {
        cells.sample.reset();
    }

    fn unbind(plain: &PlainCell) {
        plain.0.close();
    }

    fn is_moved(cells: &GaugeCells) -> bool {
        cells.gate.is_some_and(Gate::is_closed)
    }

    fn inherit(cells: &'static GaugeCells) -> &'static GaugeCells {
        cells
    }

    fn export_zeros(child: ChildRef<Gauge>, lock: &SlowPath) {
        child.bind(lock);
    }

    fn collect(cells: &GaugeCells, mode: GaugeMode, sink: &mut dyn FnMut(SampleKind, f64)) {
        let SampleCells { value, time } = cells.sample;
        let is_set = || time.get() != 0.0;
        let exported = if mode.is_count() { f64::from(is_set()) } else { value.get() };
        sink(SampleKind::Value, exported);
    }
}
