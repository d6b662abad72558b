//! Builds metrics whose names are known only at run time.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use super::core::ChildRef;
use super::settings::Settings;
use super::spec::{FamilySpec, Unusable, slow_path};
use super::{Enum, Family, Gauge, Histogram, Info, Metric};
use crate::error::Result;
use crate::model::name::NameRules;
use crate::model::{GaugeMode, Unit};
use crate::registry::Registry;
use crate::store::fork::SlowPath;

/// Builds a metric without labels; [`labels`](MetricBuilder::labels) makes it a family.
///
/// ```
/// use multiprom::{Backend, Counter, Registry, Unit};
///
/// let registry = Registry::builder().prefix("shop").backend(Backend::in_memory()).build()?;
/// let read = Counter::builder("read", "Bytes read.")
///     .subsystem("upload")
///     .unit(Unit::Bytes)
///     .const_label("tier", "gold")
///     .register(&registry)?;
/// read.inc_by(3.0);
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP shop_upload_read_bytes_total Bytes read.\n\
///      ## TYPE shop_upload_read_bytes_total counter\n\
///      shop_upload_read_bytes_total{tier=\"gold\"} 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
#[must_use = "a metric is created by `register`"]
pub struct MetricBuilder<M: Metric> {
    name: String,
    help: String,
    pub(super) settings: Settings,
    metric: PhantomData<M>,
}

impl<M: Metric> MetricBuilder<M> {
    pub(super) fn new(name: String, help: String) -> MetricBuilder<M> {
        let settings = Settings { mode: M::DEFAULT_MODE, ..Settings::default() };
        MetricBuilder { name, help, settings, metric: PhantomData }
    }

    /// Puts `<namespace>_` before the name and the subsystem, after the prefix of the registry.
    pub fn namespace(mut self, namespace: impl Into<String>) -> MetricBuilder<M> {
        self.settings.namespace = Some(namespace.into());
        self
    }

    /// Puts `<subsystem>_` before the name, after the prefix of the registry and the namespace.
    pub fn subsystem(mut self, subsystem: impl Into<String>) -> MetricBuilder<M> {
        self.settings.subsystem = Some(subsystem.into());
        self
    }

    /// Sets the unit, which is appended to the name unless the name ends with it. OpenMetrics shows it, also for metrics
    /// that are merged from a directory.
    pub fn unit(mut self, unit: Unit) -> MetricBuilder<M> {
        self.settings.unit = Some(unit);
        self
    }

    /// Allows any text as the name of the metric and of its labels, as Prometheus 3 does; names still may not be empty, and
    /// label names may not begin with `__`. Formats and scrapers that know only `[a-zA-Z_:][a-zA-Z0-9_:]*` get escaped names: see
    /// [`Escaping`](crate::exposition::Escaping).
    ///
    /// ```
    /// use multiprom::exposition::Format;
    /// use multiprom::{Backend, Counter, Exposition, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let requests = Counter::builder("http.server.requests", "Requests.").utf8_names();
    /// let requests = requests.labels(["http.route"]).register(&registry)?;
    /// requests.with(["/"]).inc();
    /// assert_eq!(
    ///     Exposition::encode(&registry, Format::TextUtf8).to_string(),
    ///     "# HELP \"http.server.requests_total\" Requests.\n\
    ///      ## TYPE \"http.server.requests_total\" counter\n\
    ///      {\"http.server.requests_total\",\"http.route\"=\"/\"} 1\n"
    /// );
    /// assert_eq!(
    ///     registry.render(None).to_string(),
    ///     "# HELP http_server_requests_total Requests.\n\
    ///      ## TYPE http_server_requests_total counter\n\
    ///      http_server_requests_total{http_route=\"/\"} 1\n"
    /// );
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn utf8_names(mut self) -> MetricBuilder<M> {
        self.settings.rules = NameRules::Utf8;
        self
    }

    /// Adds a label with the same value in all series, beside the constant labels of the registry.
    pub fn const_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.const_labels.push((name.into(), value.into()));
        self
    }

    /// Limits the number of series that the family has in a process. Lookups of further label sets return one more series, whose
    /// label values are all `other`, until series are [removed](Family::remove).
    ///
    /// So a label whose values come from outside costs a bounded amount of memory, of space in files and of time in scrapes. Such a
    /// lookup takes no lock and allocates nothing. It is counted in `multiprom_series_overflows_total{family}`, and the first
    /// one is logged. The series is recorded into like any other: totals are complete, and what is added to a gauge adds up,
    /// but the last value that was *set* into it wins, whichever label set it is from. The overflow series of a
    /// [family with open labels](crate::metrics::OpenFamily) has the label `series="other"`.
    ///
    /// The limit is per process: several processes that share a directory may together have more series. A forked child
    /// inherits the limit, and the label sets that its parent has looked up. Zeros that are exported before the first recording
    /// count, too. A metric without labels has no limit.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let requests = Counter::builder("requests", "Requests.").max_series(2).labels(["path"]);
    /// let requests = requests.register(&registry)?;
    /// for path in ["/", "/about", "/wp-admin", "/.env"] {
    ///     requests.with([path]).inc();
    /// }
    /// assert_eq!(
    ///     registry.render(None).to_string(),
    ///     "# HELP requests_total Requests.\n\
    ///      ## TYPE requests_total counter\n\
    ///      requests_total{path=\"/\"} 1\n\
    ///      requests_total{path=\"/about\"} 1\n\
    ///      requests_total{path=\"other\"} 2\n"
    /// );
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn max_series(mut self, max: usize) -> MetricBuilder<M> {
        self.settings.max_series = Some(max);
        self
    }

    /// Makes it a family with these label names, in this order.
    pub fn labels<const N: usize>(self, labels: [&str; N]) -> FamilyBuilder<M, N> {
        FamilyBuilder { base: self, labels: labels.map(str::to_owned) }
    }

    /// Registers the metric, whose zero is exported from now on.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidName`](crate::ErrorKind::InvalidName),
    /// [`InvalidLabels`](crate::ErrorKind::InvalidLabels) or
    /// [`InvalidBuckets`](crate::ErrorKind::InvalidBuckets) for what the data model forbids,
    /// [`AlreadyRegistered`](crate::ErrorKind::AlreadyRegistered) for a name that is taken,
    /// [`Directory`](crate::ErrorKind::Directory) if the environment names a directory that does not exist or cannot be
    /// written, and [`Reentrant`](crate::ErrorKind::Reentrant) in a signal handler or an allocator that interrupted
    /// multiprom in the same thread.
    pub fn register(self, registry: &Registry) -> Result<M> {
        self.create(registry, |spec, lock| {
            Ok(spec.register::<M>(registry, Unusable::Fail, lock)?.child_locked(&[], lock))
        })
    }

    /// The metric that is registered with the same name, help, labels and settings, or a new one. Limits of series are not
    /// compared: that of the first registration applies.
    ///
    /// # Errors
    ///
    /// Those of [`register`](MetricBuilder::register); the name may be taken by a metric with another description.
    pub fn get_or_register(self, registry: &Registry) -> Result<M> {
        self.create(registry, |spec, lock| {
            Ok(spec.get_or_register::<M>(registry, lock)?.child_locked(&[], lock))
        })
    }

    /// Calls `create` with the description of a family with these labels.
    pub(super) fn with_spec<R>(
        self,
        label_names: &[&str],
        create: impl FnOnce(&FamilySpec<'_>) -> R,
    ) -> R {
        let MetricBuilder { name, help, settings, .. } = self;
        create(&FamilySpec { name: &name, help: &help, label_names, settings })
    }

    fn create(
        self,
        registry: &Registry,
        create: impl FnOnce(&FamilySpec<'_>, &SlowPath) -> Result<ChildRef<M>>,
    ) -> Result<M> {
        registry.prepare();
        let lock = slow_path()?;
        let child = self.with_spec(&[], |spec| create(spec, &lock))?;
        M::export_zeros(child, &lock);
        Ok(M::from_child(child))
    }
}

impl MetricBuilder<Gauge> {
    /// Sets how the values of several processes are merged. The default is [`GaugeMode::All`].
    pub fn mode(mut self, mode: GaugeMode) -> MetricBuilder<Gauge> {
        self.settings.mode = mode;
        self
    }
}

impl MetricBuilder<Info> {
    /// Sets how the label sets of several processes are merged. The default is [`GaugeMode::LiveMax`]: each label set that a
    /// live process has set is exported once.
    pub fn mode(mut self, mode: GaugeMode) -> MetricBuilder<Info> {
        self.settings.mode = mode;
        self
    }
}

impl MetricBuilder<Enum> {
    /// Sets the names of the states. The first one is the initial state.
    pub(super) fn states(
        mut self,
        states: impl IntoIterator<Item = impl Into<String>>,
    ) -> MetricBuilder<Enum> {
        self.settings.states = states.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how the states of several processes are merged. The default is [`GaugeMode::LiveAll`]: each live process has a
    /// state set. The modes `count` and `livecount` are an error of the registration.
    pub fn mode(mut self, mode: GaugeMode) -> MetricBuilder<Enum> {
        self.settings.mode = mode;
        self
    }
}

impl MetricBuilder<Histogram> {
    /// Sets the upper bounds of the buckets, each inclusive; `+Inf` is added if it is not the last. The default is
    /// [`buckets::DEFAULT`](crate::buckets::DEFAULT).
    pub fn buckets(mut self, bounds: impl Into<Vec<f64>>) -> MetricBuilder<Histogram> {
        self.settings.bounds = Cow::Owned(bounds.into());
        self
    }
}

impl<M: Metric> fmt::Debug for MetricBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("MetricBuilder");
        f.field("type", &M::TYPE).field("name", &self.name).field("help", &self.help);
        f.field("settings", &self.settings).finish()
    }
}

/// Builds a family with `N` labels.
#[derive(Debug)]
#[must_use = "a family is created by `register`"]
pub struct FamilyBuilder<M: Metric, const N: usize> {
    base: MetricBuilder<M>,
    labels: [String; N],
}

impl<M: Metric, const N: usize> FamilyBuilder<M, N> {
    /// Registers the family; it exports the series that are used.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`].
    pub fn register(self, registry: &Registry) -> Result<Family<M, N>> {
        let lock = slow_path()?;
        self.with_spec(|spec| spec.register(registry, Unusable::Fail, &lock)).map(Family::new)
    }

    /// The family that is registered with the same name, help, labels and settings, or a new one.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`]; the name may be taken by a metric with another description.
    pub fn get_or_register(self, registry: &Registry) -> Result<Family<M, N>> {
        let lock = slow_path()?;
        self.with_spec(|spec| spec.get_or_register(registry, &lock)).map(Family::new)
    }

    fn with_spec<R>(self, create: impl FnOnce(&FamilySpec<'_>) -> R) -> R {
        let labels = self.labels.each_ref().map(String::as_str);
        self.base.with_spec(&labels, create)
    }
}
