//! Folds the entries of dead writers into the content of an archive.
//!
//! A series that a dead writer has removed keeps its values, as the total contains them until no living writer exports
//! the series. It gets a *mark*, a removal record in its section, which stays as long as the series is in the archive.
//! `burial` decides when that ends.

use super::companion_fold::CompanionFold;
use super::folded_section::{
    CombineRule, FoldError, FoldedSection, MarkState, is_record_of, padded,
};
use crate::file::archive::{Archive, ArchiveBuilder, ArchiveError};
use crate::file::layout::{Entries, EntryKind};
use crate::file::name::{FileKind, FileName};
use crate::model::GaugeMode;
use crate::multiproc::fast_map::FastMap;

/// The id in the names of sections of many processes.
const MANY: &str = "archive";

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
    opaque: Vec<OpaqueSection>,
    /// The bytes of sections of unknown kinds, which are copied from archive to archive.
    unknown: Vec<Box<[u8]>>,
    pub(super) companion: CompanionFold,
}

/// A section with an entry of an unknown kind. It is copied from archive to archive, without its burial records, which
/// are part of the folded section.
struct OpaqueSection {
    kind: FileKind,
    id: Box<str>,
    ended: f64,
    entries: Vec<OpaqueEntry>,
}

pub(super) struct OpaqueEntry {
    kind: EntryKind,
    pub(super) key: Box<[u8]>,
    value: f64,
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
            let FileName { kind, id } = section.name;
            let rule = CombineRule { kind, is_archived: true };
            if rule.check(section.entries.clone()) == Err(FoldError::UnknownKind) {
                self.keep_opaque(kind, id, section.ended, section.entries);
                continue;
            }
            let at = self.section(kind, id, section.ended);
            // OK because the archive has a checksum of its own.
            let _ = self.sections[at].add(section.entries, rule);
        }
        self.unknown.extend(archive.unknown_sections().map(|section| section.bytes.into()));
        for body in archive.companions() {
            let added = self.companion.add_section(body?);
            added.map_err(|error| ArchiveError::EntryMalformed { error })?;
        }
        Ok(kept)
    }

    /// Adds the file of a dead writer, except live gauges. Adds nothing of a file that cannot be folded whole.
    pub(super) fn add_file(
        &mut self,
        name: FileName<'_>,
        entries: Entries<'_>,
        now: f64,
    ) -> Result<(), FoldError> {
        let rule = CombineRule { kind: name.kind, is_archived: false };
        rule.check(entries.clone())?;
        let at = match name.kind.mode() {
            Some(mode) if mode.is_live() => return Ok(()),
            Some(GaugeMode::All) => self.section(name.kind, name.id, now),
            _ => self.section(name.kind, MANY, 0.0),
        };
        self.sections[at].add(entries, rule).map_err(FoldError::Damaged)
    }

    fn section(&mut self, kind: FileKind, id: &str, ended: f64) -> usize {
        *self.by_name.entry((kind, id.into())).or_insert_with(|| {
            self.sections.push(FoldedSection::new(kind, id, ended));
            self.sections.len() - 1
        })
    }

    /// Keeps the readable entries of a section that cannot be folded.
    fn keep_opaque(&mut self, kind: FileKind, id: &str, ended: f64, entries: Entries<'_>) {
        let mut opaque = OpaqueSection { kind, id: id.into(), ended, entries: Vec::new() };
        for entry in entries.map_while(Result::ok) {
            if entry.kind == EntryKind::Burial && is_record_of(kind, &entry) {
                let at = self.section(kind, MANY, 0.0);
                self.sections[at].bury(&entry);
                continue;
            }
            let (key, time) = (padded(entry.key), entry.time.unwrap_or(0.0));
            opaque.entries.push(OpaqueEntry { kind: entry.kind, key, value: entry.value, time });
        }
        self.opaque.push(opaque);
    }

    /// The sections that cannot be folded.
    pub(super) fn opaque(&self) -> impl ExactSizeIterator<Item = (FileKind, &[OpaqueEntry])> {
        self.opaque.iter().map(|section| (section.kind, &*section.entries))
    }

    /// The marked series: the kind of their file, their id, and whether they are buried.
    pub(super) fn marks(&self) -> impl Iterator<Item = (FileKind, &[u8], MarkState)> {
        self.sections.iter().flat_map(|section| {
            section.marks().map(|(series, state)| (section.kind, series, state))
        })
    }

    /// Changes the states of marked series. Nothing can be added afterwards. Returns whether a state has changed.
    pub(super) fn change_marks(
        &mut self,
        now: f64,
        mut next: impl FnMut(FileKind, &[u8], MarkState) -> MarkState,
    ) -> bool {
        self.sections.iter_mut().fold(false, |has_changed, section| {
            let kind = section.kind;
            section.change_marks(now, |series, state| next(kind, series, state)) || has_changed
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
            builder.section(name, section.ended, section.archive_entries());
        }
        for section in &self.opaque {
            let name = FileName { kind: section.kind, id: &section.id };
            let entries = section.entries.iter();
            let entries = entries.map(|entry| (entry.kind, &*entry.key, entry.value, entry.time));
            builder.section(name, section.ended, entries);
        }
        self.unknown.iter().for_each(|bytes| builder.copied_section(bytes));
        if let Some(body) = self.companion.encode() {
            builder.companion_section(&body);
        }
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::entries::push_entry;
    use crate::file::key;
    use crate::file::layout::EntryKind::{Burial, Removal, Unknown, Value};
    use crate::file::layout::{HEADER_LEN, Header};

    fn body(entries: &[(&str, f64, f64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value, time) in entries {
            let mut text = Vec::new();
            key::encode(&mut text, name, name, std::iter::empty(), "Help.");
            push_entry(&mut bytes, Value, &text, *value, *time);
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
        let entries = fold.sections[0].archive_entries();
        let folded: Vec<_> = entries.map(|(_, _, value, time)| (value, time)).collect();
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

    const COUNTER: FileName<'static> = FileName { kind: FileKind::Counter, id: "7-0000000a" };

    /// The body of a file of counters: kinds, names without `_total`, values and times.
    fn counters(entries: &[(EntryKind, &str, f64, f64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, name, value, time) in entries {
            let (mut text, sample) = (Vec::new(), format!("{name}_total"));
            key::encode(&mut text, name, &sample, std::iter::empty(), "Help.");
            push_entry(&mut bytes, *kind, &text, *value, *time);
        }
        bytes
    }

    /// The next archive after one that may be empty, with the files of dead writers.
    fn fold_files(archive: &[u8], files: &[&[u8]]) -> Fold {
        let mut fold = Fold::default();
        if !archive.is_empty() {
            fold.add_archive(Archive::decode(archive).unwrap(), |_| true).unwrap();
        }
        for bytes in files {
            fold.add_file(COUNTER, entries(bytes), 5.0).unwrap();
        }
        fold
    }

    fn encoded(fold: &Fold) -> Vec<u8> {
        fold.encode(1, 0.0, std::iter::empty())
    }

    /// The entries of all sections: kinds, family names, values and times.
    fn decoded(archive: &[u8]) -> Vec<(EntryKind, String, f64, f64)> {
        let archive = Archive::decode(archive).unwrap();
        let entries = archive.sections().flat_map(|section| section.unwrap().entries);
        let parts = entries.map(Result::unwrap).map(|entry| {
            let family = key::decode(entry.key).unwrap().family.into_owned();
            (entry.kind, family, entry.value, entry.time.unwrap())
        });
        parts.collect()
    }

    fn owned(entries: &[(EntryKind, &str, f64, f64)]) -> Vec<(EntryKind, String, f64, f64)> {
        entries.iter().map(|(kind, name, a, b)| (*kind, (*name).to_owned(), *a, *b)).collect()
    }

    #[test]
    fn a_removed_series_keeps_its_values_and_gets_a_mark() {
        let file = counters(&[(Value, "a", 2.0, 1.0), (Removal, "a", 0.0, -9.0)]);
        let archive = encoded(&fold_files(&[], &[&file]));
        let expected = [(Value, "a", 2.0, 1.0), (Removal, "a", 0.0, -9.0)];
        assert_eq!(decoded(&archive), owned(&expected));
    }

    #[test]
    fn marks_are_kept_from_archive_to_archive_with_the_last_time_of_removal() {
        let removed = counters(&[(Value, "a", 2.0, 1.0), (Removal, "a", 0.0, -9.0)]);
        let again = counters(&[(Removal, "a", 0.0, -12.0), (Value, "a", 3.0, 4.0)]);
        let other = counters(&[(Value, "b", 1.0, 1.0), (Value, "a", 4.0, 8.0)]);
        let mut archive = Vec::new();
        for file in [&removed, &again, &other] {
            archive = encoded(&fold_files(&archive, &[file]));
        }
        let expected = [(Value, "a", 9.0, 1.0), (Value, "b", 1.0, 1.0), (Removal, "a", 0.0, -12.0)];
        assert_eq!(decoded(&archive), owned(&expected));
    }

    #[test]
    fn a_record_of_a_series_that_came_back_is_not_kept() {
        let file = counters(&[(Value, "a", 2.0, 1.0), (Removal, "a", 0.0, 9.0)]);
        let fold = fold_files(&[], &[&file]);
        assert_eq!(fold.marks().count(), 0);
        assert_eq!(decoded(&encoded(&fold)), owned(&[(Value, "a", 2.0, 1.0)]));
    }

    #[test]
    fn a_burial_record_is_kept_until_the_series_is_dropped_or_in_use() {
        let file = counters(&[
            (Value, "a", 2.0, 1.0),
            (Value, "b", 3.0, 1.0),
            (Removal, "a", 0.0, -9.0),
            (Removal, "b", 0.0, -9.0),
        ]);
        let mut fold = fold_files(&[], &[&file]);
        assert!(fold.change_marks(20.0, |_, _, _| MarkState::Buried));
        let archive = encoded(&fold);
        let records = |name| [(Removal, name, 0.0, -9.0), (Burial, name, 0.0, 20.0)];
        let values = [(Value, "a", 2.0, 1.0), (Value, "b", 3.0, 1.0)];
        let buried = owned(&[&values[..], &records("a"), &records("b")].concat());
        assert_eq!(decoded(&archive), buried);

        let mut next = fold_files(&archive, &[&counters(&[(Value, "b", 4.0, 7.0)])]);
        assert!(next.marks().all(|(_, _, state)| state == MarkState::Buried));
        assert!(!next.change_marks(20.0, |_, _, state| state));
        assert!(next.change_marks(20.0, |_, series, _| {
            if series.starts_with(b"[\"a\"") { MarkState::Dropped } else { MarkState::Marked }
        }));
        let expected = [(Value, "b", 7.0, 1.0), (Removal, "b", 0.0, -9.0)];
        assert_eq!(decoded(&encoded(&next)), owned(&expected));
    }

    #[test]
    fn a_dropped_histogram_leaves_no_sample() {
        let name = FileName { kind: FileKind::Histogram, id: "7-0000000a" };
        let mut bytes = Vec::new();
        let mut push = |kind, key: &str, time| {
            let mut key = key.as_bytes().to_vec();
            key.resize(key.len().next_multiple_of(8), b' ');
            push_entry(&mut bytes, kind, &key, 1.0, time);
        };
        push(Value, r#"["h", "h_sum", {"a": "1"}, ""]"#, 1.0);
        push(Value, r#"["h", "h_count", {"a": "1"}, ""]"#, 1.0);
        push(Value, r#"["h", "h_bucket", {"a": "1", "le": "5.0"}, ""]"#, 1.0);
        push(Value, r#"["h", "h_bucket", {"le": "+Inf", "a": "1"}, ""]"#, 1.0);
        push(Value, r#"["h", "h_bucket", {"a": "2", "le": "5.0"}, ""]"#, 1.0);
        push(Removal, r#"["h","h_sum",{"a":"1"}]"#, -3.0);
        let mut fold = Fold::default();
        fold.add_file(name, entries(&bytes), 5.0).unwrap();
        assert_eq!(decoded(&encoded(&fold)).len(), 6);
        fold.change_marks(20.0, |_, _, _| MarkState::Dropped);
        assert_eq!(decoded(&encoded(&fold)), owned(&[(Value, "h", 1.0, 1.0)]));
    }

    #[test]
    fn a_removed_gauge_is_not_folded() {
        for mode in [GaugeMode::Sum, GaugeMode::Min, GaugeMode::MostRecent, GaugeMode::All] {
            assert_eq!(fold(mode, &[(3.0, -2.0)]), [], "{mode}");
            let once = fold(mode, &[(3.0, 2.0)]);
            assert_eq!(fold(mode, &[(3.0, 2.0), (1.0, -9.0)]), once, "{mode}");
        }
    }

    #[test]
    fn a_file_with_an_entry_of_an_unknown_kind_adds_nothing() {
        let mut fold = Fold::default();
        for kind in [Unknown(7), Burial] {
            let file = counters(&[(Value, "a", 2.0, 1.0), (kind, "a", 0.0, 1.0)]);
            assert_eq!(fold.add_file(COUNTER, entries(&file), 5.0), Err(FoldError::UnknownKind));
        }
        let gauge = FileName { kind: FileKind::Gauge(GaugeMode::Sum), id: "7" };
        let file = counters(&[(Removal, "a", 0.0, -1.0)]);
        assert_eq!(fold.add_file(gauge, entries(&file), 5.0), Err(FoldError::UnknownKind));
        assert!(fold.sections.is_empty());
    }

    #[test]
    fn a_section_with_an_entry_of_an_unknown_kind_is_copied_without_its_burial_records() {
        let mut builder = ArchiveBuilder::new(1, 0.0, std::iter::empty());
        let mut key = Vec::new();
        key::encode(&mut key, "a", "a_total", std::iter::empty(), "");
        let section = [
            (Value, &*key, 2.0, 1.0),
            (Unknown(7), &*key, 0.5, 0.25),
            (Removal, &*key, 0.0, -3.0),
            (Burial, &*key, 0.0, 4.0),
        ];
        let name = FileName { kind: FileKind::Counter, id: MANY };
        builder.section(name, 0.0, section.into_iter());
        let mut archive = builder.finish();
        for value in [1.0, 2.0] {
            let file = counters(&[(Value, "a", 1.0, 6.0)]);
            archive = encoded(&fold_files(&archive, &[&file]));
            let expected = [
                (Value, "a", value, 6.0),
                (Removal, "a", 0.0, -4.0),
                (Burial, "a", 0.0, 4.0),
                (Value, "a", 2.0, 1.0),
                (Unknown(7), "a", 0.5, 0.25),
                (Removal, "a", 0.0, -3.0),
            ];
            assert_eq!(decoded(&archive), owned(&expected));
        }
    }
}
