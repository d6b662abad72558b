//! What a registry collects, and what it leaves out because a collector of a directory exports it.

use std::sync::Arc;

use super::scope;
use crate::computed::CollectorSource;
use crate::model::{Collector, FamilySink};
use crate::store::Store;

/// A collector of a registry.
pub(super) struct RegisteredCollector {
    pub(super) collector: Arc<dyn Collector>,
    /// Set if the registry is in a directory and the collector is for its files.
    pub(super) source: Option<Arc<CollectorSource>>,
}

impl RegisteredCollector {
    /// Writes the families, without those that a collector of the gathered registries reads from files. They are left out even
    /// if this process has not written them yet, because a forked child calls no inherited collector before its first recording.
    pub(super) fn collect(&self, left_out: &mut LeftOut, out: &mut dyn FamilySink) {
        match &self.source {
            Some(source) if left_out.contains(source.store()) => {
                source.collect_unmerged(&*self.collector, out);
            }
            _ => self.collector.collect(out),
        }
    }
}

/// Which stores a collector of the gathered registries reads. A store is looked up once.
#[derive(Default)]
pub(super) struct LeftOut {
    known: Vec<(Store, bool)>,
}

impl LeftOut {
    pub(super) fn contains(&mut self, store: Store) -> bool {
        if !scope::reads_any() {
            return false;
        }
        if let Some((_, is_read)) = self.known.iter().find(|(known, _)| known.is_same(store)) {
            return *is_read;
        }
        let is_read = store.directory_id().is_some_and(|directory| scope::reads(&directory));
        self.known.push((store, is_read));
        is_read
    }
}
