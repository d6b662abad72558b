//! The series of all custom collectors in one directory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::series::{ComputedSeries, SeriesId};
use super::snapshot::{FamilySnapshot, SeriesSnapshot, WrittenSamples};
use crate::model::Unit;
use crate::store::Store;
use crate::store::fork::{AppendList, PerProcess, SlowPath};

type FastHashMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Identifies a source among those of this process and its ancestors.
pub(super) type SourceId = u64;

/// The series of all sources of a directory. A forked child continues with the series of its parent.
pub(super) struct Table {
    store: Store,
    series: AppendList<&'static ComputedSeries>,
    here: PerProcess<Mutex<TableState>>,
    rounds: AtomicU64,
}

/// What one process knows of a table.
pub(super) struct TableState {
    series: FastHashMap<SeriesId, &'static ComputedSeries>,
    /// The source that writes each family. Another one with the same name would be added to it.
    owners: FastHashMap<String, SourceId>,
    units: FastHashMap<String, Unit>,
}

impl Table {
    /// The table of a directory, created by the first call. Called under the lock of the slow path.
    pub(super) fn of(store: Store, _lock: &SlowPath) -> &'static Table {
        static TABLES: AppendList<&'static Table> = AppendList::new();
        let found = TABLES.iter().find(|table| table.store.is_same(store));
        found.copied().unwrap_or_else(|| {
            let (series, here) = (AppendList::new(), PerProcess::new());
            let rounds = AtomicU64::new(0);
            let table = &*Box::leak(Box::new(Table { store, series, here, rounds }));
            TABLES.push(table);
            table
        })
    }

    pub(super) fn store(&self) -> Store {
        self.store
    }

    /// Returns the index of the next refresh.
    pub(super) fn next_round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Called under the lock of the slow path, so no thread waits for it.
    pub(super) fn here(&self, _lock: &SlowPath) -> MutexGuard<'static, TableState> {
        let here = self.here.get_or_create(|| {
            let inherited = self.series.iter().map(|series| (series.id().clone(), *series));
            let (owners, units) = (FastHashMap::default(), FastHashMap::default());
            Mutex::new(TableState { series: inherited.collect(), owners, units })
        });
        here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series with these labels, created by the first call.
    pub(super) fn find_or_create(
        &self,
        here: &mut TableState,
        family: &FamilySnapshot,
        series: &SeriesSnapshot,
        written: &WrittenSamples,
    ) -> &'static ComputedSeries {
        let unit = here.unit(&family.unit);
        match here.series.entry(id_of(family, series)) {
            Entry::Occupied(entry) => entry.get(),
            Entry::Vacant(entry) => {
                let id = entry.key().clone();
                let new = ComputedSeries::new(self.store, id, family, unit, &written.kinds);
                let new = &*Box::leak(Box::new(new));
                self.series.push(new);
                entry.insert(new);
                new
            }
        }
    }
}

fn id_of(family: &FamilySnapshot, series: &SeriesSnapshot) -> SeriesId {
    SeriesId {
        family: family.name.as_str().into(),
        metric_type: family.metric_type,
        mode: family.mode,
        labels: series.kept_labels(),
    }
}

impl TableState {
    /// The series with these labels, if there is one.
    pub(super) fn find(
        &self,
        family: &FamilySnapshot,
        series: &SeriesSnapshot,
    ) -> Option<&'static ComputedSeries> {
        self.series.get(&id_of(family, series)).copied()
    }

    /// Whether a source writes the family; it does from now on if no other does.
    pub(super) fn claim(&mut self, family: &str, source: SourceId) -> bool {
        match self.owners.get(family) {
            Some(owner) => *owner == source,
            None => {
                self.owners.insert(family.to_owned(), source);
                true
            }
        }
    }

    /// Lets other sources write the families of a source for which `is_kept` returns `false`.
    pub(super) fn release(&mut self, source: SourceId, is_kept: impl Fn(&str) -> bool) {
        self.owners.retain(|family, owner| *owner != source || is_kept(family));
    }

    /// A unit that lives as long as the process.
    fn unit(&mut self, unit: &str) -> Option<Unit> {
        if unit.is_empty() {
            return None;
        }
        if let Some(known) = self.units.get(unit) {
            return Some(*known);
        }
        let new = Unit::Other(String::leak(unit.to_owned()));
        self.units.insert(unit.to_owned(), new);
        Some(new)
    }
}
