//! Files of this and of other releases, byte for byte. `docs/format.md` describes them.

mod document;
mod exactness;
mod family_types;
mod unknown_entries;
mod unknown_files;

use std::path::Path;

use crate::support::http::sum_of;
use crate::support::process::{Outcome, run};
use crate::support::{example, multiprom, output_of};

const MAGIC: [u8; 4] = *b"MPR\x01";

/// An entry of multiprom: key, checksum, value, time. `docs/format.md` describes it.
fn entry(key: &str, kind: u8, value: f64, time: f64) -> Vec<u8> {
    let mut key = key.as_bytes().to_vec();
    key.resize(key.len().next_multiple_of(8), b' ');
    let mut bytes = (key.len() as u32).to_le_bytes().to_vec();
    bytes.extend(&key);
    let mut check = crc32fast::hash(&bytes) ^ (u32::from(kind) * 0x0101_0101);
    if check.to_le_bytes() == *b"    " {
        check ^= 1;
    }
    bytes.extend(check.to_le_bytes());
    bytes.extend(value.to_bits().to_le_bytes());
    bytes.extend(time.to_bits().to_le_bytes());
    bytes
}

/// A series file with this magic.
fn series_file(magic: [u8; 4], entries: &[Vec<u8>]) -> Vec<u8> {
    let body = entries.concat();
    [&(8 + body.len() as u32).to_le_bytes(), &magic, &body[..]].concat()
}

/// An entry of a companion file. `docs/format.md` describes it.
fn companion_entry(kind: u32, key: &str, payload: &[u8]) -> Vec<u8> {
    let mut key = key.as_bytes().to_vec();
    key.resize(key.len().next_multiple_of(8), b' ');
    let key = [&(key.len() as u32).to_le_bytes()[..], &key].concat();
    let rest = [(payload.len() as u32).to_le_bytes(), kind.to_le_bytes()].concat();
    let check = crc32fast::hash(&[&key[..], &rest].concat()).to_le_bytes();
    [&key[..], &check, &rest, payload].concat()
}

/// The key of a counter without labels.
fn counter_key(name: &str) -> String {
    format!(r#"["{name}", "{name}_total", {{}}, "Help."]"#)
}

fn count(dir: &Path, jobs: u32) {
    output_of(example("test-counting").arg(dir).arg(jobs.to_string()));
}

fn skipped(exposition: &str, reason: &str) -> f64 {
    sum_of(exposition, &format!("multiprom_file_errors_total{{reason=\"{reason}\"}}"))
}

/// Runs a command that takes a directory.
fn run_in(dir: &Path, command: &str) -> Outcome {
    run(multiprom().args([command, "--dir"]).arg(dir))
}
