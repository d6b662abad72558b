//! Folds the entries of dead writers into the content of an archive.

use crate::file::archive::{Archive, ArchiveBuilder, ArchiveError};
use crate::file::key;
use crate::file::layout::{Entries, Layout, LayoutError};
use crate::file::name::{FileKind, FileName};
use crate::model::{GaugeMode, LabelSet};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::merge::exact_sum::ExactSum;
use crate::multiproc::merge::key_table::KeyTable;

/// The id in the names of sections of many processes.
const MANY: &str = "archive";

/// The time of a gauge that was set, from a file without times: 0 would mean that it was never set.
const UNKNOWN_TIME: f64 = f64::MIN_POSITIVE;

/// How much of an archive was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptSections {
    All,
    Some,
}

/// The content of the next archive.
#[derive(Default)]
pub(super) struct Fold {
    sections: Vec<FoldedSection>,
    by_name: FastMap<(FileKind, Box<str>), usize>,
}

struct FoldedSection {
    kind: FileKind,
    id: Box<str>,
    /// Unix seconds; 0 in a section of many processes.
    ended: f64,
    /// From the bytes of keys to indices of entries.
    keys: KeyTable<usize>,
    /// From normalized keys to indices of entries.
    by_series: FastMap<Box<[u8]>, usize>,
    entries: Vec<FoldedEntry>,
}

struct FoldedEntry {
    /// The key as it is in the first file.
    key: Box<[u8]>,
    /// A sum; a single value if the mode does not add up.
    value: ExactSum,
    time: f64,
}

impl Fold {
    /// Adds the sections of an archive, except those of processes that ended too long ago.
    pub(super) fn add_archive(
        &mut self,
        archive: Archive<'_>,
        is_kept: impl Fn(f64) -> bool,
    ) -> Result<KeptSections, ArchiveError> {
        let mut kept = KeptSections::All;
        for section in archive.sections() {
            let section = section?;
            if section.ended > 0.0 && !is_kept(section.ended) {
                kept = KeptSections::Some;
                continue;
            }
            let at = self.section(section.name.kind, section.name.id, section.ended);
            let rule = CombineRule { kind: section.name.kind, is_archived: true };
            // OK because the archive has a checksum of its own.
            let _ = self.sections[at].add(section.entries, rule);
        }
        Ok(kept)
    }

    /// Adds the file of a dead writer, except live gauges. Adds nothing of a damaged file.
    pub(super) fn add_file(
        &mut self,
        name: FileName<'_>,
        entries: Entries<'_>,
        now: f64,
    ) -> Result<(), LayoutError> {
        entries.clone().try_for_each(|entry| entry.map(drop))?;
        let at = match name.kind.mode() {
            Some(mode) if mode.is_live() => return Ok(()),
            Some(GaugeMode::All) => self.section(name.kind, name.id, now),
            _ => self.section(name.kind, MANY, 0.0),
        };
        self.sections[at].add(entries, CombineRule { kind: name.kind, is_archived: false })
    }

    fn section(&mut self, kind: FileKind, id: &str, ended: f64) -> usize {
        *self.by_name.entry((kind, id.into())).or_insert_with(|| {
            self.sections.push(FoldedSection {
                kind,
                id: id.into(),
                ended,
                keys: KeyTable::default(),
                by_series: FastMap::default(),
                entries: Vec::new(),
            });
            self.sections.len() - 1
        })
    }

    /// The bytes of the archive.
    pub(super) fn encode<'s>(
        &self,
        generation: u64,
        now: f64,
        sources: impl Iterator<Item = &'s str>,
    ) -> Vec<u8> {
        let mut builder = ArchiveBuilder::new(generation, now, sources);
        for section in &self.sections {
            let name = FileName { kind: section.kind, id: &section.id };
            let entries = section.entries.iter();
            let entries = entries.flat_map(|entry| entry.entries(section.kind));
            builder.section(name, section.ended, entries);
        }
        builder.finish()
    }
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

impl FoldedSection {
    fn add(&mut self, mut entries: Entries<'_>, rule: CombineRule) -> Result<(), LayoutError> {
        let layout = entries.layout();
        self.keys.expect_from(0);
        loop {
            let (entry, at) = match self.keys.next_expected(&mut entries) {
                Some(found) => found,
                None => match entries.next() {
                    None => return Ok(()),
                    Some(entry) => {
                        let entry = entry?;
                        let at = self.keys.find(&entry).unwrap_or_else(|| {
                            let at = self.series(entry.key);
                            self.keys.insert(&entry, at);
                            at
                        });
                        (entry, at)
                    }
                },
            };
            let time = entry.time.unwrap_or(0.0);
            rule.combine(&mut self.entries[at], entry.value, rule.time(time, layout));
        }
    }

    /// The index of the series that a key names; different spellings of a key name one series. A key that cannot be
    /// parsed is kept unchanged.
    fn series(&mut self, bytes: &[u8]) -> usize {
        let mut name = Vec::new();
        match key::decode(bytes) {
            Ok(key) => {
                let labels = LabelSet::new(key.labels.iter().map(|(n, v)| (&**n, &**v)));
                key::encode(&mut name, &key.family, &key.sample, labels.iter(), "");
            }
            Err(_) => name.extend_from_slice(bytes),
        }
        let entries = &mut self.entries;
        *self.by_series.entry(name.into()).or_insert_with(|| {
            let mut key = bytes.to_vec();
            key.resize(key.len().next_multiple_of(8), b' ');
            entries.push(FoldedEntry { key: key.into(), value: ExactSum::default(), time: 0.0 });
            entries.len() - 1
        })
    }
}

/// How the values of one series from several files are combined.
#[derive(Clone, Copy)]
struct CombineRule {
    kind: FileKind,
    /// Whether the values are from an archive, where a mean has the sum as value, a count the number of processes, and both
    /// have the number of processes as time.
    is_archived: bool,
}

impl CombineRule {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::layout::{HEADER_LEN, Header, encode_entry};

    fn body(entries: &[(&str, f64, f64)]) -> Vec<u8> {
        let (mut bytes, mut entry) = (Vec::new(), Vec::new());
        for (name, value, time) in entries {
            let mut text = Vec::new();
            key::encode(&mut text, name, name, std::iter::empty(), "Help.");
            encode_entry(&mut entry, &text, *value, *time);
            bytes.extend_from_slice(&entry);
        }
        bytes
    }

    fn entries(bytes: &[u8]) -> Entries<'_> {
        Entries::detect(Header::new((HEADER_LEN + bytes.len()) as u32), bytes).unwrap()
    }

    /// Folds files in two steps with an archive in between. Returns the values and times in the second archive.
    fn fold(mode: GaugeMode, files: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let name = FileName { kind: FileKind::Gauge(mode), id: "7-0000000a" };
        let (first, second) = files.split_at(files.len() / 2);
        let mut bytes = Fold::default().encode(0, 0.0, std::iter::empty());
        for part in [first, second] {
            let mut fold = Fold::default();
            fold.add_archive(Archive::decode(&bytes).unwrap(), |_| true).unwrap();
            for (value, time) in part {
                fold.add_file(name, entries(&body(&[("g", *value, *time)])), 5.0).unwrap();
            }
            bytes = fold.encode(1, 0.0, std::iter::empty());
        }
        let archive = Archive::decode(&bytes).unwrap();
        let sections: Vec<_> = archive.sections().map(Result::unwrap).collect();
        let entries = sections.into_iter().flat_map(|section| section.entries);
        entries.map(|entry| entry.unwrap()).map(|e| (e.value, e.time.unwrap())).collect()
    }

    #[test]
    fn each_mode_folds_values_as_a_scrape_merges_them() {
        let files = [(3.0, 2.0), (f64::NAN, 1.0), (0.0, 0.0), (1.0, 9.0), (8.0, 4.0), (2.0, 9.0)];
        for (mode, folded) in [
            (GaugeMode::Min, vec![(1.0, 9.0)]),
            (GaugeMode::Max, vec![(8.0, 9.0)]),
            (GaugeMode::MostRecent, vec![(1.0, 9.0)]),
            (GaugeMode::LiveSum, vec![]),
            // A count has the number of processes that have set it as value and as time.
            (GaugeMode::Count, vec![(5.0, 5.0)]),
            (GaugeMode::LiveCount, vec![]),
        ] {
            assert_eq!(fold(mode, &files), folded, "{mode}");
        }
        let numbers = [(3.0, 2.0), (1.0, 9.0), (0.0, 0.0), (8.0, 4.0)];
        assert_eq!(fold(GaugeMode::Sum, &numbers), [(12.0, 9.0)]);
        // A mean has the number of processes that have set it as time.
        assert_eq!(fold(GaugeMode::Avg, &numbers), [(12.0, 3.0)]);
        // The same process twice: a worker of the Python client has resumed its file.
        assert_eq!(fold(GaugeMode::All, &numbers[..1]), [(3.0, 2.0)]);
    }

    #[test]
    fn totals_add_up_and_created_times_keep_the_earliest() {
        let name = FileName { kind: FileKind::Counter, id: "7" };
        let mut fold = Fold::default();
        for time in [8.0, 0.0, 6.0, 7.0] {
            let bytes = body(&[("a", 2.0, time), ("b", 1.0, 0.0)]);
            fold.add_file(name, entries(&bytes), 5.0).unwrap();
        }
        let section = &fold.sections[0];
        let folded: Vec<_> = section.entries.iter().map(|it| (it.value.value(), it.time)).collect();
        assert_eq!(folded, [(8.0, 6.0), (4.0, 0.0)]);
    }

    #[test]
    fn only_processes_that_ended_too_long_ago_are_left_out() {
        let mut fold = Fold::default();
        let all = FileKind::Gauge(GaugeMode::All);
        for (id, ended) in [("7-0000000a", 10.0), ("8-0000000b", 20.0)] {
            let name = FileName { kind: all, id };
            fold.add_file(name, entries(&body(&[("g", 1.0, 1.0)])), ended).unwrap();
        }
        let name = FileName { kind: FileKind::Counter, id: "7-0000000a" };
        fold.add_file(name, entries(&body(&[("c", 1.0, 1.0)])), 10.0).unwrap();
        let bytes = fold.encode(1, 0.0, std::iter::empty());
        let mut later = Fold::default();
        later.add_archive(Archive::decode(&bytes).unwrap(), |ended| ended > 15.0).unwrap();
        let ids: Vec<&str> = later.sections.iter().map(|section| &*section.id).collect();
        assert_eq!(ids, ["8-0000000b", MANY]);
    }

    #[test]
    fn a_damaged_file_adds_nothing() {
        let mut bytes = body(&[("a", 2.0, 1.0), ("b", 1.0, 1.0)]);
        let last = bytes.len() - 24;
        bytes[last] ^= 1;
        let name = FileName { kind: FileKind::Counter, id: "7" };
        let mut fold = Fold::default();
        fold.add_file(name, entries(&bytes), 5.0).unwrap_err();
        assert!(fold.sections.is_empty());
    }
}
