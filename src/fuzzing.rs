//! Readers that only the library itself uses, for fuzz targets: no part of the API, and in no release's docs.
//!
//! Each takes any bytes, never panics, and asserts what must hold of what could be read.

use crate::file::archive::{self, Archive};
use crate::file::companion::layout::{self as companion_layout, CompanionEntries};
use crate::file::companion::payload;
use crate::file::key;
use crate::file::layout::{Entries, HEADER_LEN, Header};

/// Reads a key; one that is good is written and read again.
pub fn key(bytes: &[u8]) -> usize {
    let _ = key::arity(bytes);
    let Ok(known) = key::decode(bytes) else { return 0 };
    let labels = || known.labels.iter().map(|(name, value)| (&**name, &**value));
    let help = known.help.as_deref().unwrap_or_default();
    let mut written = Vec::new();
    key::encode(&mut written, &known.family, &known.sample, labels(), help);
    assert_eq!(written.len() % 8, 0, "keys fill words");
    let again = key::decode(&written).expect("a key of ours is good");
    let help = Some(help.into());
    assert_eq!(again, key::Key { help, ..known }, "a key means the same when it is written");
    1
}

/// Reads the bytes of a series file.
pub fn series_file(bytes: &[u8]) -> usize {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return 0 };
    let header = Header::decode(u64::from_le_bytes(*header));
    let Ok(Some(used)) = header.check(bytes.len() as u64) else { return 0 };
    let Some(body) = bytes.get(HEADER_LEN..used as usize) else {
        panic!("used is within the file");
    };
    Entries::detect(header, body).map_or(0, |entries| walk(entries, body.len()))
}

/// Reads an archive, as it is and with the checksum that the bytes would need.
pub fn archive(bytes: &[u8]) -> usize {
    let found = sections(bytes);
    let mut sealed = bytes.to_vec();
    archive::seal(&mut sealed);
    found + sections(&sealed)
}

/// Reads the bytes of a companion file.
pub fn companion(bytes: &[u8]) -> usize {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return 0 };
    let header = Header::decode(u64::from_le_bytes(*header));
    let Ok(used) = companion_layout::check_header(header, bytes.len() as u64) else { return 0 };
    let Some(body) = bytes.get(HEADER_LEN..used as usize) else {
        panic!("used is within the file");
    };
    walk_companion(body)
}

/// Reads companion entries to the first that is wrong, and their payloads; valid ones are written and read again.
fn walk_companion(body: &[u8]) -> usize {
    let mut valid = 0;
    for entry in CompanionEntries::new(body, HEADER_LEN) {
        let Ok(entry) = entry else { break };
        let end = entry.payload_offset() + entry.payload.len();
        assert!(end <= HEADER_LEN + body.len(), "an entry is within the file");
        let mut again = Vec::new();
        companion_layout::encode_entry(&mut again, entry.kind, entry.key, entry.payload);
        assert_eq!(body.get(entry.offset - HEADER_LEN..end - HEADER_LEN), Some(&again[..]));
        let is_valid = payload::check(&entry, body).is_ok();
        let _ = payload::ExemplarSlot::decode_payload(entry.payload);
        let _ = payload::current_record(&entry, body);
        valid += usize::from(is_valid);
    }
    valid
}

fn sections(bytes: &[u8]) -> usize {
    let Ok(archive) = Archive::decode(bytes) else { return 0 };
    archive.sources().for_each(drop);
    archive.companions().flatten().for_each(|body| _ = walk_companion(body));
    archive.sections().flatten().map(|section| walk(section.entries, bytes.len())).sum()
}

/// Reads entries to the first that is wrong, and their keys.
fn walk(entries: Entries<'_>, len: usize) -> usize {
    let (mut count, mut keys) = (0, 0);
    for entry in entries {
        let Ok(entry) = entry else { break };
        count += 1;
        keys += key(entry.key);
    }
    assert!(count <= len / 16, "each entry has at least two words");
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// The seeds of a target, and each of them with one byte changed.
    fn each_seed(target: &str, take: fn(&[u8]) -> usize) -> usize {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let (mut seeds, mut keys) = (0, 0);
        for seed in std::fs::read_dir(dir).unwrap() {
            let mut bytes = std::fs::read(seed.unwrap().path()).unwrap();
            keys += take(&bytes);
            seeds += 1;
            for at in 0..bytes.len() {
                for byte in [0, 1, 0x20, 0x7f, 0xff] {
                    let known = std::mem::replace(&mut bytes[at], byte);
                    take(&bytes);
                    bytes[at] = known;
                }
                take(&bytes[..at]);
            }
        }
        assert!(seeds >= 2, "{target} has {seeds} seeds");
        keys
    }

    #[test]
    fn the_seeds_are_read_whole_cut_and_damaged() {
        assert_eq!(each_seed("key", key), 5);
        assert_eq!(each_seed("series_file", series_file), 5);
        assert_eq!(each_seed("archive", archive), 6);
        assert_eq!(each_seed("companion", companion), 6);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            key(&bytes);
            series_file(&bytes);
            archive(&bytes);
            companion(&bytes);
        }
    }
}
