//! Detects that the directory or files of this process are lost, and writes the values of lost files to new ones.

use std::collections::HashSet;

use super::{DirectoryStore, Files};
use crate::file::layout::EntryKind;
use crate::file::name::FileKind;
use crate::file::place::DirectoryState;
use crate::file::sys::{self, Identity};
use crate::file::writer::{NewEntry, SeriesWriter, WrittenEntry, encoded};
use crate::model::own_metrics::FILES_LOST;
use crate::store::dropped;

impl Files {
    /// See [`DirectoryStore::refresh`].
    pub(super) fn refresh(&mut self, store: &DirectoryStore) {
        self.count_ignored(store);
        let has_failed = self.creation.last().is_some();
        let waits = !self.waiting.is_empty() || has_failed;
        if self.writers.is_empty() && !waits {
            return;
        }
        if waits || self.pace.is_due(sys::tick()) {
            let found = DirectoryState::of(&store.path);
            let now = found.map(|state| state.identity);
            if has_failed && now != self.failed_in {
                self.creation.clear();
                store.retry.schedule_now();
            }
            let Some(found) = found else {
                return;
            };
            if !found.has_same_names(self.checked) {
                self.recreate_if_lost(store, now);
                self.companion.forget_if_lost(&store.path, now);
                self.checked = Some(found);
            }
        }
        self.write_companion(store);
        if (!self.waiting.is_empty() || self.removals.may_be_incomplete()) && store.retry.claim() {
            self.write_waiting(store);
        }
    }

    /// If the directory or some of the files were removed or replaced, writes their values to new files.
    ///
    /// The values so far become entries that are not added to any more; each series gets new entries at its next
    /// recording. Only gauges continue with their entry.
    fn recreate_if_lost(&mut self, store: &DirectoryStore, now: Option<Identity>) {
        let is_moved = now != self.dir;
        let is_lost = |(_, writer): &(FileKind, SeriesWriter)| {
            is_moved || writer.is_removed_from(&store.path)
        };
        if !self.writers.iter().any(is_lost) {
            return;
        }
        self.unbind();
        // Only the values of lost files are written again: the other files are still read, and their values would be counted twice.
        let lost: Vec<_> = self.writers.extract_if(.., |writer| is_lost(writer)).collect();
        self.current.clear();
        let kept = self.writers.iter().enumerate().map(|(at, (kind, _))| (*kind, at));
        self.current.extend(kept);
        for (kind, _) in &lost {
            // The entry of a gauge may be in another file of the kind, which is not lost.
            let others = self.writers.iter().filter(|(other, _)| other == kind);
            let kept: HashSet<Vec<u8>> =
                others.flat_map(|(_, it)| it.entries()).map(|entry| entry.key).collect();
            self.gauges.retain(|(other, key), (_, gate)| {
                other != kind || gate.is_some() || kept.contains(&**key)
            });
            if *kind == FileKind::Counter {
                self.own.forget_written();
            }
        }
        let count = lost.len() as u64;
        self.removals.forget_files(|file| lost.iter().any(|(_, it)| it.identity() == file));
        for (kind, writer) in &lost {
            // Records come first: a series that is removed is not shown in between.
            let entries = writer.entries();
            let (records, values): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|entry| entry.kind == EntryKind::Removal);
            for WrittenEntry { key, .. } in records {
                self.copy_removal(store, &(*kind, key.into()));
            }
            for WrittenEntry { key, value, time, .. } in values {
                let entry = NewEntry::value(&key, value, time);
                self.open_new(store, *kind, &encoded(&[entry]));
            }
        }
        SeriesWriter::close_all(lost.into_iter().map(|(_, writer)| writer));
        dropped::count_lost_files(count, &store.path);
        self.count_own(store, &FILES_LOST, "", count as f64);
    }
}
