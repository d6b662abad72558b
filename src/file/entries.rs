//! Encodes the entries of series files.

use super::entry_kind::{self, CHECKSUM_LEN, EntryKind};
use super::entry_template::{EntryTemplate, Repeated};
use super::layout::{KEY_LEN_LEN, WORD_LEN, entry_len, value_offset};

/// Bytes of an entry after its key.
const END_LEN: usize = CHECKSUM_LEN + 2 * WORD_LEN;

/// Consecutive encoded entries.
#[derive(Clone, Default)]
pub(crate) struct Entries {
    bytes: Vec<u8>,
    /// The length of each key, a multiple of 8.
    key_lens: Vec<usize>,
}

impl Entries {
    /// Removes all entries. A buffer that has grown beyond `max_kept_len` is freed.
    pub(crate) fn clear(&mut self, max_kept_len: usize) {
        if self.bytes.capacity() > max_kept_len {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.key_lens.clear();
    }

    /// Adds an entry. The length of `key` is a multiple of 8.
    pub(crate) fn push(&mut self, kind: EntryKind, key: &[u8], value: f64, time: f64) {
        self.push_with(kind, |bytes| bytes.extend_from_slice(key), value, time);
    }

    /// Adds an entry whose key `encode` appends to its argument.
    pub(crate) fn push_with(
        &mut self,
        kind: EntryKind,
        encode: impl FnOnce(&mut Vec<u8>),
        value: f64,
        time: f64,
    ) {
        self.key_lens.push(push_entry_with(&mut self.bytes, kind, encode, value, time));
    }

    /// Adds an entry with the value 0. Its key has the text of this number at the place that the template leaves open, which
    /// `text` returns.
    pub(crate) fn push_from<'a>(
        &mut self,
        template: &mut EntryTemplate,
        number: f64,
        text: impl FnOnce() -> &'a [u8],
        time: f64,
    ) {
        let start = self.bytes.len();
        if let Some(Repeated { entry, at, tail, key_len, checksum }) = template.repeated(number) {
            self.bytes.extend_from_slice(entry);
            let copy = &mut self.bytes[start..];
            copy[at..][..tail.len()].copy_from_slice(tail);
            let (_, end) = copy.split_at_mut(KEY_LEN_LEN + key_len);
            end.copy_from_slice(&end_of_entry(checksum, 0.0, time));
            self.key_lens.push(key_len);
            return;
        }
        let text = text();
        let key_len = template.key_len(text);
        self.bytes.reserve(entry_len(key_len.padded));
        self.bytes.extend_from_slice(template.head());
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(template.tail(key_len));
        set_key_len(&mut self.bytes, start, key_len.padded);
        self.key_lens.push(key_len.padded);
        let state = template.state(&self.bytes[start..], text, key_len);
        let checksum = entry_kind::of_crc(EntryKind::Value, !state);
        self.bytes.extend_from_slice(&end_of_entry(checksum, 0.0, time));
        template.keep(number, key_len, state, &self.bytes[start..]);
    }

    /// The encoded entries.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.key_lens.len()
    }

    /// The lengths of the keys.
    pub(crate) fn key_lens(&self) -> &[usize] {
        &self.key_lens
    }

    /// The offset of the value of each entry.
    pub(crate) fn value_offsets(&self) -> impl Iterator<Item = usize> {
        self.starts().zip(&self.key_lens).map(|(start, key_len)| start + value_offset(*key_len))
    }

    /// The value and the time of each entry.
    pub(crate) fn words(&self) -> impl Iterator<Item = (f64, f64)> {
        let (words, _) = self.bytes.as_chunks();
        let word = |at| f64::from_le_bytes(words[at]);
        self.value_offsets().map(move |value| (word(value / WORD_LEN), word(value / WORD_LEN + 1)))
    }

    /// The keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let keys = self.starts().zip(&self.key_lens);
        keys.map(|(start, key_len)| &self.bytes[start + KEY_LEN_LEN..][..*key_len])
    }

    fn starts(&self) -> impl Iterator<Item = usize> {
        self.key_lens.iter().scan(0, |end, key_len| {
            let start = *end;
            *end += entry_len(*key_len);
            Some(start)
        })
    }
}

/// Appends an encoded entry to `out`. The length of `key` is a multiple of 8.
pub(crate) fn push_entry(out: &mut Vec<u8>, kind: EntryKind, key: &[u8], value: f64, time: f64) {
    push_entry_with(out, kind, |bytes| bytes.extend_from_slice(key), value, time);
}

/// As [`push_entry`] with the key that `encode` appends to its argument. Returns the length of the key.
fn push_entry_with(
    out: &mut Vec<u8>,
    kind: EntryKind,
    encode: impl FnOnce(&mut Vec<u8>),
    value: f64,
    time: f64,
) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; KEY_LEN_LEN]);
    encode(out);
    let key_len = out.len() - start - KEY_LEN_LEN;
    set_key_len(out, start, key_len);
    let checksum = entry_kind::checksum(kind, &out[start..]);
    out.extend_from_slice(&end_of_entry(checksum, value, time));
    key_len
}

fn set_key_len(bytes: &mut [u8], start: usize, key_len: usize) {
    bytes[start..start + KEY_LEN_LEN].copy_from_slice(&(key_len as u32).to_le_bytes());
}

/// The bytes of an entry after its key.
fn end_of_entry(checksum: [u8; CHECKSUM_LEN], value: f64, time: f64) -> [u8; END_LEN] {
    let mut end = [0; END_LEN];
    end[..CHECKSUM_LEN].copy_from_slice(&checksum);
    end[CHECKSUM_LEN..][..WORD_LEN].copy_from_slice(&value.to_bits().to_le_bytes());
    end[CHECKSUM_LEN + WORD_LEN..].copy_from_slice(&time.to_bits().to_le_bytes());
    end
}

#[cfg(test)]
mod tests {
    use super::super::key::{SampleName, encode};
    use super::*;
    use crate::model::Labels;

    proptest::proptest! {
        #[test]
        fn entries_from_a_template_are_those_of_their_keys(
            series in proptest::collection::vec(
                ("[af]", "[a-z\\n\u{e9}]{0,2}|[a-z ]{85}", "[a-z]{0,9}", 0u8..4, 0usize..20),
                1..12,
            ),
        ) {
            let bounds = ["0.005", "0.5", "1.0", "7.5", "10.0", "12345678901.0", "+Inf"];
            let mut template = EntryTemplate::new();
            for (at, (family, help, value, labels, first)) in series.iter().enumerate() {
                let time = at as f64;
                let all = [("a", &**value), ("z", &**value)];
                let labels = match labels {
                    0 => &all[..],
                    1 => &all[..1],
                    2 => &all[1..],
                    _ => &[],
                };
                let name = SampleName { family, suffix: "_bucket" };
                template.set(name, Labels::new(labels), "le", help);
                let (mut entries, mut expected) = (Entries::default(), Vec::new());
                let mut keys = Vec::new();
                // Mostly the same bounds, of which some are missing now and then.
                for (number, bound) in bounds.iter().enumerate().filter(|(number, _)| number != first) {
                    entries.push_from(&mut template, number as f64, || bound.as_bytes(), time);
                    let mut all = [labels, &[("le", bound)]].concat();
                    all.sort_unstable();
                    let mut key = Vec::new();
                    encode(&mut key, family, &format!("{family}_bucket"), all.into_iter(), help);
                    push_entry(&mut expected, EntryKind::Value, &key, 0.0, time);
                    keys.push(key);
                }
                proptest::prop_assert_eq!(entries.bytes(), expected);
                proptest::prop_assert_eq!(entries.keys().collect::<Vec<_>>(), &keys[..]);
                proptest::prop_assert_eq!(entries.len(), keys.len());
            }
        }
    }

    #[test]
    fn entries_beyond_the_most_that_are_kept_are_those_of_their_keys_too() {
        let (help, mut template) = ("h".repeat(10_000), EntryTemplate::new());
        let name = SampleName { family: "f", suffix: "_bucket" };
        for _ in 0..3 {
            template.set(name, Labels::new(&[]), "le", &help);
            let mut entries = Entries::default();
            for bound in 0..20 {
                let text = bound.to_string();
                entries.push_from(&mut template, f64::from(bound), || text.as_bytes(), 1.0);
                let mut key = Vec::new();
                encode(&mut key, "f", "f_bucket", [("le", &*text)].into_iter(), &help);
                let (mut entry, start) = (Vec::new(), entries.bytes().len());
                push_entry(&mut entry, EntryKind::Value, &key, 0.0, 1.0);
                assert!(entries.bytes()[start - entry.len()..] == entry, "{bound}");
            }
        }
    }

    #[test]
    fn encoded_entries_are_consecutive() {
        let (mut entries, mut expected) = (Entries::default(), Vec::new());
        for (kind, key) in [(EntryKind::Value, [b'a'; 8]), (EntryKind::Removal, [b'b'; 8])] {
            push_entry(&mut expected, kind, &key, 2.0, 3.0);
            entries.push(kind, &key, 2.0, 3.0);
        }
        assert_eq!(entries.bytes(), expected);
        assert_eq!(entries.value_offsets().collect::<Vec<_>>(), [16, 16 + 32]);
        assert_eq!(entries.words().collect::<Vec<_>>(), [(2.0, 3.0); 2]);
        entries.clear(0);
        assert_eq!((entries.bytes().len(), entries.len()), (0, 0));
    }
}
