//! What must hold of any gauges with entries of the kind `type`. The fuzz target and a test of its seeds include this file
//! by `#[path]`.

use std::fs;
use std::path::Path;

use multiprom::compact::Compactor;
use multiprom::exposition::{Exposition, Format};
use multiprom::parse::Parser;
use multiprom::{Backend, MultiProcessCollector, Registry};

/// The kind of entries that contain the type of a family.
const TYPE: u32 = 5;

/// More lines are ignored, so that a run is short.
const MAX_LINES: usize = 64;

/// Merges the files of two ended processes, which are written to `dir`. Returns the number of families with a type that are
/// exported, and whether the page was compared with that after a compaction.
///
/// Each line of the input is an entry: `PROCESS max KEY` and `PROCESS all KEY` are gauges, where PROCESS is 1 or 2, and
/// `PROCESS type TYPE KEY` is the type of a family. Other lines are ignored. Checksums and lengths are right, so that any
/// key and any type reach the merge.
///
/// Both pages are accepted by their parsers, and compaction does not change the OpenMetrics page if it absorbs all files.
/// Nothing panics.
pub fn check(input: &[u8], dir: &Path) -> (usize, bool) {
    for entry in fs::read_dir(dir).expect("the directory is readable") {
        let path = entry.expect("an entry").path();
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("the directory is writable");
    }
    let mut files = [const { Vec::new() }; 6];
    for line in input.split(|byte| *byte == b'\n').take(MAX_LINES) {
        let (process, rest) = match line {
            [b'1', b' ', rest @ ..] => (0, rest),
            [b'2', b' ', rest @ ..] => (1, rest),
            _ => continue,
        };
        if let Some(key) = rest.strip_prefix(b"max ") {
            files[process].extend(gauge(key));
        } else if let Some(key) = rest.strip_prefix(b"all ") {
            files[2 + process].extend(gauge(key));
        } else if let Some(rest) = rest.strip_prefix(b"type ") {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            let (metric_type, key) = rest.split_at(end);
            files[4 + process]
                .extend(type_of_family(metric_type, key.get(1..).unwrap_or_default()));
        }
    }
    for (at, body) in files.iter().enumerate().filter(|(_, body)| !body.is_empty()) {
        let (name, magic) = match at / 2 {
            0 => (format!("gauge_max_{}-00000001.db", at % 2 + 1), b"MPR\x01"),
            1 => (format!("gauge_all_{}-00000001.db", at % 2 + 1), b"MPR\x01"),
            _ => (format!("companion_{}-00000001.mpx", at % 2 + 1), b"MPX\x01"),
        };
        let header = [(8 + body.len() as u32).to_le_bytes(), *magic].concat();
        fs::write(dir.join(name), [&header[..], body].concat()).expect("the directory is writable");
    }
    let before = page(dir);
    let compactor = Compactor::builder().directory(dir).build().expect("a compactor");
    compactor.run().expect("a pass");
    // A file that is damaged stays, and is merged before the archive.
    let is_compared = fs::read_dir(dir).expect("the directory is readable").count() == 1;
    if is_compared {
        let input = String::from_utf8_lossy(input);
        assert_eq!(page(dir), before, "compaction changes the page of\n{input}");
    }
    let is_typed = |line: &&String| line.starts_with("# TYPE ") && !line.ends_with(" gauge");
    (before.iter().filter(is_typed).count(), is_compared)
}

/// The sorted lines of the page in OpenMetrics, without the metrics of multiprom itself.
fn page(dir: &Path) -> Vec<String> {
    let registry = Registry::builder().backend(Backend::in_memory()).build().expect("a registry");
    let collector = MultiProcessCollector::new(dir).expect("a collector");
    registry.register(collector).expect("registered");
    let text = Exposition::encode(&registry, Format::Text).to_string();
    for family in Parser::text(text.as_bytes()) {
        assert!(family.is_ok(), "{family:?} in\n{text}");
    }
    let page = Exposition::encode(&registry, Format::OpenMetrics).to_string();
    for family in Parser::openmetrics(page.as_bytes()) {
        assert!(family.is_ok(), "{family:?} in\n{page}");
    }
    let is_of_workers = |line: &&str| !line.contains("multiprom_");
    let mut lines: Vec<String> = page.lines().filter(is_of_workers).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// A text, padded to a multiple of 8 by this byte.
fn padded(text: &[u8], padding: u8) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(8), padding);
    padded
}

/// The length of a text, and the text.
fn with_len(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text].concat()
}

/// An entry of a series file with the value 1 and the time 1.
fn gauge(key: &[u8]) -> Vec<u8> {
    // The length and the checksum are words of 4 bytes.
    let head = with_len(&padded(key, b' '));
    let mut check = crc32fast::hash(&head);
    if check.to_le_bytes() == *b"    " {
        check ^= 1;
    }
    [&head[..], &check.to_le_bytes(), &1.0f64.to_le_bytes(), &1.0f64.to_le_bytes()].concat()
}

/// An entry of a companion file.
fn type_of_family(metric_type: &[u8], key: &[u8]) -> Vec<u8> {
    let (head, payload) = (with_len(&padded(key, b' ')), padded(metric_type, 0));
    let rest = [(payload.len() as u32).to_le_bytes(), TYPE.to_le_bytes()].concat();
    let check = crc32fast::hash(&[&head[..], &rest].concat()).to_le_bytes();
    [&head[..], &check, &rest, &payload].concat()
}
