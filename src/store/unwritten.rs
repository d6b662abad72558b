//! Series that are in no file, as the bytes of files for the collectors of this process.

use std::collections::BTreeMap;

use super::removals::{Removals, SeriesKey};
use crate::file::name::{FileKind, FileName};
use crate::file::unwritten::UnwrittenFile;
use crate::file::writer::NewEntry;
use crate::file::{Entries, SampleCells};

/// A series that is in no file.
pub(super) struct UnwrittenSeries {
    pub(super) kind: FileKind,
    /// With the first values.
    pub(super) entries: Entries,
    /// One for each entry.
    pub(super) cells: Vec<SampleCells>,
}

impl UnwrittenSeries {
    /// The entries with the current values.
    pub(super) fn current(&self) -> impl Iterator<Item = NewEntry<'_>> {
        let samples = self.entries.keys().zip(&self.cells);
        samples.map(|(key, cells)| NewEntry::value(key, cells.value.get(), cells.time.get()))
    }
}

/// The current values of series and of counters of multiprom itself, in one file for each kind with this id.
pub(super) fn files<'a>(
    id: &str,
    all_series: impl Iterator<Item = &'a UnwrittenSeries> + Clone,
    counters: &[(Vec<u8>, f64)],
    removals: &Removals,
) -> Vec<UnwrittenFile> {
    let removed = |it: &UnwrittenSeries| removals.removed_of(it.kind, it.entries.keys());
    let removed: Vec<SeriesKey> = all_series.clone().filter_map(removed).collect();
    let mut kinds: BTreeMap<String, Vec<NewEntry<'_>>> = BTreeMap::new();
    let name = |kind| FileName { kind, id }.to_string();
    for series in all_series {
        kinds.entry(name(series.kind)).or_default().extend(series.current());
    }
    for series in &removed {
        kinds.entry(name(series.0)).or_default().extend(removals.record(series));
    }
    let counters: Vec<NewEntry<'_>> =
        counters.iter().map(|(key, value)| NewEntry::value(key, *value, 0.0)).collect();
    if !counters.is_empty() {
        kinds.entry(name(FileKind::Counter)).or_default().extend(counters);
    }
    kinds.into_iter().map(|(name, entries)| UnwrittenFile::new(name, entries)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::directory::DirectoryStore;
    use super::super::fork;
    use super::super::keys::Keys;
    use super::super::options::DirectoryOptions;
    use super::*;
    use crate::file::key;
    use crate::file::unwritten::Unwritten as _;
    use crate::test_dir::TestDir;

    #[test]
    fn series_are_not_moved_to_files_while_a_scrape_holds_them() {
        let parent = TestDir::new();
        let dir = parent.join("app");
        let store = DirectoryStore::open_later(&dir, DirectoryOptions::new());
        let keys = |keys: &mut Keys| {
            keys.push(|bytes| key::encode(bytes, "a", "a_total", std::iter::empty(), "Help."));
        };
        let lock = fork::lock().unwrap();
        let opened = store.open_cells(FileKind::Counter, keys, 0.0);
        assert!(opened.gate.is_some(), "the series waits");
        opened.cells[0].value.set(2.0);
        drop(lock);
        std::fs::create_dir(&dir).unwrap();
        let refresh = || {
            let _lock = fork::lock().unwrap();
            store.refresh();
            std::fs::read_dir(&dir).unwrap().count()
        };
        let held = store.hold();
        let [file] = &store.unwritten_files()[..] else { panic!("one file") };
        assert!(file.name.starts_with("counter_"), "{file:?}");
        assert_eq!(refresh(), 0, "the series is moved while it is held");
        drop(held);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while refresh() == 0 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        let counters = |file: &UnwrittenFile| file.name.starts_with("counter_");
        assert!(!store.unwritten_files().iter().any(counters), "the series is in a file and here");
        store.close();
    }
}
