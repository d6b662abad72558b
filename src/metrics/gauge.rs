//! Gauges: values that go up and down.

use std::fmt;
use std::time::Duration;

use super::Metric;
use super::core::{ChildRef, Ignored, Typed};
use super::functions::{Order, Target};
use super::gauge_cells::{Change, GaugeCells, PlainCell};
use super::handle::{ignored_handle, impl_handle};
use super::settings::Settings;
use super::timer::{Observe, Timer, guarded};
use crate::model::clock::now;
use crate::model::{GaugeMode, MetricType, SampleKind};
use crate::store::fork::{self, Release, SlowPath, StaticRef};
use crate::store::{SeriesOpener, recording_ignored};

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

    /// Sets the function that computes the value.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use multiprom::{Gauge, GaugeMode, Static};
    ///
    /// static QUEUE: Static<Gauge> = Gauge::declare("queue", "Jobs waiting.").mode(GaugeMode::LiveSum);
    ///
    /// let jobs = Arc::new(Mutex::new(vec!["a", "b"]));
    /// let queue = Arc::clone(&jobs);
    /// QUEUE.set_function(move || queue.lock().map_or(0.0, |jobs| jobs.len() as f64));
    /// assert!(multiprom::render(None).to_string().contains("\nqueue 2\n"));
    /// jobs.lock().unwrap().pop();
    /// assert!(multiprom::render(None).to_string().contains("\nqueue 1\n"));
    /// ```
    ///
    /// In memory, the function is called whenever the gauge is gathered. In a multiprocess directory a thread of the process
    /// calls it, at once and then
    /// [every five seconds](crate::DirectoryOptions::refresh_interval), and when the process itself is scraped or calls
    /// [`Registry::flush`](crate::Registry::flush); other processes see the last value.
    ///
    /// - A second call replaces the function. [`Family::remove`](crate::Family::remove) and
    ///   [`clear`](crate::Family::clear) remove it with the series; it does not come back with the series.
    /// - If the function panics, the value stays; panics are counted in `multiprom_failed_refreshes_total`, and the first one
    ///   is logged.
    /// - It is called under no lock of this crate, possibly by several threads at once in memory. In a directory, forks
    ///   of the process wait while it runs, a quarter of a second at most, so that a child inherits no lock that it holds.
    ///   Forks do not wait for a function that took more than 50 milliseconds the last time.
    /// - A forked child inherits the function. In a directory it calls the function only after its own first recording,
    ///   registration or flush.
    /// - A slow function delays the values of all other functions and collectors, and a scrape of the process by a second at
    ///   most.
    /// - After [`Registry::close`](crate::Registry::close) it is not called, until something that is computed is registered or
    ///   the registry is flushed.
    pub fn set_function(&self, function: impl Fn() -> f64 + Send + Sync + 'static) {
        if !self.0.is_removed() {
            let family = self.0.family();
            family.functions.set(*self, self.0.address(), self.0.store(), function);
        }
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
            Some(cells) if cells.is_timed() => {
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
            && cells.gate.get().is_some()
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
        if cells.is_plain_after_first() {
            self.0.state.0.open(cells.word(), &lock);
        }
        Some(cells)
    }

    /// The value of this process; 0 if it has not set one. That is so in the modes `count` and `livecount` too, which export
    /// a number of processes.
    pub fn get(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, GaugeCells::value)
    }
}

impl Target for Gauge {
    fn record_computed(&self, value: f64, _: Order, lock: &SlowPath) {
        if !self.0.is_removed() {
            self.0.bind(lock).pass_gate(Change::Set(value));
        }
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
    /// The [removals](Child::removals) of the gauge when the guard began.
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
            _ => self.end_slowly(*generation),
        }
    }
}

impl InProgress {
    /// Ends the guard, whose cells are not the current ones of the gauge.
    #[cold]
    fn end_slowly(&self, generation: u64) {
        let series = self.gauge.0;
        let (store, end) = (series.store(), Change::Add(-1.0));
        if store.generation() == generation {
            store.prepare();
            let Some(lock) = fork::lock() else {
                return recording_ignored();
            };
            // OK because the gauge may have been removed while this thread waited for the lock.
            if series.removals() != self.removals {
                return;
            }
            // OK because files are closed under the lock.
            if store.generation() == generation {
                series.bind(&lock).pass_gate(end);
                return;
            }
        }
        if let Some(former) = series.former().filter(|former| former.generation == generation) {
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
        GaugeCells::open(opener, SampleKind::Value, mode)
    }

    fn resume(cells: &GaugeCells) {
        cells.reset();
    }

    fn unbind(plain: &PlainCell) {
        plain.0.close();
    }

    fn is_moved(cells: &GaugeCells) -> bool {
        cells.is_moved()
    }

    fn inherit(cells: &'static GaugeCells) -> &'static GaugeCells {
        cells
    }

    fn release(cells: &'static GaugeCells, release: &mut Release) {
        cells.release(release);
    }

    fn export_zeros(child: ChildRef<Gauge>, lock: &SlowPath) {
        child.bind(lock);
    }

    fn collect(cells: &GaugeCells, mode: GaugeMode, sink: &mut dyn FnMut(SampleKind, f64)) {
        let exported = if mode.is_count() { f64::from(cells.is_set()) } else { cells.value() };
        sink(SampleKind::Value, exported);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Backend, Registry};

    #[test]
    fn a_guard_that_waits_for_the_lock_does_not_bring_back_a_gauge_that_is_removed_meanwhile() {
        let registry = Registry::builder().backend(Backend::in_memory()).build().unwrap();
        let levels = Gauge::builder("level", "L.").labels(["at"]).register(&registry).unwrap();
        let guard = levels.with(["a"]).track_inprogress();
        let generation = guard.cells.unwrap().generation;
        assert!(levels.remove(["a"]));
        guard.end_slowly(generation);
        assert!(guard.gauge.0.is_removed());
        assert_eq!(registry.render(None).to_string(), "");
    }
}
