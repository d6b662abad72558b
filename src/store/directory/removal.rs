//! Removes series from the files of a process, and brings them back.

use super::{DirectoryStore, Files};
use crate::file::layout::RemovalState;
use crate::file::name::FileKind;
use crate::file::writer::Room;
use crate::model::GaugeMode;
use crate::model::clock::now;
use crate::store::removals::SeriesKey;

impl DirectoryStore {
    /// Removes a series from the exposition: see [`Store::remove`](crate::store::Store::remove).
    pub(crate) fn remove(&self, kind: FileKind, key: &[u8]) {
        let mut files = self.files();
        let state = RemovalState::removed_at(now());
        if let Some(mode) = kind.mode() {
            if let Some((cells, _)) = files.gauges.get(&(kind, key.into())) {
                cells.time.set(state);
                // The Python client's collector does not see that the gauge is removed.
                if matches!(mode, GaugeMode::Sum | GaugeMode::LiveSum) {
                    cells.value.set(0.0);
                }
            }
            return;
        }
        let series = (kind, Box::from(key));
        files.removals.set(series.clone(), state);
        files.write_removal(self, &series);
    }

    /// Exports a series again: see [`Store::restore`](crate::store::Store::restore).
    pub(crate) fn restore(&self, kind: FileKind, key: &[u8]) {
        let mut files = self.files();
        let series = (kind, Box::from(key));
        match files.gauges.get(&series) {
            // OK because another registry of the process may have the same gauge, which is exported.
            Some((cells, _)) if cells.time.get() >= 0.0 => {}
            Some((cells, _)) => cells.reset(),
            None => files.removals.set_present(&series, now()),
        }
    }
}

impl Files {
    /// Writes the record of a removed series to each file with entries of it that has no record yet.
    pub(super) fn write_removal(&mut self, store: &DirectoryStore, series: &SeriesKey) {
        let (kind, key) = series;
        let is_only = self.writers.iter().filter(|(other, _)| other == kind).count() == 1;
        for (_, writer) in self.writers.iter_mut().filter(|(other, _)| other == kind) {
            let file = writer.identity();
            let Some(record) = self.removals.missing_record(series, file) else {
                continue;
            };
            if !is_only && !writer.has_key(key) {
                continue;
            }
            match writer.append_all(&[record], Room::Ordinary) {
                Ok(cells) => self.removals.note_record(series, file, cells.first().copied()),
                Err(error) if error.is_transient() => {
                    self.removals.note_record(series, file, None);
                    store.retry.schedule();
                }
                // OK because the series of a file that gets no more entries is hidden when its process has ended.
                Err(_) => {}
            }
        }
    }

    /// Writes the record of a series, whose file was lost, to the current file.
    pub(super) fn copy_removal(&mut self, store: &DirectoryStore, series: &SeriesKey) {
        let Some(record) = self.removals.record(series) else {
            return;
        };
        let written = self.append(store, series.0, &[record], Room::Ordinary);
        let current = self.current.get(&series.0).map(|at| self.writers[*at].1.identity());
        if let Some(file) = current {
            let cells = written.ok().and_then(|cells| cells.first().copied());
            self.removals.note_record(series, file, cells);
        }
    }
}
