//! Series that are in no file, as the bytes of files for the collectors of this process.

use std::collections::BTreeMap;

use super::keys::Keys;
use super::removals::{Removals, SeriesKey};
use super::waiting::WaitingSeries;
use crate::file::SampleCells;
use crate::file::name::{FileKind, FileName};
use crate::file::unwritten::UnwrittenFile;
use crate::file::writer::NewEntry;

/// A series that no file can contain: its keys, and the cells of each.
pub(super) struct UnwritableSeries {
    pub(super) kind: FileKind,
    pub(super) keys: Keys,
    pub(super) cells: Vec<SampleCells>,
}

/// The current values of series and of counters of multiprom itself, in one file for each kind with this id.
pub(super) fn files(
    id: &str,
    waiting: &[WaitingSeries],
    unwritable: &[UnwritableSeries],
    counters: &[(Vec<u8>, f64)],
    removals: &Removals,
) -> Vec<UnwrittenFile> {
    let waiting_keys = waiting.iter().map(|series| (series.kind, &series.keys));
    let all_keys = waiting_keys.chain(unwritable.iter().map(|series| (series.kind, &series.keys)));
    let removed = all_keys.filter_map(|(kind, keys)| removals.removed_of(kind, keys.iter()));
    let removed: Vec<SeriesKey> = removed.collect();
    let mut kinds: BTreeMap<String, Vec<NewEntry<'_>>> = BTreeMap::new();
    let name = |kind| FileName { kind, id }.to_string();
    for series in waiting {
        kinds.entry(name(series.kind)).or_default().extend(series.entries());
    }
    for UnwritableSeries { kind, keys, cells } in unwritable {
        let entries = keys.iter().zip(cells).map(|(key, cells)| {
            let (value, time) = (cells.value.get(), cells.time.get());
            NewEntry::value(key, value, time)
        });
        kinds.entry(name(*kind)).or_default().extend(entries);
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
