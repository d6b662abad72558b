//! The bytes of a series file: offsets, sizes, checksum, and the walk over its entries.
//!
//! ```text
//!  offset  size  field
//!       0     4  used     committed bytes, header included
//!       4     4  magic    ours: "MPR" and the version; of the Python client: zero
//!       8     -  entries, back to back until `used`:
//!                  4  key_len
//!            key_len  key, see `key`
//!             1 to 8  padding to a multiple of 8: spaces; in our files 4 bytes, the checksum
//!                  8  value, f64 bits
//!                  8  time, f64 bits: unix seconds (only in the wide layouts)
//! ```
//!
//! Integers and floats are little-endian in our files; a file of the Python client has the order of
//! the machine that wrote it, which is the same on every machine this backend is built for.
//!
//! This module never panics and never allocates: any bytes give entries or a named error.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use std::fmt;

use super::key::{self, Arity};

/// Bytes before the first entry.
pub(crate) const HEADER_LEN: usize = 8;
/// Offset of the magic within the header.
pub(crate) const MAGIC_OFFSET: usize = 4;
/// What the magic of our files holds, version 1.
pub(crate) const MAGIC: [u8; 4] = *b"MPR\x01";
/// Bytes of `key_len`.
pub(crate) const KEY_LEN_LEN: usize = 4;
/// Bytes of the checksum in our entries.
pub(crate) const CHECKSUM_LEN: usize = 4;
/// Bytes of the value, and of the time.
pub(crate) const WORD_LEN: usize = 8;
/// The longest key that is written or read, in bytes.
pub(crate) const MAX_KEY_LEN: usize = 64 * 1024;
/// The largest file that is written, and the most of a file that is read, in bytes.
pub(crate) const MAX_FILE_LEN: u64 = 256 * 1024 * 1024;

/// Padding of an entry that the Python client wrote into the same layout: unchecked.
const UNCHECKED: [u8; CHECKSUM_LEN] = [b' '; CHECKSUM_LEN];
/// Marks an entry as removed; no live entry has it as checksum.
const REMOVED: [u8; CHECKSUM_LEN] = [0xff; CHECKSUM_LEN];

/// How the entries of a file are laid out, which the file itself tells.
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
    /// Ours: L3 with a magic, and a checksum in the padding.
    Own,
    /// No entries, so that nothing tells.
    Empty,
}

impl Layout {
    /// Whether entries have a time.
    pub(crate) const fn has_time(self) -> bool {
        matches!(self, Layout::L3 | Layout::Own)
    }
}

/// What is wrong with the bytes of a file. Offsets count from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// Fewer bytes than a header, and not none.
    HeaderTruncated { len: u64 },
    /// `used` is below the header or no multiple of 8.
    UsedInvalid { used: u32 },
    /// `used` is larger than the file.
    UsedPastEnd { used: u32, len: u64 },
    /// `used` is larger than what is read of any file.
    UsedTooLarge { used: u32 },
    /// Our magic with a version that this release does not know.
    VersionUnknown { version: u8 },
    /// A magic that is neither zero nor ours.
    MagicUnknown,
    /// The entries fit no layout; the walk failed here at the earliest.
    LayoutUnknown { offset: usize },
    /// An entry of ours reaches past `used`, or its length is impossible.
    EntryTruncated { offset: usize },
    /// An entry of ours does not match its checksum.
    ChecksumMismatch { offset: usize },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LayoutError::HeaderTruncated { len } => {
                write!(f, "file has {len} bytes, the header alone needs {HEADER_LEN}")
            }
            LayoutError::UsedInvalid { used } => {
                write!(f, "used is {used}, which is below {HEADER_LEN} or no multiple of 8")
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
            LayoutError::MagicUnknown => f.write_str("bytes 4 to 8 are no known magic"),
            LayoutError::LayoutUnknown { offset } => {
                write!(f, "entries fit no layout, offset {offset} is malformed")
            }
            LayoutError::EntryTruncated { offset } => {
                write!(f, "entry at offset {offset} does not fit before used")
            }
            LayoutError::ChecksumMismatch { offset } => {
                write!(f, "entry at offset {offset} does not match its checksum")
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

    /// Whether this crate wrote the file, in whichever version of the format.
    pub(crate) fn is_own(self) -> bool {
        let [m, p, r, _] = self.magic;
        [m, p, r] == [b'M', b'P', b'R']
    }

    /// Checks `used` and magic against a file of `len` bytes; `None` where nothing is written yet.
    pub(crate) fn check(self, len: u64) -> Result<Option<u32>, LayoutError> {
        if self.magic != [0; 4] && self.magic != MAGIC {
            let [_, _, _, version] = self.magic;
            return Err(if self.is_own() {
                LayoutError::VersionUnknown { version }
            } else {
                LayoutError::MagicUnknown
            });
        }
        let used = self.used;
        // The Python client creates its files empty; ours have a header from birth.
        if used == 0 && self.magic == [0; 4] {
            return Ok(None);
        }
        if u64::from(used) > len {
            return Err(LayoutError::UsedPastEnd { used, len });
        }
        if used < HEADER_LEN as u32 || !used.is_multiple_of(8) {
            return Err(LayoutError::UsedInvalid { used });
        }
        if u64::from(used) > MAX_FILE_LEN {
            return Err(LayoutError::UsedTooLarge { used });
        }
        Ok(Some(used))
    }
}

/// Bytes of an entry of ours for a key of this length, a multiple of 8.
pub(crate) const fn entry_len(key_len: usize) -> usize {
    KEY_LEN_LEN + key_len + CHECKSUM_LEN + 2 * WORD_LEN
}

/// Offset of the value within an entry of ours.
pub(crate) const fn value_offset(key_len: usize) -> usize {
    KEY_LEN_LEN + key_len + CHECKSUM_LEN
}

/// The checksum of an entry of ours: CRC-32 of `key_len` and the key.
///
/// The two reserved values are given to no entry: a sum that hits one has its lowest bit flipped.
pub(crate) fn checksum(key: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    let sum = hasher.finalize();
    let bytes = sum.to_le_bytes();
    if bytes == UNCHECKED || bytes == REMOVED { (sum ^ 1).to_le_bytes() } else { bytes }
}

/// Writes an entry of ours into `out`, which is cleared first. `key` has a multiple of 8 bytes.
pub(crate) fn encode_entry(out: &mut Vec<u8>, key: &[u8], value: f64, time: f64) {
    out.clear();
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&checksum(key));
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    out.extend_from_slice(&time.to_bits().to_le_bytes());
}

/// One entry, as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Everything before the value. An entry with the same head has the same key.
    pub(crate) head: &'a [u8],
    /// The key, without padding after it.
    pub(crate) key: &'a [u8],
    pub(crate) value: f64,
    /// Unix seconds; `None` in the narrow layouts.
    pub(crate) time: Option<f64>,
}

/// Splits the next entry off `rest`, which starts at an entry and ends at `used`.
fn split_entry(rest: &[u8], wide: bool) -> Option<(Entry<'_>, [u8; CHECKSUM_LEN], &[u8])> {
    let key_len = u32::from_le_bytes(*rest.first_chunk::<KEY_LEN_LEN>()?) as usize;
    if key_len == 0 || key_len > MAX_KEY_LEN {
        return None;
    }
    let key_end = KEY_LEN_LEN + key_len;
    let (head, after) = rest.split_at_checked(key_end + 8 - key_end % 8)?;
    let (value, time, after) = split_words(after, wide)?;
    let key = head.get(KEY_LEN_LEN..key_end)?;
    let padding = head.get(key_end..)?;
    let mut check = UNCHECKED;
    if padding.iter().any(|&byte| byte != b' ') {
        check = *padding.first_chunk::<CHECKSUM_LEN>()?;
        if padding.len() != CHECKSUM_LEN {
            return None;
        }
    }
    Some((Entry { head, key, value, time }, check, after))
}

/// Splits the value and, in a wide layout, the time off `rest`.
#[inline]
fn split_words(rest: &[u8], wide: bool) -> Option<(f64, Option<f64>, &[u8])> {
    let word = |bytes: &[u8; WORD_LEN]| f64::from_bits(u64::from_le_bytes(*bytes));
    let (value, after) = rest.split_first_chunk::<WORD_LEN>()?;
    if !wide {
        return Some((word(value), None, after));
    }
    let (time, after) = after.split_first_chunk::<WORD_LEN>()?;
    Some((word(value), Some(word(time)), after))
}

/// The entries of one file, whose layout is known.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    body: &'a [u8],
    rest: &'a [u8],
    /// Where the body begins in its file.
    start: usize,
    layout: Layout,
}

impl<'a> Entries<'a> {
    /// Finds out the layout of `body`: the bytes from the header's end up to `used`.
    ///
    /// A file of the Python client is walked to its end in each stride; just one fits. A file of ours
    /// is checked entry by entry while it is iterated.
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

    /// The entries of a file of ours from an offset on, where an earlier walk has ended.
    pub(crate) fn resume(body: &'a [u8], start: usize) -> Entries<'a> {
        Entries { body, rest: body, start, layout: Layout::Own }
    }

    /// The entries of a body that may have this layout.
    pub(crate) fn assume(layout: Layout, body: &'a [u8]) -> Entries<'a> {
        Entries { body, rest: body, start: HEADER_LEN, layout }
    }

    /// Whether all entries were given.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Where the value of the entry before is, in words of 8 bytes from the start of the file.
    #[inline]
    pub(crate) fn value_word(&self) -> u32 {
        let words = if self.layout.has_time() { 2 } else { 1 };
        (self.offset() / WORD_LEN - words) as u32
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The next entry, if it has this head: one that an earlier entry had, so that it is known to be
    /// whole and need not be checked.
    #[inline]
    pub(crate) fn next_with_head(&mut self, head: &[u8]) -> Option<Entry<'a>> {
        let after = self.rest.strip_prefix(head)?;
        let (value, time, after) = split_words(after, self.layout.has_time())?;
        let (head, _) = self.rest.split_at_checked(head.len())?;
        self.rest = after;
        Some(Entry { head, key: &[], value, time })
    }

    fn offset(&self) -> usize {
        self.start + self.body.len() - self.rest.len()
    }

    fn next_own(&mut self) -> Result<Entry<'a>, LayoutError> {
        let offset = self.offset();
        let Some((mut entry, check, rest)) = split_entry(self.rest, true) else {
            return Err(LayoutError::EntryTruncated { offset });
        };
        if check != UNCHECKED && check != checksum(entry.key) {
            return Err(LayoutError::ChecksumMismatch { offset });
        }
        if check != UNCHECKED {
            entry.key = entry.key.trim_ascii_end();
        }
        self.rest = rest;
        Ok(entry)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, LayoutError>;

    /// After an error nothing follows: what comes behind a damaged entry cannot be found.
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
        let (entry, _, rest) = split_entry(self.rest, self.layout.has_time())?;
        self.rest = rest;
        Some(Ok(entry))
    }
}

/// Finds the one layout that a Python-written body fits from its first byte to `used`.
///
/// NOTE: strides cannot be mistaken for each other. A narrow file read with the wide stride ends past
/// `used` or meets text as a length; a wide file read with the narrow stride meets half of a time as
/// a length, and no key behind it. So the brackets of every key are looked at, and the whole text of
/// every key only where both strides fit.
fn detect_python(body: &[u8]) -> Result<Layout, LayoutError> {
    let brackets = |key: &[u8]| key.first() == Some(&b'[') && key.last() == Some(&b']');
    let arity =
        |entry: Option<(Entry<'_>, _, _)>| entry.and_then(|(entry, ..)| key::arity(entry.key));
    let first = arity(split_entry(body, false));
    let narrow = walk(body, false, &brackets);
    let wide = walk(body, true, &brackets);
    let is_wide = match (narrow, wide) {
        (Ok(()), Ok(())) => walk(body, true, &|key| key::arity(key) == Some(Arity::Four)).is_ok(),
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

/// Walks all of a body in one stride; on failure the offset of the entry that does not fit.
fn walk(body: &[u8], wide: bool, key_fits: &dyn Fn(&[u8]) -> bool) -> Result<(), usize> {
    let mut rest = body;
    while !rest.is_empty() {
        let offset = HEADER_LEN + body.len() - rest.len();
        let (entry, check, after) = split_entry(rest, wide).ok_or(offset)?;
        if check != UNCHECKED || !key_fits(entry.key) {
            return Err(offset);
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn each_python_layout_is_told_from_its_entries() {
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
    fn what_is_wrong_with_a_header_is_named() {
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
        encode_entry(&mut out, key, value, 1.5);
        assert_eq!(out.len(), entry_len(key.len()));
        out
    }

    #[test]
    fn a_damaged_entry_of_ours_ends_the_valid_prefix() {
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
    fn an_entry_that_the_python_client_appended_to_ours_is_read_unchecked() {
        let mut body = own_entry(br#"["c", "c_total", {}, ""]"#, 1.0);
        body.extend(python_entry(r#"["d", "d_total", {}, "h"]"#, &[2.0, 0.0]));
        let entries = Entries::detect(Header::new(8), &body).unwrap();
        let values: Vec<_> = entries.map(|entry| entry.unwrap().value).collect();
        assert_eq!(values, [1.0, 2.0]);
    }

    #[test]
    fn an_entry_with_a_known_head_is_taken_without_a_look_at_its_key() {
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
    fn no_checksum_is_a_reserved_value() {
        for len in (0u32..200_000).step_by(8) {
            let sum = checksum(&len.to_le_bytes().repeat(2));
            assert!(sum != UNCHECKED && sum != REMOVED);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_entries_or_a_named_error(body: Vec<u8>, own: bool) {
            let magic = if own { MAGIC } else { [0; 4] };
            if let Ok(entries) = Entries::detect(Header { used: 8, magic }, &body) {
                prop_assert!(entries.count() <= body.len());
            }
        }

        #[test]
        fn a_flipped_bit_never_changes_a_key_of_ours_unseen(bit in 0usize..(4 + 24 + 4) * 8) {
            let mut body = own_entry(br#"["c", "c_total", {}, ""]"#, 1.0);
            body[bit / 8] ^= 1 << (bit % 8);
            let mut entries = Entries::detect(Header::new(8), &body).unwrap();
            prop_assert!(entries.next().unwrap().is_err());
        }
    }
}
