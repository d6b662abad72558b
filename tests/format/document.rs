//! The examples of `docs/format.md`, and the sizes that it states.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Summary, Unit};

use super::run_in;
use crate::support::{TestDir, root};
use crate::threads::INDEXES;

/// The bytes of a file of which `docs/format.md` shows a dump.
fn bytes_of_the_document(name: &str) -> Vec<u8> {
    let document = fs::read_to_string(root().join("docs/format.md")).unwrap();
    let (_, after) = document.split_once(&format!("<!-- file: {name} -->\n```text\n")).unwrap();
    let (dump, _) = after.split_once("```").unwrap();
    let mut bytes = Vec::new();
    for line in dump.lines() {
        let (offset, after) = line.split_once("  ").unwrap();
        assert_eq!(usize::from_str_radix(offset, 16).unwrap(), bytes.len(), "{line}");
        let (hex, text) = after.split_once("  |").unwrap();
        let from = bytes.len();
        bytes.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        let shown = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
        let wanted: String = bytes[from..].iter().map(shown).collect();
        assert_eq!(text.strip_suffix('|'), Some(&*wanted), "{line}");
    }
    bytes
}

/// The committed bytes of the only file of a directory whose name begins with this.
fn committed(dir: &Path, prefix: &str) -> Vec<u8> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    let paths: Vec<PathBuf> = paths.filter(is_it).collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    let bytes = fs::read(&paths[0]).unwrap();
    let used = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    bytes[..used as usize].to_vec()
}

#[test]
fn the_example_of_the_document_is_the_file_that_the_library_writes() {
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("example");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    (0..7).for_each(|_| jobs.with(["a"]).inc());
    let present = bytes_of_the_document("counter_4711-0000beef.db");
    let removed = bytes_of_the_document("counter_4712-0000beef.db");
    // The times of the value and of the removal record.
    let times = [0x50..0x58, 0xa0..0xa8];
    let assert_written = |document: &[u8]| {
        let mut written = committed(dir.path(), "counter_");
        let len = written.len();
        for time in times.iter().filter(|time| time.end <= len) {
            written[time.clone()].copy_from_slice(&document[time.clone()]);
        }
        assert_eq!(written, document);
    };
    assert_written(&present);
    jobs.remove(["a"]);
    assert_written(&removed);
    let is_removed = |bytes: &[u8]| bytes[times[1].end - 1] & 0x80 != 0;
    assert!(is_removed(&committed(dir.path(), "counter_")) && is_removed(&removed));

    for (name, bytes, exported) in [
        ("counter_4711-0000beef.db", &present, "jobs_total{queue=\"a\"} 7\n"),
        ("counter_4712-0000beef.db", &removed, ""),
    ] {
        let dir = TestDir::new("example-read");
        fs::write(dir.path().join(name), bytes).unwrap();
        let outcome = run_in(dir.path(), "dump");
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        let lines = outcome.stdout.split_inclusive('\n').filter(|line| line.starts_with("jobs"));
        assert_eq!(lines.collect::<String>(), exported);
    }
}

#[test]
fn the_archive_of_the_document_is_the_one_that_the_compactor_writes() {
    let dir = TestDir::new("example-archive");
    let name = "counter_4711-0000beef.db";
    fs::write(dir.path().join(name), bytes_of_the_document(name)).unwrap();
    let outcome = run_in(dir.path(), "compact");
    assert_eq!((outcome.status, &*outcome.stdout), (0, "1 files compacted\n"));
    let document = bytes_of_the_document("archive.multiprom");
    let mut written = fs::read(dir.path().join("archive.multiprom")).unwrap();
    // The time at which it was written, which is in the checksum.
    written[16..24].copy_from_slice(&document[16..24]);
    let content = written.len() - 8;
    let checksum = crc32fast::hash(&written[..content]).to_le_bytes();
    written[content..content + 4].copy_from_slice(&checksum);
    assert_eq!(written, document);
}

#[test]
fn a_file_has_the_size_that_the_document_states() {
    const HEADER_LEN: usize = 8;
    const QUEUES: [&str; 3] = ["a", "b", "c"];
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("size");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    let level = Gauge::builder("level", "Help.").mode(GaugeMode::Sum).labels(["queue"]);
    let level = level.register(&registry).unwrap();
    let time = Summary::builder("time", "Help.").labels(["queue"]).register(&registry).unwrap();
    let size = Histogram::builder("size", "Help.").buckets([0.5, 10.0]).labels(["queue"]);
    let size = size.register(&registry).unwrap();
    let record = || {
        for queue in QUEUES {
            jobs.with([queue]).inc();
            level.with([queue]).inc();
            time.with([queue]).observe(1.0);
            size.with([queue]).observe(1.0);
        }
    };
    // This thread lives while the other one records, so each has entries of its own.
    record();
    std::thread::scope(|scope| scope.spawn(record).join().unwrap());

    let of = |key: &str| key.len().next_multiple_of(8) + 24;
    let counter = of(r#"["jobs", "jobs_total", {"queue": "a"}, "Jobs done."]"#);
    let gauge = of(r#"["level", "level", {"queue": "a"}, "Help."]"#);
    let time_sum = of(r#"["time", "time_sum", {"queue": "a"}, "Help."]"#);
    let summary = of(r#"["time", "time_count", {"queue": "a"}, "Help."]"#) + time_sum;
    let bounds = ["0.5", "10.0", "+Inf"].map(|bound| {
        of(&format!(r#"["size", "size_bucket", {{"le": "{bound}", "queue": "a"}}, "Help."]"#))
    });
    let size_sum = of(r#"["size", "size_sum", {"queue": "a"}, "Help."]"#);
    let histogram = size_sum + bounds.iter().sum::<usize>();
    let threads = 2;
    let assert_sizes = |of_record: usize| {
        for (prefix, of_label_set) in [
            ("counter_", threads * counter + of_record * counter),
            ("gauge_sum_", gauge),
            ("summary_", threads * summary + of_record * time_sum),
            ("histogram_", threads * histogram + of_record * size_sum),
        ] {
            let len = HEADER_LEN + QUEUES.len() * of_label_set;
            assert_eq!(committed(dir.path(), prefix).len(), len, "{prefix}");
        }
    };
    assert_sizes(0);
    for _ in 0..100 {
        for queue in QUEUES {
            jobs.remove([queue]);
            level.remove([queue]);
            time.remove([queue]);
            size.remove([queue]);
        }
        record();
    }
    assert_sizes(1);
}

#[test]
fn the_companion_of_the_document_is_the_file_that_the_library_writes() {
    let dir = TestDir::new("example-companion");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let size = Counter::builder("size", "Sizes.").unit(Unit::Bytes).register(&registry).unwrap();
    size.inc();
    let document = bytes_of_the_document("companion_4711-0000beef.mpx");
    assert_eq!(committed(dir.path(), "companion_"), document);
}
