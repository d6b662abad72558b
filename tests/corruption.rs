//! One field of a valid file of multiprom is changed: the error is reported with its reason, and the rest is served.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::http::sum_of;
use crate::support::process::{Outcome, run};
use crate::support::{TestDir, example, multiprom, output_of};

/// Offsets of the header and of the first entry. See: `src/file/layout.rs`.
const USED: usize = 0;
const MAGIC: usize = 4;
const VERSION: usize = 7;
const KEY_LEN: usize = 8;
const KEY: usize = 12;

/// The files of two processes, which have counted 5 and 7 jobs. The counter file of the second is damaged.
struct Pair {
    dir: TestDir,
    file: PathBuf,
    /// The original bytes of the file.
    good: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let dir = TestDir::new("corruption");
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        let first = counters(dir.path());
        output_of(example("test-counting").arg(dir.path()).arg("7"));
        let file = counters(dir.path()).into_iter().find(|path| !first.contains(path)).unwrap();
        let good = fs::read(&file).unwrap();
        Pair { dir, file, good }
    }

    fn dump(&self) -> Outcome {
        let outcome = run(multiprom().arg("dump").arg("--dir").arg(self.dir.path()));
        assert_eq!(outcome.status, 0);
        outcome
    }

    /// The offset of the checksum of the first entry.
    fn checksum(&self) -> usize {
        KEY + self.word(KEY_LEN) as usize
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.good[at..at + 4].try_into().unwrap())
    }

    /// Overwrites `bytes` at an offset and dumps.
    fn damaged(&self, at: usize, bytes: &[u8]) -> Outcome {
        let mut damaged = self.good.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        assert_ne!(damaged, self.good, "offset {at} is changed");
        fs::write(&self.file, damaged).unwrap();
        self.dump()
    }

    fn assert_named(&self, outcome: &Outcome, reason: &str, message: &str, jobs: f64) {
        let wanted = format!("series file `{}`: skipped", self.file.display());
        assert_eq!(outcome.stderr.lines().count(), 1, "{message}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(&wanted), "{}", outcome.stderr);
        assert!(outcome.stderr.trim_end().ends_with(message), "{message}: {}", outcome.stderr);
        let name = "multiprom_file_errors_total";
        let of_reason = sum_of(&outcome.stdout, &format!("{name}{{reason=\"{reason}\"}}"));
        assert_eq!((of_reason, sum_of(&outcome.stdout, name)), (1.0, 1.0), "{message}");
        assert_eq!(sum_of(&outcome.stdout, "jobs_total"), jobs, "{message}");
        // Only counters are missing.
        assert_eq!(sum_of(&outcome.stdout, "job_size_bytes_count"), 12.0);
    }
}

fn counters(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_counter =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("counter_");
    paths.filter(is_counter).collect()
}

#[test]
fn a_file_with_a_damaged_header_is_skipped_and_reported() {
    let pair = Pair::new();
    let len = pair.good.len();
    let past = len as u32 + 8;
    let cases: [(usize, &[u8], &str, String); 8] = [
        (
            USED,
            &4u32.to_le_bytes(),
            "header",
            "used is 4, which is below 8 or not a multiple of 8".into(),
        ),
        (
            USED,
            &12u32.to_le_bytes(),
            "header",
            "used is 12, which is below 8 or not a multiple of 8".into(),
        ),
        (USED, &past.to_le_bytes(), "truncated", format!("used is {past}, file has {len} bytes")),
        (USED, &[0xff; 4], "truncated", format!("used is {}, file has {len} bytes", u32::MAX)),
        (MAGIC, b"X", "header", "bytes 4 to 7 are not a known magic".into()),
        (VERSION, &[0], "header", "format version is 0, this release reads 1".into()),
        (VERSION, &[2], "header", "format version is 2, this release reads 1".into()),
        (MAGIC, &[0; 4], "layout", "entries fit no layout, offset 8 is malformed".into()),
    ];
    assert_eq!(sum_of(&pair.dump().stdout, "jobs_total"), 12.0);
    for (at, bytes, reason, message) in cases {
        pair.assert_named(&pair.damaged(at, bytes), reason, &message, 5.0);
    }
}

#[test]
fn entries_after_a_damaged_entry_are_skipped_and_reported() {
    let pair = Pair::new();
    let checksum = pair.checksum();
    let second = checksum + 4 + 16;
    let mismatch = |at: usize| format!("entry at offset {at} does not match its checksum");
    let cut = |at: usize| format!("entry at offset {at} does not fit before used");
    let key_len = pair.word(KEY_LEN);
    let inside = (USED, (second as u32 + 8).to_le_bytes());
    let cases: [(usize, &[u8], &str, String, f64); 10] = [
        (KEY_LEN, &0u32.to_le_bytes(), "truncated", cut(8), 5.0),
        (KEY_LEN, &[0xff; 4], "truncated", cut(8), 5.0),
        (KEY_LEN, &65_537u32.to_le_bytes(), "truncated", cut(8), 5.0),
        (KEY_LEN, &(key_len + 8).to_le_bytes(), "checksum", mismatch(8), 5.0),
        (KEY_LEN, &(key_len - 1).to_le_bytes(), "truncated", cut(8), 5.0),
        (KEY, b"{", "checksum", mismatch(8), 5.0),
        (checksum - 1, b"\x00", "checksum", mismatch(8), 5.0),
        (checksum, &[pair.good[checksum] ^ 1], "checksum", mismatch(8), 5.0),
        (inside.0, &inside.1, "truncated", cut(second), 12.0),
        (second, &[0xff; 4], "truncated", cut(second), 12.0),
    ];
    for (at, bytes, reason, message, jobs) in cases {
        pair.assert_named(&pair.damaged(at, bytes), reason, &message, jobs);
    }
}

#[test]
fn any_bits_are_a_valid_value() {
    let pair = Pair::new();
    let value = pair.checksum() + 4;
    for (number, jobs) in [(0.5, 5.5), (f64::INFINITY, f64::INFINITY), (-1.0, 4.0)] {
        let outcome = pair.damaged(value, &f64::to_le_bytes(number));
        assert_eq!((outcome.stderr.as_str(), sum_of(&outcome.stdout, "jobs_total")), ("", jobs));
    }
    let outcome = pair.damaged(value, &f64::NAN.to_le_bytes());
    assert!(outcome.stderr.is_empty() && sum_of(&outcome.stdout, "jobs_total").is_nan());
}

#[test]
fn a_truncated_file_is_skipped_and_reported() {
    let pair = Pair::new();
    let used = pair.word(USED) as usize;
    for len in (1..used).step_by(7) {
        fs::write(&pair.file, &pair.good[..len]).unwrap();
        let message = match len {
            0..8 => format!("file has {len} bytes, the header alone needs 8"),
            _ => format!("used is {used}, file has {len} bytes"),
        };
        pair.assert_named(&pair.dump(), "truncated", &message, 5.0);
    }
    fs::write(&pair.file, &pair.good[..used]).unwrap();
    assert_eq!(sum_of(&pair.dump().stdout, "jobs_total"), 12.0);
}
