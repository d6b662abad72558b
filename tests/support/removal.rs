//! Removal records in the files of processes that have ended, and in archives.

use std::fs;
use std::path::Path;

/// The time word of a removal record.
pub const REMOVED: f64 = -1.8e9;

/// Kinds of entries, which are a part of their checksums.
const REMOVAL: u32 = 255;
const BURIAL: u32 = 254;

/// Sets the state of a series in all series files of a directory that have it: changes its removal record, or appends
/// one. `sample` is a part of the key of its lead sample. Returns the number of files.
pub fn mark_in_files(dir: &Path, sample: &str, state: f64) -> usize {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|it| it == "db"));
    let mut marked = 0;
    for path in files {
        let mut bytes = fs::read(&path).unwrap();
        if mark(&mut bytes, sample, state) {
            // The file is rewritten in place: it stays the same file.
            fs::write(&path, bytes).unwrap();
            marked += 1;
        }
    }
    marked
}

fn mark(bytes: &mut [u8], sample: &str, state: f64) -> bool {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let used = word(0) as usize;
    let (mut at, mut found) = (8, None);
    while at < used {
        let end = at + 4 + word(at) as usize;
        if str::from_utf8(&bytes[at + 4..end]).unwrap().contains(sample) {
            let is_record = word(end) == checksum(&bytes[at..end], REMOVAL);
            found = Some((at..end, is_record.then_some(end + 12)));
        }
        at = end + 20;
    }
    let Some((head, record)) = found else { return false };
    let state = state.to_le_bytes();
    if let Some(time) = record {
        bytes[time..time + 8].copy_from_slice(&state);
        return true;
    }
    let head = bytes[head].to_vec();
    let check = checksum(&head, REMOVAL).to_le_bytes();
    let entry = [&*head, &check, &[0; 8], &state].concat();
    bytes[used..used + entry.len()].copy_from_slice(&entry);
    bytes[..4].copy_from_slice(&((used + entry.len()) as u32).to_le_bytes());
    true
}

/// Whether the archive of a directory has a removal record, and a burial record, of the series with a key that begins so.
pub fn records_in_archive(dir: &Path, key: &str) -> (bool, bool) {
    let bytes = fs::read(dir.join("archive.multiprom")).unwrap();
    let found =
        bytes.windows(key.len()).enumerate().filter(|(_, window)| *window == key.as_bytes());
    let heads: Vec<&[u8]> = found
        .map(|(at, _)| {
            let len = u32::from_le_bytes(bytes[at - 4..at].try_into().unwrap());
            &bytes[at - 4..at + len as usize + 4]
        })
        .collect();
    let has = |kind| {
        heads.iter().any(|head| {
            let (head, check) = head.split_at(head.len() - 4);
            check == checksum(head, kind).to_le_bytes()
        })
    };
    (has(REMOVAL), has(BURIAL))
}

/// The checksum of an entry, from its length and key.
fn checksum(head: &[u8], kind: u32) -> u32 {
    let sum = crc32fast::hash(head) ^ (kind * 0x0101_0101);
    if sum.to_le_bytes() == *b"    " { sum ^ 1 } else { sum }
}
