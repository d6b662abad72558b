//! The type `Registry`.

use std::any::{Any, type_name};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, ptr};

use super::backend::Backend;
use super::collected::{LeftOut, RegisteredCollector};
use super::descriptor::Descriptor;
use super::limits::collect_own_families;
use super::policy::Policy;
use super::registration_errors::registration_errors;
use super::scope::Scope;
use super::sought;
use crate::computed::CollectorSource;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::Exposition;
use crate::logging::{self, log_line};
use crate::model::own_metrics::{
    DROPPED_SERIES, FAILED_REFRESHES, FILES_LOST, IGNORED_RECORDINGS, IGNORED_VALUES,
    RECOVERED_SERIES, REGISTRATION_ERRORS, REPEATED_FAMILIES,
};
use crate::model::{
    Collector, DirectoryId, FamilyIndex, FamilyMetadata, FamilySink, FilteredSink, Gatherer,
    MetricType, OwnedLabels,
};
use crate::store::fork::{self, AppendList, SlowPath};
use crate::store::refresher::{self, RefreshGroup};
use crate::store::{
    Store, dropped_series, failed_refreshes, ignored_recordings, ignored_values, lost_files,
    recovered_series,
};

/// A family of the writing half, as the registry sees it.
pub(crate) trait RegisteredFamily: Collector {
    fn descriptor(&self) -> &Descriptor;

    /// Where the values are.
    fn store(&self) -> Store;

    /// For [`Registry::find_family`], which knows the type.
    fn as_any(&'static self) -> &'static (dyn Any + Send + Sync);
}

/// How many collisions of families a registry logs at most, one line each.
const MAX_LOGGED: usize = 100;

/// A set of metrics and collectors that are exported together.
///
/// The exposition has them in the order of registration. No two of its families have a name in common, including the
/// names of their samples: the first one is exported, the others are counted in `multiprom_repeated_families_total` and,
/// unless they have the same name and type, logged once.
///
/// A clone is another handle of the same registry. Metrics live as long as the process, so create a registry for them
/// once; a registry that has only collectors may be created for each scrape, but loses the caches of its collectors.
///
/// ```
/// use multiprom::{Backend, Collector, Counter, FamilySink, Registry};
///
/// struct Queue;
///
/// impl Collector for Queue {
///     fn collect(&self, out: &mut dyn FamilySink) {
///         out.gauge("queue_depth", "Jobs waiting.").sample(&[("queue", "mail")], 3.0);
///     }
/// }
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// let jobs = Counter::builder("jobs", "Jobs done.").register(&registry)?;
/// registry.register(Queue)?;
/// jobs.inc();
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP jobs_total Jobs done.\n\
///      ## TYPE jobs_total counter\n\
///      jobs_total 1\n\
///      ## HELP queue_depth Jobs waiting.\n\
///      ## TYPE queue_depth gauge\n\
///      queue_depth{queue=\"mail\"} 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    prefix: Option<String>,
    const_labels: OwnedLabels,
    backend: Backend,
    policy: Policy,
    entries: AppendList<Entry>,
    /// Families left out of an exposition because another one had one of their names before.
    repeated: AtomicU64,
    /// The names of families whose collision is logged, at most [`MAX_LOGGED`].
    logged: AppendList<String>,
    is_default: bool,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { prefix, const_labels, backend, entries, .. } = &*self.inner;
        let is_family = |entry: &&Entry| matches!(entry, Entry::Family(_));
        let families = entries.iter().filter(is_family).count();
        f.debug_struct("Registry")
            .field("prefix", prefix)
            .field("const_labels", const_labels)
            .field("backend", backend)
            .field("families", &families)
            .field("collectors", &(entries.iter().count() - families))
            .finish_non_exhaustive()
    }
}

enum Entry {
    Family(&'static dyn RegisteredFamily),
    Collector(RegisteredCollector),
}

impl Registry {
    /// A registry without prefix or constant labels, whose backend the environment chooses.
    pub fn new() -> Registry {
        let backend = Backend::environment();
        Registry::from_parts(None, OwnedLabels::default(), backend, Policy::default(), false)
    }

    pub(super) fn from_parts(
        prefix: Option<String>,
        const_labels: OwnedLabels,
        backend: Backend,
        policy: Policy,
        is_default: bool,
    ) -> Registry {
        logging::note_standard_error();
        let entries = AppendList::new();
        let (repeated, logged) = (AtomicU64::new(0), AppendList::new());
        let inner =
            Inner { prefix, const_labels, backend, policy, entries, repeated, logged, is_default };
        Registry { inner: Arc::new(inner) }
    }

    /// Adds a collector, whose families are part of every exposition from now on.
    ///
    /// A registry is a collector, too: an application adds the registries of its libraries to its own, whose prefix and
    /// constant labels do not apply to them. If a collector
    /// reads a [multiprocess directory](Collector::directories), the registry leaves out its families and collectors whose
    /// values are in that directory, and those of registries in it, because the collector exports them.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let in_memory = || Registry::builder().backend(Backend::in_memory());
    /// let library = in_memory().prefix("library").build()?;
    /// Counter::builder("calls", "Calls.").register(&library)?.inc();
    ///
    /// let application = in_memory().build()?;
    /// application.register(library)?;
    /// assert_eq!(application.sample_value("library_calls_total", &[]), Some(1.0));
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) for a registry that contains this one or is this one,
    /// [`AlreadyRegistered`](ErrorKind::AlreadyRegistered) for a registry with a family whose name is taken here, and
    /// [`Reentrant`](ErrorKind::Reentrant) in a signal handler or an allocator that interrupted multiprom in the same
    /// thread.
    pub fn register<C: Collector + 'static>(&self, collector: C) -> Result<()> {
        // The lock serializes registrations that would form a cycle together.
        let lock = slow_path()?;
        if let Some(registry) = as_registry(&collector) {
            if registry.contains(self) {
                let message =
                    "a registry cannot be registered in itself, nor in a registry that it contains";
                return Err(Error::new(ErrorKind::Usage, message));
            }
            let registered = self.all_families();
            for family in registry.all_families() {
                check_names(&registered, family.descriptor())?;
            }
        }
        let is_source = as_registry(&collector).is_none()
            && collector.is_merged()
            && collector.directories().is_empty();
        let collector: Arc<dyn Collector> = Arc::new(collector);
        let source = is_source.then(|| self.add_source(&collector, type_name::<C>(), &lock));
        let source = source.flatten();
        self.inner.entries.push(Entry::Collector(RegisteredCollector { collector, source }));
        Ok(())
    }

    /// Has a collector written to the files of this process, if the registry is in a directory.
    fn add_source(
        &self,
        collector: &Arc<dyn Collector>,
        title: &'static str,
        lock: &SlowPath,
    ) -> Option<Arc<CollectorSource>> {
        // OK because a registry without a backend has no files.
        let store = self.store_or_later().ok()?;
        let inner = Arc::downgrade(&self.inner);
        let add_registered = move |index: &mut FamilyIndex<()>| {
            let Some(inner) = inner.upgrade() else {
                return;
            };
            for family in (Registry { inner }).all_families() {
                let Descriptor { name, metric_type, .. } = family.descriptor();
                if family.store().is_same(store) {
                    index.insert(name, *metric_type, ());
                }
            }
        };
        CollectorSource::register(collector, title, store, Box::new(add_registered), lock)
    }

    /// The value of one sample, by the name of the sample and all its labels in any order: for tests and health checks.
    ///
    /// Gathers the registry. `None` if there is no such sample.
    ///
    /// ```
    /// use multiprom::{Backend, Histogram, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).const_label("zone", "eu").build()?;
    /// let sizes = Histogram::builder("sizes", "Sizes.").buckets([1.0, 10.0]).register(&registry)?;
    /// sizes.observe(5.0);
    /// assert_eq!(registry.sample_value("sizes_count", &[("zone", "eu")]), Some(1.0));
    /// assert_eq!(registry.sample_value("sizes_bucket", &[("le", "1.0"), ("zone", "eu")]), Some(0.0));
    /// assert_eq!(registry.sample_value("sizes_count", &[]), None);
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn sample_value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sought::value(self, name, labels)
    }

    /// Renders all families, in the format that an HTTP `Accept` header prefers.
    ///
    /// Without a header, or with one that names no supported format, that is the text format 0.0.4.
    pub fn render(&self, accept: Option<&str>) -> Exposition {
        Exposition::render(self, accept)
    }

    /// As [`render`](Registry::render), for handlers that can respond to a scrape with status 500.
    ///
    /// # Errors
    ///
    /// The first that a collector reports by [`FamilySink::fail`]. A
    /// [`MultiProcessCollector`](crate::MultiProcessCollector) does so, with an error of kind
    /// [`Unsupported`](ErrorKind::Unsupported), where a newer release wrote the archive of its directory.
    pub fn try_render(&self, accept: Option<&str>) -> Result<Exposition> {
        Exposition::try_render(self, accept)
    }

    /// Closes the series files of this process, whose writer counts as ended from then on.
    ///
    /// For hosts that end a part of themselves, and for tests: totals that were recorded stay in the directory and in the
    /// merge, live gauges disappear. Later recordings create new files, in which gauges start from 0: a guard of
    /// [`Gauge::track_inprogress`](crate::Gauge::track_inprogress) that was created before subtracts nothing from them.
    /// Recordings of other threads during the call may be missing. Registries whose directory is that of the environment
    /// share their files, and are closed together. Does nothing in a signal handler that interrupted this crate in the same
    /// thread.
    pub fn close(&self) {
        // OK because a registry without a backend has no files.
        if let Ok(store) = self.store_or_later() {
            if let Some(group) = store.refreshed() {
                refresher::finish(group);
            }
            if let Ok(lock) = slow_path() {
                store.close(&lock);
            }
        }
    }

    /// Refreshes the values that this process computes for its files, and those of the registries in this one: functions and
    /// custom collectors. Waits until they are written, or for ten seconds at most.
    ///
    /// A process that ends soon after its last work calls this or [`close`](Registry::close), because other processes see
    /// [values that are a few seconds old](crate::DirectoryOptions::refresh_interval) otherwise. A process that forks calls it
    /// before, so that totals of functions and collectors are exact in the child. From then on the values are refreshed
    /// regularly, also in a forked child that has not recorded yet, and after [`close`](Registry::close). Does nothing in
    /// memory.
    ///
    /// ```no_run
    /// use multiprom::{Counter, Static, default_registry};
    ///
    /// static SENT: Static<Counter> = Counter::declare("client_sent_total", "Messages sent.");
    /// # fn sent() -> f64 { 0.0 }
    ///
    /// SENT.set_function(sent);
    /// // ... the work of the process ...
    /// default_registry().flush();
    /// ```
    pub fn flush(&self) {
        let mut groups = Vec::new();
        self.add_refreshed(&mut groups);
        groups.into_iter().for_each(refresher::flush);
    }

    /// Adds the groups of this registry and of those in it, each once.
    fn add_refreshed(&self, groups: &mut Vec<&'static RefreshGroup>) {
        // OK because a registry without a backend has no files.
        let group = self.store_or_later().ok().and_then(Store::refreshed);
        groups.extend(group.filter(|new| !groups.iter().any(|known| ptr::eq(*known, *new))));
        self.nested().for_each(|nested| nested.add_refreshed(groups));
    }

    pub(crate) fn store(&self) -> Result<Store> {
        self.inner.backend.store()
    }

    /// See [`Store::prepare`].
    pub(crate) fn prepare(&self) {
        // OK because registration reports the error.
        if let Ok(store) = self.store() {
            store.prepare();
        }
    }

    /// As [`store`](Registry::store), but accepts a directory that cannot be used yet.
    pub(crate) fn store_or_later(&self) -> Result<Store> {
        self.inner.backend.store_or_later()
    }

    pub(crate) fn policy(&self) -> Policy {
        self.inner.policy
    }

    /// The name and the labels that a family gets in this registry.
    pub(crate) fn qualify(&self, name: &str) -> (String, OwnedLabels) {
        let name = match &self.inner.prefix {
            Some(prefix) => format!("{prefix}_{name}"),
            None => name.to_owned(),
        };
        (name, self.inner.const_labels.clone())
    }

    /// Checks that no family of this registry or of a registry in it has the name of a new one, or the name of one of its
    /// samples.
    pub(crate) fn check_names(&self, new: &Descriptor) -> Result<()> {
        check_names(&self.all_families(), new)
    }

    /// Adds a family whose names were checked under the same lock.
    pub(crate) fn add_family(&self, family: &'static dyn RegisteredFamily, _lock: &SlowPath) {
        self.inner.entries.push(Entry::Family(family));
    }

    /// The family that has this descriptor, if it is of type `F`.
    pub(crate) fn find_family<F: 'static>(&self, descriptor: &Descriptor) -> Option<&'static F> {
        let found = self.families().find(|known| known.descriptor() == descriptor)?;
        found.as_any().downcast_ref()
    }

    fn families(&self) -> impl Iterator<Item = &'static dyn RegisteredFamily> {
        self.inner.entries.iter().filter_map(|entry| match entry {
            Entry::Family(family) => Some(*family),
            Entry::Collector(_) => None,
        })
    }

    /// The families of this registry and of the registries in it.
    fn all_families(&self) -> Vec<&'static dyn RegisteredFamily> {
        self.families().chain(self.nested().flat_map(Registry::all_families)).collect()
    }

    /// The registries in this one.
    fn nested(&self) -> impl Iterator<Item = &Registry> {
        self.inner.entries.iter().filter_map(|entry| match entry {
            Entry::Collector(entry) => as_registry(&*entry.collector),
            Entry::Family(_) => None,
        })
    }

    fn contains(&self, other: &Registry) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.nested().any(|nested| nested.contains(other))
    }

    /// The families left out of expositions, by this registry and by those in it.
    fn repeated(&self) -> u64 {
        let nested = self.nested().map(Registry::repeated).sum::<u64>();
        nested + self.inner.repeated.load(Ordering::Relaxed)
    }

    /// Writes all families of the registry to `out`, then those of `last`, each name once.
    fn collect_once(&self, out: &mut dyn FamilySink, last: impl FnOnce(&mut dyn FamilySink)) {
        let Some(_scope) = self.begin() else {
            return;
        };
        let mut seen = FamilyIndex::default();
        let out = &mut FilteredSink::new(out, |head| self.inner.admit(head, &mut seen));
        let mut left_out = LeftOut::default();
        for entry in self.inner.entries.iter() {
            match entry {
                Entry::Family(family) if left_out.contains(family.store()) => {}
                Entry::Family(family) => family.collect(out),
                Entry::Collector(entry) => entry.collect(&mut left_out, out),
            }
        }
        if self.inner.is_default {
            let is_in_directory = self.store_or_later().is_ok_and(|store| left_out.contains(store));
            collect_process_metrics(out, is_in_directory);
        }
        last(out);
    }

    /// Begins to gather; `None` if this thread is gathering this registry already.
    fn begin(&self) -> Option<Scope> {
        let scope = Scope::begin(Arc::as_ptr(&self.inner).addr(), || self.directories());
        if scope.is_none() {
            log_line(&format_args!("a registry contains itself, and is exported once"));
        }
        scope
    }
}

/// Checks that none of the families has the name of a new one, or the name of one of its samples.
fn check_names(registered: &[&dyn RegisteredFamily], new: &Descriptor) -> Result<()> {
    match registered.iter().find_map(|family| new.collision(family.descriptor())) {
        Some(message) => Err(Error::new(ErrorKind::AlreadyRegistered, message)),
        None => Ok(()),
    }
}

/// Writes the metrics of multiprom itself about this process that are not 0. Those of a directory that a collector
/// reads are in its files.
fn collect_process_metrics(out: &mut dyn FamilySink, is_in_directory: bool) {
    REGISTRATION_ERRORS.write_all_nonzero(out, registration_errors());
    if is_in_directory {
        return;
    }
    DROPPED_SERIES.write_all_nonzero(out, dropped_series());
    RECOVERED_SERIES.write_all_nonzero(out, recovered_series());
    FILES_LOST.write_nonzero(out, lost_files());
    IGNORED_RECORDINGS.write_nonzero(out, ignored_recordings());
    IGNORED_VALUES.write_all_nonzero(out, ignored_values());
    FAILED_REFRESHES.write_all_nonzero(out, failed_refreshes());
    collect_own_families(out);
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::new()
    }
}

impl Inner {
    /// Whether a family is exported: none of those before it has a name in common with it.
    fn admit(&self, head: &FamilyMetadata<'_>, seen: &mut FamilyIndex<()>) -> bool {
        let mut other = None;
        seen.find_colliding(head.name, head.metric_type, |name, metric_type, ()| {
            other = Some((name.to_owned(), metric_type));
            true
        });
        match &other {
            Some(other) => {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                self.log_collision(head, other);
            }
            None => seen.insert(head.name, head.metric_type, ()),
        }
        other.is_none()
    }

    /// Logs a collision once for each family, unless both families have the same name and type.
    fn log_collision(&self, head: &FamilyMetadata<'_>, (other, other_type): &(String, MetricType)) {
        let FamilyMetadata { name, metric_type, .. } = *head;
        let is_same = (name, metric_type) == (other, *other_type);
        let mut logged = 0;
        let is_logged = self.logged.iter().inspect(|_| logged += 1).any(|known| known == name);
        if is_same || is_logged || logged == MAX_LOGGED {
            return;
        }
        self.logged.push(name.to_owned());
        log_line(&format_args!(
            "{metric_type} `{name}` is not exported: it has a name in common with {other_type} `{other}`"
        ));
    }
}

impl Gatherer for Registry {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.collect_once(out, |out| REPEATED_FAMILIES.write_nonzero(out, self.repeated()));
    }
}

impl Collector for Registry {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.collect_once(out, |_| {});
    }

    fn directories(&self) -> Vec<DirectoryId> {
        let collectors = self.inner.entries.iter().filter_map(|entry| match entry {
            Entry::Collector(entry) => Some(entry.collector.directories()),
            Entry::Family(_) => None,
        });
        collectors.flatten().collect()
    }

    fn as_registry(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

fn as_registry(collector: &dyn Collector) -> Option<&Registry> {
    collector.as_registry()?.downcast_ref()
}

/// Takes the lock of the slow path: registration and the first use of a series.
pub(crate) fn slow_path() -> Result<SlowPath> {
    fork::lock().ok_or_else(|| {
        let message = "called from a signal handler or an allocator that interrupted multiprom in this thread";
        Error::new(ErrorKind::Reentrant, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Sample, SampleKind};

    #[test]
    fn a_registry_is_shown_with_the_number_of_its_families_and_collectors() {
        let registry = Registry::builder().prefix("shop").backend(Backend::in_memory());
        let registry = registry.build().unwrap();
        registry.register(Two(1.0)).unwrap();
        let shown = format!("{registry:?}");
        assert!(
            shown.starts_with("Registry { prefix: Some(\"shop\"), const_labels: {}"),
            "{shown}"
        );
        assert!(shown.ends_with("families: 0, collectors: 1, .. }"), "{shown}");
        assert!(!shown.contains("0x"), "{shown}");
    }

    struct Two(f64);

    impl Collector for Two {
        fn collect(&self, out: &mut dyn FamilySink) {
            out.gauge("same", "One name.").sample(&[], self.0);
        }
    }

    #[test]
    fn a_family_name_is_exported_once_and_the_first_collector_wins() {
        let registry = Registry::new();
        registry.register(Two(1.0)).unwrap();
        registry.register(Two(2.0)).unwrap();
        let text = registry.render(None).to_string();
        assert!(text.contains("\nsame 1\n") && !text.contains("same 2"), "{text}");
        assert!(text.contains("\nmultiprom_repeated_families_total 1\n"), "{text}");
        // The names and types are equal.
        assert_eq!(registry.inner.logged.iter().count(), 0);
    }

    struct One(MetricType, &'static str);

    impl Collector for One {
        fn collect(&self, out: &mut dyn FamilySink) {
            out.family(&FamilyMetadata::new(self.1, "", self.0));
            let kind = match self.0 {
                MetricType::Counter => SampleKind::Total,
                MetricType::Gauge => SampleKind::Value,
                _ => SampleKind::Count,
            };
            out.sample(&Sample::new(kind, &[], 1.0));
        }
    }

    #[test]
    fn of_families_with_a_sample_name_in_common_the_first_is_exported_and_the_others_are_counted() {
        use MetricType::{Counter, Gauge, Summary};
        for (first, second, shown) in [
            ((Counter, "foo"), (Gauge, "foo_total"), "foo_total 1"),
            ((Gauge, "foo_total"), (Counter, "foo"), "foo_total 1"),
            ((Summary, "bar"), (Counter, "bar_count"), "bar_count 1"),
            ((Summary, "bar"), (Gauge, "bar_sum"), "bar_count 1"),
            ((Counter, "foo"), (Gauge, "foo_created"), "foo_total 1"),
        ] {
            let registry = Registry::new();
            for (metric_type, name) in [first, second] {
                registry.register(One(metric_type, name)).unwrap();
            }
            for scrapes in 1..=2 {
                let text = registry.render(None).to_string();
                let repeated = format!("multiprom_repeated_families_total {scrapes}");
                let samples = text.lines().filter(|line| !line.starts_with('#'));
                assert_eq!(samples.collect::<Vec<_>>(), [shown, &repeated], "{text}");
            }
            assert_eq!(registry.inner.logged.iter().collect::<Vec<_>>(), [second.1]);
        }
    }
}
