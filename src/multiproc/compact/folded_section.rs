//! The merged entries of one section of the next archive.

use std::collections::HashSet;

use super::series::series_of;
use crate::file::key;
use crate::file::layout::{Entries, Entry, EntryKind, Layout, LayoutError, RemovalState};
use crate::file::name::FileKind;
use crate::model::{GaugeMode, OwnedLabels};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::merge::exact_sum::ExactSum;
use crate::multiproc::merge::key_table::KeyTable;

/// The time of a gauge that was set, from a file without times: 0 would mean that it was never set.
const UNKNOWN_TIME: f64 = f64::MIN_POSITIVE;

/// Why the entries of a file or section cannot be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldError {
    Damaged(LayoutError),
    /// An entry of a kind that this release does not know, or that does not belong there.
    UnknownKind,
}

/// What the archive has of a marked series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkState {
    /// Its values and the mark: it is exported while a living writer has it unremoved.
    Marked,
    /// A burial record too: it is not exported.
    Buried,
    /// Nothing.
    Dropped,
}

pub(super) struct FoldedSection {
    pub(super) kind: FileKind,
    pub(super) id: Box<str>,
    /// Unix seconds; 0 in a section of many processes.
    pub(super) ended: f64,
    /// From the bytes of keys to what their entries change.
    keys: KeyTable<Target>,
    /// From normalized keys to indices of entries.
    by_sample: FastMap<Box<[u8]>, usize>,
    entries: Vec<FoldedEntry>,
    /// From ids of series to indices of removals.
    by_series: FastMap<Box<[u8]>, usize>,
    removals: Vec<Removal>,
}

/// What an entry changes, by its index.
#[derive(Clone, Copy)]
enum Target {
    Value(usize),
    Removal(usize),
    Burial(usize),
}

struct FoldedEntry {
    /// The key as it is in the first file.
    key: Box<[u8]>,
    /// A sum; a single value if the mode does not add up.
    value: ExactSum,
    time: f64,
}

/// A series with a removal record in a file or section.
struct Removal {
    /// The key of the lead sample as it is in the first record.
    key: Box<[u8]>,
    /// When it was removed last, in Unix seconds; `None` if no record is in the state removed.
    since: Option<f64>,
    /// When it was buried, in Unix seconds.
    buried: Option<f64>,
}

impl FoldedEntry {
    /// The entries in the archive. If one value cannot represent a total exactly, a second entry has the rest, which
    /// readers add.
    fn entries(&self, kind: FileKind) -> impl Iterator<Item = (&[u8], f64, f64)> {
        let (value, rest) = self.value.parts();
        let entry = move |value| (&*self.key, value, self.time);
        let has_rest = kind.mode().is_none() && rest != 0.0;
        std::iter::once(entry(value)).chain(has_rest.then(|| entry(rest)))
    }
}

impl Removal {
    /// `None` if no writer has left the series removed.
    fn state(&self) -> Option<MarkState> {
        self.since?;
        Some(if self.buried.is_some() { MarkState::Buried } else { MarkState::Marked })
    }

    /// Adds the state of a removal record of a dead writer, or of an archive.
    fn add(&mut self, time: Option<f64>) {
        if let RemovalState::Removed(since) = RemovalState::of(time.unwrap_or(0.0)) {
            self.since = Some(self.since.map_or(since, |other| other.max(since)));
        }
    }

    /// Adds a burial record. Compactors write it together with a mark.
    fn bury(&mut self, time: Option<f64>) {
        let time = time.unwrap_or(0.0);
        self.since.get_or_insert(time);
        self.buried = Some(time);
    }

    /// The entries in the archive.
    fn entries(&self) -> impl Iterator<Item = (EntryKind, &[u8], f64, f64)> {
        let record = |kind, time| (kind, &*self.key, 0.0, time);
        let mark = self.since.map(|since| record(EntryKind::Removal, -since));
        let burial = self.buried.filter(|_| mark.is_some());
        let burial = burial.map(|time| record(EntryKind::Burial, time));
        mark.into_iter().chain(burial)
    }
}

impl FoldedSection {
    pub(super) fn new(kind: FileKind, id: &str, ended: f64) -> FoldedSection {
        FoldedSection {
            kind,
            id: id.into(),
            ended,
            keys: KeyTable::default(),
            by_sample: FastMap::default(),
            entries: Vec::new(),
            by_series: FastMap::default(),
            removals: Vec::new(),
        }
    }

    /// Adds entries that [`CombineRule::check`] accepts.
    pub(super) fn add(
        &mut self,
        mut entries: Entries<'_>,
        rule: CombineRule,
    ) -> Result<(), LayoutError> {
        let layout = entries.layout();
        self.keys.expect_from(0);
        loop {
            let (entry, target) = match self.keys.next_expected(&mut entries) {
                Some(found) => found,
                None => match entries.next() {
                    None => return Ok(()),
                    Some(entry) => {
                        let entry = entry?;
                        // No entry is created for a gauge that no process has.
                        if rule.is_removed(&entry, layout) {
                            continue;
                        }
                        let target = self.keys.find(&entry).unwrap_or_else(|missing| {
                            let target = self.target(&entry);
                            self.keys.insert(&entry, missing, target);
                            target
                        });
                        (entry, target)
                    }
                },
            };
            match target {
                Target::Value(_) if rule.is_removed(&entry, layout) => {}
                Target::Value(at) => {
                    let time = rule.time(entry.time.unwrap_or(0.0), layout);
                    rule.combine(&mut self.entries[at], entry.value, time);
                }
                Target::Removal(at) => self.removals[at].add(entry.time),
                Target::Burial(at) => self.removals[at].bury(entry.time),
            }
        }
    }

    fn target(&mut self, entry: &Entry<'_>) -> Target {
        match entry.kind {
            EntryKind::Removal => Target::Removal(self.removal(entry.key)),
            EntryKind::Burial => Target::Burial(self.removal(entry.key)),
            EntryKind::Value | EntryKind::Unknown(_) => Target::Value(self.sample(entry.key)),
        }
    }

    /// The index of the entry of the sample that a key names; different spellings of a key name one sample. A key that
    /// cannot be parsed is kept unchanged.
    fn sample(&mut self, bytes: &[u8]) -> usize {
        let mut name = Vec::new();
        match key::decode(bytes) {
            Ok(key) => {
                let labels = OwnedLabels::new(key.labels.iter().map(|(n, v)| (&**n, &**v)));
                key::encode(&mut name, &key.family, &key.sample, labels.iter(), "");
            }
            Err(_) => name.extend_from_slice(bytes),
        }
        let entries = &mut self.entries;
        *self.by_sample.entry(name.into()).or_insert_with(|| {
            let key = padded(bytes);
            entries.push(FoldedEntry { key, value: ExactSum::default(), time: 0.0 });
            entries.len() - 1
        })
    }

    /// The index of the removal of the series whose lead sample a key names.
    fn removal(&mut self, bytes: &[u8]) -> usize {
        let series = series_of(self.kind.metric_type(), bytes).map(|series| series.id);
        let removals = &mut self.removals;
        *self.by_series.entry(series.unwrap_or_default()).or_insert_with(|| {
            removals.push(Removal { key: padded(bytes), since: None, buried: None });
            removals.len() - 1
        })
    }

    /// Adds a burial record of another section.
    pub(super) fn bury(&mut self, entry: &Entry<'_>) {
        let at = self.removal(entry.key);
        self.removals[at].bury(entry.time);
    }

    /// The ids of marked series.
    pub(super) fn marks(&self) -> impl Iterator<Item = (&[u8], MarkState)> {
        self.by_series
            .iter()
            .filter_map(|(series, at)| Some((&**series, self.removals[*at].state()?)))
    }

    /// Changes the states of marked series. Nothing can be added afterwards. Returns whether a state has changed.
    pub(super) fn change_marks(
        &mut self,
        now: f64,
        mut next: impl FnMut(&[u8], MarkState) -> MarkState,
    ) -> bool {
        let mut has_changed = false;
        let mut dropped: HashSet<&[u8]> = HashSet::new();
        for (series, at) in &self.by_series {
            let removal = &mut self.removals[*at];
            let Some(state) = removal.state() else { continue };
            let next = next(series, state);
            has_changed |= next != state;
            removal.buried = (next == MarkState::Buried).then(|| removal.buried.unwrap_or(now));
            if next == MarkState::Dropped {
                removal.since = None;
                dropped.insert(series);
            }
        }
        if !dropped.is_empty() {
            let metric_type = self.kind.metric_type();
            let is_kept = |key: &[u8]| {
                series_of(metric_type, key).is_none_or(|it| !dropped.contains(&*it.id))
            };
            self.entries.retain(|entry| is_kept(&entry.key));
        }
        has_changed
    }

    /// The entries in the archive: the values, and the records of removed series.
    pub(super) fn archive_entries(&self) -> impl Iterator<Item = (EntryKind, &[u8], f64, f64)> {
        let values = self.entries.iter().flat_map(|entry| entry.entries(self.kind));
        let values = values.map(|(key, value, time)| (EntryKind::Value, key, value, time));
        values.chain(self.removals.iter().flat_map(Removal::entries))
    }
}

/// A key with the padding of an own entry.
pub(super) fn padded(key: &[u8]) -> Box<[u8]> {
    let mut padded = key.to_vec();
    padded.resize(padded.len().next_multiple_of(8), b' ');
    padded.into()
}

/// Whether the key of a record is that of the lead sample of a series.
pub(super) fn is_record_of(kind: FileKind, entry: &Entry<'_>) -> bool {
    series_of(kind.metric_type(), entry.key).is_some_and(|series| series.is_lead)
}

/// How the values of one series from several files are combined.
#[derive(Clone, Copy)]
pub(super) struct CombineRule {
    pub(super) kind: FileKind,
    /// Whether the values are from an archive, where a mean has the sum as value, a count the number of processes, and both
    /// have the number of processes as time.
    pub(super) is_archived: bool,
}

impl CombineRule {
    /// Whether all entries can be folded.
    pub(super) fn check(self, mut entries: Entries<'_>) -> Result<(), FoldError> {
        entries.try_for_each(|entry| {
            let entry = entry.map_err(FoldError::Damaged)?;
            let is_foldable = match entry.kind {
                EntryKind::Value => true,
                EntryKind::Removal => is_record_of(self.kind, &entry),
                EntryKind::Burial => self.is_archived && is_record_of(self.kind, &entry),
                EntryKind::Unknown(_) => false,
            };
            is_foldable.then_some(()).ok_or(FoldError::UnknownKind)
        })
    }

    /// Whether an entry is a gauge that its process has removed.
    fn is_removed(self, entry: &Entry<'_>, layout: Layout) -> bool {
        let is_own_gauge = layout == Layout::Own && self.kind.mode().is_some();
        is_own_gauge
            && entry.time.is_some_and(|time| RemovalState::of(time) != RemovalState::Present)
    }

    /// The time of an entry, with a substitute if the file has no times: 0 means that a gauge was never set.
    fn time(self, time: f64, layout: Layout) -> f64 {
        match self.kind.mode() {
            None | Some(GaugeMode::MostRecent) => time,
            Some(_) if layout == Layout::Own || time != 0.0 => time,
            Some(_) => UNKNOWN_TIME,
        }
    }

    fn combine(self, entry: &mut FoldedEntry, value: f64, time: f64) {
        let Some(mode) = self.kind.mode() else {
            entry.value.add(value);
            entry.time = earlier(entry.time, time);
            return;
        };
        let former = entry.value.value();
        let is_unset = entry.time == 0.0 || former.is_nan();
        if time == 0.0 && mode != GaugeMode::Sum {
            return;
        }
        match mode {
            GaugeMode::Sum => entry.value.add(value),
            GaugeMode::Avg | GaugeMode::Count => {
                let processes = if self.is_archived { time } else { 1.0 };
                entry.value.add(if mode.is_count() { processes } else { value });
                entry.time += processes;
                return;
            }
            GaugeMode::Min if !(is_unset || value < former) => {}
            GaugeMode::Max if !(is_unset || value > former) => {}
            GaugeMode::MostRecent if time <= entry.time => {}
            _ => entry.value = ExactSum::of(value),
        }
        entry.time = entry.time.max(time);
    }
}

/// The earlier of two times; 0 is an unknown time.
fn earlier(a: f64, b: f64) -> f64 {
    if a == 0.0 || (b != 0.0 && b < a) { b } else { a }
}
