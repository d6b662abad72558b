//! The payloads of companion entries, by kind.
//!
//! ```text
//! unit           text     UTF-8, padded with NUL to a multiple of 8; never changes. The key is that of the family without
//!                         labels and help
//!
//! exemplar       8        sequence: odd while the rest is being written, 0 before the first write (see `slot`)
//!                8        value, f64 bits
//!                8        time, f64 bits: Unix seconds
//!                8        bytes of the labels
//!                -        labels: UTF-8 text, as many bytes as fit
//!
//! native         8        the offset in this file of the entry of the current record, 0 if there is none (see `publish`)
//!
//! native record  8        schema, i64
//!                8        zero threshold, f64 bits
//!                8        observations in the zero bucket, u64
//!                8        sum of the observations, f64 bits
//!                4 + 4    positive buckets: index of the first, i32, and their number, u32
//!                4 + 4    negative buckets: the same
//!                -        observations in each positive, then in each negative bucket, u64; not cumulative
//! ```
//!
//! The text of labels is that of the object of labels in a key. Decoding never panics and never allocates.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use super::layout::{CompanionEntries, CompanionEntry, CompanionKind};
use crate::file::layout::{HEADER_LEN, LayoutError, WORD_LEN};

/// Appends the payload of a unit or a type to `out`.
pub(crate) fn encode_text(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    let len = text.len().next_multiple_of(WORD_LEN);
    out.resize(start + len, 0);
}

/// Decodes the payload of a unit or a type.
pub(crate) fn decode_text(payload: &[u8]) -> Option<&str> {
    let text = str::from_utf8(payload).ok()?.trim_end_matches('\0');
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

/// Words of an exemplar besides the sequence and the labels.
const EXEMPLAR_FIXED_WORDS: usize = 3;

/// An exemplar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ExemplarSlot<'a> {
    pub(crate) value: f64,
    /// Unix seconds.
    pub(crate) time: f64,
    pub(crate) labels: &'a str,
}

impl<'a> ExemplarSlot<'a> {
    /// The bytes of a payload for labels of up to this many bytes.
    pub(crate) const fn payload_len(labels_len: usize) -> usize {
        (1 + EXEMPLAR_FIXED_WORDS) * WORD_LEN + labels_len.next_multiple_of(WORD_LEN)
    }

    /// The words after the sequence.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> + use<'a> {
        let head = [self.value.to_bits(), self.time.to_bits(), self.labels.len() as u64];
        head.into_iter().chain(self.labels.as_bytes().chunks(WORD_LEN).map(word_of))
    }

    /// Decodes the bytes after the sequence, which were read as a whole.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<ExemplarSlot<'a>> {
        let mut words = Words(bytes);
        let (value, time) = (f64::from_bits(words.next()?), f64::from_bits(words.next()?));
        let len = usize::try_from(words.next()?).ok()?;
        let labels = str::from_utf8(words.0.get(..len)?).ok()?;
        Some(ExemplarSlot { value, time, labels })
    }

    /// Decodes a payload that is not being written any more. `None` if it has no exemplar: nothing was written, the last
    /// writer was killed, or the payload is malformed.
    pub(crate) fn decode_payload(payload: &'a [u8]) -> Option<ExemplarSlot<'a>> {
        let mut words = Words(payload);
        let sequence = words.next()?;
        if sequence == 0 || !sequence.is_multiple_of(2) {
            return None;
        }
        ExemplarSlot::decode(words.0)
    }

    /// Whether a payload has the words of an exemplar.
    fn is_well_formed(payload: &[u8]) -> bool {
        payload.len() >= ExemplarSlot::payload_len(0)
    }

    /// Appends a payload to `out` with just enough space for these labels.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        const WRITTEN: u64 = 2;
        let words = std::iter::once(WRITTEN).chain(self.words());
        out.extend(words.flat_map(u64::to_le_bytes));
    }
}

/// A record of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NativeRecord<'a> {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: u64,
    pub(crate) sum: f64,
    pub(crate) positive: NativeRange<'a>,
    pub(crate) negative: NativeRange<'a>,
}

/// Adjacent buckets of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NativeRange<'a> {
    /// The index of the first bucket.
    pub(crate) first: i32,
    counts: &'a [u8],
}

impl<'a> NativeRange<'a> {
    /// Takes the range with this word off the words of counts. `None` if there are not as many, or if an index is not an
    /// `i32`.
    fn split(word: u64, counts: &mut Words<'a>) -> Option<NativeRange<'a>> {
        let (first, len) = (word as u32 as i32, (word >> 32) as u32);
        first.checked_add_unsigned(len)?;
        let (own, rest) = counts.0.split_at_checked((len as usize).checked_mul(WORD_LEN)?)?;
        counts.0 = rest;
        Some(NativeRange { first, counts: own })
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> + use<'a> {
        Words(self.counts)
    }
}

impl<'a> NativeRecord<'a> {
    /// Decodes a payload.
    pub(crate) fn decode(payload: &'a [u8]) -> Option<NativeRecord<'a>> {
        let mut words = Words(payload);
        let schema = i32::try_from(words.next()?.cast_signed()).ok()?;
        let zero_threshold = f64::from_bits(words.next()?);
        let zero_count = words.next()?;
        let sum = f64::from_bits(words.next()?);
        let (positive, negative) = (words.next()?, words.next()?);
        let positive = NativeRange::split(positive, &mut words)?;
        let negative = NativeRange::split(negative, &mut words)?;
        let record = NativeRecord { schema, zero_threshold, zero_count, sum, positive, negative };
        words.0.is_empty().then_some(record)
    }
}

/// A record of a native histogram that is about to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NewNativeRecord {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: u64,
    pub(crate) sum: f64,
    /// The index of the first positive bucket, and the counts.
    pub(crate) positive: (i32, Vec<u64>),
    pub(crate) negative: (i32, Vec<u64>),
}

impl NewNativeRecord {
    /// Appends the payload to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let range = |(first, counts): &(i32, Vec<u64>)| {
            u64::from(first.cast_unsigned()) | (counts.len() as u64) << 32
        };
        let head = [
            i64::from(self.schema).cast_unsigned(),
            self.zero_threshold.to_bits(),
            self.zero_count,
            self.sum.to_bits(),
            range(&self.positive),
            range(&self.negative),
        ];
        let counts = self.positive.1.iter().chain(&self.negative.1).copied();
        out.extend(head.into_iter().chain(counts).flat_map(u64::to_le_bytes));
    }
}

/// Returns the offset of the current record of a native histogram; 0 if it has none yet.
pub(crate) fn record_offset(native: &CompanionEntry<'_>) -> Result<u64, LayoutError> {
    Words(native.payload).next().ok_or_else(|| native.payload_invalid())
}

/// Finds the current record of a native histogram: `Ok(None)` if it has none yet, `Err` if there is no complete record at
/// its offset. `body` are the bytes after the header of the file.
pub(crate) fn current_record<'a>(
    native: &CompanionEntry<'_>,
    body: &'a [u8],
) -> Result<Option<NativeRecord<'a>>, LayoutError> {
    let offset = record_offset(native)?;
    if offset == 0 {
        return Ok(None);
    }
    let found = usize::try_from(offset).ok().filter(|offset| offset.is_multiple_of(WORD_LEN));
    let found = found.and_then(|offset| {
        let rest = body.get(offset.checked_sub(HEADER_LEN)?..)?;
        let entry = CompanionEntries::new(rest, offset).next()?.ok()?;
        (entry.kind == CompanionKind::NativeRecord).then(|| NativeRecord::decode(entry.payload))?
    });
    found.map(Some).ok_or_else(|| native.payload_invalid())
}

/// Checks that the payload of an entry has the form of its kind. A native histogram may refer to a record behind `body`,
/// which its writer has appended during the read.
pub(crate) fn check(entry: &CompanionEntry<'_>, body: &[u8]) -> Result<(), LayoutError> {
    let is_valid = match entry.kind {
        CompanionKind::Unit | CompanionKind::Type => decode_text(entry.payload).is_some(),
        CompanionKind::Exemplar => ExemplarSlot::is_well_formed(entry.payload),
        CompanionKind::Native => match record_offset(entry) {
            Ok(offset) if offset >= (HEADER_LEN + body.len()) as u64 => true,
            _ => return current_record(entry, body).map(drop),
        },
        CompanionKind::NativeRecord => NativeRecord::decode(entry.payload).is_some(),
        CompanionKind::Unknown(_) => true,
    };
    if is_valid { Ok(()) } else { Err(entry.payload_invalid()) }
}

/// An iterator over words. Bytes behind the last whole word are ignored.
struct Words<'a>(&'a [u8]);

impl Iterator for Words<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<WORD_LEN>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }
}

/// Up to eight bytes as a word, padded with zeros.
fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::layout::encode_entry;
    use super::*;

    use proptest::prelude::*;

    fn record() -> NewNativeRecord {
        NewNativeRecord {
            schema: -4,
            zero_threshold: 1e-9,
            zero_count: 3,
            sum: -2.5,
            positive: (-2, vec![1, 0, u64::MAX]),
            negative: (i32::MAX - 1, vec![7]),
        }
    }

    #[test]
    fn texts_are_padded_with_nul() {
        for text in ["s", "bytes", "stateset", "\u{e9}lan"] {
            let mut payload = Vec::new();
            encode_text(&mut payload, text);
            assert!(payload.len().is_multiple_of(8) && payload.len() < text.len() + 8);
            assert_eq!(decode_text(&payload), Some(text));
        }
        for other in [&b""[..], &[0; 8], b"a\0b\0\0\0\0\0", &[0xff; 8]] {
            assert_eq!(decode_text(other), None);
        }
    }

    #[test]
    fn an_exemplar_has_its_labels_and_one_that_is_being_written_is_none() {
        let exemplar = ExemplarSlot { value: 0.5, time: 1.5, labels: "{\"trace_id\": \"abc\"}" };
        let mut payload = Vec::new();
        exemplar.encode(&mut payload);
        assert_eq!(payload.len(), ExemplarSlot::payload_len(exemplar.labels.len()));
        assert_eq!(ExemplarSlot::decode_payload(&payload), Some(exemplar));
        for (sequence, is_some) in [(0, false), (1, false), (7, false), (8, true)] {
            payload[0] = sequence;
            assert_eq!(ExemplarSlot::decode_payload(&payload).is_some(), is_some, "{sequence}");
        }
        payload[24] = 200;
        assert_eq!(ExemplarSlot::decode_payload(&payload), None, "more labels than fit");
    }

    #[test]
    fn a_native_record_is_decoded_to_the_same_and_any_other_length_is_an_error() {
        let mut payload = Vec::new();
        record().encode(&mut payload);
        let decoded = NativeRecord::decode(&payload).unwrap();
        assert_eq!((decoded.schema, decoded.zero_count, decoded.sum), (-4, 3, -2.5));
        assert_eq!(decoded.positive.first, -2);
        assert_eq!(decoded.positive.counts().collect::<Vec<_>>(), [1, 0, u64::MAX]);
        assert_eq!(decoded.negative.counts().collect::<Vec<_>>(), [7]);
        for len in 0..payload.len() {
            assert_eq!(NativeRecord::decode(&payload[..len]), None);
        }
        payload.extend_from_slice(&[0; 8]);
        assert_eq!(NativeRecord::decode(&payload), None);
        // Indices beyond the largest.
        let mut payload = Vec::new();
        NewNativeRecord { negative: (i32::MAX, vec![7]), ..record() }.encode(&mut payload);
        assert_eq!(NativeRecord::decode(&payload), None);
    }

    #[test]
    fn the_current_record_is_found_by_its_offset_and_any_other_offset_is_an_error() {
        let (mut body, mut payload) = (Vec::new(), Vec::new());
        record().encode(&mut payload);
        encode_entry(&mut body, CompanionKind::NativeRecord, b"", &payload);
        encode_entry(&mut body, CompanionKind::Unit, b"[\"a\"]   ", b"bytes\0\0\0");
        let native = |offset: u64| {
            let mut entry = Vec::new();
            encode_entry(&mut entry, CompanionKind::Native, b"[\"a\"]   ", &offset.to_le_bytes());
            entry
        };
        let current = |offset: u64| {
            let entry = native(offset);
            let entry = CompanionEntries::new(&entry, 0).next().unwrap().unwrap();
            current_record(&entry, &body).map(|record| record.map(|record| record.sum))
        };
        assert_eq!((current(0), current(HEADER_LEN as u64)), (Ok(None), Ok(Some(-2.5))));
        let others = (1..body.len() as u64 + 24).filter(|offset| *offset != HEADER_LEN as u64);
        for offset in others.chain([u64::MAX, u64::MAX - 7]) {
            assert_eq!(current(offset), Err(LayoutError::PayloadInvalid { offset: 0 }));
            let entry = native(offset);
            let entry = CompanionEntries::new(&entry, 0).next().unwrap().unwrap();
            let is_behind = offset >= (HEADER_LEN + body.len()) as u64;
            assert_eq!(check(&entry, &body).is_ok(), is_behind, "{offset}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_decoded_or_refused(payload: Vec<u8>) {
            decode_text(&payload);
            ExemplarSlot::decode_payload(&payload);
            if let Some(record) = NativeRecord::decode(&payload) {
                let counts = record.positive.counts().chain(record.negative.counts()).count();
                prop_assert_eq!((6 + counts) * 8, payload.len());
            }
        }
    }
}
