//! Files of other releases and of unknown kinds: each is skipped, counted and reported, or refused with the reason, and no
//! compactor changes it. `docs/format.md` has the table of these rules.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use multiprom::compact::clear_directory;
use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Summary};

use crate::support::http::{scrape, sum_of};
use crate::support::process::{Outcome, PATIENCE, Running, run};
use crate::support::{TestDir, example, multiprom, output_of, root, wait_for};
use crate::threads::INDEXES;

/// A file that this release does not know: its name, its bytes, the reason that it is counted for, and the end of the
/// message.
struct Unknown {
    name: &'static str,
    bytes: fn() -> Vec<u8>,
    reason: &'static str,
    message: &'static str,
}

/// What the extensions of a later release may be called and contain.
const UNKNOWN: &[Unknown] = &[
    Unknown {
        name: "counter_1-00000000.foo",
        bytes: valid,
        reason: "name",
        message: "the file ending `foo` is unknown to this release of multiprom",
    },
    Unknown {
        name: "counter_1-00000000.foo_2",
        bytes: || b"any content".to_vec(),
        reason: "name",
        message: "the file ending `foo_2` is unknown to this release of multiprom",
    },
    Unknown {
        name: "gauge_median_1-00000000.db",
        bytes: valid,
        reason: "name",
        message: "the gauge mode `median` is unknown to this release of multiprom",
    },
    Unknown {
        name: "gauge_median_2.db",
        bytes: python,
        reason: "name",
        message: "the gauge mode `median` is unknown to this release of multiprom",
    },
    Unknown {
        name: "enum_1-00000000.db",
        bytes: valid,
        reason: "name",
        message: "the metric type `enum` is unknown to this release of multiprom",
    },
    Unknown {
        name: "enum_2.db",
        bytes: python,
        reason: "name",
        message: "the name is not that of a series file",
    },
    Unknown {
        name: "counter_1-00000000.db",
        bytes: || with_magic(*b"MPR\x02"),
        reason: "header",
        message: "format version is 2, this release reads 1",
    },
    Unknown {
        name: "counter_2-00000000.db",
        bytes: || with_magic(*b"XYZ\x01"),
        reason: "header",
        message: "bytes 4 to 7 are not a known magic",
    },
    Unknown {
        name: "counter_2.db",
        bytes: || with_magic(*b"XYZ\x01"),
        reason: "header",
        message: "bytes 4 to 7 are not a known magic",
    },
];

/// Names that belong to other programs. They are not read, not counted and not changed.
const FOREIGN: &[&str] = &[
    "notes.txt",
    "counter_1.foo",
    "counter_1-00000000.db.bak",
    "Counter_1-00000000.foo",
    "archive.bad.1790000000.5",
    ".counter_1-00000000.foo",
];

/// An entry of multiprom: key, checksum, value, time. `docs/format.md` describes it.
pub fn entry(key: &str, kind: u8, value: f64, time: f64) -> Vec<u8> {
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
pub fn series_file(magic: [u8; 4], entries: &[Vec<u8>]) -> Vec<u8> {
    let body = entries.concat();
    [&(8 + body.len() as u32).to_le_bytes(), &magic, &body[..]].concat()
}

const MAGIC: [u8; 4] = *b"MPR\x01";

/// The key of a counter without labels.
fn counter_key(name: &str) -> String {
    format!(r#"["{name}", "{name}_total", {{}}, "Help."]"#)
}

fn with_magic(magic: [u8; 4]) -> Vec<u8> {
    series_file(magic, &[entry(&counter_key("jobs"), 0, 100.0, 1.0)])
}

fn valid() -> Vec<u8> {
    with_magic(MAGIC)
}

/// A file of the Python client.
fn python() -> Vec<u8> {
    let key = br#"["g", "g", {}, "help"]"#;
    let words = [7.0f64.to_bits().to_le_bytes(), [0; 8]].concat();
    [&56u32.to_le_bytes()[..], &[0; 4], &22u32.to_le_bytes(), key, b"      ", &words].concat()
}

fn count(dir: &Path, jobs: u32) {
    output_of(example("test-counting").arg(dir).arg(jobs.to_string()));
}

fn skipped(exposition: &str, reason: &str) -> f64 {
    sum_of(exposition, &format!("multiprom_file_errors_total{{reason=\"{reason}\"}}"))
}

/// Asserts that the files have their names and their bytes.
#[track_caller]
fn assert_unchanged(dir: &Path, after: &str) {
    for file in UNKNOWN {
        let bytes = fs::read(dir.join(file.name));
        assert!(bytes.is_ok_and(|bytes| bytes == (file.bytes)()), "{after} changed {}", file.name);
    }
}

#[test]
fn files_of_unknown_kinds_are_skipped_counted_and_reported_and_no_command_changes_them() {
    for file in UNKNOWN {
        let dir = TestDir::new("unknown");
        count(dir.path(), 5);
        let path = dir.path().join(file.name);
        fs::write(&path, (file.bytes)()).unwrap();
        let of_dir = |command: &str| {
            let pids: &[&str] = if command == "mark-process-dead" { &["1", "2"] } else { &[] };
            run(multiprom().args([command, "--dir"]).arg(dir.path()).args(pids))
        };
        let names_it = |text: &str| {
            let shown = format!("`{}`", path.display());
            text.lines().any(|line| line.contains(&shown) && line.ends_with(file.message))
        };

        let dump = of_dir("dump");
        assert_eq!((dump.status, dump.stderr.lines().count()), (0, 1), "{}", dump.stderr);
        assert!(names_it(&dump.stderr), "{}: {}", file.name, dump.stderr);
        assert_eq!(skipped(&dump.stdout, file.reason), 1.0, "{}", file.name);
        assert_eq!(sum_of(&dump.stdout, "multiprom_file_errors_total"), 1.0, "{}", file.name);
        assert_eq!(sum_of(&dump.stdout, "jobs_total"), 5.0, "{}", file.name);

        for command in ["check", "ls"] {
            let outcome = of_dir(command);
            let text = [outcome.stdout, outcome.stderr].concat();
            assert!(text.contains(file.name), "{command} {}: {text}", file.name);
            assert!(text.contains(file.message), "{command} {}: {text}", file.name);
        }
        for command in ["compact", "mark-process-dead"] {
            let outcome = of_dir(command);
            assert_eq!(outcome.status, 0, "{command} {}: {}", file.name, outcome.stderr);
            assert!(fs::read(&path).unwrap() == (file.bytes)(), "{command} changed {}", file.name);
        }
        let after = of_dir("dump");
        assert!(names_it(&after.stderr), "{}: {}", file.name, after.stderr);
        assert_eq!(sum_of(&after.stdout, "jobs_total"), 5.0, "{}", file.name);
    }
}

#[test]
fn files_of_unknown_kinds_are_counted_at_each_scrape_and_reported_once() {
    let dir = TestDir::new("unknown-served");
    count(dir.path(), 5);
    for file in UNKNOWN {
        fs::write(dir.path().join(file.name), (file.bytes)()).unwrap();
    }
    let mut command = multiprom();
    command.args(["serve", "--compact", "all", "--listen", "127.0.0.1:0", "--dir"]);
    let mut server = Running::start(command.arg(dir.path()));
    let url = server.url();
    wait_for("archive", PATIENCE, || dir.path().join("archive.multiprom").exists().then_some(()));
    for scrapes in 1..=3u32 {
        let body = scrape(&url);
        assert_eq!(sum_of(&body, "jobs_total"), 5.0);
        for reason in ["name", "header"] {
            let of_reason = UNKNOWN.iter().filter(|file| file.reason == reason).count();
            let count = f64::from(scrapes) * of_reason as f64;
            assert_eq!(skipped(&body, reason), count, "{reason}");
        }
    }
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    for file in UNKNOWN {
        let named = format!("{}`: ", file.name);
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(&named)).collect();
        assert_eq!(lines.len(), 1, "{}: {stderr}", file.name);
    }
    assert_unchanged(dir.path(), "serve");
}

#[test]
fn a_reset_removes_dead_files_of_other_versions_and_leaves_files_of_unknown_kinds() {
    let dir = TestDir::new("unknown-reset");
    count(dir.path(), 5);
    for file in UNKNOWN {
        fs::write(dir.path().join(file.name), (file.bytes)()).unwrap();
    }
    clear_directory(dir.path()).unwrap();
    for file in UNKNOWN {
        let is_other_version = (file.bytes)()[4..].starts_with(b"MPR\x02");
        assert_eq!(dir.path().join(file.name).exists(), !is_other_version, "{}", file.name);
    }
    let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir.path()));
    assert_eq!(sum_of(&outcome.stdout, "jobs_total"), 0.0);
}

#[test]
fn files_of_other_programs_are_neither_counted_nor_changed() {
    let dir = TestDir::new("foreign");
    count(dir.path(), 5);
    for name in FOREIGN {
        fs::write(dir.path().join(name), "content").unwrap();
    }
    let outcome = run(multiprom().args(["compact", "--dir"]).arg(dir.path()));
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir.path()));
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    assert_eq!(sum_of(&outcome.stdout, "multiprom_file_errors_total"), 0.0);
    assert_eq!(sum_of(&outcome.stdout, "jobs_total"), 5.0);
    for name in FOREIGN {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"content", "{name}");
    }
}

/// The last integer up to which floats represent each integer.
const LIMIT: u64 = 1 << 53;

/// The total of the counter `big` in a directory.
fn big_total(dir: &Path) -> u64 {
    let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir));
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    sum_of(&outcome.stdout, "big_total") as u64
}

#[test]
fn a_merged_total_is_the_exact_sum_of_all_entries_rounded_once_also_of_an_archive() {
    let (archived, unarchived) = (TestDir::new("exact-archived"), TestDir::new("exact"));
    let mut exact = 0;
    // The second process has entries of two threads. A sum of floats would stay at the limit.
    for (process, values) in
        [&[LIMIT - 1][..], &[1, 1], &[1], &[LIMIT - 1], &[3], &[1]].into_iter().enumerate()
    {
        let key = counter_key("big");
        let entries: Vec<_> =
            values.iter().map(|value| entry(&key, 0, *value as f64, 1.0)).collect();
        for dir in [&archived, &unarchived] {
            let path = dir.path().join(format!("counter_{process}-00000000.db"));
            fs::write(path, series_file(MAGIC, &entries)).unwrap();
        }
        exact += values.iter().sum::<u64>();
        // OK because the conversion rounds once, to the nearest float.
        let rounded = exact as f64 as u64;
        assert_eq!(big_total(unarchived.path()), rounded, "after process {process}");
        assert_eq!(big_total(archived.path()), rounded, "after process {process}");
        let outcome = run(multiprom().args(["compact", "--dir"]).arg(archived.path()));
        assert_eq!((outcome.status, &*outcome.stdout), (0, "1 files compacted\n"));
        assert_eq!(big_total(archived.path()), rounded, "after the compaction of {process}");
    }
    assert_eq!(exact, 2 * LIMIT + 5);
}

#[test]
fn increments_by_1_beyond_the_limit_of_floats_are_exported_from_memory_and_from_files() {
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("exact-recorded");
    let backend = Backend::directory(dir.path()).unwrap();
    for registry in [Registry::new(), Registry::builder().backend(backend).build().unwrap()] {
        let big = Counter::builder("big_total", "Help.").register(&registry).unwrap();
        big.inc_by(LIMIT as f64);
        (0..4).for_each(|_| big.inc());
        assert_eq!(big.get() as u64, LIMIT + 4);
    }
    assert_eq!(big_total(dir.path()), LIMIT + 4);
}

/// Entries of which one has a kind that this release does not know.
fn with_unknown_kind() -> Vec<Vec<u8>> {
    let (first, last) = (counter_key("first"), counter_key("last"));
    let unknown = counter_key("jobs");
    vec![entry(&first, 0, 1.0, 1.0), entry(&unknown, 7, 100.0, 1.0), entry(&last, 0, 2.0, 1.0)]
}

/// The end of the message about such an entry.
const KIND_MESSAGE: &str =
    "entry skipped: its kind is 7, which this release of multiprom does not know";

#[test]
fn entries_of_an_unknown_kind_are_skipped_and_counted_and_their_file_is_not_compacted() {
    let dir = TestDir::new("kind");
    count(dir.path(), 5);
    let path = dir.path().join("counter_1-00000000.db");
    let bytes = series_file(MAGIC, &with_unknown_kind());
    fs::write(&path, &bytes).unwrap();
    let assert_read = |dump: &Outcome| {
        assert_eq!((dump.status, dump.stderr.lines().count()), (0, 1), "{}", dump.stderr);
        assert!(dump.stderr.trim_end().ends_with(KIND_MESSAGE), "{}", dump.stderr);
        let total = |name| sum_of(&dump.stdout, name);
        assert_eq!(
            (total("first_total"), total("jobs_total"), total("last_total")),
            (1.0, 5.0, 2.0)
        );
        assert_eq!(
            (skipped(&dump.stdout, "kind"), total("multiprom_file_errors_total")),
            (1.0, 1.0)
        );
    };
    assert_read(&run(multiprom().args(["dump", "--dir"]).arg(dir.path())));
    let outcome = run(multiprom().args(["compact", "--dir"]).arg(dir.path()));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("1 damaged and not changed"), "{}", outcome.stdout);
    assert!(fs::read(&path).unwrap() == bytes);
    assert_read(&run(multiprom().args(["dump", "--dir"]).arg(dir.path())));
    let outcome = run(multiprom().args(["check", "--dir"]).arg(dir.path()));
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("its kind is 7"), "{}", outcome.stderr);
}

#[test]
fn entries_of_an_unknown_kind_are_skipped_at_each_scrape_also_if_they_are_appended() {
    let dir = TestDir::new("kind-served");
    let path = dir.path().join("counter_1-00000000.db");
    let bytes = series_file(MAGIC, &[entry(&counter_key("before"), 0, 1.0, 1.0)]);
    fs::write(&path, &bytes).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(16 * 1024).unwrap();
    let mut command = multiprom();
    command.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0", "--dir"]);
    let mut server = Running::start(command.arg(dir.path()));
    let url = server.url();
    // From then on the server has the file in its cache, as its time of change is old enough.
    wait_for("an old time of change", PATIENCE, || {
        let age = path.metadata().unwrap().modified().unwrap().elapsed().unwrap();
        (age > Duration::from_millis(200)).then_some(())
    });
    for _ in 0..2 {
        assert_eq!(skipped(&scrape(&url), "kind"), 0.0);
    }
    let appended = with_unknown_kind().concat();
    file.write_all_at(&appended, bytes.len() as u64).unwrap();
    file.write_all_at(&((bytes.len() + appended.len()) as u32).to_le_bytes(), 0).unwrap();
    for scrapes in 1..=3u32 {
        let body = scrape(&url);
        for (name, value) in [("before", 1.0), ("first", 1.0), ("jobs", 0.0), ("last", 2.0)] {
            assert_eq!(sum_of(&body, &format!("{name}_total")), value, "{name}");
        }
        assert_eq!(skipped(&body, "kind"), f64::from(scrapes));
        assert_eq!(sum_of(&body, "multiprom_file_errors_total"), f64::from(scrapes));
    }
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    assert_eq!(stderr.matches(KIND_MESSAGE).count(), 1, "{stderr}");
}

/// The bytes of a section: lengths, the time at which its process ended, name, body.
fn section(name: &str, body: &[u8]) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.resize(name.len().next_multiple_of(8), b'\n');
    let lens = [(name.len() as u32).to_le_bytes(), (body.len() as u32).to_le_bytes()].concat();
    [&lens[..], &[0; 8], &name, body].concat()
}

/// Appends sections to an archive.
fn add_sections(path: &Path, sections: &[Vec<u8>]) {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.len() - 8);
    bytes.extend(sections.concat());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend(b"END\n");
    fs::write(path, bytes).unwrap();
}

#[test]
fn sections_of_an_unknown_kind_are_skipped_and_counted_and_copied_to_the_next_archive() {
    let dir = TestDir::new("section");
    let compact = || {
        let outcome = run(multiprom().args(["compact", "--dir"]).arg(dir.path()));
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        assert!(outcome.stdout.ends_with(" files compacted\n"), "{}", outcome.stdout);
    };
    count(dir.path(), 5);
    compact();
    let sections = [
        section("enum_archive.db", b"any body"),
        section("gauge_median_archive.db", &entry(&counter_key("jobs"), 0, 100.0, 1.0)),
        section("new", b""),
    ];
    let path = dir.path().join("archive.multiprom");
    add_sections(&path, &sections);
    let assert_skipped = |jobs: f64| {
        let dump = run(multiprom().args(["dump", "--dir"]).arg(dir.path()));
        assert_eq!((dump.status, dump.stderr.lines().count()), (0, 1), "{}", dump.stderr);
        let message = "is of a kind that this release of multiprom does not know";
        assert!(dump.stderr.trim_end().ends_with(message), "{}", dump.stderr);
        assert_eq!(sum_of(&dump.stdout, "jobs_total"), jobs);
        let errors = sum_of(&dump.stdout, "multiprom_file_errors_total");
        assert_eq!((skipped(&dump.stdout, "kind"), errors), (1.0, 1.0));
    };
    assert_skipped(5.0);
    count(dir.path(), 3);
    compact();
    assert_skipped(8.0);
    let bytes = fs::read(&path).unwrap();
    for section in &sections {
        let found = bytes.windows(section.len()).filter(|bytes| bytes == section).count();
        assert_eq!(found, 1, "{section:?}");
    }
    let outcome = run(multiprom().args(["check", "--dir"]).arg(dir.path()));
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("is of a kind"), "{}", outcome.stderr);
}

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
        let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir.path()));
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        let lines = outcome.stdout.split_inclusive('\n').filter(|line| line.starts_with("jobs"));
        assert_eq!(lines.collect::<String>(), exported);
    }
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
