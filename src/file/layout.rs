//! The bytes of a series file: offsets, sizes, checksum, and the walk over its entries.
//!
//! ```text
//!  offset  size  field
//!       0     4  used     committed bytes, header included
//!       4     4  magic    "MPR" and the version; zero in files of the Python client
//!       8     -  entries, back to back until `used`:
//!                  4  key_len
//!            key_len  key, see `key`
//!             1 to 8  padding to a multiple of 8: spaces; in files of this crate 4 bytes, the checksum
//!                  8  value, f64 bits
//!                  8  time, f64 bits: unix seconds (only in the wide layouts)
//! ```
//!
//! The checksum of an own entry also has its kind: see [`entry_kind`].
//!
//! Integers and floats are little-endian in files of this crate. A file of the Python client has the byte order of
//! the machine that wrote it, which is the same on every machine that this backend is built for.
//!
//! Decoding never panics and never allocates: any bytes yield entries or a named error.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use std::fmt;

use super::entry_kind::{self, CHECKSUM_LEN, UNCHECKED};
use super::key::{self, Arity};

pub(crate) use super::entry_kind::{EntryKind, RemovalState};

/// Bytes before the first entry.
pub(crate) const HEADER_LEN: usize = 8;
/// Offset of the magic within the header.
pub(crate) const MAGIC_OFFSET: usize = 4;
/// The magic of files of this crate, version 1.
pub(crate) const MAGIC: [u8; 4] = *b"MPR\x01";
/// Bytes of `key_len`.
pub(crate) const KEY_LEN_LEN: usize = 4;
/// Bytes of the value, and of the time.
pub(crate) const WORD_LEN: usize = 8;
/// The longest key that is written or read, in bytes.
pub(crate) const MAX_KEY_LEN: usize = 64 * 1024;
/// The largest file that is written, and the most bytes of a file that are read.
pub(crate) const MAX_FILE_LEN: u64 = 256 * 1024 * 1024;

/// The layout of the entries of a file, which is detected from its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The Python client up to 0.3.1: labels as two lists, no help, no time.
    L0,
    /// The Python client 0.4.0 to 0.15.0: no help, no time.
    L1,
    /// The Python client 0.16.0 and 0.17: no time.
    L2,
    /// The Python client since 0.18.0.
    L3,
    /// This crate: L3 with a magic, and a checksum in the padding.
    Own,
    /// No entries, so the layout is not determined.
    Empty,
}

impl Layout {
    /// Whether entries have a time.
    pub(crate) const fn has_time(self) -> bool {
        matches!(self, Layout::L3 | Layout::Own)
    }

    const fn stride(self) -> Stride {
        if self.has_time() { Stride::Wide } else { Stride::Narrow }
    }
}

/// The words of 8 bytes after a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stride {
    /// The value.
    Narrow,
    /// The value and the time.
    Wide,
}

/// Why the bytes of a file cannot be decoded. Offsets count from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// The file is shorter than a header, but not empty.
    HeaderTruncated { len: u64 },
    /// `used` is less than the header, or not a multiple of 8.
    UsedInvalid { used: u32 },
    /// `used` is larger than the file.
    UsedPastEnd { used: u32, len: u64 },
    /// `used` is larger than [`MAX_FILE_LEN`].
    UsedTooLarge { used: u32 },
    /// The magic of this crate with an unknown version.
    VersionUnknown { version: u8 },
    /// A magic that is neither zero nor that of this crate.
    MagicUnknown,
    /// The entries fit no layout. The offset is that of the first entry that fits none.
    LayoutUnknown { offset: usize },
    /// An own entry extends beyond `used`, or its length is invalid.
    EntryTruncated { offset: usize },
    /// An own entry does not match its checksum.
    ChecksumMismatch { offset: usize },
    /// The payload of a companion entry does not have the form of its kind.
    PayloadInvalid { offset: usize },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LayoutError::HeaderTruncated { len } => {
                write!(f, "file has {len} bytes, the header alone needs {HEADER_LEN}")
            }
            LayoutError::UsedInvalid { used } => {
                write!(f, "used is {used}, which is below {HEADER_LEN} or not a multiple of 8")
            }
            LayoutError::UsedPastEnd { used, len } => {
                write!(f, "used is {used}, file has {len} bytes")
            }
            LayoutError::UsedTooLarge { used } => {
                write!(f, "used is {used}, the limit is {MAX_FILE_LEN}")
            }
            LayoutError::VersionUnknown { version } => {
                write!(f, "format version is {version}, this release reads 1")
            }
            LayoutError::MagicUnknown => f.write_str("bytes 4 to 7 are not a known magic"),
            LayoutError::LayoutUnknown { offset } => {
                write!(f, "entries fit no layout, offset {offset} is malformed")
            }
            LayoutError::EntryTruncated { offset } => {
                write!(f, "entry at offset {offset} does not fit before used")
            }
            LayoutError::ChecksumMismatch { offset } => {
                write!(f, "entry at offset {offset} does not match its checksum")
            }
            LayoutError::PayloadInvalid { offset } => {
                write!(f, "payload of the entry at offset {offset} is malformed")
            }
        }
    }
}

impl std::error::Error for LayoutError {}

/// The first 8 bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) used: u32,
    pub(crate) magic: [u8; 4],
}

impl Header {
    pub(crate) const fn new(used: u32) -> Header {
        Header { used, magic: MAGIC }
    }

    pub(crate) fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let (used, magic) = bytes.split_at_mut(MAGIC_OFFSET);
        used.copy_from_slice(&self.used.to_le_bytes());
        magic.copy_from_slice(&self.magic);
        bytes
    }

    pub(crate) fn decode(word: u64) -> Header {
        let [u0, u1, u2, u3, m0, m1, m2, m3] = word.to_le_bytes();
        Header { used: u32::from_le_bytes([u0, u1, u2, u3]), magic: [m0, m1, m2, m3] }
    }

    /// Whether this crate has written the file, in any version of the format.
    pub(crate) fn is_own(self) -> bool {
        let [m, p, r, _] = self.magic;
        [m, p, r] == [b'M', b'P', b'R']
    }

    /// Checks the header of a file of `len` bytes. Returns `used`, or `None` if nothing is written yet.
    pub(crate) fn check(self, len: u64) -> Result<Option<u32>, LayoutError> {
        if self.magic != [0; 4] && self.magic != MAGIC {
            let [_, _, _, version] = self.magic;
            return Err(if self.is_own() {
                LayoutError::VersionUnknown { version }
            } else {
                LayoutError::MagicUnknown
            });
        }
        // The Python client creates its files empty. Files of this crate are created with a header.
        if self.used == 0 && self.magic == [0; 4] {
            return Ok(None);
        }
        self.check_used(len).map(Some)
    }

    /// Checks `used` in the header of a file of `len` bytes, and returns it.
    pub(crate) fn check_used(self, len: u64) -> Result<u32, LayoutError> {
        let used = self.used;
        if u64::from(used) > len {
            return Err(LayoutError::UsedPastEnd { used, len });
        }
        if used < HEADER_LEN as u32 || !used.is_multiple_of(8) {
            return Err(LayoutError::UsedInvalid { used });
        }
        if u64::from(used) > MAX_FILE_LEN {
            return Err(LayoutError::UsedTooLarge { used });
        }
        Ok(used)
    }
}

/// Returns the bytes of an own entry for a key of this length, a multiple of 8.
pub(crate) const fn entry_len(key_len: usize) -> usize {
    KEY_LEN_LEN + key_len + CHECKSUM_LEN + 2 * WORD_LEN
}

/// Returns the offset of the value in an own entry.
pub(crate) const fn value_offset(key_len: usize) -> usize {
    KEY_LEN_LEN + key_len + CHECKSUM_LEN
}

/// One entry of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The bytes before the value. Entries with the same head have the same kind and key.
    pub(crate) head: &'a [u8],
    /// The key without its padding; empty if the entry was found by its head.
    pub(crate) key: &'a [u8],
    /// `Value` if the entry was found by its head.
    pub(crate) kind: EntryKind,
    pub(crate) value: f64,
    /// Unix seconds; `None` in the narrow layouts.
    pub(crate) time: Option<f64>,
}

impl Entry<'_> {
    /// The bytes of the entry.
    pub(crate) fn byte_len(&self) -> usize {
        self.head.len() + if self.time.is_some() { 2 * WORD_LEN } else { WORD_LEN }
    }
}

/// Splits the next entry off `rest`, which starts at an entry and ends at `used`. The limit on keys is for the detection of
/// the layout: entries with checksums need none.
fn split_entry(
    rest: &[u8],
    stride: Stride,
    max_key_len: usize,
) -> Option<(Entry<'_>, [u8; CHECKSUM_LEN], &[u8])> {
    let key_len = u32::from_le_bytes(*rest.first_chunk::<KEY_LEN_LEN>()?) as usize;
    if key_len == 0 || key_len > max_key_len {
        return None;
    }
    let key_end = KEY_LEN_LEN + key_len;
    let (head, after) = rest.split_at_checked(key_end + 8 - key_end % 8)?;
    let (value, time, after) = split_words(after, stride)?;
    let key = head.get(KEY_LEN_LEN..key_end)?;
    let padding = head.get(key_end..)?;
    let mut check = UNCHECKED;
    if padding.iter().any(|&byte| byte != b' ') {
        check = *padding.first_chunk::<CHECKSUM_LEN>()?;
        if padding.len() != CHECKSUM_LEN {
            return None;
        }
    }
    Some((Entry { head, key, kind: EntryKind::Value, value, time }, check, after))
}

/// Splits the value and, with the wide stride, the time off `rest`.
#[inline]
fn split_words(rest: &[u8], stride: Stride) -> Option<(f64, Option<f64>, &[u8])> {
    let word = |bytes: &[u8; WORD_LEN]| f64::from_bits(u64::from_le_bytes(*bytes));
    let (value, after) = rest.split_first_chunk::<WORD_LEN>()?;
    if stride == Stride::Narrow {
        return Some((word(value), None, after));
    }
    let (time, after) = after.split_first_chunk::<WORD_LEN>()?;
    Some((word(value), Some(word(time)), after))
}

/// An iterator over the entries of one file.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    body: &'a [u8],
    rest: &'a [u8],
    /// The offset of the body in its file.
    start: usize,
    layout: Layout,
}

impl<'a> Entries<'a> {
    /// Detects the layout of `body`, the bytes between the header and `used`.
    ///
    /// A file of the Python client is walked to its end in both strides, of which one fits. A file of this crate is checked
    /// entry by entry during the iteration.
    pub(crate) fn detect(header: Header, body: &'a [u8]) -> Result<Entries<'a>, LayoutError> {
        let layout = if body.is_empty() {
            Layout::Empty
        } else if header.magic == MAGIC {
            Layout::Own
        } else {
            detect_python(body)?
        };
        Ok(Entries { body, rest: body, start: HEADER_LEN, layout })
    }

    /// Iterates over the entries of a file of this crate from an offset on, at which an earlier iteration ended.
    pub(crate) fn resume(body: &'a [u8], start: usize) -> Entries<'a> {
        Entries { body, rest: body, start, layout: Layout::Own }
    }

    /// Iterates over the entries of a body that is assumed to have this layout.
    pub(crate) fn assume(layout: Layout, body: &'a [u8]) -> Entries<'a> {
        Entries { body, rest: body, start: HEADER_LEN, layout }
    }

    /// Whether all entries were returned.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the position of the value of the last entry, in words of 8 bytes from the start of the file.
    #[inline]
    pub(crate) fn value_word(&self) -> u32 {
        let words = if self.layout.has_time() { 2 } else { 1 };
        (self.offset() / WORD_LEN - words) as u32
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the next entry if it has this head. As an earlier entry had the same head, the key is valid and is not
    /// checked again.
    #[inline]
    pub(crate) fn next_with_head(&mut self, head: &[u8]) -> Option<Entry<'a>> {
        let after = self.rest.strip_prefix(head)?;
        let (value, time, after) = split_words(after, self.layout.stride())?;
        let (head, _) = self.rest.split_at_checked(head.len())?;
        self.rest = after;
        Some(Entry { head, key: &[], kind: EntryKind::Value, value, time })
    }

    fn offset(&self) -> usize {
        self.start + self.body.len() - self.rest.len()
    }

    fn next_own(&mut self) -> Result<Entry<'a>, LayoutError> {
        let offset = self.offset();
        let Some((mut entry, check, rest)) =
            split_entry(self.rest, Stride::Wide, MAX_FILE_LEN as usize)
        else {
            return Err(LayoutError::EntryTruncated { offset });
        };
        if check != UNCHECKED {
            entry.kind = entry_kind::find(entry.key, check)
                .ok_or(LayoutError::ChecksumMismatch { offset })?;
            entry.key = entry.key.trim_ascii_end();
        }
        self.rest = rest;
        Ok(entry)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, LayoutError>;

    /// The iteration ends after an error, as the entries after a damaged one cannot be found.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        if self.layout == Layout::Own {
            let result = self.next_own();
            if result.is_err() {
                self.rest = &[];
            }
            return Some(result);
        }
        let (entry, _, rest) = split_entry(self.rest, self.layout.stride(), MAX_KEY_LEN)?;
        self.rest = rest;
        Some(Ok(entry))
    }
}

/// Detects the layout of a body that the Python client has written.
///
/// The strides cannot be confused. A narrow file that is read with the wide stride ends beyond `used` or has text in place of
/// a length; a wide file that is read with the narrow stride has half of a time in place of a length, and no key after it.
/// So the brackets of all keys are checked, and their whole text only if both strides fit.
fn detect_python(body: &[u8]) -> Result<Layout, LayoutError> {
    let brackets = |key: &[u8]| key.first() == Some(&b'[') && key.last() == Some(&b']');
    let arity =
        |entry: Option<(Entry<'_>, _, _)>| entry.and_then(|(entry, ..)| key::arity(entry.key));
    let first = arity(split_entry(body, Stride::Narrow, MAX_KEY_LEN));
    let narrow = walk(body, Stride::Narrow, &brackets);
    let wide = walk(body, Stride::Wide, &brackets);
    let is_wide = match (narrow, wide) {
        (Ok(()), Ok(())) => {
            walk(body, Stride::Wide, &|key| key::arity(key) == Some(Arity::Four)).is_ok()
        }
        (Ok(()), Err(_)) => false,
        (Err(_), Ok(())) => true,
        (Err(narrow), Err(wide)) => {
            return Err(LayoutError::LayoutUnknown { offset: narrow.max(wide) });
        }
    };
    match (first, is_wide) {
        (Some(Arity::Lists), false) => Ok(Layout::L0),
        (Some(Arity::Three), false) => Ok(Layout::L1),
        (Some(Arity::Four), false) => Ok(Layout::L2),
        (Some(Arity::Four), true) => Ok(Layout::L3),
        _ => Err(LayoutError::LayoutUnknown { offset: HEADER_LEN }),
    }
}

/// Walks a whole body in one stride. The error is the offset of the entry that does not fit.
fn walk(body: &[u8], stride: Stride, key_fits: &dyn Fn(&[u8]) -> bool) -> Result<(), usize> {
    let mut rest = body;
    while !rest.is_empty() {
        let offset = HEADER_LEN + body.len() - rest.len();
        let (entry, check, after) = split_entry(rest, stride, MAX_KEY_LEN).ok_or(offset)?;
        if check != UNCHECKED || !key_fits(entry.key) {
            return Err(offset);
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::entries::push_entry;
    use super::*;
    use proptest::prelude::*;

    fn python_entry(key: &str, words: &[f64]) -> Vec<u8> {
        let mut out = (key.len() as u32).to_le_bytes().to_vec();
        out.extend_from_slice(key.as_bytes());
        out.resize(out.len() + 8 - out.len() % 8, b' ');
        out.extend(words.iter().flat_map(|word| word.to_bits().to_le_bytes()));
        out
    }

    fn detect(body: &[u8]) -> Result<Layout, LayoutError> {
        let header = Header { used: 0, magic: [0; 4] };
        Entries::detect(header, body).map(|entries| entries.layout())
    }

    #[test]
    fn each_python_layout_is_detected_from_its_entries() {
        let lists = r#"["g", "g", ["a"], ["x"]]"#;
        let three = r#"["g", "g", {"a": "x"}]"#;
        let four = r#"["g", "g", {"a": "x"}, "help"]"#;
        for entries in 1..4 {
            let body = |key, words: &[f64]| python_entry(key, words).repeat(entries);
            assert_eq!(detect(&body(lists, &[1.0])), Ok(Layout::L0));
            assert_eq!(detect(&body(three, &[1.0])), Ok(Layout::L1));
            assert_eq!(detect(&body(four, &[1.0])), Ok(Layout::L2));
            assert_eq!(detect(&body(four, &[1.0, 0.0])), Ok(Layout::L3));
            assert_eq!(detect(&body(four, &[1.0, 1.79e9])), Ok(Layout::L3));
        }
        assert_eq!(detect(b""), Ok(Layout::Empty));
    }

    #[test]
    fn the_golden_bytes_of_the_python_client_are_read() {
        // `Gauge('g', 'help').set(7)` under release 0.25.
        let words = [
            0x0000_0000_0000_0038u64.to_le_bytes(),
            *b"\x16\0\0\0[\"g\"",
            *b", \"g\", {",
            *b"}, \"help",
            *b"\"]      ",
            7.0f64.to_bits().to_le_bytes(),
            [0; 8],
        ];
        let bytes = words.concat();
        let header = Header::decode(u64::from_le_bytes(words[0]));
        assert_eq!(header.check(bytes.len() as u64), Ok(Some(56)));
        let mut entries = Entries::detect(header, &bytes[8..]).unwrap();
        let entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.key, br#"["g", "g", {}, "help"]"#);
        assert_eq!((entry.value, entry.time), (7.0, Some(0.0)));
        assert!(entries.next().is_none());
    }

    #[test]
    fn each_invalid_header_has_an_error_of_its_own() {
        let check = |used, magic, len| Header { used, magic }.check(len);
        assert_eq!(check(0, [0; 4], 65536), Ok(None));
        assert_eq!(check(0, MAGIC, 65536), Err(LayoutError::UsedInvalid { used: 0 }));
        assert_eq!(check(12, [0; 4], 64), Err(LayoutError::UsedInvalid { used: 12 }));
        assert_eq!(check(72, MAGIC, 64), Err(LayoutError::UsedPastEnd { used: 72, len: 64 }));
        assert_eq!(check(8, *b"MPR\x09", 64), Err(LayoutError::VersionUnknown { version: 9 }));
        assert_eq!(check(8, *b"rmat", 64), Err(LayoutError::MagicUnknown));
    }

    fn own_entry(key: &[u8], value: f64) -> Vec<u8> {
        let mut out = Vec::new();
        push_entry(&mut out, EntryKind::Value, key, value, 1.5);
        assert_eq!(out.len(), entry_len(key.len()));
        out
    }

    #[test]
    fn a_damaged_own_entry_ends_the_valid_prefix() {
        let key = br#"["c", "c_total", {}, ""]"#;
        let mut body = own_entry(key, 1.0);
        let second = body.len();
        body.extend(own_entry(key, 2.0));
        body[second + 8] ^= 1;
        let entries = Entries::detect(Header::new(8), &body).unwrap();
        let read: Vec<_> = entries.map(|entry| entry.map(|entry| entry.value)).collect();
        let offset = HEADER_LEN + second;
        assert_eq!(read, [Ok(1.0), Err(LayoutError::ChecksumMismatch { offset })]);
    }

    #[test]
    fn an_entry_that_the_python_client_appended_to_an_own_file_is_not_checked() {
        let mut body = own_entry(br#"["c", "c_total", {}, ""]"#, 1.0);
        body.extend(python_entry(r#"["d", "d_total", {}, "h"]"#, &[2.0, 0.0]));
        let entries = Entries::detect(Header::new(8), &body).unwrap();
        let values: Vec<_> = entries.map(|entry| entry.unwrap().value).collect();
        assert_eq!(values, [1.0, 2.0]);
    }

    #[test]
    fn an_entry_with_the_head_of_an_earlier_one_is_read_without_its_key() {
        let key = br#"["c", "c_total", {}, ""]"#;
        let body =
            [own_entry(key, 1.0), own_entry(key, 2.0), own_entry(b"[\"other\"]       ", 3.0)]
                .concat();
        let mut entries = Entries::detect(Header::new(8), &body).unwrap();
        let first = entries.next().unwrap().unwrap();
        let second = entries.next_with_head(first.head).unwrap();
        assert_eq!((second.value, second.time, second.head), (2.0, Some(1.5), first.head));
        assert!(entries.next_with_head(first.head).is_none());
        assert_eq!(entries.next().unwrap().unwrap().value, 3.0);
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_returned_with_its_kind() {
        let key = br#"["c", "c_total", {}, ""]"#;
        let mut body = own_entry(key, 1.0);
        push_entry(&mut body, EntryKind::Unknown(7), key, 2.0, 0.0);
        body.extend(own_entry(key, 3.0));
        let entries = Entries::detect(Header::new(8), &body).unwrap();
        let read: Vec<_> =
            entries.map(|entry| entry.map(|entry| (entry.kind, entry.value)).unwrap()).collect();
        let kinds = [EntryKind::Value, EntryKind::Unknown(7), EntryKind::Value];
        assert_eq!(read, kinds.into_iter().zip([1.0, 2.0, 3.0]).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_bytes_yield_entries_or_a_named_error(body: Vec<u8>, own: bool) {
            let magic = if own { MAGIC } else { [0; 4] };
            if let Ok(entries) = Entries::detect(Header { used: 8, magic }, &body) {
                prop_assert!(entries.count() <= body.len());
            }
        }

        #[test]
        fn a_flipped_bit_in_an_own_key_is_detected(bit in 0usize..(4 + 24 + 4) * 8) {
            let mut body = own_entry(br#"["c", "c_total", {}, ""]"#, 1.0);
            body[bit / 8] ^= 1 << (bit % 8);
            let mut entries = Entries::detect(Header::new(8), &body).unwrap();
            prop_assert!(entries.next().unwrap().is_err());
        }
    }
}
