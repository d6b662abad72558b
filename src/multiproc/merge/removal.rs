//! Series that processes have removed: which of them are hidden.
//!
//! A total must not fall while it is shown, because Prometheus takes that for a restart. So the share of a process that
//! removes a counter, histogram or summary stays in the total. The series is hidden as soon as no living writer has an
//! entry of it that is not removed, and is shown with its whole total if a process brings it back. Burial records of
//! archives hide it in any case: see `docs/design.md`, Compaction.
//!
//! A gauge is not a total: its removed entry is left out, and nothing else changes.

use super::catalog::ValueId;
use super::source::WordSource;
use crate::file::layout::RemovalState;
use crate::multiproc::fast_map::FastMap;

/// A removal record of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedRemoval {
    /// The lead sum of the series: see [`Group::lead_sum`](super::catalog::Group::lead_sum).
    series: ValueId,
    /// The position of the word that says whether the series is removed now.
    state_word: u32,
    /// How many entries of its lead sum the file has.
    entries: u32,
}

/// The removal records and burial records of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PlannedRecords {
    removals: Vec<PlannedRemoval>,
    burials: Vec<ValueId>,
}

impl PlannedRecords {
    pub(super) fn clear(&mut self) {
        self.removals.clear();
        self.burials.clear();
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.removals.len() + self.burials.len()
    }

    /// Adds a removal record whose value is at this position.
    pub(super) fn push_removal(&mut self, series: ValueId, value_word: u32) {
        self.removals.push(PlannedRemoval { series, state_word: value_word + 1, entries: 0 });
    }

    pub(super) fn push_burial(&mut self, series: ValueId) {
        self.burials.push(series);
    }

    /// Counts the entries of each removed series, given how often a sum occurs in the file.
    pub(super) fn count_entries(&mut self, count: impl Fn(ValueId) -> u32) {
        for removal in &mut self.removals {
            removal.entries = count(removal.series);
        }
    }

    pub(super) fn has_removals(&self) -> bool {
        !self.removals.is_empty()
    }
}

/// A series that a file of this scrape has removed, or that an archive has buried.
#[derive(Clone, Copy, Debug)]
struct Note {
    series: ValueId,
    /// The removed entries in files of living writers.
    live_entries: u32,
    is_buried: bool,
}

/// The removed series of a scrape.
#[derive(Default)]
pub(super) struct Removals {
    notes: Vec<Note>,
    /// How many notes there were before the last file.
    before_last_file: usize,
    /// The sum of the notes of each series, made when all files are added.
    by_series: FastMap<ValueId, Note>,
    /// For each sum, its entries in files of living writers, removed ones included. Empty if it must be counted again.
    live_entries: Vec<u32>,
}

impl Removals {
    pub(super) fn restart(&mut self) {
        self.notes.clear();
        self.by_series.clear();
        self.before_last_file = 0;
    }

    /// Notes the series that a file has removed. `is_live` says whether its writer lives.
    pub(super) fn note_file(
        &mut self,
        records: &PlannedRecords,
        is_live: bool,
        words: &impl WordSource,
    ) {
        self.before_last_file = self.notes.len();
        for &PlannedRemoval { series, state_word, entries } in &records.removals {
            let state = f64::from_bits(words.word(state_word));
            if matches!(RemovalState::of(state), RemovalState::Removed(_)) {
                let live_entries = if is_live { entries } else { 0 };
                self.notes.push(Note { series, live_entries, is_buried: false });
            }
        }
        for &series in &records.burials {
            self.notes.push(Note { series, live_entries: 0, is_buried: true });
        }
    }

    /// Undoes the notes of the last file, which is about to be added again.
    pub(super) fn retract_last_file(&mut self) {
        self.notes.truncate(self.before_last_file);
    }

    /// Adds up the notes when all files are added. `is_recounted` says whether files or the liveness of writers have
    /// changed since the last scrape, and `count_live` counts the entries of each sum in files of living writers.
    pub(super) fn finish(
        &mut self,
        is_recounted: bool,
        sums: usize,
        count_live: impl FnOnce(&mut Vec<u32>),
    ) {
        for note in &self.notes {
            let new = Note { live_entries: 0, is_buried: false, ..*note };
            let series = self.by_series.entry(note.series).or_insert(new);
            series.live_entries += note.live_entries;
            series.is_buried |= note.is_buried;
        }
        if is_recounted || self.live_entries.len() < sums {
            self.live_entries.clear();
        }
        if !self.is_empty() && self.live_entries.is_empty() {
            count_live(&mut self.live_entries);
        }
    }

    /// Whether no series is removed or buried.
    pub(super) fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }

    /// Whether the series with this lead sum is not exported.
    pub(super) fn is_hidden(&self, series: ValueId) -> bool {
        self.by_series.get(&series).is_some_and(|removed| {
            let live_entries = self.live_entries[series.get() as usize];
            removed.is_buried || live_entries <= removed.live_entries
        })
    }
}
