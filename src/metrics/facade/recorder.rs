//! The recorder, and how the names, labels and types of the facade become families.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ::metrics as facade;
use facade::{Key, KeyName, Metadata, SharedString};

use super::pattern::matches;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::children::{Children, Places};
use crate::metrics::lookup_key::LookupKey;
use crate::metrics::settings::Settings;
use crate::metrics::spec::{FamilySpec, Unusable, slow_path};
use crate::metrics::{Counter, Gauge, Histogram, Metric, OpenFamily, buckets};
use crate::model::name::NameRules;
use crate::model::{GaugeMode, Unit};
use crate::registry::{Registry, default_registry, registration_failed};
use crate::store::fork::{AppendList, StaticRef};

/// Records the metrics of the crate `metrics`, so that a program or a library that uses its macros takes part in
/// multiprocess directories.
///
/// - Metrics are in the default registry, or in that of [`RecorderBuilder::registry`]: [`render`](crate::render) shows
///   them, merged if the environment names a directory.
/// - A counter `hits` is exported as `hits_total`. Characters that a name cannot have become underscores.
/// - A gauge has the mode of the first pattern that matches its name, by default [`GaugeMode::All`]; a histogram the buckets of the
///   first pattern, by default [`buckets::DEFAULT`].
/// - The help text of a family is the description that this process has set before the first use of the family; a later
///   one has no effect. Processes with and without the description record into the same series.
/// - A unit is exported if the name ends with it; names do not change.
/// - A name that is taken by another type is logged once and counted in `multiprom_registration_errors_total`, and recorded
///   in memory. A series whose labels are not allowed, such as `le` of a histogram, is logged once and not recorded.
/// - Handles are valid in forked children, which begin at zero in files of their own.
///
/// ```
/// use metrics::{counter, gauge, histogram};
/// use multiprom::facade::Recorder;
/// use multiprom::{Backend, GaugeMode, Registry};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// let recorder = Recorder::builder()
///     .registry(&registry)
///     .gauge_mode("queue_*", GaugeMode::LiveSum)
///     .buckets("*_seconds", [0.1, 1.0])
///     .build()?;
/// // A program installs it for all threads: `.install()?` in place of `.build()?`.
/// metrics::with_local_recorder(&recorder, || {
///     counter!("http.requests", "code" => "200").increment(2);
///     gauge!("queue_depth").set(3.0);
///     histogram!("wait_seconds").record(0.5);
/// });
/// assert_eq!(registry.sample_value("http_requests_total", &[("code", "200")]), Some(2.0));
/// assert_eq!(registry.sample_value("queue_depth", &[]), Some(3.0));
/// assert_eq!(registry.sample_value("wait_seconds_bucket", &[("le", "1.0")]), Some(1.0));
/// # Ok::<(), multiprom::Error>(())
/// ```
pub struct Recorder {
    settings: RecorderBuilder,
    registry: Registry,
    counters: Known<Counter>,
    gauges: Known<Gauge>,
    histograms: Known<Histogram>,
    descriptions: AppendList<Description>,
}

/// Installs a recorder with the default settings, for all threads.
///
/// ```no_run
/// multiprom::facade::install()?;
/// metrics::counter!("hits").increment(1);
/// println!("{}", multiprom::render(None));
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`RecorderBuilder::install`].
pub fn install() -> Result<()> {
    Recorder::builder().install()
}

/// Sets up a [`Recorder`].
#[derive(Clone, Default)]
#[must_use = "a recorder is created by `install` or `build`"]
pub struct RecorderBuilder {
    registry: Option<Registry>,
    gauge_modes: Vec<(String, GaugeMode)>,
    buckets: Vec<(String, Vec<f64>)>,
    max_series: Option<usize>,
    rules: NameRules,
}

impl Recorder {
    /// A recorder that is set up step by step.
    pub fn builder() -> RecorderBuilder {
        RecorderBuilder::default()
    }
}

impl RecorderBuilder {
    /// Sets the registry of the metrics; the default is the [default registry](default_registry).
    pub fn registry(mut self, registry: &Registry) -> RecorderBuilder {
        self.registry = Some(registry.clone());
        self
    }

    /// Sets the mode of the gauges whose names match a pattern, in which `*` stands for any text. Of several patterns the
    /// first one that matches applies, so `*` comes last.
    pub fn gauge_mode(mut self, pattern: impl Into<String>, mode: GaugeMode) -> RecorderBuilder {
        self.gauge_modes.push((pattern.into(), mode));
        self
    }

    /// Sets the upper bounds of the buckets of the histograms whose names match a pattern, by the same rules.
    pub fn buckets(
        mut self,
        pattern: impl Into<String>,
        bounds: impl Into<Vec<f64>>,
    ) -> RecorderBuilder {
        self.buckets.push((pattern.into(), bounds.into()));
        self
    }

    /// Limits the number of series of each family in a process: see
    /// [`MetricBuilder::max_series`](crate::metrics::MetricBuilder::max_series). The recorder keeps nothing of further label
    /// sets.
    pub fn max_series(mut self, max: usize) -> RecorderBuilder {
        self.max_series = Some(max);
        self
    }

    /// Keeps all names as they are, as Prometheus 3 accepts them; scrapers that do not get escaped names. See
    /// [`MetricBuilder::utf8_names`](crate::metrics::MetricBuilder::utf8_names).
    pub fn utf8_names(mut self) -> RecorderBuilder {
        self.rules = NameRules::Utf8;
        self
    }

    /// Creates the recorder.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidBuckets`](ErrorKind::InvalidBuckets) for bounds that are empty, unsorted or no numbers, and
    /// [`Directory`](ErrorKind::Directory) if the environment names a directory that does not exist or cannot be written.
    pub fn build(self) -> Result<Recorder> {
        self.buckets.iter().try_for_each(|(_, bounds)| buckets::check(bounds))?;
        let registry = self.registry.clone().unwrap_or_else(|| default_registry().clone());
        registry.store()?.check()?;
        Ok(Recorder {
            settings: self,
            registry,
            counters: Known::new(),
            gauges: Known::new(),
            histograms: Known::new(),
            descriptions: AppendList::new(),
        })
    }

    /// Creates the recorder and installs it for all threads.
    ///
    /// # Errors
    ///
    /// Those of [`build`](RecorderBuilder::build), and of kind [`Usage`](ErrorKind::Usage) if another recorder is installed.
    pub fn install(self) -> Result<()> {
        facade::set_global_recorder(self.build()?).map_err(|_| {
            let message = "another recorder of the crate `metrics` is installed already";
            Error::new(ErrorKind::Usage, message)
        })
    }
}

impl fmt::Debug for RecorderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderBuilder")
            .field("gauge_modes", &self.gauge_modes)
            .field("buckets", &self.buckets)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("gauge_modes", &self.settings.gauge_modes)
            .field("buckets", &self.settings.buckets)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// A description that was set.
struct Description {
    name: String,
    help: String,
    unit: Option<facade::Unit>,
}

/// A type of the facade.
trait Kind: Metric {
    /// The handle of the facade. Cloning it clones an `Arc`.
    type Handle: Clone + Send + Sync + 'static;

    fn handle(self) -> Self::Handle;

    /// A handle that records nothing.
    fn noop() -> Self::Handle;
}

macro_rules! impl_kind {
    ($($kind:ident),*) => {$(
        impl Kind for $kind {
            type Handle = facade::$kind;

            fn handle(self) -> facade::$kind {
                facade::$kind::from_arc(Arc::new(self))
            }

            fn noop() -> facade::$kind {
                facade::$kind::noop()
            }
        }
    )*};
}

impl_kind!(Counter, Gauge, Histogram);

impl facade::CounterFn for Counter {
    fn increment(&self, value: u64) {
        self.inc_by(value as f64);
    }

    fn absolute(&self, value: u64) {
        self.set_at_least(value as f64);
    }
}

impl facade::GaugeFn for Gauge {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.sub(value);
    }

    fn set(&self, value: f64) {
        Gauge::set(self, value);
    }
}

impl facade::HistogramFn for Histogram {
    fn record(&self, value: f64) {
        self.observe(value);
    }
}

/// The families and the series of one type, by their names in the facade. Lookups take no lock, so that a forked child never
/// waits for one.
struct Known<M: Kind> {
    families: Children<KnownFamily<M>>,
    series: Children<(Key, M::Handle)>,
}

struct KnownFamily<M: Kind> {
    name: String,
    family: OpenFamily<M>,
    /// The handle of its overflow series, once there is one.
    overflow: StaticRef<M::Handle>,
}

impl<M: Kind> Known<M> {
    fn new() -> Known<M> {
        Known { families: Children::new(), series: Children::new() }
    }

    /// The handle of a series.
    fn get(&self, key: &Key, recorder: &Recorder) -> M::Handle {
        // The highest bit of a hash is reserved.
        let lookup = LookupKey::of_hash(key.get_hash() >> 1);
        match self.series.find(lookup, |(known, _)| known == key) {
            Some((_, handle)) => handle.clone(),
            None => self.insert(lookup, key, recorder),
        }
    }

    #[cold]
    fn insert(&self, lookup: LookupKey, key: &Key, recorder: &Recorder) -> M::Handle {
        let created = self.family(key.name(), recorder).and_then(|known| {
            let metric = create(known.family, key, recorder)?;
            Ok((known, metric))
        });
        let handle = match created {
            // Not kept, so that the table is as small as the family.
            Ok((known, metric)) if metric.child().family().is_overflow(metric.child()) => {
                let kept = || known.overflow.set_once(Box::leak(Box::new(metric.handle())));
                return known.overflow.get().unwrap_or_else(kept).clone();
            }
            Ok((_, metric)) => metric.handle(),
            // In a signal handler or an allocator that interrupted multiprom, the series cannot be kept either.
            Err(error) if error.kind() == ErrorKind::Reentrant => return M::noop(),
            Err(error) => {
                registration_failed(key.name(), &error);
                M::noop()
            }
        };
        let Ok(lock) = slow_path() else {
            return handle;
        };
        let is_it = |(known, _): &(Key, M::Handle)| known == key;
        let make = || (key.to_retained(), handle);
        self.series.find_or_insert(&Places::HEAP, lookup, is_it, &lock, |_| (), make).1.clone()
    }

    fn family(&self, name: &str, recorder: &Recorder) -> Result<&'static KnownFamily<M>> {
        let key = self.families.key([name].into_iter());
        let is_it = |known: &KnownFamily<M>| known.name == name;
        if let Some(known) = self.families.find(key, is_it) {
            return Ok(known);
        }
        let lock = slow_path()?;
        let make = || {
            let (exported, help, settings) = recorder.describe(name);
            let spec = FamilySpec { name: &exported, help: &help, label_names: &[], settings };
            let registered = spec.register::<M>(&recorder.registry, Unusable::Wait, &lock);
            let core = registered.unwrap_or_else(|error| {
                registration_failed(name, &error);
                spec.detached::<M>(&lock).0
            });
            let (name, overflow) = (name.to_owned(), StaticRef::empty());
            KnownFamily { name, family: OpenFamily::new(core), overflow }
        };
        Ok(self.families.find_or_insert(&Places::HEAP, key, is_it, &lock, |_| (), make))
    }
}

/// The series of a key in a family.
fn create<M: Kind>(family: OpenFamily<M>, key: &Key, recorder: &Recorder) -> Result<M> {
    let rules = recorder.settings.rules;
    let sanitize = |name| sanitized(name, |name| rules.is_label_name(name), "");
    let names: Vec<Cow<'_, str>> = key.labels().map(|label| sanitize(label.key())).collect();
    let mut labels: Vec<(&str, &str)> = Vec::with_capacity(names.len());
    for (name, label) in names.iter().zip(key.labels()) {
        // Of labels with the same name the last one applies.
        labels.retain(|(other, _)| other != name);
        labels.push((name, label.value()));
    }
    family.with(&labels)
}

impl Recorder {
    /// The name, the help text and the settings of a family that is created.
    fn describe(&self, name: &str) -> (String, String, Settings) {
        let rules = self.settings.rules;
        let exported = sanitized(name, |name| rules.is_metric_name(name), ":").into_owned();
        let is_match = |pattern: &str| matches(pattern, name) || matches(pattern, &exported);
        let max_series = self.settings.max_series;
        let mut settings = Settings { open_labels: true, rules, max_series, ..Settings::default() };
        if let Some((_, mode)) = self.settings.gauge_modes.iter().find(|(it, _)| is_match(it)) {
            settings.mode = *mode;
        }
        if let Some((_, bounds)) = self.settings.buckets.iter().find(|(it, _)| is_match(it)) {
            settings.bounds = Cow::Owned(bounds.clone());
        }
        let described = self.descriptions.iter().filter(|known| known.name == name).last();
        let help = described.map_or("", |described| &described.help).to_owned();
        let unit = described.and_then(|described| described.unit).map(|unit| match unit {
            facade::Unit::Seconds => Unit::Seconds,
            facade::Unit::Bytes => Unit::Bytes,
            unit => Unit::Other(unit.as_str()),
        });
        let base = exported.strip_suffix("_total").unwrap_or(&exported);
        settings.unit = unit.filter(|unit| {
            base.strip_suffix(unit.as_str()).is_some_and(|rest| rest.ends_with('_'))
        });
        (exported, help, settings)
    }

    fn note(&self, name: &KeyName, unit: Option<facade::Unit>, help: &SharedString) {
        let Ok(_lock) = slow_path() else {
            return;
        };
        let name = name.as_str();
        let known = self.descriptions.iter().filter(|known| known.name == name).last();
        if known.is_none_or(|known| known.help != **help || known.unit != unit) {
            let (name, help) = (name.to_owned(), help.to_string());
            self.descriptions.push(Description { name, help, unit });
        }
    }
}

impl facade::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<facade::Unit>, help: SharedString) {
        self.note(&key, unit, &help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<facade::Unit>, help: SharedString) {
        self.note(&key, unit, &help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<facade::Unit>, help: SharedString) {
        self.note(&key, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> facade::Counter {
        self.counters.get(key, self)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> facade::Gauge {
        self.gauges.get(key, self)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> facade::Histogram {
        self.histograms.get(key, self)
    }
}

/// A name in which the characters that are not allowed are underscores.
fn sanitized<'a>(name: &'a str, is_valid: impl Fn(&str) -> bool, more: &str) -> Cow<'a, str> {
    if is_valid(name) {
        return Cow::Borrowed(name);
    }
    let begins_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let valid = |c: char| {
        let is_allowed = c.is_ascii_alphanumeric() || more.contains(c);
        if is_allowed { c } else { '_' }
    };
    let first = (begins_with_digit || name.is_empty()).then_some('_');
    Cow::Owned(first.into_iter().chain(name.chars().map(valid)).collect())
}
