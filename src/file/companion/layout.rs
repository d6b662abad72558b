//! The bytes of a companion file: header, entries, checksum.
//!
//! ```text
//!  offset  size  field
//!       0     4  used     committed bytes, header included
//!       4     4  magic    "MPX" and the version
//!       8     -  entries, back to back until `used`, each 8-aligned:
//!                  4  key_len      a multiple of 8; 0 in entries that others refer to
//!            key_len  key          as in series files, padded with spaces
//!                  4  checksum     CRC-32 of key_len, key, payload_len and kind
//!                  4  payload_len  a multiple of 8
//!                  4  kind         see `CompanionKind`
//!        payload_len  payload      see `payload`; it may change after its publication and is not in the checksum
//! ```
//!
//! All integers are little-endian. Decoding never panics and never allocates: any bytes yield entries or a named error.
//! An entry of an unknown kind is an entry like others, so that readers can skip and count it.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use crate::file::layout::{Header, LayoutError, MAX_KEY_LEN};

/// The magic of companion files, version 1.
pub(crate) const MAGIC: [u8; 4] = *b"MPX\x01";

/// Bytes of an entry besides key and payload.
const FRAME_LEN: usize = 16;

/// The largest payload that is written or read, in bytes.
pub(crate) const MAX_PAYLOAD_LEN: usize = 1024 * 1024;

/// What the payload of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CompanionKind {
    /// The unit of a family.
    Unit,
    /// An exemplar of a series, in a slot.
    Exemplar,
    /// The offset of the current record of a native histogram.
    Native,
    /// A record of a native histogram, without a key.
    NativeRecord,
    /// The type with which a family of gauges is exported.
    Type,
    /// A kind of a later release.
    Unknown(u32),
}

impl CompanionKind {
    const fn code(self) -> u32 {
        match self {
            CompanionKind::Unit => 1,
            CompanionKind::Exemplar => 2,
            CompanionKind::Native => 3,
            CompanionKind::NativeRecord => 4,
            CompanionKind::Type => 5,
            CompanionKind::Unknown(code) => code,
        }
    }

    const fn from_code(code: u32) -> CompanionKind {
        match code {
            1 => CompanionKind::Unit,
            2 => CompanionKind::Exemplar,
            3 => CompanionKind::Native,
            4 => CompanionKind::NativeRecord,
            5 => CompanionKind::Type,
            code => CompanionKind::Unknown(code),
        }
    }
}

/// Checks the header of a companion file of `len` bytes, and returns `used`.
pub(crate) fn check_header(header: Header, len: u64) -> Result<u32, LayoutError> {
    if header.magic != MAGIC {
        let [name @ .., version] = header.magic;
        return Err(if MAGIC.starts_with(&name) {
            LayoutError::VersionUnknown { version }
        } else {
            LayoutError::MagicUnknown
        });
    }
    header.check_used(len)
}

/// Returns the offset of the payload in an entry.
pub(crate) const fn payload_offset(key_len: usize) -> usize {
    FRAME_LEN + key_len
}

fn checksum(key: &[u8], payload_len: u32, kind: CompanionKind) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(&payload_len.to_le_bytes());
    hasher.update(&kind.code().to_le_bytes());
    hasher.finalize()
}

/// Appends an entry to `out`. The lengths of key and payload are multiples of 8.
pub(crate) fn encode_entry(out: &mut Vec<u8>, kind: CompanionKind, key: &[u8], payload: &[u8]) {
    let payload_len = payload.len() as u32;
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&checksum(key, payload_len, kind).to_le_bytes());
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(&kind.code().to_le_bytes());
    out.extend_from_slice(payload);
}

/// An entry of a companion file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompanionEntry<'a> {
    pub(crate) kind: CompanionKind,
    /// With its padding.
    pub(crate) key: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// The position in the file.
    pub(crate) offset: usize,
}

impl CompanionEntry<'_> {
    /// The position of the payload in the file.
    pub(crate) fn payload_offset(&self) -> usize {
        self.offset + payload_offset(self.key.len())
    }

    /// The bytes of the entry.
    pub(crate) fn byte_len(&self) -> usize {
        payload_offset(self.key.len()) + self.payload.len()
    }

    /// The error of a payload that does not have the form of its kind.
    pub(crate) fn payload_invalid(&self) -> LayoutError {
        LayoutError::PayloadInvalid { offset: self.offset }
    }
}

/// An iterator over entries, which ends after an error: the entries after a damaged one cannot be found.
#[derive(Clone, Debug)]
pub(crate) struct CompanionEntries<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> CompanionEntries<'a> {
    /// Iterates over the entries in `bytes`, which begin at this offset of their file and end at `used`.
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> CompanionEntries<'a> {
        CompanionEntries { rest: bytes, offset }
    }

    fn split(&self) -> Result<(CompanionEntry<'a>, &'a [u8]), LayoutError> {
        let offset = self.offset;
        let truncated = || LayoutError::EntryTruncated { offset };
        let (key_len, after) = split_u32(self.rest).ok_or_else(truncated)?;
        if key_len as usize > MAX_KEY_LEN || !key_len.is_multiple_of(8) {
            return Err(truncated());
        }
        let (key, after) = after.split_at_checked(key_len as usize).ok_or_else(truncated)?;
        let (check, after) = split_u32(after).ok_or_else(truncated)?;
        let (payload_len, after) = split_u32(after).ok_or_else(truncated)?;
        let (kind, after) = split_u32(after).ok_or_else(truncated)?;
        let kind = CompanionKind::from_code(kind);
        if check != checksum(key, payload_len, kind) {
            return Err(LayoutError::ChecksumMismatch { offset });
        }
        if payload_len as usize > MAX_PAYLOAD_LEN || !payload_len.is_multiple_of(8) {
            return Err(truncated());
        }
        let (payload, after) =
            after.split_at_checked(payload_len as usize).ok_or_else(truncated)?;
        Ok((CompanionEntry { kind, key, payload, offset }, after))
    }
}

impl<'a> Iterator for CompanionEntries<'a> {
    type Item = Result<CompanionEntry<'a>, LayoutError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.split() {
            Ok((entry, after)) => {
                self.offset += self.rest.len() - after.len();
                self.rest = after;
                Some(Ok(entry))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::layout::HEADER_LEN;
    use proptest::prelude::*;

    const KEY: &[u8] = br#"["a_b", "a_b", {}, ""]  "#;
    const KINDS: [CompanionKind; 5] = [
        CompanionKind::Unit,
        CompanionKind::Exemplar,
        CompanionKind::Native,
        CompanionKind::NativeRecord,
        CompanionKind::Unknown(7),
    ];

    /// An entry of each kind, without the header of a file.
    fn body() -> Vec<u8> {
        let mut body = Vec::new();
        for kind in KINDS {
            let key = if kind == CompanionKind::NativeRecord { b"" } else { KEY };
            encode_entry(&mut body, kind, key, &[1, 0, 0, 0, 0, 0, 0, 2]);
        }
        body
    }

    fn entries(body: &[u8]) -> Vec<Result<CompanionEntry<'_>, LayoutError>> {
        CompanionEntries::new(body, HEADER_LEN).collect()
    }

    #[test]
    fn encoded_entries_are_decoded_also_those_of_unknown_kinds() {
        let body = body();
        let decoded: Vec<_> = entries(&body).into_iter().map(Result::unwrap).collect();
        assert_eq!(decoded.iter().map(|entry| entry.kind).collect::<Vec<_>>(), KINDS);
        assert_eq!((decoded[0].key, decoded[3].key), (KEY, &b""[..]));
        for entry in &decoded {
            assert_eq!(entry.payload, [1, 0, 0, 0, 0, 0, 0, 2]);
            assert!(entry.offset.is_multiple_of(8) && entry.payload_offset().is_multiple_of(8));
            let payload = &body[entry.payload_offset() - HEADER_LEN..];
            assert!(payload.starts_with(entry.payload));
        }
        assert_eq!(entries(b""), []);
    }

    #[test]
    fn a_body_that_is_cut_at_any_byte_yields_the_entries_before_it_and_a_named_error() {
        let body = body();
        let ends: Vec<usize> = entries(&body)
            .into_iter()
            .map(|entry| entry.map(|it| it.payload_offset() + it.payload.len() - HEADER_LEN))
            .map(Result::unwrap)
            .collect();
        for len in 0..body.len() {
            let read = entries(&body[..len]);
            let whole = ends.iter().filter(|end| **end <= len).count();
            assert!(read.iter().take(whole).all(Result::is_ok), "{len}");
            let offset = HEADER_LEN + whole.checked_sub(1).map_or(0, |last| ends[last]);
            let is_cut = !ends.contains(&len) && len > 0;
            let error = is_cut.then_some(Err(LayoutError::EntryTruncated { offset }));
            assert_eq!(read.get(whole).copied(), error, "{len}");
            assert_eq!(read.len(), whole + usize::from(is_cut));
        }
    }

    #[test]
    fn a_changed_bit_before_the_payload_is_detected_and_one_in_the_payload_is_not() {
        let mut body = body();
        let payload = payload_offset(KEY.len());
        for bit in 0..(payload + 8) * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            let first = entries(&body)[0];
            assert_eq!(first.is_ok(), bit / 8 >= payload, "bit {bit}: {first:?}");
            body[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn lengths_that_are_too_large_or_odd_are_errors_also_with_a_valid_checksum() {
        let with = |key_len: usize, payload_len: u32| {
            let mut bytes = (key_len as u32).to_le_bytes().to_vec();
            let key = vec![b' '; key_len];
            bytes.extend_from_slice(&key);
            let kind = CompanionKind::Unit;
            bytes.extend_from_slice(&checksum(&key, payload_len, kind).to_le_bytes());
            bytes.extend_from_slice(&payload_len.to_le_bytes());
            bytes.extend_from_slice(&kind.code().to_le_bytes());
            bytes.resize(bytes.len() + 64, 0);
            entries(&bytes)[0].map(|entry| entry.payload.len())
        };
        let error = Err(LayoutError::EntryTruncated { offset: HEADER_LEN });
        assert_eq!(with(8, 16), Ok(16));
        for (key_len, payload_len) in [(4, 16), (MAX_KEY_LEN + 8, 16), (8, 12), (8, u32::MAX - 7)] {
            assert_eq!(with(key_len, payload_len), error, "{key_len} {payload_len}");
        }
    }

    #[test]
    fn each_invalid_header_has_an_error_of_its_own() {
        let check = |used, magic, len| check_header(Header { used, magic }, len);
        assert_eq!(check(8, MAGIC, 8), Ok(8));
        assert_eq!(check(0, MAGIC, 64), Err(LayoutError::UsedInvalid { used: 0 }));
        assert_eq!(check(12, MAGIC, 64), Err(LayoutError::UsedInvalid { used: 12 }));
        assert_eq!(check(72, MAGIC, 64), Err(LayoutError::UsedPastEnd { used: 72, len: 64 }));
        assert_eq!(check(8, *b"MPX\x02", 64), Err(LayoutError::VersionUnknown { version: 2 }));
        for magic in [[0; 4], *b"MPR\x01", *b"MPx\x01"] {
            assert_eq!(check(8, magic, 64), Err(LayoutError::MagicUnknown));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_yield_entries_or_a_named_error(body: Vec<u8>) {
            prop_assert!(CompanionEntries::new(&body, HEADER_LEN).count() <= body.len() / FRAME_LEN + 1);
        }
    }
}
