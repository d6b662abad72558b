//! Registries: which families exist, and where their values live.
//!
//! A registry checks names when a family is registered and gives all families of its own and of its
//! collectors when it is gathered, each family name once. It can be used from any thread, and in a
//! child that was forked at any moment.

mod backend;
mod builder;
mod default;
mod descriptor;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::exposition::Exposition;
use crate::logging::{self, log_line};
use crate::model::{
    Collector, FamilyIndex, FamilyMetadata, FamilySink, FilteredSink, Gatherer, LabelSet,
    MetricType,
};
use crate::store::fork::{self, AppendList, SlowPath};
use crate::store::{Store, dropped_series, ignored_recordings, lost_files, recovered_series};

pub use crate::store::DirectoryOptions;
pub use backend::Backend;
pub use builder::RegistryBuilder;
pub(crate) use default::registration_failed;
pub use default::{default_registry, set_default_backend};
pub(crate) use descriptor::Descriptor;

/// A family of the writing half, as the registry sees it.
pub(crate) trait RegisteredFamily: Collector {
    fn descriptor(&self) -> &Descriptor;

    /// For [`Registry::find_family`], which knows the type.
    fn as_any(&'static self) -> &'static (dyn Any + Send + Sync);
}

/// How many collisions of families a registry logs at most, one line each.
const MAX_LOGGED: usize = 100;

/// A set of families and collectors that are exported together.
///
/// No two families of an exposition have a name in common, those of their samples included: of two the one that
/// is given first is shown, in the order in which families and collectors were registered. What is left out is counted in
/// `multiprom_repeated_families_total` and logged once.
///
/// A copy is another name of the same registry. Families live as long as the process, so a registry
/// for them is made once; one that only holds collectors may be made for each scrape.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    prefix: Option<String>,
    const_labels: LabelSet,
    backend: Backend,
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
    Collector(Box<dyn Collector>),
}

impl Registry {
    /// A registry without prefix or constant labels, whose backend the environment chooses.
    pub fn new() -> Registry {
        Registry::from_parts(None, LabelSet::default(), Backend::environment(), false)
    }

    /// A registry that is set up step by step.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::new()
    }

    fn from_parts(
        prefix: Option<String>,
        const_labels: LabelSet,
        backend: Backend,
        is_default: bool,
    ) -> Registry {
        logging::note_standard_error();
        let entries = AppendList::new();
        let (repeated, logged) = (AtomicU64::new(0), AppendList::new());
        let inner = Inner { prefix, const_labels, backend, entries, repeated, logged, is_default };
        Registry { inner: Arc::new(inner) }
    }

    /// Adds a collector, whose families are part of every exposition from now on.
    ///
    /// # Errors
    ///
    /// None today; a collector that names its families beforehand may collide with others.
    pub fn register(&self, collector: impl Collector + 'static) -> Result<()> {
        self.inner.entries.push(Entry::Collector(Box::new(collector)));
        Ok(())
    }

    /// Gives everything as text, in the format that an HTTP `Accept` header prefers.
    ///
    /// Without a header, or with one that asks for nothing known, that is the text format 0.0.4.
    pub fn render(&self, accept: Option<&str>) -> Exposition {
        Exposition::render(self, accept)
    }

    /// As [`render`](Registry::render), for handlers that can answer a scrape with status 500.
    ///
    /// # Errors
    ///
    /// The first that a collector reports by [`FamilySink::fail`]. A
    /// [`MultiProcessCollector`](crate::MultiProcessCollector) does so, with an error of kind
    /// [`Unsupported`](ErrorKind::Unsupported), where a newer release wrote the archive of its directory.
    pub fn try_render(&self, accept: Option<&str>) -> Result<Exposition> {
        Exposition::try_render(self, accept)
    }

    /// Lets go of the series files of this process, whose writer is seen as ended from now on.
    ///
    /// For hosts that end a part of themselves: what was recorded stays in the directory and in the merge.
    /// Recording goes on to be allowed, and begins new files. Registries that share a directory by the
    /// environment share the files. What other threads record meanwhile may be missing. Gauges begin at 0 in new files:
    /// an older guard of [`GaugeHandle::track_inprogress`](crate::GaugeHandle::track_inprogress) subtracts nothing from
    /// them. Does nothing in a signal handler that interrupted this crate in the same thread.
    pub fn close(&self) {
        // OK because a registry without a backend has no files.
        if let (Ok(_lock), Ok(store)) = (slow_path(), self.store_or_later()) {
            store.close();
        }
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

    /// The name and the labels that a family gets in this registry.
    pub(crate) fn qualify(&self, name: &str) -> (String, LabelSet) {
        let name = match &self.inner.prefix {
            Some(prefix) => format!("{prefix}_{name}"),
            None => name.to_owned(),
        };
        (name, self.inner.const_labels.clone())
    }

    /// Checks that no other family has the name of a new one, or the name of one of its samples.
    pub(crate) fn check_names(&self, new: &Descriptor) -> Result<()> {
        for known in self.families() {
            if let Some(name) = new.collision(known.descriptor()) {
                let message = format!("metric name `{name}` is registered already");
                return Err(Error::new(ErrorKind::AlreadyRegistered, message));
            }
        }
        Ok(())
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

    /// What the registry tells about itself, where there is something to tell.
    fn collect_own(&self, out: &mut dyn FamilySink) {
        let repeated = self.inner.repeated.load(Ordering::Relaxed);
        if repeated > 0 {
            let help = "Families left out because an earlier one has one of their names.";
            out.counter("multiprom_repeated_families_total", help).sample(&[], repeated as f64);
        }
        if !self.inner.is_default {
            return;
        }
        let help = "Series of this process that did not get into a series file when they were first recorded.";
        collect_by_reason(out, "multiprom_dropped_series_total", help, dropped_series());
        let help = "Series of this process that were dropped and got into a series file later.";
        collect_by_reason(out, "multiprom_recovered_series_total", help, recovered_series());
        if lost_files() > 0 {
            let help = "Series files that were removed while their process was recording.";
            out.counter("multiprom_files_lost_total", help).sample(&[], lost_files() as f64);
        }
        if ignored_recordings() > 0 {
            let help = "Recordings that interrupted multiprom in the same thread and were ignored.";
            let mut family = out.counter("multiprom_ignored_recordings_total", help);
            family.sample(&[], ignored_recordings() as f64);
        }
        let help = "Statics that could not be registered and are not exported.";
        let failed = default::registration_errors();
        collect_by_reason(out, "multiprom_registration_errors_total", help, failed);
    }
}

/// A counter by reason, without the reasons that nothing was counted for.
fn collect_by_reason(
    out: &mut dyn FamilySink,
    name: &str,
    help: &str,
    counts: impl Iterator<Item = (&'static str, u64)>,
) {
    let mut counts = counts.filter(|(_, count)| *count > 0).peekable();
    if counts.peek().is_some() {
        let mut family = out.counter(name, help);
        for (reason, count) in counts {
            family.sample(&[("reason", reason)], count as f64);
        }
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::new()
    }
}

impl Inner {
    /// Whether none of the exported families has a name in common with this one: of two with such a name the first is
    /// exported.
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

    /// Logs a collision once for each family, and not where two collectors give one family.
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
        let mut seen = FamilyIndex::default();
        let mut once = FilteredSink::new(out, |head| self.inner.admit(head, &mut seen));
        for entry in self.inner.entries.iter() {
            match entry {
                Entry::Family(family) => family.collect(&mut once),
                Entry::Collector(collector) => collector.collect(&mut once),
            }
        }
        self.collect_own(&mut once);
    }
}

/// Takes the lock of the slow path: registration and the first use of a series.
pub(crate) fn slow_path() -> Result<SlowPath> {
    fork::lock().ok_or_else(|| {
        let message = "called by what interrupted multiprom in the same thread";
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
        // Two that give the same are no news.
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
