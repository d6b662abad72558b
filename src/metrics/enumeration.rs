//! Enums: which of several states a process is in.

use std::fmt;

use super::Metric;
use super::core::{ChildRef, Ignored, Typed};
use super::gauge_cells::{Change, GaugeCells};
use super::handle::{ignored_handle, impl_handle};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    FamilySink, GaugeMode, KeptLabels, LabelPairs as _, Labels, MetricType, Sample, SampleKind,
};
use crate::store::fork::{self, SlowPath, StaticRef};
use crate::store::{SeriesOpener, recording_ignored};

/// Which of several states something is in: a sample for each state, of which one is 1 and the others are 0.
///
/// The state is in a label with the name of the metric. The text format shows a gauge, OpenMetrics a state set. The first
/// state is the initial one.
///
/// The [mode](GaugeMode) says how the states of several processes are merged. By default,
/// [`LiveAll`](GaugeMode::LiveAll), each live process has a state set with the label `pid`. In `LiveMax` one state set shows the
/// states that any live process is in, in `LiveMin` the state that all are in.
///
/// ```
/// use multiprom::{Enum, GaugeMode, Static};
///
/// static STATE: Static<Enum> =
///     Enum::declare("worker_state", "State of the worker.", &["idle", "busy"]).mode(GaugeMode::LiveMax);
///
/// assert_eq!(STATE.get(), "idle");
/// STATE.set("busy")?;
/// // worker_state{worker_state="idle"} 0
/// // worker_state{worker_state="busy"} 1
/// assert_eq!(STATE.get(), "busy");
/// assert!(STATE.set("asleep").is_err());
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Enum(ChildRef<Enum>);

impl Enum {
    /// Enters a state. The others become inactive; a scrape in between may show two active states.
    ///
    /// It takes the lock of the slow path, as registration does. In a multiprocess directory, a forked child has no state set
    /// until it enters a state or registers the enum, and begins with the first state; in memory it has a copy of that of its
    /// parent.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) if there is no such state. Nothing changes then.
    pub fn set(&self, state: &str) -> Result<()> {
        let (child, states) = (self.0, self.0.family().options().states);
        let Some(at) = states.iter().position(|other| **other == *state) else {
            // A handle that a signal handler got has no states.
            return if states.is_empty() { Ok(()) } else { Err(self.unknown(state)) };
        };
        if child.is_removed() {
            return Ok(());
        }
        child.store().prepare();
        match fork::lock() {
            // OK because the series may have been removed while this thread waited for the lock.
            Some(_) if child.is_removed() => {}
            Some(lock) => child.bind(&lock).enter(at),
            None => recording_ignored(),
        }
        Ok(())
    }

    fn unknown(self, state: &str) -> Error {
        let (name, states) =
            (self.0.family().name(), self.0.family().options().states.join("`, `"));
        let message = format!("enum `{name}` has no state `{state}`, but `{states}`");
        Error::new(ErrorKind::InvalidLabels, message)
    }

    /// The state of this process; the first one if it has entered none.
    pub fn get(&self) -> &'static str {
        let states = self.0.family().options().states;
        let active = self.0.slots_if_bound().and_then(EnumSlots::active);
        states.get(active.unwrap_or_default()).map_or("", |state| state)
    }
}

impl Metric for Enum {}

impl fmt::Debug for Enum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The states and the mode of a family.
#[derive(Clone, Copy, Debug)]
pub struct EnumOptions {
    states: &'static [Box<str>],
    mode: GaugeMode,
}

/// The series of all states, in the order of the states.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct EnumSlots(Box<[StateSeries]>);

struct StateSeries {
    /// With that of the state.
    labels: KeptLabels,
    cells: &'static GaugeCells,
}

impl EnumSlots {
    /// The index of the active state; `None` if none was entered.
    fn active(&self) -> Option<usize> {
        self.0.iter().position(|series| series.cells.value() > 0.0)
    }

    /// Enters a state. Called under the lock of the slow path.
    fn enter(&self, at: usize) {
        if let Some(entered) = self.0.get(at) {
            entered.cells.pass_gate(Change::Set(1.0));
        }
        for (_, left) in self.0.iter().enumerate().filter(|(other, _)| *other != at) {
            left.cells.pass_gate(Change::Set(0.0));
        }
    }
}

impl Typed for Enum {
    const TYPE: MetricType = MetricType::StateSet;
    const LEAD_SAMPLE: SampleKind = SampleKind::State;
    const HAS_MODE: bool = true;
    const DEFAULT_MODE: GaugeMode = GaugeMode::LiveAll;
    type Options = EnumOptions;
    type State = ();
    type Slots = EnumSlots;

    const IS_TRANSIENT: bool = false;

    impl_handle!(Enum);

    fn check(settings: &Settings) -> Result<()> {
        let Settings { states, unit, mode, .. } = settings;
        if unit.is_some() {
            return Err(Error::new(ErrorKind::InvalidName, "an enum has no unit"));
        }
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidLabels, message));
        if states.is_empty() {
            return invalid("an enum has at least one state".to_owned());
        }
        if let Some((_, state)) =
            states.iter().enumerate().find(|(at, state)| states[..*at].contains(state))
        {
            return invalid(format!("state `{state}` is given twice"));
        }
        if mode.is_count() {
            return invalid(format!("an enum cannot have the gauge mode {mode}"));
        }
        Ok(())
    }

    fn options(settings: &Settings) -> EnumOptions {
        let states: Vec<Box<str>> = settings.states.iter().map(|state| (&**state).into()).collect();
        EnumOptions { states: states.leak(), mode: settings.mode }
    }

    fn has_options(options: EnumOptions, settings: &Settings) -> bool {
        let states = options.states.iter().map(|state| &**state);
        options.mode == settings.mode && states.eq(settings.states.iter().map(String::as_str))
    }

    fn open(
        opener: &SeriesOpener<'_>,
        options: EnumOptions,
        _: Option<&'static EnumSlots>,
    ) -> &'static EnumSlots {
        let open = |state: &str| {
            let labels = opener.labels_and(&[(opener.family(), state)]);
            let opener = opener.with_labels(&labels);
            let cells = GaugeCells::open(&opener, SampleKind::State, options.mode);
            cells.reset_if_removed();
            StateSeries { labels, cells }
        };
        let slots = EnumSlots(options.states.iter().map(|state| open(state)).collect());
        // The series of a lost file, and those that have waited for a file, continue with their values.
        if slots.active().is_none() {
            slots.enter(0);
        }
        Box::leak(Box::new(slots))
    }

    fn remove(opener: &SeriesOpener<'_>, slots: &EnumSlots) {
        for series in &slots.0 {
            opener.with_labels(&series.labels).remove(SampleKind::State);
        }
    }

    /// OK because the series are restored when they are opened or resumed.
    fn restore(_: &SeriesOpener<'_>) {}

    /// A state set that comes back begins with the first state.
    fn resume(slots: &EnumSlots) {
        slots.0.iter().for_each(|series| series.cells.reset());
        slots.enter(0);
    }

    fn is_moved(slots: &EnumSlots) -> bool {
        slots.0.iter().any(|series| series.cells.is_moved())
    }

    fn inherit(slots: &'static EnumSlots) -> &'static EnumSlots {
        slots
    }

    fn export_zeros(child: ChildRef<Enum>, lock: &SlowPath) {
        child.bind(lock);
    }

    fn emit(slots: &EnumSlots, _: EnumOptions, _: Labels<'_>, out: &mut dyn FamilySink) {
        for StateSeries { labels, cells } in &slots.0 {
            let mut pairs = Vec::new();
            let value = f64::from(cells.value() > 0.0);
            out.sample(&Sample::new(SampleKind::State, labels.labels(&mut pairs), value));
        }
    }
}
