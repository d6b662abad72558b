//! The kinds of entries in files of this crate, which are a part of their checksums.
//!
//! So a reader can skip an entry of a kind that it does not know, and still detects damage.

/// Bytes of the checksum of an own entry.
pub(crate) const CHECKSUM_LEN: usize = 4;
/// The padding of an entry that the Python client has written into a file of this crate. It has no checksum.
pub(crate) const UNCHECKED: [u8; CHECKSUM_LEN] = [b' '; CHECKSUM_LEN];

/// What an entry states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EntryKind {
    /// The value of a sample.
    Value,
    /// Whether the process has removed a series, whose lead sample the key names: see [`RemovalState`].
    Removal,
    /// In archives: a removed series that is about to be dropped, and that no reader exports.
    Burial,
    /// A kind of a later release.
    Unknown(u8),
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            EntryKind::Value => 0,
            EntryKind::Removal => 255,
            EntryKind::Burial => 254,
            EntryKind::Unknown(code) => code,
        }
    }

    const fn from_code(code: u8) -> EntryKind {
        match code {
            0 => EntryKind::Value,
            255 => EntryKind::Removal,
            254 => EntryKind::Burial,
            code => EntryKind::Unknown(code),
        }
    }
}

/// Whether a series or a gauge is removed, as the time word of a removal record or of a gauge states it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RemovalState {
    /// Since this time, in Unix seconds.
    Removed(f64),
    Present,
}

impl RemovalState {
    pub(crate) fn of(time: f64) -> RemovalState {
        if time < 0.0 { RemovalState::Removed(-time) } else { RemovalState::Present }
    }

    /// The time word of a series or gauge that is removed now.
    pub(crate) fn removed_at(now: f64) -> f64 {
        // OK because a clock before 1970 must not make it positive.
        -now.max(1.0)
    }
}

/// CRC-32 of `key_len` and the key.
fn crc(key: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.finalize()
}

/// Returns the checksum of an own entry that is encoded up to the end of its key.
pub(super) fn checksum(kind: EntryKind, start: &[u8]) -> [u8; CHECKSUM_LEN] {
    of_crc(kind, crc32fast::hash(start))
}

/// The state of CRC-32 after these bytes, from a state. The state of no bytes is `u32::MAX`, and a checksum is the complement
/// of the last state.
pub(super) fn crc_state(state: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!state);
    hasher.update(bytes);
    !hasher.finalize()
}

/// The checksum from CRC-32 of `key_len` and the key: each byte of this is combined with the kind by exclusive or.
///
/// If the result equals [`UNCHECKED`], its lowest bit is flipped.
pub(super) fn of_crc(kind: EntryKind, crc: u32) -> [u8; CHECKSUM_LEN] {
    let sum = crc ^ u32::from_le_bytes([kind.code(); CHECKSUM_LEN]);
    let bytes = sum.to_le_bytes();
    if bytes == UNCHECKED { (sum ^ 1).to_le_bytes() } else { bytes }
}

/// Returns the kind of an entry from its checksum; `None` if the entry is damaged.
pub(crate) fn find(key: &[u8], check: [u8; CHECKSUM_LEN]) -> Option<EntryKind> {
    let crc = crc(key);
    let [code, ..] = (crc ^ u32::from_le_bytes(check)).to_le_bytes();
    // The lowest bit may have been flipped.
    let codes = [code, code ^ 1];
    let kinds = codes.into_iter().map(EntryKind::from_code);
    kinds.into_iter().find(|kind| of_crc(*kind, crc) == check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_from_the_checksum_which_is_never_the_reserved_value() {
        for number in 0u32..2_000 {
            let key = number.to_le_bytes().repeat(2);
            for kind in (0..=255).map(EntryKind::from_code) {
                let check = of_crc(kind, crc(&key));
                assert_ne!(check, UNCHECKED);
                assert_eq!(find(&key, check), Some(kind));
            }
        }
    }

    #[test]
    fn the_kind_of_an_entry_whose_checksum_would_be_the_reserved_value_is_found() {
        // This key was searched for: the bytes of its sum differ from spaces by the code of a kind.
        let key = 14_848_943u32.to_le_bytes().repeat(2);
        let [code, ..] = (crc(&key) ^ u32::from_le_bytes(UNCHECKED)).to_le_bytes();
        let kind = EntryKind::from_code(code);
        let flipped = u32::from_le_bytes(UNCHECKED) ^ 1;
        assert_eq!(of_crc(kind, crc(&key)), flipped.to_le_bytes());
        assert_eq!(find(&key, of_crc(kind, crc(&key))), Some(kind));
    }
}
