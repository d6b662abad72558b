//! Gathers a registry: its families, those of the registries in it, and those of its collectors, in the order of their names.
//!
//! Families are written directly, because they can be written one by one. A collector writes all its families in one call.
//! The first one that is sorted is passed on, and the others are written in between; those of other collectors are kept
//! in memory. So a merge of many series takes no memory.
//!
//! The other collectors are called first, because a merge holds a lock while it writes, which they could hold for long.
//! Those whose families are in files that are read follow when the sorted one has written its first family: what it has
//! refreshed decides what they still write.

use std::any::Any;
use std::cmp::Ordering as Order;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::vec;

use super::buffer::{Buffer, Buffering};
use super::collected::{LeftOut, collect_process_metrics};
use super::core::{Registry, as_registry};
use super::descriptor::Descriptor;
use super::entry::CollectorEntry;
use super::names::{Names, Owner, Reserved};
use super::registered::RegisteredFamily;
use super::scope::Scope;
use crate::computed::CollectorSource;
use crate::error::Error;
use crate::logging::log_line;
use crate::model::own_metrics::REPEATED_FAMILIES;
use crate::model::{
    Collector, DirectoryId, FamilyIndex, FamilyMetadata, FamilySink, Gatherer, Labels, MetricType,
    NameFilter, NativeHistogram, Sample, family_order,
};

/// How many collisions of families a registry logs at most, one line each.
const MAX_LOGGED: usize = 100;

/// The names that are to be gathered; all if there are none.
type Wanted<'a> = Option<&'a [String]>;

/// What is gathered besides the sorted collector.
struct Gathering<'a> {
    out: &'a mut dyn FamilySink,
    registry: &'a Registry,
    /// The registry and those in it.
    registries: &'a [Registry],
    /// Whether a registry has families that no collector reads from files.
    has_families: bool,
    wanted: Wanted<'a>,
    left_out: LeftOut,
    /// The families that are not written yet, in their order.
    families: Peekable<vec::IntoIter<&'static dyn RegisteredFamily>>,
    /// The collectors that are called before the sorted one.
    collectors: Vec<Arc<dyn Collector>>,
    /// The collectors whose families are in files that are read, apart from some. They are called when the sorted one has
    /// written its first family.
    in_files: Vec<(Arc<CollectorSource>, Arc<dyn Collector>)>,
    buffer: Buffer,
    /// How many families of the buffer are written.
    written: usize,
    /// The families of collectors.
    seen: FamilyIndex<()>,
    /// Whether all collectors were called.
    is_buffered: bool,
    /// Whether the current family of the sorted collector is left out.
    is_skipping: bool,
}

impl Registry {
    /// Writes the families with these names, each once, and then `last`.
    fn gather_once(
        &self,
        wanted: Wanted<'_>,
        out: &mut dyn FamilySink,
        last: impl FnOnce(&mut dyn FamilySink),
    ) {
        let found = self.registries();
        let (mut registries, mut scopes) = (Vec::new(), Vec::new());
        for registry in found {
            let id = Arc::as_ptr(&registry.inner).addr();
            match Scope::begin(id, || registry.directories()) {
                Some(scope) => {
                    scopes.push(scope);
                    registries.push(registry);
                }
                None => {
                    log_line(&format_args!("a registry contains itself, and is exported once"));
                    if registry.is_same(self) {
                        return;
                    }
                }
            }
        }
        let mut gathering = Gathering {
            out,
            registry: self,
            registries: &registries,
            has_families: false,
            wanted,
            left_out: LeftOut::default(),
            families: Vec::new().into_iter().peekable(),
            collectors: Vec::new(),
            in_files: Vec::new(),
            buffer: Buffer::default(),
            written: 0,
            seen: FamilyIndex::default(),
            is_buffered: false,
            is_skipping: true,
        };
        gathering.add_families();
        let sorted = gathering.add_collectors();
        gathering.call_collectors();
        if let Some(sorted) = sorted {
            sorted.collect(&mut gathering);
        }
        gathering.complete_buffer();
        gathering.write_before(None);
        last(gathering.out);
    }

    /// Counts a family that is left out, and logs it once unless both have the same name and type.
    fn note_collision(&self, head: &FamilyMetadata<'_>, (other, other_type): (&str, MetricType)) {
        let FamilyMetadata { name, metric_type, .. } = *head;
        self.inner.repeated.fetch_add(1, Ordering::Relaxed);
        let is_same = (name, metric_type) == (other, other_type);
        let mut logged = 0;
        let mut known = self.inner.logged.iter().inspect(|_| logged += 1);
        let is_logged = known.any(|known| known == name);
        if is_same || is_logged || logged == MAX_LOGGED {
            return;
        }
        self.inner.logged.push(name.to_owned());
        log_line(&format_args!(
            "{metric_type} `{name}` is not exported: it has a name in common with {other_type} `{other}`"
        ));
    }

    /// The families left out of expositions, by this registry and by those in it.
    fn repeated(&self) -> u64 {
        let counts = self.registries().into_iter();
        counts.map(|registry| registry.inner.repeated.load(Ordering::Relaxed)).sum()
    }
}

impl Gathering<'_> {
    /// Lists the families of the registries, without those that a collector reads from files.
    fn add_families(&mut self) {
        let mut families: Vec<&'static dyn RegisteredFamily> = Vec::new();
        for registry in self.registries {
            let names = &registry.inner.names;
            match self.wanted {
                None => families.extend(names.families()),
                Some(wanted) => {
                    let found = wanted.iter().flat_map(|name| names.with_sample(name));
                    families.extend(found.filter_map(Reserved::family));
                }
            }
        }
        families.retain(|family| !self.left_out.contains(family.store()));
        self.has_families = !families.is_empty() || self.wanted.is_some();
        // Each registry is in order already.
        if self.registries.len() > 1 || self.wanted.is_some() {
            families.sort_by(|one, other| family_order(name_of(*one), name_of(*other)));
            families.dedup_by_key(|family| std::ptr::from_ref(*family).addr());
        }
        if self.registries.len() > 1 {
            self.leave_out_repeated(&mut families);
        }
        self.families = families.into_iter().peekable();
    }

    /// Leaves out families of registries that were registered after their registries were added to this one, and have a name
    /// that another registry has.
    fn leave_out_repeated(&mut self, families: &mut Vec<&'static dyn RegisteredFamily>) {
        for (at, registry) in self.registries.iter().enumerate().skip(1) {
            for family in registry.inner.names.families() {
                let Descriptor { name, metric_type, .. } = family.descriptor();
                let left_out = &mut self.left_out;
                if left_out.contains(family.store()) {
                    continue;
                }
                let mut others = self.registries[..at].iter().map(|other| &other.inner.names);
                let other =
                    others.find_map(|names| find_exported(names, (name, *metric_type), left_out));
                let Some(other) = other else {
                    continue;
                };
                let address = std::ptr::from_ref(family).addr();
                families.retain(|family| std::ptr::from_ref(*family).addr() != address);
                let head = FamilyMetadata::new(name, "", *metric_type);
                let Descriptor { name, metric_type, .. } = other.descriptor();
                self.registry.note_collision(&head, (name, *metric_type));
            }
        }
    }

    /// Lists the collectors. Returns the first one that is sorted.
    fn add_collectors(&mut self) -> Option<Arc<dyn Collector>> {
        let mut sorted = None;
        for registry in self.registries {
            for entry in registry.inner.entries.iter() {
                let Some(collector) = entry.collector().filter(|it| as_registry(&**it).is_none())
                else {
                    continue;
                };
                if !self.wants(registry, entry) {
                    continue;
                }
                let source = entry.source().filter(|it| self.left_out.contains(it.store()));
                if sorted.is_none() && collector.is_sorted() {
                    sorted = Some(collector);
                } else if let Some(source) = source {
                    self.in_files.push((Arc::clone(source), collector));
                } else {
                    self.collectors.push(collector);
                }
            }
        }
        sorted
    }

    /// Whether a collector may write one of the names that are to be gathered.
    fn wants(&self, registry: &Registry, entry: &Arc<CollectorEntry>) -> bool {
        let Some(wanted) = self.wanted else {
            return true;
        };
        let is_its = |owner: &Owner| match owner {
            Owner::Collector(_, other) => Arc::ptr_eq(other, entry),
            Owner::Family(_) => false,
        };
        let mut names = wanted.iter().flat_map(|name| registry.inner.names.with_sample(name));
        entry.described().is_empty() || names.any(|reserved| is_its(reserved.owner()))
    }

    /// Keeps the admitted families that a function writes.
    fn buffer(&mut self, write: impl FnOnce(&mut Buffering<'_>)) {
        let Gathering { registry, registries, left_out, seen, buffer, out, .. } = self;
        let mut admit =
            |head: &FamilyMetadata<'_>| is_admitted(registry, registries, left_out, seen, head);
        write(&mut Buffering::new(buffer, &mut admit, *out));
    }

    /// Calls the collectors that write all their families.
    fn call_collectors(&mut self) {
        for collector in std::mem::take(&mut self.collectors) {
            self.buffer(|buffering| collector.collect(buffering));
        }
    }

    /// Adds to the buffer what depends on files that were read, and sorts it. The first call does it.
    fn complete_buffer(&mut self) {
        if std::mem::replace(&mut self.is_buffered, true) {
            return;
        }
        for (source, collector) in std::mem::take(&mut self.in_files) {
            self.buffer(|buffering| source.collect_unmerged(&*collector, buffering));
        }
        if let Some(default) = self.registries.iter().find(|it| it.inner.is_default) {
            let store = default.store_or_later();
            let is_in_directory = store.is_ok_and(|store| self.left_out.contains(store));
            self.buffer(|buffering| collect_process_metrics(buffering, is_in_directory));
        }
        self.buffer.families.sort_by(|one, other| family_order(&one.name, &other.name));
    }

    /// Writes the families that come before one, or all.
    fn write_before(&mut self, limit: Option<&str>) {
        let is_before =
            |name: &str| limit.is_none_or(|limit| family_order(name, limit) == Order::Less);
        loop {
            let buffered = self.buffer.families.get(self.written);
            let buffered = buffered.filter(|family| is_before(&family.name));
            let is_next = |family: &&'static dyn RegisteredFamily| {
                let name = name_of(*family);
                is_before(name)
                    && buffered.is_none_or(|it| family_order(name, &it.name) != Order::Greater)
            };
            if let Some(family) = self.families.next_if(is_next) {
                family.collect(self.out);
            } else if let Some(buffered) = buffered {
                self.buffer.write(buffered, self.out);
                self.written += 1;
            } else {
                return;
            }
        }
    }
}

fn name_of(family: &'static dyn RegisteredFamily) -> &'static str {
    &family.descriptor().name
}

/// The first family of a registry that has a name in common with a family, and that no collector reads from files.
fn find_exported(
    names: &Names,
    family: (&str, MetricType),
    left_out: &mut LeftOut,
) -> Option<&'static dyn RegisteredFamily> {
    let is_exported =
        |other: &Reserved| other.family().is_some_and(|family| !left_out.contains(family.store()));
    names.find_colliding(family, is_exported).and_then(Reserved::family)
}

/// Whether a family of a collector is exported: no family of the registries, and none of a collector before it, has a name in
/// common with it.
fn is_admitted(
    registry: &Registry,
    registries: &[Registry],
    left_out: &mut LeftOut,
    seen: &mut FamilyIndex<()>,
    head: &FamilyMetadata<'_>,
) -> bool {
    let (name, metric_type) = (head.name, head.metric_type);
    for names in registries.iter().map(|registry| &registry.inner.names) {
        if let Some(other) = find_exported(names, (name, metric_type), left_out) {
            let Descriptor { name, metric_type, .. } = other.descriptor();
            registry.note_collision(head, (name, *metric_type));
            return false;
        }
    }
    let is_repeated = seen.find_colliding(name, metric_type, |other, other_type, ()| {
        registry.note_collision(head, (other, other_type));
        true
    });
    if !is_repeated {
        seen.insert(name, metric_type, ());
    }
    !is_repeated
}

/// Receives the families of the sorted collector, and writes the others in between.
impl FamilySink for Gathering<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.complete_buffer();
        let Gathering { registry, registries, left_out, seen, .. } = self;
        let registries = if self.has_families { *registries } else { &[] };
        self.is_skipping = !is_admitted(registry, registries, left_out, seen, head);
        if !self.is_skipping {
            self.write_before(Some(head.name));
            self.out.family(head);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if !self.is_skipping {
            self.out.sample(sample);
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        if !self.is_skipping {
            self.out.native_histogram(labels, histogram);
        }
    }

    fn wants_created(&self) -> bool {
        self.out.wants_created()
    }

    fn fail(&mut self, error: Error) {
        self.out.fail(error);
    }
}

impl Gatherer for Registry {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.gather_once(None, out, |out| REPEATED_FAMILIES.write_nonzero(out, self.repeated()));
    }

    fn gather_names(&self, names: &[String], out: &mut dyn FamilySink) {
        let out = &mut NameFilter::new(out, names);
        self.gather_once(Some(names), out, |out| {
            REPEATED_FAMILIES.write_nonzero(out, self.repeated());
        });
    }
}

impl Collector for Registry {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.gather_once(None, out, |_| {});
    }

    fn is_sorted(&self) -> bool {
        true
    }

    fn directories(&self) -> Vec<DirectoryId> {
        let collectors = self.inner.entries.iter().filter_map(|entry| entry.collector());
        collectors.flat_map(|collector| collector.directories()).collect()
    }

    fn as_registry(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Sample, SampleKind};
    use std::sync::atomic::AtomicBool;

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

    /// Writes one family, and notes when.
    struct Sorted(Arc<AtomicBool>);

    impl Collector for Sorted {
        fn collect(&self, out: &mut dyn FamilySink) {
            self.0.store(true, Ordering::Relaxed);
            out.gauge("sorted", "").sample(&[], 1.0);
            self.0.store(false, Ordering::Relaxed);
        }

        fn is_sorted(&self) -> bool {
            true
        }
    }

    /// Writes whether it is called while the sorted collector writes.
    struct Other(&'static str, Arc<AtomicBool>);

    impl Collector for Other {
        fn collect(&self, out: &mut dyn FamilySink) {
            let is_writing = f64::from(u8::from(self.1.load(Ordering::Relaxed)));
            out.gauge(self.0, "").sample(&[], is_writing);
        }
    }

    #[test]
    fn other_collectors_are_called_before_the_sorted_one_which_may_hold_a_lock() {
        let (registry, is_writing) = (Registry::new(), Arc::new(AtomicBool::new(false)));
        registry.register(Other("z", Arc::clone(&is_writing))).unwrap();
        registry.register(Sorted(Arc::clone(&is_writing))).unwrap();
        registry.register(Other("a", is_writing)).unwrap();
        let text = registry.render(None).to_string();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(samples.collect::<Vec<_>>(), ["a 0", "sorted 1", "z 0"]);
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
