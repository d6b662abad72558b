//! Merges the entries of dead writers, key by key, into what an archive holds.

use std::collections::HashMap;

use crate::file::archive::{Archive, ArchiveBuilder, ArchiveError};
use crate::file::key;
use crate::file::layout::{Entries, Layout, LayoutError};
use crate::file::name::{FileKind, FileName};
use crate::model::{GaugeMode, LabelSet};
use crate::multiproc::merge::exact_sum::Sum;
use crate::multiproc::merge::key_table::Targets;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Stands for a process in the names of sections that are of many.
const MANY: &str = "archive";

/// The time of a gauge that was set, of a file that does not say when. 0 would mean never.
const SOME_TIME: f64 = f64::MIN_POSITIVE;

/// How much of an archive was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    All,
    Some,
}

/// The content of an archive to be.
#[derive(Default)]
pub(super) struct Fold {
    sections: Vec<Section>,
    by_name: Map<(FileKind, Box<str>), usize>,
}

struct Section {
    kind: FileKind,
    id: Box<str>,
    /// Unix seconds; 0 where it is of many processes.
    ended: f64,
    /// The bytes of keys, and the series that they name.
    targets: Targets<usize>,
    by_series: Map<Box<[u8]>, usize>,
    entries: Vec<Folded>,
}

struct Folded {
    /// As the first file has it.
    key: Box<[u8]>,
    /// Of what is not added up, one value.
    value: Sum,
    time: f64,
}

impl Fold {
    /// Takes over what an archive holds, but for processes that ended too long ago.
    pub(super) fn add_archive(
        &mut self,
        archive: Archive<'_>,
        is_kept: impl Fn(f64) -> bool,
    ) -> Result<Kept, ArchiveError> {
        let mut kept = Kept::All;
        for section in archive.sections() {
            let section = section?;
            if section.ended > 0.0 && !is_kept(section.ended) {
                kept = Kept::Some;
                continue;
            }
            let at = self.section(section.name.kind, section.name.id, section.ended);
            let how = Combine { kind: section.name.kind, is_archived: true };
            // OK because the archive has a checksum of its own.
            let _ = self.sections[at].add(section.entries, how);
        }
        Ok(kept)
    }

    /// Adds the file of a writer that ended, as far as anything of it is kept. A damaged one is not added
    /// at all.
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
        self.sections[at].add(entries, Combine { kind: name.kind, is_archived: false })
    }

    fn section(&mut self, kind: FileKind, id: &str, ended: f64) -> usize {
        *self.by_name.entry((kind, id.into())).or_insert_with(|| {
            self.sections.push(Section {
                kind,
                id: id.into(),
                ended,
                targets: Targets::default(),
                by_series: Map::default(),
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
            let is_total = section.kind.mode().is_none();
            let entries = entries.flat_map(|entry| entry.entries(is_total));
            builder.section(name, section.ended, entries);
        }
        builder.finish()
    }
}

impl Folded {
    /// What the archive has of it: of a total that one number cannot hold a second one, which readers add too.
    fn entries(&self, is_total: bool) -> impl Iterator<Item = (&[u8], f64, f64)> {
        let (value, rest) = self.value.parts();
        let entry = move |value| (&*self.key, value, self.time);
        let is_second = is_total && rest != 0.0;
        std::iter::once(entry(value)).chain(is_second.then(|| entry(rest)))
    }
}

impl Section {
    fn add(&mut self, mut entries: Entries<'_>, how: Combine) -> Result<(), LayoutError> {
        let tells_unset = entries.layout() == Layout::Own;
        self.targets.begin_at(0);
        loop {
            let (entry, at) = match self.targets.next(&mut entries) {
                Some(known) => known,
                None => match entries.next() {
                    None => return Ok(()),
                    Some(entry) => {
                        let entry = entry?;
                        let at = self.targets.find(&entry).unwrap_or_else(|| {
                            let at = self.series(entry.key);
                            self.targets.insert(&entry, at);
                            at
                        });
                        (entry, at)
                    }
                },
            };
            let time = entry.time.unwrap_or(0.0);
            how.combine(&mut self.entries[at], entry.value, how.time(time, tells_unset));
        }
    }

    /// The series that a key names, however it is spelled. A key that cannot be read stays as it is.
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
            entries.push(Folded { key: key.into(), value: Sum::default(), time: 0.0 });
            entries.len() - 1
        })
    }
}

/// How the values of one series from several files become one.
#[derive(Clone, Copy)]
struct Combine {
    kind: FileKind,
    /// Of means the archive has the sum as value and the number of processes as time.
    is_archived: bool,
}

impl Combine {
    /// The time of an entry, or what stands for it: 0 means of a gauge that it was never set.
    fn time(self, time: f64, tells_unset: bool) -> f64 {
        match self.kind.mode() {
            None | Some(GaugeMode::MostRecent) => time,
            Some(_) if tells_unset || time != 0.0 => time,
            Some(_) => SOME_TIME,
        }
    }

    fn combine(self, known: &mut Folded, value: f64, time: f64) {
        let Some(mode) = self.kind.mode() else {
            known.value.add(value);
            known.time = earlier(known.time, time);
            return;
        };
        let former = known.value.value();
        let is_nothing = known.time == 0.0 || former.is_nan();
        if time == 0.0 && mode != GaugeMode::Sum {
            return;
        }
        match mode {
            GaugeMode::Sum => known.value.add(value),
            GaugeMode::Avg => {
                known.value.add(value);
                known.time += if self.is_archived { time } else { 1.0 };
                return;
            }
            GaugeMode::Min if !(is_nothing || value < former) => {}
            GaugeMode::Max if !(is_nothing || value > former) => {}
            GaugeMode::MostRecent if time <= known.time => {}
            _ => known.value = Sum::of(value),
        }
        known.time = known.time.max(time);
    }
}

/// The earlier of two times of which 0 is unknown.
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

    /// Folds files in two steps, with an archive in between, and gives what the second one holds.
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
    fn each_mode_folds_as_it_merges() {
        let files = [(3.0, 2.0), (f64::NAN, 1.0), (0.0, 0.0), (1.0, 9.0), (8.0, 4.0), (2.0, 9.0)];
        for (mode, folded) in [
            (GaugeMode::Min, vec![(1.0, 9.0)]),
            (GaugeMode::Max, vec![(8.0, 9.0)]),
            (GaugeMode::MostRecent, vec![(1.0, 9.0)]),
            (GaugeMode::LiveSum, vec![]),
        ] {
            assert_eq!(fold(mode, &files), folded, "{mode}");
        }
        let numbers = [(3.0, 2.0), (1.0, 9.0), (0.0, 0.0), (8.0, 4.0)];
        assert_eq!(fold(GaugeMode::Sum, &numbers), [(12.0, 9.0)]);
        // Of means, how many were set.
        assert_eq!(fold(GaugeMode::Avg, &numbers), [(12.0, 3.0)]);
        // The same process twice, as a worker of the Python client that resumed its file.
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
    fn processes_that_ended_too_long_ago_are_left_out_and_others_never() {
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
