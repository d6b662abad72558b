//! The series that a process has removed, and their records in its files.
//!
//! A removed counter, histogram or summary has a removal record in each file with entries of it, which says whether the
//! series is removed now. It is appended once and then changed in place, so a file is bounded by the series that it
//! has ever had. Gauges need no record: their time says it.

use std::collections::HashMap;

use crate::file::SampleCells;
use crate::file::layout::{EntryKind, RemovalState};
use crate::file::name::FileKind;
use crate::file::sys::Identity;
use crate::file::writer::NewEntry;

/// A kind of files, and the key of the lead sample of a series there.
pub(super) type SeriesKey = (FileKind, Box<[u8]>);

/// All series that this process has removed at some time.
#[derive(Default)]
pub(super) struct Removals {
    all: HashMap<SeriesKey, Removal, foldhash::fast::RandomState>,
    /// Whether a record may be missing, since the incomplete ones were taken last. The first recording of each series checks
    /// it, so that it does not look at all removals.
    may_be_incomplete: bool,
}

struct Removal {
    /// The state of the records.
    state: f64,
    /// The file of each record, and its cells.
    records: Vec<(Identity, SampleCells)>,
    /// Whether a record could not be written.
    is_incomplete: bool,
}

impl Removal {
    /// Changes the state of the series in all records.
    fn set(&mut self, state: f64) {
        self.state = state;
        for (_, cells) in &self.records {
            cells.time.set(state);
        }
    }

    fn is_removed(&self) -> bool {
        matches!(RemovalState::of(self.state), RemovalState::Removed(_))
    }
}

impl Removals {
    /// Sets the state of a series that was removed or has come back.
    pub(super) fn set(&mut self, series: SeriesKey, state: f64) {
        let new = Removal { state, records: Vec::new(), is_incomplete: false };
        self.all.entry(series).or_insert(new).set(state);
    }

    /// Sets the state of a series that has come back, if it was removed.
    pub(super) fn set_present(&mut self, series: &SeriesKey, now: f64) {
        if let Some(removal) = self.all.get_mut(series) {
            removal.set(now);
            removal.is_incomplete = false;
        }
    }

    /// The record to write to a file, if the series is removed and the file has none.
    pub(super) fn missing_record<'a>(
        &self,
        series: &'a SeriesKey,
        file: Identity,
    ) -> Option<NewEntry<'a>> {
        let removal = self.all.get(series).filter(|removal| removal.is_removed())?;
        let has_record = removal.records.iter().any(|(of, _)| *of == file);
        (!has_record).then(|| record(&series.1, removal.state))
    }

    /// Called with the cells of a record that was written, or `None` if that failed.
    pub(super) fn note_record(
        &mut self,
        series: &SeriesKey,
        file: Identity,
        cells: Option<SampleCells>,
    ) {
        if let Some(removal) = self.all.get_mut(series) {
            match cells {
                Some(cells) => removal.records.push((file, cells)),
                None => {
                    removal.is_incomplete = true;
                    self.may_be_incomplete = true;
                }
            }
        }
    }

    /// Forgets the records in files that were lost.
    pub(super) fn forget_files(&mut self, is_lost: impl Fn(Identity) -> bool) {
        for removal in self.all.values_mut() {
            removal.records.retain(|(file, _)| !is_lost(*file));
        }
    }

    /// Takes the series with records that could not be written.
    pub(super) fn take_incomplete(&mut self) -> Vec<SeriesKey> {
        self.may_be_incomplete = false;
        let incomplete = self.all.iter_mut().filter(|(_, removal)| removal.is_incomplete);
        let take = |(series, removal): (&SeriesKey, &mut Removal)| {
            removal.is_incomplete = false;
            series.clone()
        };
        incomplete.map(take).collect()
    }

    /// Whether there may be series to [take](Removals::take_incomplete).
    pub(super) fn may_be_incomplete(&self) -> bool {
        self.may_be_incomplete
    }

    /// The removed series among those with these keys.
    pub(super) fn removed_of<'a>(
        &self,
        kind: FileKind,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Option<SeriesKey> {
        if self.all.is_empty() {
            return None;
        }
        let mut series = keys.map(|key| (kind, Box::from(key)));
        series.find(|series| self.all.get(series).is_some_and(Removal::is_removed))
    }

    /// The record of a series that is removed.
    pub(super) fn record<'a>(&self, series: &'a SeriesKey) -> Option<NewEntry<'a>> {
        self.all.get(series).map(|removal| record(&series.1, removal.state))
    }
}

fn record(key: &[u8], state: f64) -> NewEntry<'_> {
    // OK because the Python client's collector adds up the values of all entries, so this one must be 0.
    NewEntry { kind: EntryKind::Removal, key, value: 0.0, time: state }
}
