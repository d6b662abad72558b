//! Gauges: values that go up and down.

use std::sync::atomic::{AtomicBool, Ordering};

use super::core::{Child, ChildRef, FamilySpec, Typed, ignored_child};
use super::timer::{Observe, Timer};
use super::{Builder, Family, Metric, statics};
use crate::model::clock::now;
use crate::model::{GaugeMode, MetricType, Part, name};
use crate::store::fork::{self, SlowPath, StaticRef};
use crate::store::{Gate, Opened, SampleCells, SeriesOpener, recording_ignored};

/// A value that goes up and down, declared as a static.
///
/// Its [mode](GaugeMode) says how the values of many processes become one; without
/// [`mode`](Gauge::mode) each process keeps a series of its own.
///
/// ```
/// use multiprom::{Gauge, GaugeMode};
///
/// static BUSY: Gauge = Gauge::new("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
///
/// {
///     let _busy = BUSY.track_inprogress();
///     assert_eq!(BUSY.get(), 1.0);
/// }
/// assert_eq!(BUSY.get(), 0.0);
/// ```
pub struct Gauge {
    name: &'static str,
    help: &'static str,
    mode: GaugeMode,
    child: StaticRef<Child<Gauge>>,
}

impl Gauge {
    /// Declares a gauge; it registers with the default registry at its first use.
    ///
    /// # Panics
    ///
    /// If the name is not a metric name, which in a static fails the build. For names that are known
    /// only at run time there is [`builder`](Gauge::builder).
    pub const fn new(name: &'static str, help: &'static str) -> Gauge {
        assert!(name::is_metric_name(name), "not a metric name");
        Gauge { name, help, mode: GaugeMode::All, child: StaticRef::empty() }
    }

    /// Sets how the values of many processes are merged.
    pub const fn mode(self, mode: GaugeMode) -> Gauge {
        Gauge { mode, ..self }
    }

    /// Makes it a family with these labels.
    ///
    /// # Panics
    ///
    /// If a label name is malformed, reserved or given twice, or is `pid` in a mode that sets it, which
    /// in a static fails the build. Set the mode first.
    pub const fn labels<const N: usize>(self, labels: [&'static str; N]) -> Family<Gauge, N> {
        let mut at = 0;
        while at < N {
            let taken = self.mode.is_per_process() && name::same(labels[at], "pid");
            assert!(!taken, "the label pid is taken in the modes all and liveall");
            at += 1;
        }
        Family::declare(self.name, self.help, labels, self.mode)
    }

    /// A gauge whose name is known only at run time.
    pub fn builder(name: impl Into<String>, help: impl Into<String>) -> Builder<Gauge> {
        Builder::new(name.into(), help.into(), GaugeMode::All)
    }

    /// The handle of this gauge: one load less for each recording.
    #[inline]
    pub fn handle(&self) -> GaugeHandle {
        GaugeHandle(statics::child(&self.child, || self.spec()))
    }

    /// As [`GaugeHandle::set`].
    #[inline]
    pub fn set(&self, value: f64) {
        self.handle().set(value);
    }

    /// As [`GaugeHandle::inc`].
    #[inline]
    pub fn inc(&self) {
        self.handle().inc();
    }

    /// As [`GaugeHandle::dec`].
    #[inline]
    pub fn dec(&self) {
        self.handle().dec();
    }

    /// As [`GaugeHandle::add`].
    #[inline]
    pub fn add(&self, amount: f64) {
        self.handle().add(amount);
    }

    /// As [`GaugeHandle::sub`].
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.handle().sub(amount);
    }

    /// As [`GaugeHandle::set_to_current_time`].
    pub fn set_to_current_time(&self) {
        self.handle().set_to_current_time();
    }

    /// As [`GaugeHandle::track_inprogress`].
    pub fn track_inprogress(&self) -> InProgress {
        self.handle().track_inprogress()
    }

    /// As [`GaugeHandle::start_timer`].
    pub fn start_timer(&self) -> Timer<GaugeHandle> {
        self.handle().start_timer()
    }

    /// As [`GaugeHandle::get`].
    pub fn get(&self) -> f64 {
        self.handle().get()
    }

    fn spec(&self) -> FamilySpec<'_, Gauge> {
        FamilySpec { name: self.name, help: self.help, label_names: &[], options: self.mode }
    }
}

statics::impl_declare!(Gauge);

/// Records into one gauge series. A copy is another name of the same series.
#[derive(Clone, Copy)]
pub struct GaugeHandle(ChildRef<Gauge>);

impl GaugeHandle {
    /// Sets the value. Any number is allowed, NaN and the infinities too.
    #[inline]
    pub fn set(&self, value: f64) {
        self.record(Change::Set(value));
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

    /// Adds `amount` to what this process has.
    #[inline]
    pub fn add(&self, amount: f64) {
        self.record(Change::Add(amount));
    }

    /// Subtracts `amount` from what this process has.
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.add(-amount);
    }

    /// Sets the value to the wall clock, in seconds since the Unix epoch.
    pub fn set_to_current_time(&self) {
        self.set(now());
    }

    /// Adds 1 now and subtracts it when the guard is dropped.
    pub fn track_inprogress(&self) -> InProgress {
        self.inc();
        InProgress(*self)
    }

    /// Sets the value to the seconds that pass until the timer stops.
    pub fn start_timer(&self) -> Timer<GaugeHandle> {
        Timer::start(*self)
    }

    #[inline]
    fn record(self, change: Change) {
        match self.0.bound() {
            Some(cells) if !cells.is_special.load(Ordering::Relaxed) => cells.apply(change),
            Some(cells) if cells.gate.is_none() => cells.apply_with_time(change),
            cells => self.record_slowly(cells, change),
        }
    }

    /// Records for the first time in this process, or while the gauge waits for a place.
    #[cold]
    fn record_slowly(self, cells: Option<&'static GaugeCells>, change: Change) {
        let store = self.0.store();
        if cells.is_some_and(|cells| cells.pass_gate(change)) {
            return store.retry();
        }
        store.prepare();
        match fork::lock() {
            Some(lock) => _ = self.0.bind(&lock).pass_gate(change),
            None => recording_ignored(),
        }
    }

    /// The value that this process has; 0 if it never set one.
    pub fn get(&self) -> f64 {
        self.0.slots_if_bound().map_or(0.0, |cells| cells.sample.value.get())
    }
}

impl Observe for GaugeHandle {
    fn observe(&self, value: f64) {
        self.set(value);
    }
}

/// Counts something as in progress until it is dropped.
#[must_use = "what is in progress ends when this is dropped"]
pub struct InProgress(GaugeHandle);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metric for Gauge {
    type Handle = GaugeHandle;

    fn handle(child: ChildRef<Gauge>) -> GaugeHandle {
        GaugeHandle(child)
    }
}

/// What a recording does to the value.
#[derive(Clone, Copy)]
enum Change {
    Set(f64),
    Add(f64),
}

/// The cells of a gauge series, which all threads share.
pub struct GaugeCells {
    sample: SampleCells,
    /// Whether the next recording does more than to change the value. The first one notes the time, as each does where
    /// the newest decides; those of a gauge that waits for a place go through its gate.
    is_special: AtomicBool,
    is_most_recent: bool,
    /// Of a gauge that waits for a place in a file.
    gate: Option<&'static Gate>,
}

impl GaugeCells {
    #[inline]
    fn apply(&self, change: Change) {
        match change {
            Change::Set(value) => self.sample.value.set(value),
            Change::Add(amount) => self.sample.value.add(amount),
        }
    }

    /// Notes the time too: of each recording where the newest decides, else of the first.
    ///
    /// The time is stored before the value, so a reader takes no new value for an old one's time.
    #[cold]
    fn apply_with_time(&self, change: Change) {
        if self.is_most_recent || self.sample.time.get() == 0.0 {
            self.sample.time.set(now());
        }
        self.is_special.store(self.is_most_recent || self.gate.is_some(), Ordering::Relaxed);
        self.apply(change);
    }

    /// Records through the gate, if there is one. Returns `false` where the value was moved.
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
    type Options = GaugeMode;
    type Given = GaugeMode;
    type Slots = GaugeCells;

    fn mode(mode: &GaugeMode) -> Option<GaugeMode> {
        Some(*mode)
    }

    fn open(
        opener: &SeriesOpener<'_>,
        mode: GaugeMode,
        _: Option<&'static GaugeCells>,
    ) -> &'static GaugeCells {
        let Opened { cells, gate } = opener.open(std::iter::once(Part::Value), 0.0);
        Box::leak(Box::new(GaugeCells {
            sample: cells[0],
            is_special: AtomicBool::new(true),
            is_most_recent: mode.is_most_recent(),
            gate,
        }))
    }

    fn is_moved(cells: &GaugeCells) -> bool {
        cells.gate.is_some_and(Gate::is_closed)
    }

    fn inherit(cells: &'static GaugeCells) -> &'static GaugeCells {
        cells
    }

    fn declare(child: ChildRef<Gauge>, lock: &SlowPath) {
        child.bind(lock);
    }

    fn ignored() -> ChildRef<Gauge> {
        static CHILD: StaticRef<Child<Gauge>> = StaticRef::empty();
        ignored_child(&CHILD, GaugeMode::All)
    }

    fn collect(cells: &GaugeCells, _: GaugeMode, sink: &mut dyn FnMut(Part, f64)) {
        sink(Part::Value, cells.sample.value.get());
    }
}
