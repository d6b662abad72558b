//! The type `Registry`.

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::backend::Backend;
use super::collectors::Collectors;
use super::descriptor::Descriptor;
use super::entry::{CollectorEntry, Described, NewCollector};
use super::names::{Names, Owner, Reserved};
use super::policy::Policy;
use super::registered::RegisteredFamily;
use super::registration::Registration;
use super::sought;
use crate::computed::CollectorSource;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::Exposition;
use crate::logging;
use crate::model::{Collector, FamilyIndex, OwnedLabels};
use crate::store::Store;
use crate::store::fork::{self, AppendList, Removable, SlowPath};
use crate::store::refresher::{self, RefreshGroup};

/// A set of metrics and collectors that are exported together.
///
/// The exposition has its families in the order of their names; `target` is first, metrics of multiprom itself are last.
///
/// No two families have a name in common, including the names of their samples. A name that is taken by a metric, or by a
/// collector that [describes](Collector::describe) its families, is an error of the registration. Other collectors are compared
/// at each scrape: of families that collide, a metric of a registry is exported, otherwise that of the collector that was registered
/// first; the first collector that is [sorted](Collector::is_sorted) counts as the last one. A family that is left out is counted
/// in `multiprom_repeated_families_total` and, unless the two have the same name and type, logged once.
///
/// A program may have several registries: in memory, in one directory or in several. Those of one directory are merged into one
/// page: metrics of the same name and type are added up, as those of several processes are. [`render`](Registry::render) of a
/// registry that has no collector of the directory shows its own metrics, with the values of this process.
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
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    prefix: Option<String>,
    const_labels: OwnedLabels,
    backend: Backend,
    policy: Policy,
    pub(super) names: Names,
    pub(super) entries: AppendList<Arc<CollectorEntry>>,
    /// The entries that are registries.
    nested: AppendList<Arc<CollectorEntry>>,
    /// Families left out of an exposition because another one has one of their names.
    pub(super) repeated: AtomicU64,
    /// The names of families whose collision is logged.
    pub(super) logged: AppendList<String>,
    pub(super) is_default: bool,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { prefix, const_labels, backend, names, entries, .. } = &*self.inner;
        f.debug_struct("Registry")
            .field("prefix", prefix)
            .field("const_labels", const_labels)
            .field("backend", backend)
            .field("families", &names.families().count())
            .field("collectors", &entries.iter().filter(|entry| !entry.is_removed()).count())
            .finish_non_exhaustive()
    }
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
        let inner = Inner {
            prefix,
            const_labels,
            backend,
            policy,
            names: Names::new(),
            entries: AppendList::new(),
            nested: AppendList::new(),
            repeated: AtomicU64::new(0),
            logged: AppendList::new(),
            is_default,
        };
        Registry { inner: Arc::new(inner) }
    }

    /// Adds a collector, whose families are part of every exposition until they are [unregistered](Registration::unregister).
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
    /// [`AlreadyRegistered`](ErrorKind::AlreadyRegistered) for a registry that contains a family whose name is taken here, or a
    /// collector that [describes](Collector::describe) such a family or one name twice, and
    /// [`Reentrant`](ErrorKind::Reentrant) in a signal handler or an allocator that interrupted multiprom in the same thread.
    pub fn register<C: Collector + 'static>(&self, collector: C) -> Result<Registration> {
        self.add(vec![NewCollector::new(collector)])
    }

    /// Adds several collectors, all or none: a tuple of up to eight, an array or a `Vec`. The [`Registration`] unregisters all of
    /// them.
    ///
    /// ```
    /// use multiprom::collector::{BuildInfo, PlatformInfo};
    /// use multiprom::{Backend, ErrorKind, ProcessCollector, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// registry.register_all((ProcessCollector::current(), BuildInfo::new("shop")?))?;
    /// // The first one is not registered either.
    /// let error = registry.register_all((PlatformInfo::new(), BuildInfo::new("shop")?)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyRegistered);
    /// assert!(error.to_string().contains("BuildInfo"));
    /// assert!(!registry.render(None).to_string().contains("platform_info"));
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`register`](Registry::register), which name the collector at fault.
    pub fn register_all(&self, collectors: impl Collectors) -> Result<Registration> {
        self.add(collectors.into_list().0)
    }

    /// Adds all of these collectors or none.
    fn add(&self, new: Vec<NewCollector>) -> Result<Registration> {
        // The lock serializes registrations that would form a cycle together.
        let lock = slow_path()?;
        self.check_collectors(&new)?;
        let entries = new.into_iter().map(|new| self.add_collector(new, &lock)).collect();
        Ok(Registration::new(entries))
    }

    /// Checks that all of these collectors can be registered.
    fn check_collectors(&self, new: &[NewCollector]) -> Result<()> {
        let (registries, mut earlier) = (self.registries(), FamilyIndex::default());
        for new in new {
            let nested = as_registry(&*new.collector);
            if nested.is_some_and(|nested| nested.contains(self)) {
                let message =
                    "a registry cannot be registered in itself, nor in a registry that it contains";
                return Err(Error::new(ErrorKind::Usage, message));
            }
            let mut families: Vec<Described> = new.described.clone();
            for registry in nested.into_iter().flat_map(Registry::registries) {
                families.extend(registry.inner.names.registered().map(Reserved::described));
            }
            for family in &families {
                let mut problem =
                    registries.iter().find_map(|registry| registry.inner.names.taken(family));
                earlier.find_colliding(&family.name, family.metric_type, |_, _, other: &&str| {
                    problem =
                        Some(format!("`{}` is that of the collector `{other}`, too", family.name));
                    true
                });
                if let Some(problem) = problem {
                    return Err(new.error(&problem));
                }
            }
            if let Some(repeated) = new.repeated() {
                return Err(
                    new.error(&format!("it describes the name of `{}` twice", repeated.name))
                );
            }
            for Described { name, metric_type } in families {
                earlier.insert(&name, metric_type, new.title);
            }
        }
        Ok(())
    }

    /// Adds a collector whose names were checked under the same lock.
    fn add_collector(&self, new: NewCollector, lock: &SlowPath) -> Arc<CollectorEntry> {
        let is_registry = as_registry(&*new.collector).is_some();
        let (is_source, title) = (new.is_source, new.title);
        let entry = Arc::new(CollectorEntry::new(new, |collector| {
            is_source.then(|| self.source_of(collector, title, lock)).flatten()
        }));
        for described in entry.described() {
            let owner = Owner::Collector(described.clone(), Arc::clone(&entry));
            self.inner.names.insert(owner, lock);
        }
        if is_registry {
            self.inner.nested.push(Arc::clone(&entry));
        }
        self.inner.entries.push(Arc::clone(&entry));
        if let Some(source) = entry.source() {
            source.start(lock);
        }
        entry
    }

    /// What writes a collector to the files of this process, if the registry is in a directory.
    fn source_of(
        &self,
        collector: &Arc<Removable<Arc<dyn Collector>>>,
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
            for registry in (Registry { inner }).registries() {
                for family in registry.inner.names.families() {
                    let Descriptor { name, metric_type, .. } = family.descriptor();
                    if family.store().is_same(store) {
                        index.insert(name, *metric_type, ());
                    }
                }
            }
        };
        CollectorSource::new(collector, title, store, Box::new(add_registered), lock)
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
    /// The first that a collector reports by [`FamilySink::fail`](crate::FamilySink::fail). A
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
        let mut groups: Vec<&'static RefreshGroup> = Vec::new();
        for registry in self.registries() {
            // OK because a registry without a backend has no files.
            let group = registry.store_or_later().ok().and_then(Store::refreshed);
            groups.extend(group.filter(|new| !groups.iter().any(|known| ptr::eq(*known, *new))));
        }
        groups.into_iter().for_each(refresher::flush);
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
        for registry in self.registries() {
            let names = &registry.inner.names;
            if let Some(other) = names.find_colliding((&new.name, new.metric_type), |_| true) {
                return Err(other.collision(new));
            }
        }
        Ok(())
    }

    /// Adds a family whose names were checked under the same lock.
    pub(crate) fn add_family(&self, family: &'static dyn RegisteredFamily, lock: &SlowPath) {
        self.inner.names.insert(Owner::Family(family), lock);
    }

    /// The family that has this descriptor, if it is of type `F`.
    pub(crate) fn find_family<F: 'static>(&self, descriptor: &Descriptor) -> Option<&'static F> {
        let found = self.inner.names.at(&descriptor.name).filter_map(Reserved::family);
        let mut same = found.filter(|family| family.descriptor() == descriptor);
        same.find_map(|family| family.as_any().downcast_ref())
    }

    /// Registers a family again that was unregistered, if there is one with this descriptor and of type `F` that is fit. The
    /// names were checked under the same lock.
    pub(crate) fn restore_family<F: 'static>(
        &self,
        descriptor: &Descriptor,
        is_fit: impl Fn(&F) -> bool,
        _lock: &SlowPath,
    ) -> Option<&'static F> {
        self.inner.names.at(&descriptor.name).find_map(|reserved| match reserved.owner() {
            Owner::Family(family) if family.descriptor() == descriptor => {
                let found = family.as_any().downcast_ref().filter(|family| is_fit(family))?;
                reserved.set_registered(true);
                Some(found)
            }
            _ => None,
        })
    }

    /// This registry and those in it, each once.
    pub(super) fn registries(&self) -> Vec<Registry> {
        let mut found = Vec::new();
        self.add_registries(&mut found);
        found
    }

    fn add_registries(&self, found: &mut Vec<Registry>) {
        if found.iter().any(|known| known.is_same(self)) {
            return;
        }
        found.push(self.clone());
        for entry in self.inner.nested.iter() {
            if let Some(collector) = entry.collector()
                && let Some(registry) = as_registry(&*collector)
            {
                registry.add_registries(found);
            }
        }
    }

    pub(super) fn is_same(&self, other: &Registry) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    fn contains(&self, other: &Registry) -> bool {
        self.registries().iter().any(|registry| registry.is_same(other))
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::new()
    }
}

pub(super) fn as_registry(collector: &dyn Collector) -> Option<&Registry> {
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
    use crate::process::ProcessCollector;

    #[test]
    fn a_registry_is_shown_with_the_number_of_its_families_and_collectors() {
        let registry = Registry::builder().prefix("shop").backend(Backend::in_memory());
        let registry = registry.build().unwrap();
        registry.register(ProcessCollector::current()).unwrap();
        let shown = format!("{registry:?}");
        assert!(
            shown.starts_with("Registry { prefix: Some(\"shop\"), const_labels: {}"),
            "{shown}"
        );
        assert!(shown.ends_with("families: 0, collectors: 1, .. }"), "{shown}");
        assert!(!shown.contains("0x"), "{shown}");
    }
}
