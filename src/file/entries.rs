//! Entries that are about to be appended to a series file, in the form in which the file has them.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]

use super::entry_kind::{self, CHECKSUM_LEN, EntryKind};
use super::entry_template::EntryTemplate;
use super::layout::{KEY_LEN_LEN, WORD_LEN, entry_len, value_offset};

/// Bytes of an entry after its key.
const END_LEN: usize = CHECKSUM_LEN + 2 * WORD_LEN;

/// Encoded entries, one behind the other.
#[derive(Default)]
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
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; KEY_LEN_LEN]);
        encode(&mut self.bytes);
        let key_len = self.bytes.len() - start - KEY_LEN_LEN;
        self.set_key_len(start, key_len);
        let checksum = entry_kind::checksum_of_entry(kind, &self.bytes[start..]);
        self.push_end(checksum, value, time);
    }

    /// Adds an entry with the value 0 whose key has this text at the place that the template leaves open.
    pub(crate) fn push_from(&mut self, template: &mut EntryTemplate, text: &[u8], time: f64) {
        let start = self.bytes.len();
        let key_len = template.key_len(text);
        self.bytes.reserve(entry_len(key_len.padded));
        self.bytes.extend_from_slice(template.head());
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(template.tail(key_len));
        self.set_key_len(start, key_len.padded);
        let checksum = template.checksum(&self.bytes[start..], text, key_len);
        self.push_end(checksum, 0.0, time);
    }

    fn set_key_len(&mut self, start: usize, key_len: usize) {
        let place = &mut self.bytes[start..start + KEY_LEN_LEN];
        place.copy_from_slice(&(key_len as u32).to_le_bytes());
        self.key_lens.push(key_len);
    }

    fn push_end(&mut self, checksum: [u8; CHECKSUM_LEN], value: f64, time: f64) {
        let mut end = [0; END_LEN];
        end[..CHECKSUM_LEN].copy_from_slice(&checksum);
        end[CHECKSUM_LEN..][..WORD_LEN].copy_from_slice(&value.to_bits().to_le_bytes());
        end[CHECKSUM_LEN + WORD_LEN..].copy_from_slice(&time.to_bits().to_le_bytes());
        self.bytes.extend_from_slice(&end);
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

#[cfg(test)]
mod tests {
    use super::super::key::{SampleName, encode};
    use super::super::layout;
    use super::*;

    proptest::proptest! {
        #[test]
        fn entries_from_a_template_are_those_of_their_keys(
            help in "[a-z\\n\u{e9}]{0,90}",
            values in proptest::collection::vec("[a-z]{0,20}", 2),
            bounds in proptest::collection::vec("[-+.0-9eE]{0,24}", 1..20),
        ) {
            let labels = [("a", &*values[0]), ("z", &*values[1])];
            let mut template = EntryTemplate::new();
            for labels in [&labels[..], &labels[..1], &labels[1..], &labels[1..], &[]] {
                let name = SampleName { family: "f", suffix: "_bucket" };
                template.set(name, labels, "le", &help);
                let (mut entries, mut expected) = (Entries::default(), Vec::new());
                let mut keys = Vec::new();
                for bound in &bounds {
                    entries.push_from(&mut template, bound.as_bytes(), 7.5);
                    let mut all = [labels, &[("le", bound)]].concat();
                    all.sort_unstable();
                    let (mut key, mut entry) = (Vec::new(), Vec::new());
                    encode(&mut key, "f", "f_bucket", all.into_iter(), &help);
                    layout::encode_entry(&mut entry, EntryKind::Value, &key, 0.0, 7.5);
                    expected.extend(entry);
                    keys.push(key);
                }
                proptest::prop_assert_eq!(entries.bytes(), expected);
                proptest::prop_assert_eq!(entries.keys().collect::<Vec<_>>(), keys);
                proptest::prop_assert_eq!(entries.len(), bounds.len());
            }
        }
    }

    #[test]
    fn entries_are_encoded_one_behind_the_other() {
        let (mut entries, mut expected) = (Entries::default(), Vec::new());
        for (kind, key) in [(EntryKind::Value, [b'a'; 8]), (EntryKind::Removal, [b'b'; 8])] {
            let mut entry = Vec::new();
            layout::encode_entry(&mut entry, kind, &key, 2.0, 3.0);
            expected.extend(entry);
            entries.push(kind, &key, 2.0, 3.0);
        }
        assert_eq!(entries.bytes(), expected);
        assert_eq!(entries.value_offsets().collect::<Vec<_>>(), [16, 16 + 32]);
        entries.clear(0);
        assert_eq!((entries.bytes().len(), entries.len()), (0, 0));
    }
}
