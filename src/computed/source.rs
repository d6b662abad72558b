//! A custom collector whose families the process writes to its files.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::series::ComputedSeries;
use super::snapshot::Snapshot;
use super::table::{SourceId, Table};
use crate::model::{Collector, FamilyIndex, FamilySink, FilteredSink};
use crate::store::fork::{self, PerProcess, Removable, SlowPath};
use crate::store::refresher::{self, Computed, Record};
use crate::store::{FailedRefresh, Store};

/// Adds the families that a registry itself has in the directory of a source.
type AddRegistered = Box<dyn Fn(&mut FamilyIndex<()>) + Send + Sync>;

/// A collector whose families the process writes to its files.
pub(crate) struct CollectorSource {
    id: SourceId,
    /// The type of the collector, for messages.
    title: &'static str,
    collector: Weak<Removable<Arc<dyn Collector>>>,
    table: &'static Table,
    add_registered: AddRegistered,
    here: PerProcess<Mutex<SourceState>>,
    /// Whether the collector was dropped and its series are removed. Set under the lock of the slow path.
    has_ended: AtomicBool,
    is_logged: AtomicBool,
}

/// What a source has in the files of one process.
#[derive(Default)]
struct SourceState {
    present: Vec<&'static ComputedSeries>,
    /// The names of families that are not written, and which only the process itself can export.
    unmerged: Vec<String>,
}

impl CollectorSource {
    /// Creates the source of a collector, which ends when the collector is removed or dropped. Returns `None` if the store is in
    /// memory.
    pub(crate) fn new(
        collector: &Arc<Removable<Arc<dyn Collector>>>,
        title: &'static str,
        store: Store,
        add_registered: AddRegistered,
        lock: &SlowPath,
    ) -> Option<Arc<CollectorSource>> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        store.refreshed()?;
        Some(Arc::new(CollectorSource {
            id: LAST.fetch_add(1, Ordering::Relaxed),
            title,
            collector: Arc::downgrade(collector),
            table: Table::of(store, lock),
            add_registered,
            here: PerProcess::new(),
            has_ended: AtomicBool::new(false),
            is_logged: AtomicBool::new(false),
        }))
    }

    /// Has the values written from now on. Called when the collector is registered: a child that is forked before does not write
    /// what its registry does not have.
    pub(crate) fn start(self: &Arc<Self>, lock: &SlowPath) {
        if let Some(group) = self.store().refreshed() {
            refresher::add(group, Arc::clone(self) as Arc<dyn Computed>, lock);
        }
    }

    pub(crate) fn store(&self) -> Store {
        self.table.store()
    }

    /// Writes the families that cannot be in files.
    pub(crate) fn collect_unmerged(&self, collector: &dyn Collector, out: &mut dyn FamilySink) {
        // OK because a signal handler that interrupted the slow path leaves them out.
        let unmerged = fork::lock().map(|_lock| self.here().unmerged.clone()).unwrap_or_default();
        if !unmerged.is_empty() {
            collector.collect(&mut FilteredSink::new(out, |head| {
                unmerged.iter().any(|name| name == head.name)
            }));
        }
    }

    /// Called under the lock of the slow path, so no thread waits for it.
    fn here(&self) -> MutexGuard<'static, SourceState> {
        let here = self.here.get_or_create(Mutex::default);
        here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self, reason: FailedRefresh, problem: &str) {
        let message = format_args!("collector `{}`: {problem}", self.title);
        self.store().count_failed_refresh(reason, &self.is_logged, &message);
    }

    /// Writes what the collector has returned. Series that it has returned before and not now are removed.
    fn record(&self, mut snapshot: Snapshot, registered: &FamilyIndex<()>, lock: &SlowPath) {
        // OK because the collector may have been unregistered while it was called.
        if self.has_ended.load(Ordering::Relaxed) {
            return;
        }
        self.store().refresh();
        let round = self.table.next_round();
        let (mut here, mut table) = (self.here(), self.table.here(lock));
        let mut present = Vec::with_capacity(here.present.len());
        let families = std::mem::take(&mut snapshot.families);
        for family in &families {
            let (name, metric_type) = (&*family.name, family.metric_type);
            if registered.find_colliding(name, metric_type, |_, _, ()| true) {
                snapshot.note_invalid(|| format!("a registered metric has the name of `{name}`"));
                continue;
            }
            if !table.claim(name, self.id) {
                snapshot.note_invalid(|| format!("another collector has written `{name}`"));
                continue;
            }
            for series in &family.series {
                let is_new = |found: &&'static ComputedSeries| {
                    found.round.swap(round, Ordering::Relaxed) != round
                };
                let written = series.written(metric_type);
                let found = match &written {
                    Some(written) => {
                        Some(self.table.find_or_create(&mut table, family, series, written))
                    }
                    None => table.find(family, series).filter(|found| found.is_present()),
                };
                let found = found.filter(is_new);
                // A series that is invalid this time keeps its values.
                present.extend(found);
                let problem = match (found, written) {
                    (Some(found), Some(written)) if found.has_samples(&written.kinds) => {
                        found.record(&written, series.created, lock);
                        continue;
                    }
                    (Some(_), Some(_)) => "has other bounds than before",
                    (None, Some(_)) => "has a label set twice",
                    (_, None) => "is incomplete or has an invalid value",
                };
                snapshot.note_invalid(|| format!("{metric_type} `{name}` {problem}"));
            }
        }
        for series in std::mem::replace(&mut here.present, present) {
            if series.round.load(Ordering::Relaxed) != round {
                series.remove(lock);
            }
        }
        table.release(self.id, |name| families.iter().any(|family| family.name == name));
        here.unmerged = snapshot.unmerged;
        if let Some(problem) = snapshot.invalid {
            self.note_failure(FailedRefresh::Sample, &problem);
        }
    }

    /// Removes all series after the collector was dropped or unregistered.
    pub(crate) fn end(&self, lock: &SlowPath) {
        // First, so that a child that is forked here does not write the series again.
        self.has_ended.store(true, Ordering::Relaxed);
        let mut here = self.here();
        here.present.drain(..).for_each(|series| series.remove(lock));
        self.table.here(lock).release(self.id, |_| false);
    }
}

impl Computed for CollectorSource {
    fn compute(&self) -> Option<Record<'_>> {
        // In a child that was forked during a removal, the collector is removed and the source has not ended.
        let Some(collector) = self.collector.upgrade().and_then(|collector| collector.get()) else {
            return Some(Box::new(|lock| self.end(lock)));
        };
        let snapshot = Snapshot::of(&*collector);
        if let Some(error) = &snapshot.error {
            self.note_failure(FailedRefresh::Error, &error.to_string());
            return None;
        }
        let mut registered = FamilyIndex::default();
        (self.add_registered)(&mut registered);
        self.store().prepare();
        Some(Box::new(move |lock| self.record(snapshot, &registered, lock)))
    }

    fn is_over(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    fn note_panic(&self) {
        self.note_failure(FailedRefresh::Panic, "it has panicked: its values stay");
    }
}
