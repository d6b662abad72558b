//! Series that are in no file, as the bytes of files for the collectors of this process.

use std::collections::BTreeMap;

use super::keys::Keys;
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
) -> Vec<UnwrittenFile> {
    let mut kinds: BTreeMap<String, Vec<NewEntry<'_>>> = BTreeMap::new();
    let name = |kind| FileName { kind, id }.to_string();
    for series in waiting {
        kinds.entry(name(series.kind)).or_default().extend(series.entries());
    }
    for UnwritableSeries { kind, keys, cells } in unwritable {
        let entries = keys.iter().zip(cells).map(|(key, cells)| {
            let (value, time) = (cells.value.get(), cells.time.get());
            NewEntry { key, value, time }
        });
        kinds.entry(name(*kind)).or_default().extend(entries);
    }
    let counters: Vec<NewEntry<'_>> =
        counters.iter().map(|(key, value)| NewEntry { key, value: *value, time: 0.0 }).collect();
    if !counters.is_empty() {
        kinds.entry(name(FileKind::Counter)).or_default().extend(counters);
    }
    kinds.into_iter().map(|(name, entries)| UnwrittenFile::new(name, entries)).collect()
}
