//! Folds the companion files of dead writers into the section of an archive.
//!
//! Of the units of a family, and of its types, the first one that this release understands is kept. Those before it that it
//! does not understand are kept as well, as a later release may understand them. Of the exemplars of a series the newest one
//! is kept; one that was being written when its writer was killed is dropped. Native histograms of a series are added up if
//! their records have the same schema and zero threshold; other records stay beside them, as further histograms of the
//! series, so no observation is lost. Records that are not current are dropped.

use super::folded_section::FoldError;
use crate::file::companion::layout::{
    CompanionEntries, CompanionEntry, CompanionKind, encode_entry,
};
use crate::file::companion::payload::{
    self, ExemplarSlot, NativeRange, NativeRecord, NewNativeRecord, decode_text,
};
use crate::file::key;
use crate::file::layout::{HEADER_LEN, LayoutError};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::merge::attributes::is_ignored;

/// The longest range of buckets that results from an addition. Records that are further apart stay separate.
const MAX_BUCKETS: i64 = 64 * 1024;

/// The companion entries of the next archive.
#[derive(Default)]
pub(super) struct CompanionFold {
    /// By kind and family.
    attributes: FoldedEntries<(CompanionKind, Box<str>), FoldedAttribute>,
    /// By key.
    exemplars: FoldedEntries<Box<[u8]>, FoldedExemplar>,
    /// By key.
    natives: FoldedEntries<Box<[u8]>, Vec<NewNativeRecord>>,
    /// Entries of an archive whose kinds a later release has introduced, as bytes.
    unknown: Vec<u8>,
}

/// The units or the types of a family, of which readers use the first one that they do not ignore.
struct FoldedAttribute {
    kind: CompanionKind,
    payloads: Vec<Box<[u8]>>,
    /// Whether the last payload is one that readers do not ignore. Further ones are of no use.
    is_complete: bool,
}

struct FoldedExemplar {
    time: f64,
    payload: Vec<u8>,
}

/// Values in the order of their first occurrence, each with the bytes of its key.
struct FoldedEntries<K, V> {
    by_name: FastMap<K, usize>,
    values: Vec<(Box<[u8]>, V)>,
}

impl<K, V> Default for FoldedEntries<K, V> {
    fn default() -> FoldedEntries<K, V> {
        FoldedEntries { by_name: FastMap::default(), values: Vec::new() }
    }
}

impl<K: Eq + std::hash::Hash, V> FoldedEntries<K, V> {
    /// The value with this name, which is created if there is none.
    fn get_or_insert(&mut self, name: K, key: &[u8], create: impl FnOnce() -> V) -> &mut V {
        let at = *self.by_name.entry(name).or_insert_with(|| {
            self.values.push((key.into(), create()));
            self.values.len() - 1
        });
        &mut self.values[at].1
    }
}

impl CompanionFold {
    /// Adds the entries of a file, all or none. `body` are the bytes after its header.
    pub(super) fn add_file(&mut self, body: &[u8]) -> Result<(), FoldError> {
        let entries = CompanionEntries::new(body, HEADER_LEN);
        for entry in entries.clone() {
            let entry = entry.map_err(FoldError::Damaged)?;
            if let CompanionKind::Unknown(_) = entry.kind {
                return Err(FoldError::UnknownKind);
            }
            payload::check(&entry, body).map_err(FoldError::Damaged)?;
            if entry.kind == CompanionKind::Native {
                payload::current_record(&entry, body).map_err(FoldError::Damaged)?;
            }
        }
        self.add(entries, body).map_err(FoldError::Damaged)
    }

    /// Adds the entries of an archive. Entries of unknown kinds are kept unchanged.
    pub(super) fn add_section(&mut self, body: &[u8]) -> Result<(), LayoutError> {
        self.add(CompanionEntries::new(body, HEADER_LEN), body)
    }

    fn add(&mut self, entries: CompanionEntries<'_>, body: &[u8]) -> Result<(), LayoutError> {
        for entry in entries {
            let entry = entry?;
            match entry.kind {
                CompanionKind::Unit | CompanionKind::Type => self.add_attribute(&entry),
                CompanionKind::Exemplar => self.add_exemplar(&entry),
                CompanionKind::Native => {
                    if let Some(record) = payload::current_record(&entry, body)? {
                        self.add_record(entry.key, &record);
                    }
                }
                // Added with the entry that refers to it.
                CompanionKind::NativeRecord => {}
                CompanionKind::Unknown(_) => {
                    encode_entry(&mut self.unknown, entry.kind, entry.key, entry.payload);
                }
            }
        }
        Ok(())
    }

    fn add_attribute(&mut self, entry: &CompanionEntry<'_>) {
        // OK because readers ignore an attribute whose family or text cannot be decoded.
        if let (Ok(key), Some(text)) = (key::decode(entry.key), decode_text(entry.payload)) {
            let (kind, is_ignored) = (entry.kind, is_ignored(entry.kind, &key.family, text));
            let new = || FoldedAttribute { kind, payloads: Vec::new(), is_complete: false };
            let kept = self.attributes.get_or_insert((kind, key.family.into()), entry.key, new);
            if !kept.is_complete && !kept.payloads.iter().any(|kept| **kept == *entry.payload) {
                kept.payloads.push(entry.payload.into());
                kept.is_complete = !is_ignored;
            }
        }
    }

    fn add_exemplar(&mut self, entry: &CompanionEntry<'_>) {
        let Some(exemplar) = ExemplarSlot::decode_payload(entry.payload) else {
            return;
        };
        let none = || FoldedExemplar { time: f64::NEG_INFINITY, payload: Vec::new() };
        let kept = self.exemplars.get_or_insert(entry.key.into(), entry.key, none);
        if exemplar.time > kept.time || kept.payload.is_empty() {
            kept.time = exemplar.time;
            kept.payload.clear();
            exemplar.encode(&mut kept.payload);
        }
    }

    fn add_record(&mut self, key: &[u8], record: &NativeRecord<'_>) {
        let kept = self.natives.get_or_insert(key.into(), key, Vec::new);
        if !kept.iter_mut().any(|kept| add_up(kept, record)) {
            kept.push(NewNativeRecord {
                schema: record.schema,
                zero_threshold: record.zero_threshold,
                zero_count: record.zero_count,
                sum: record.sum,
                positive: (record.positive.first, record.positive.counts().collect()),
                negative: (record.negative.first, record.negative.counts().collect()),
            });
        }
    }

    /// The body of the section; `None` if it has no entries.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        for (key, FoldedAttribute { kind, payloads, .. }) in &self.attributes.values {
            for payload in payloads {
                encode_entry(&mut body, *kind, key, payload);
            }
        }
        for (key, exemplar) in &self.exemplars.values {
            encode_entry(&mut body, CompanionKind::Exemplar, key, &exemplar.payload);
        }
        let mut payload = Vec::new();
        for (key, records) in &self.natives.values {
            for record in records {
                let offset = (HEADER_LEN + body.len()) as u64;
                payload.clear();
                record.encode(&mut payload);
                encode_entry(&mut body, CompanionKind::NativeRecord, b"", &payload);
                encode_entry(&mut body, CompanionKind::Native, key, &offset.to_le_bytes());
            }
        }
        body.extend_from_slice(&self.unknown);
        (!body.is_empty()).then_some(body)
    }
}

/// Adds a record to another one. Returns `false` if they cannot be added up.
fn add_up(kept: &mut NewNativeRecord, record: &NativeRecord<'_>) -> bool {
    let is_same = kept.schema == record.schema
        && kept.zero_threshold.to_bits() == record.zero_threshold.to_bits();
    let ranges = || {
        let positive = union(&kept.positive, &record.positive)?;
        Some((positive, union(&kept.negative, &record.negative)?))
    };
    let Some((positive, negative)) = ranges().filter(|_| is_same) else {
        return false;
    };
    kept.zero_count = kept.zero_count.wrapping_add(record.zero_count);
    kept.sum += record.sum;
    (kept.positive, kept.negative) = (positive, negative);
    true
}

/// The sums of the buckets of two ranges; `None` if the result would be too long.
fn union(kept: &(i32, Vec<u64>), range: &NativeRange<'_>) -> Option<(i32, Vec<u64>)> {
    let (first, counts) = kept;
    let added: Vec<u64> = range.counts().collect();
    if counts.is_empty() || added.is_empty() {
        return Some(if counts.is_empty() { (range.first, added) } else { kept.clone() });
    }
    let start = (*first).min(range.first);
    let end = |first: i32, len: usize| i64::from(first) + len as i64;
    let len = end(*first, counts.len()).max(end(range.first, added.len())) - i64::from(start);
    if len > MAX_BUCKETS {
        return None;
    }
    let mut sums = vec![0u64; len as usize];
    for (first, counts) in [(*first, counts), (range.first, &added)] {
        let from = (i64::from(first) - i64::from(start)) as usize;
        for (sum, count) in sums[from..].iter_mut().zip(counts) {
            *sum = sum.wrapping_add(*count);
        }
    }
    Some((start, sums))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::companion::payload::encode_text;

    fn key(family: &str, help: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        key::encode(&mut bytes, family, family, std::iter::empty(), help);
        bytes
    }

    fn unit(body: &mut Vec<u8>, family: &str, help: &str, unit: &str) {
        attribute(body, CompanionKind::Unit, family, help, unit);
    }

    fn attribute(body: &mut Vec<u8>, kind: CompanionKind, family: &str, help: &str, text: &str) {
        let mut payload = Vec::new();
        encode_text(&mut payload, text);
        encode_entry(body, kind, &key(family, help), &payload);
    }

    fn exemplar(body: &mut Vec<u8>, time: f64, labels: &str, sequence: u8) {
        let mut payload = Vec::new();
        ExemplarSlot { value: 1.0, time, labels }.encode(&mut payload);
        payload.resize(ExemplarSlot::payload_len(64), 0xff);
        payload[0] = sequence;
        encode_entry(body, CompanionKind::Exemplar, &key("e", ""), &payload);
    }

    fn native(body: &mut Vec<u8>, record: &NewNativeRecord) {
        let offset = (HEADER_LEN + body.len()) as u64;
        let mut payload = Vec::new();
        record.encode(&mut payload);
        encode_entry(body, CompanionKind::NativeRecord, b"", &payload);
        encode_entry(body, CompanionKind::Native, &key("n", ""), &offset.to_le_bytes());
    }

    /// Folds files one after the other, with an archive after each.
    fn fold(files: &[Vec<u8>]) -> Vec<u8> {
        let mut section = Vec::new();
        for file in files {
            let mut fold = CompanionFold::default();
            fold.add_section(&section).unwrap();
            fold.add_file(file).unwrap();
            section = fold.encode().unwrap();
        }
        section
    }

    fn entries(section: &[u8], kind: CompanionKind) -> Vec<CompanionEntry<'_>> {
        let entries = CompanionEntries::new(section, HEADER_LEN).map(Result::unwrap);
        entries.filter(|entry| entry.kind == kind).collect()
    }

    #[test]
    fn the_first_unit_and_type_and_the_newest_exemplar_stay() {
        let [mut one, mut two, mut three] = [const { Vec::new() }; 3];
        unit(&mut one, "a_bytes", "Help.", "bytes");
        exemplar(&mut one, 5.0, "old", 2);
        attribute(&mut one, CompanionKind::Type, "a_bytes", "Help.", "unknown");
        unit(&mut two, "a_bytes", "Other.", "s");
        attribute(&mut two, CompanionKind::Type, "a_bytes", "Help.", "info");
        unit(&mut two, "b_seconds", "", "seconds");
        exemplar(&mut two, 7.0, "newest", 4);
        exemplar(&mut three, 6.0, "older", 2);
        exemplar(&mut three, 9.0, "killed", 3);
        exemplar(&mut three, 9.0, "never", 0);
        let section = fold(&[one, two, three]);
        let units = entries(&section, CompanionKind::Unit);
        let units: Vec<_> = units.iter().map(|it| decode_text(it.payload).unwrap()).collect();
        assert_eq!(units, ["bytes", "seconds"]);
        let [kept] = &entries(&section, CompanionKind::Type)[..] else { panic!("one") };
        assert_eq!(decode_text(kept.payload), Some("unknown"));
        let [kept] = &entries(&section, CompanionKind::Exemplar)[..] else { panic!("one") };
        let kept = ExemplarSlot::decode_payload(kept.payload).unwrap();
        assert_eq!((kept.time, kept.labels), (7.0, "newest"));
    }

    #[test]
    fn units_and_types_that_this_release_ignores_stay_before_the_first_that_it_knows() {
        let [mut one, mut two] = [const { Vec::new() }; 2];
        let add = |file: &mut Vec<u8>, unit: &str, metric_type: &str| {
            attribute(file, CompanionKind::Unit, "a_bytes", "Help.", unit);
            attribute(file, CompanionKind::Type, "a_bytes", "Help.", metric_type);
        };
        add(&mut one, "s", "later");
        add(&mut two, "bytes", "info");
        add(&mut two, "b", "latest");
        let section = fold(&[one.clone(), two, one]);
        for (kind, expected) in
            [(CompanionKind::Unit, ["s", "bytes"]), (CompanionKind::Type, ["later", "info"])]
        {
            let kept = entries(&section, kind);
            let kept: Vec<_> = kept.iter().map(|it| decode_text(it.payload).unwrap()).collect();
            assert_eq!(kept, expected);
        }
    }

    #[test]
    fn native_histograms_add_up_if_their_schemas_match_and_no_observation_is_lost() {
        let record = |schema, first, counts: &[u64]| NewNativeRecord {
            schema,
            zero_threshold: 0.5,
            zero_count: 1,
            sum: 2.0,
            positive: (first, counts.to_vec()),
            negative: (0, Vec::new()),
        };
        let files = [
            record(3, -2, &[1, 2, 3]),
            record(3, 0, &[10, 20]),
            record(2, 5, &[7]),
            record(3, i32::MAX - 1, &[4]),
            record(3, -4, &[100]),
        ];
        let bodies = files.map(|record| {
            let mut body = Vec::new();
            native(&mut body, &record);
            // A record that is not current.
            let mut payload = Vec::new();
            record.encode(&mut payload);
            encode_entry(&mut body, CompanionKind::NativeRecord, b"", &payload);
            body
        });
        let section = fold(&bodies);
        let natives = entries(&section, CompanionKind::Native);
        let records: Vec<_> = natives
            .iter()
            .map(|entry| payload::current_record(entry, &section).unwrap().unwrap())
            .map(|it| (it.schema, it.zero_count, it.sum, it.positive.first, sum(it.positive)))
            .collect();
        assert_eq!(
            records,
            [(3, 3, 6.0, -4, 136), (2, 1, 2.0, 5, 7), (3, 1, 2.0, i32::MAX - 1, 4)]
        );
        assert_eq!(entries(&section, CompanionKind::NativeRecord).len(), natives.len());
        let first = payload::current_record(&natives[0], &section).unwrap().unwrap();
        let counts: Vec<u64> = first.positive.counts().collect();
        assert_eq!(counts, [100, 0, 1, 2, 13, 20]);
    }

    fn sum(range: NativeRange<'_>) -> u64 {
        range.counts().sum()
    }

    #[test]
    fn a_damaged_file_and_one_of_a_later_release_add_nothing_and_an_archive_keeps_unknown_kinds() {
        let mut good = Vec::new();
        unit(&mut good, "a_bytes", "", "bytes");
        let mut damaged = good.clone();
        exemplar(&mut damaged, 1.0, "", 2);
        damaged[good.len() + 4] ^= 1;
        let mut dangling = good.clone();
        encode_entry(&mut dangling, CompanionKind::Native, &key("n", ""), &800u64.to_le_bytes());
        let mut later = good.clone();
        encode_entry(&mut later, CompanionKind::Unknown(9), b"", &[1; 16]);
        let mut fold = CompanionFold::default();
        assert!(matches!(fold.add_file(&damaged), Err(FoldError::Damaged(_))));
        assert!(matches!(fold.add_file(&dangling), Err(FoldError::Damaged(_))));
        assert_eq!(fold.add_file(&later), Err(FoldError::UnknownKind));
        assert_eq!(fold.encode(), None);
        fold.add_section(&later).unwrap();
        assert_eq!(fold.encode(), Some(later));
        assert!(fold.add_section(&damaged).is_err());
    }
}
