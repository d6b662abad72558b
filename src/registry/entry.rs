//! A collector of a registry.

use std::any::type_name;
use std::sync::Arc;

use crate::computed::CollectorSource;
use crate::error::{Error, ErrorKind};
use crate::model::{Collector, FamilyIndex, FamilyMetadata, FamilySink, MetricType, Sample};
use crate::store::fork::{Removable, SlowPath};

/// A collector of a registry.
pub(super) struct CollectorEntry {
    title: &'static str,
    collector: Arc<Removable<Arc<dyn Collector>>>,
    /// Set if the registry is in a directory and the collector is for its files.
    source: Option<Arc<CollectorSource>>,
    /// The families that it describes; it may write any others if there are none.
    described: Box<[Described]>,
}

/// A family that a collector may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) metric_type: MetricType,
}

/// A collector that is to be registered, and the families that it describes.
pub(super) struct NewCollector {
    pub(super) collector: Arc<dyn Collector>,
    /// The name of its type, for messages.
    pub(super) title: &'static str,
    pub(super) described: Vec<Described>,
    /// Whether it is for the files of the process, if the registry is in a directory.
    pub(super) is_source: bool,
}

impl NewCollector {
    /// Calls the methods of the collector that say what it is. Called under no lock, as they may record.
    pub(super) fn new<C: Collector + 'static>(collector: C) -> NewCollector {
        let mut described = Descriptions::default();
        collector.describe(&mut described);
        let (title, described) = (type_name::<C>(), described.0);
        let is_source = collector.as_registry().is_none()
            && collector.is_merged()
            && collector.directories().is_empty();
        NewCollector { collector: Arc::new(collector), title, described, is_source }
    }

    /// An error that names the collector.
    pub(super) fn error(&self, problem: &str) -> Error {
        let message = format!("collector `{}`: {problem}", self.title);
        Error::new(ErrorKind::AlreadyRegistered, message)
    }

    /// The first family that has a name in common with one that it describes before.
    pub(super) fn repeated(&self) -> Option<&Described> {
        let mut index = FamilyIndex::default();
        self.described.iter().find(|described| {
            let (name, metric_type) = (&*described.name, described.metric_type);
            let is_repeated = index.find_colliding(name, metric_type, |_, _, ()| true);
            index.insert(name, metric_type, ());
            is_repeated
        })
    }
}

#[derive(Default)]
struct Descriptions(Vec<Described>);

impl FamilySink for Descriptions {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        let FamilyMetadata { name, metric_type, .. } = *head;
        self.0.push(Described { name: name.to_owned(), metric_type });
    }

    fn sample(&mut self, _: &Sample<'_>) {}
}

impl CollectorEntry {
    /// `source_of` creates the source of the collector, if it has one.
    pub(super) fn new(
        new: NewCollector,
        source_of: impl FnOnce(&Arc<Removable<Arc<dyn Collector>>>) -> Option<Arc<CollectorSource>>,
    ) -> CollectorEntry {
        let NewCollector { collector, title, described, .. } = new;
        let collector = Arc::new(Removable::new(collector));
        let source = source_of(&collector);
        CollectorEntry { title, collector, source, described: described.into() }
    }

    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    pub(super) fn described(&self) -> &[Described] {
        &self.described
    }

    pub(super) fn source(&self) -> Option<&Arc<CollectorSource>> {
        self.source.as_ref()
    }

    /// The collector, unless it is removed.
    pub(super) fn collector(&self) -> Option<Arc<dyn Collector>> {
        self.collector.get()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.collector.is_removed()
    }

    /// Removes the collector and its series in files. The caller drops it after it has released the lock.
    pub(super) fn remove(&self, lock: &SlowPath) -> Option<Arc<dyn Collector>> {
        // The source first: a child that is forked in between keeps the removed collector in memory, and must not call it.
        if let Some(source) = &self.source {
            source.end(lock);
        }
        self.collector.remove()
    }
}
