//! Metrics declared as statics: registered with the default registry at their first use, or before it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use super::family::Family;
use super::settings::Settings;
use super::spec::{FamilySpec, IsNew, Unusable, slow_path};
use super::{Enum, Gauge, Histogram, Info, Metric, buckets};
use crate::error::Result;
use crate::model::name::{self, NameRules};
use crate::model::{GaugeMode, MetricType, Unit};
use crate::registry::{Registry, default_registry, registration_failed};
use crate::store::fork::SlowPath;
use crate::store::set_once::SetOnce;

/// A metric or a family that is declared as a static, and dereferences to it.
///
/// It is registered with the [default registry](default_registry) when it is first used, or by [`register_statics`].
/// If that fails, its recordings are kept in memory and not exported: the error is logged once and counted in
/// `multiprom_registration_errors_total`.
///
/// A declaration belongs in a `static`. A `const`, or a local variable, is a new declaration at each use, and all but
/// the first fail to register.
///
/// ```
/// use multiprom::{Counter, Family, Gauge, GaugeMode, Histogram, Static, buckets};
///
/// static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
/// static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
/// static LATENCY: Static<Family<Histogram>> =
///     Histogram::declare("latency_seconds", "Latency by route.")
///         .buckets(&buckets::GO_DEFAULT)
///         .labels(["route"]);
///
/// HITS.inc();
/// let _busy = BUSY.track_inprogress();
/// LATENCY.with(["/"]).observe(0.2);
///
/// // A copy of the handle: a function need not know where it comes from.
/// fn count(hits: &Counter) {
///     hits.inc();
/// }
/// count(&HITS);
/// let hits: Counter = *HITS;
/// count(&hits);
/// assert_eq!(HITS.get(), 3.0);
/// ```
// The slot comes first, as its value does in it.
#[repr(C)]
pub struct Static<T: Declared> {
    slot: SetOnce<T>,
    name: &'static str,
    help: &'static str,
    labels: T::Labels,
    mode: GaugeMode,
    bounds: &'static [f64],
    states: &'static [&'static str],
    naming: Naming,
}

/// What a declaration adds to its name and its labels.
#[derive(Clone, Copy)]
struct Naming {
    namespace: Option<&'static str>,
    subsystem: Option<&'static str>,
    unit: Option<Unit>,
    const_labels: &'static [(&'static str, &'static str)],
    rules: NameRules,
    max_series: Option<usize>,
}

impl Naming {
    const NONE: Naming = Naming {
        namespace: None,
        subsystem: None,
        unit: None,
        const_labels: &[],
        rules: NameRules::Classic,
        max_series: None,
    };
}

/// What a [`Static`] can declare: a metric or a [`Family`].
///
/// Sealed: other crates cannot implement it.
pub trait Declared: Copy + Send + Sync + sealed::Declared {}

/// The label names of a family whose labels are those of a type.
#[derive(Clone, Copy, Debug)]
pub struct LabelNames(pub(super) &'static [&'static str]);

impl AsRef<[&'static str]> for LabelNames {
    fn as_ref(&self) -> &[&'static str] {
        self.0
    }
}

pub(super) mod sealed {
    use super::{FamilySpec, IsNew, Unusable};
    use crate::error::Result;
    use crate::registry::Registry;
    use crate::store::fork::SlowPath;

    pub trait Declared: Sized + 'static {
        /// The label names: an array, or nothing.
        type Labels: Copy + Send + Sync + AsRef<[&'static str]>;

        /// Whether each series has label names of its own.
        const HAS_OPEN_LABELS: bool = false;

        /// Registers with a registry.
        fn register(
            spec: &FamilySpec<'_>,
            registry: &Registry,
            unusable: Unusable,
            lock: &SlowPath,
        ) -> Result<Self>;

        /// Whether it was unregistered.
        fn is_retired(&self) -> bool;

        /// What records in memory and is not exported, for a static that cannot be registered.
        fn detached(spec: &FamilySpec<'_>, lock: &SlowPath) -> (Self, IsNew);

        /// What a signal handler or an allocator gets that interrupted the slow path.
        fn ignored() -> &'static Self;

        /// Exports the zero, if there are no labels, and returns the error of a backend that cannot be used.
        fn prepare(self, lock: &SlowPath) -> Result<()>;
    }
}

impl<M: Metric> Static<M> {
    pub(super) const fn new(name: &'static str, help: &'static str, rules: NameRules) -> Static<M> {
        assert!(rules.is_metric_name(name), "not a metric name");
        let (mode, bounds) = (M::DEFAULT_MODE, &buckets::DEFAULT);
        let naming = Naming { rules, ..Naming::NONE };
        Static { slot: SetOnce::empty(), name, help, labels: [], mode, bounds, states: &[], naming }
    }

    /// Puts `<namespace>_` before the name and the subsystem.
    ///
    /// ```
    /// use multiprom::{Counter, Static, Unit, default_registry};
    ///
    /// static READ: Static<Counter> = Counter::declare("read", "Bytes read.")
    ///     .namespace("shop")
    ///     .subsystem("upload")
    ///     .unit(Unit::Bytes)
    ///     .const_labels(&[("tier", "gold")]);
    ///
    /// READ.inc_by(3.0);
    /// let value = default_registry().sample_value("shop_upload_read_bytes_total", &[("tier", "gold")]);
    /// assert_eq!(value, Some(3.0));
    /// ```
    ///
    /// # Panics
    ///
    /// If it is not a metric name, which in a static fails the build.
    pub const fn namespace(self, namespace: &'static str) -> Static<M> {
        assert!(self.naming.rules.is_metric_name(namespace), "not a part of a metric name");
        let naming = Naming { namespace: Some(namespace), ..self.naming };
        Static { naming, ..self }
    }

    /// Puts `<subsystem>_` before the name.
    ///
    /// # Panics
    ///
    /// If it is not a metric name, which in a static fails the build.
    pub const fn subsystem(self, subsystem: &'static str) -> Static<M> {
        assert!(self.naming.rules.is_metric_name(subsystem), "not a part of a metric name");
        let naming = Naming { subsystem: Some(subsystem), ..self.naming };
        Static { naming, ..self }
    }

    /// Sets the unit, which is appended to the name unless the name ends with it. OpenMetrics shows it.
    pub const fn unit(self, unit: Unit) -> Static<M> {
        let naming = Naming { unit: Some(unit), ..self.naming };
        Static { naming, ..self }
    }

    /// Sets labels that have the same values in all series.
    ///
    /// # Panics
    ///
    /// If a label name is malformed, reserved or given twice, which in a static fails the build.
    pub const fn const_labels(self, labels: &'static [(&'static str, &'static str)]) -> Static<M> {
        let mut at = 0;
        while at < labels.len() {
            self.check_label(labels[at].0);
            let mut earlier = 0;
            while earlier < at {
                assert!(!name::same(labels[at].0, labels[earlier].0), "a label is given twice");
                earlier += 1;
            }
            at += 1;
        }
        let naming = Naming { const_labels: labels, ..self.naming };
        Static { naming, ..self }
    }

    /// Limits the number of series of the family in a process: see
    /// [`MetricBuilder::max_series`](super::MetricBuilder::max_series).
    pub const fn max_series(self, max: usize) -> Static<M> {
        let naming = Naming { max_series: Some(max), ..self.naming };
        Static { naming, ..self }
    }

    /// Makes it a family with these label names, in this order. Set everything else before.
    ///
    /// # Panics
    ///
    /// If there are more than 128 labels, or a label name is malformed, reserved or given twice, which in a static fails
    /// the build. Histograms reserve `le`, summaries `quantile`, and gauges `pid` in the modes that set this label.
    pub const fn labels<const N: usize>(self, labels: [&'static str; N]) -> Static<Family<M, N>> {
        self.check_labels(&labels);
        self.with_labels(labels)
    }

    /// Panics if these cannot be the label names of a family.
    pub(super) const fn check_labels(&self, labels: &[&'static str]) {
        let of_type = if M::TYPE.reserved_label().is_some() { 1 } else { 0 };
        let constant = self.naming.const_labels;
        let count = labels.len() + constant.len() + of_type;
        assert!(count <= name::MAX_LABELS, "a metric has 128 labels at most");
        let mut at = 0;
        while at < labels.len() {
            self.check_label(labels[at]);
            let mut earlier = 0;
            while earlier < at {
                assert!(!name::same(labels[at], labels[earlier]), "a label is given twice");
                earlier += 1;
            }
            let mut other = 0;
            while other < constant.len() {
                assert!(!name::same(labels[at], constant[other].0), "a label is given twice");
                other += 1;
            }
            at += 1;
        }
    }

    /// Panics if this cannot be the name of a label.
    const fn check_label(&self, label: &str) {
        assert!(self.naming.rules.is_label_name(label), "not a label name");
        assert!(!name::is_internal_label(label), "label names with __ are reserved");
        if let Some(reserved) = M::TYPE.reserved_label() {
            assert!(!name::same(label, reserved), "the type of the metric sets this label");
        }
        // Registration compares names that have further parts.
        let Naming { namespace, subsystem, unit, .. } = self.naming;
        let is_whole_name = namespace.is_none() && subsystem.is_none() && unit.is_none();
        let is_state = matches!(M::TYPE, MetricType::StateSet) && is_whole_name;
        assert!(
            !(is_state && name::same(label, self.name)),
            "the label with the state has the name of the metric"
        );
        let is_set_by_mode = M::HAS_MODE && self.mode.is_per_process();
        let is_taken = is_set_by_mode && name::same(label, "pid");
        assert!(!is_taken, "the modes all and liveall set the label pid");
    }

    /// A family with the same description and these label names.
    pub(super) const fn with_labels<T: Declared>(self, labels: T::Labels) -> Static<T> {
        let Static { name, help, mode, bounds, states, naming, .. } = self;
        Static { slot: SetOnce::empty(), name, help, labels, mode, bounds, states, naming }
    }
}

impl Static<Gauge> {
    /// Sets how the values of several processes are merged. The default is [`GaugeMode::All`].
    pub const fn mode(self, mode: GaugeMode) -> Static<Gauge> {
        Static { mode, ..self }
    }
}

impl Static<Info> {
    /// Sets how the label sets of several processes are merged. The default is [`GaugeMode::LiveMax`]: each label set that a
    /// live process has set is exported once.
    pub const fn mode(self, mode: GaugeMode) -> Static<Info> {
        Static { mode, ..self }
    }
}

impl Static<Enum> {
    /// Sets the names of the states.
    pub(super) const fn states(self, states: &'static [&'static str]) -> Static<Enum> {
        assert!(!states.is_empty(), "an enum has at least one state");
        let mut at = 0;
        while at < states.len() {
            let mut earlier = 0;
            while earlier < at {
                assert!(!name::same(states[at], states[earlier]), "a state is given twice");
                earlier += 1;
            }
            at += 1;
        }
        Static { states, ..self }
    }

    /// Sets how the states of several processes are merged. The default is [`GaugeMode::LiveAll`]: each live process has a
    /// state set.
    ///
    /// # Panics
    ///
    /// In the modes `count` and `livecount`, which in a static fails the build.
    pub const fn mode(self, mode: GaugeMode) -> Static<Enum> {
        assert!(!mode.is_count(), "a state is active or not, and is not counted");
        Static { mode, ..self }
    }
}

impl Static<Histogram> {
    /// Sets the upper bounds of the buckets, each inclusive; `+Inf` is added if it is not the last. The default is
    /// [`buckets::DEFAULT`].
    ///
    /// # Panics
    ///
    /// If the bounds are empty, unsorted or not numbers, which in a static fails the build.
    pub const fn buckets(self, bounds: &'static [f64]) -> Static<Histogram> {
        assert!(buckets::are_valid(bounds), "bounds must be increasing numbers");
        Static { bounds, ..self }
    }
}

impl<T: Declared> Static<T> {
    fn spec(&self) -> FamilySpec<'_> {
        let Naming { namespace, subsystem, unit, const_labels, rules, max_series } = self.naming;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = Settings {
            mode: self.mode,
            bounds: Cow::Borrowed(self.bounds),
            states: self.states.iter().map(|&state| state.to_owned()).collect(),
            namespace: namespace.map(str::to_owned),
            subsystem: subsystem.map(str::to_owned),
            unit,
            const_labels: const_labels.iter().map(owned).collect(),
            rules,
            open_labels: T::HAS_OPEN_LABELS,
            max_series,
        };
        let label_names = self.labels.as_ref();
        FamilySpec { name: self.name, help: self.help, label_names, settings }
    }

    #[cold]
    fn first_use(&self) -> &T {
        let Ok(lock) = slow_path() else {
            return T::ignored();
        };
        if let Some(metric) = self.slot.get() {
            return metric;
        }
        let (spec, registry) = (self.spec(), default_registry());
        let registered = T::register(&spec, registry, Unusable::Wait, &lock);
        let metric = registered.unwrap_or_else(|error| {
            let (metric, is_new) = T::detached(&spec, &lock);
            if is_new == IsNew(true) {
                registration_failed(self.name, &error);
            }
            metric
        });
        self.slot.set(metric, &lock)
    }
}

impl<M: Metric> Declared for M {}

impl<M: Metric> sealed::Declared for M {
    type Labels = [&'static str; 0];

    fn register(
        spec: &FamilySpec<'_>,
        registry: &Registry,
        unusable: Unusable,
        lock: &SlowPath,
    ) -> Result<M> {
        let family = spec.register::<M>(registry, unusable, lock)?;
        Ok(M::from_child(family.child_locked(&[], lock)))
    }

    fn is_retired(&self) -> bool {
        self.child().family().is_retired()
    }

    fn detached(spec: &FamilySpec<'_>, lock: &SlowPath) -> (M, IsNew) {
        let (family, is_new) = spec.detached::<M>(lock);
        (M::from_child(family.child_locked(&[], lock)), is_new)
    }

    fn ignored() -> &'static M {
        M::ignored()
    }

    fn prepare(self, lock: &SlowPath) -> Result<()> {
        self.child().store().check()?;
        M::export_zeros(self.child(), lock);
        Ok(())
    }
}

impl<M: Metric, const N: usize> Declared for Family<M, N> {}

impl<M: Metric, const N: usize> sealed::Declared for Family<M, N> {
    type Labels = [&'static str; N];

    fn register(
        spec: &FamilySpec<'_>,
        registry: &Registry,
        unusable: Unusable,
        lock: &SlowPath,
    ) -> Result<Family<M, N>> {
        spec.register(registry, unusable, lock).map(Family::new)
    }

    fn is_retired(&self) -> bool {
        self.core().is_retired()
    }

    fn detached(spec: &FamilySpec<'_>, lock: &SlowPath) -> (Family<M, N>, IsNew) {
        let (family, is_new) = spec.detached(lock);
        (Family::new(family), is_new)
    }

    fn ignored() -> &'static Family<M, N> {
        Family::from_ref(M::ignored_family())
    }

    fn prepare(self, _: &SlowPath) -> Result<()> {
        self.core().check_store()
    }
}

impl<T: Declared> Deref for Static<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self.slot.get() {
            Some(metric) => metric,
            None => self.first_use(),
        }
    }
}

impl<T: Declared> fmt::Debug for Static<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_used = self.slot.get().is_some();
        f.debug_struct("Static")
            .field("name", &self.name)
            .field("is_used", &is_used)
            .finish_non_exhaustive()
    }
}

/// Any [`Static`], as an element of the list for [`register_statics`].
///
/// Sealed: other crates cannot implement it.
pub trait AnyStatic: Sync + sealed_static::AnyStatic {}

mod sealed_static {
    pub trait AnyStatic {
        fn register(&self) -> crate::error::Result<()>;
    }
}

impl<T: Declared> AnyStatic for Static<T> {}

impl<T: Declared> sealed_static::AnyStatic for Static<T> {
    fn register(&self) -> Result<()> {
        let registry = default_registry();
        registry.prepare();
        let lock = slow_path()?;
        let metric = match self.slot.get() {
            Some(metric) if !metric.is_retired() => *metric,
            // A static that was unregistered gets its family again, with the same handles.
            _ => {
                let metric = T::register(&self.spec(), registry, Unusable::Fail, &lock)?;
                *self.slot.set(metric, &lock)
            }
        };
        metric.prepare(&lock)
    }
}

/// Registers statics with the default registry, so that errors are returned now and zeros are exported from now on.
///
/// A static without labels exports its zero; a family exports the series that are used. In a forked child, a call
/// exports the zeros of the child. A static that was [unregistered](crate::Registry::unregister) is registered again.
///
/// ```
/// use multiprom::{Counter, Static};
///
/// static SEEN: Static<Counter> = Counter::declare("seen_total", "Things seen.");
///
/// multiprom::register_statics(&[&SEEN])?;
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// # Errors
///
/// The first error, one of those of [`MetricBuilder::register`](super::MetricBuilder::register). The statics after it
/// are not registered. A static whose directory is missing or cannot be written is registered all the same when it is
/// used, and its series are written as soon as the directory is usable; a name that is invalid or taken stays so.
pub fn register_statics(statics: &[&dyn AnyStatic]) -> Result<()> {
    statics.iter().try_for_each(|each| each.register())
}
