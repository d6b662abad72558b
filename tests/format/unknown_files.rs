//! Files of unknown kinds and of other versions: each is skipped, counted and reported, and no compactor changes it.

use std::fs;
use std::path::Path;

use multiprom::compact::clear_directory;

use super::{MAGIC, count, counter_key, entry, run_in, series_file, skipped};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, run};
use crate::support::{TestDir, multiprom, wait_for};

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
        name: "counter_1-00000000.mpx",
        bytes: || with_magic(*b"MPX\x01"),
        reason: "name",
        message: "the file ending `mpx` is unknown to this release of multiprom",
    },
    Unknown {
        name: "companion_1-00000000.mpx",
        bytes: || with_magic(*b"MPX\x02"),
        reason: "header",
        message: "format version is 2, this release reads 1",
    },
    Unknown {
        name: "companion_2-00000000.mpx",
        bytes: || with_magic(*b"XYZ\x01"),
        reason: "header",
        message: "bytes 4 to 7 are not a known magic",
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
    // More than three new problems of a reason are one line.
    for reason in ["name", "header"] {
        let count = UNKNOWN.iter().filter(|file| file.reason == reason).count();
        let line = format!("multiprom: {count} problems with the reason `{reason}`: ");
        let lines = stderr.lines().filter(|it| it.starts_with(&line)).count();
        assert_eq!(lines, 1, "{reason}: {stderr}");
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
    // Companions have names that the Python client never chooses.
    let is_own = |file: &Unknown| {
        matches!((file.bytes)()[4..8], [b'M', b'P', _, 2]) || file.name.starts_with("companion_")
    };
    // A process that another test starts may have a copy of a descriptor for an instant.
    wait_for("a reset of all dead files", PATIENCE, || {
        clear_directory(dir.path()).unwrap();
        let mut own = UNKNOWN.iter().filter(|file| is_own(file));
        own.all(|file| !dir.path().join(file.name).exists()).then_some(())
    });
    for file in UNKNOWN {
        assert_eq!(dir.path().join(file.name).exists(), !is_own(file), "{}", file.name);
    }
    let outcome = run_in(dir.path(), "dump");
    assert_eq!(sum_of(&outcome.stdout, "jobs_total"), 0.0);
}

#[test]
fn files_of_other_programs_are_neither_counted_nor_changed() {
    let dir = TestDir::new("foreign");
    count(dir.path(), 5);
    for name in FOREIGN {
        fs::write(dir.path().join(name), "content").unwrap();
    }
    let outcome = run_in(dir.path(), "compact");
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    let outcome = run_in(dir.path(), "dump");
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    assert_eq!(sum_of(&outcome.stdout, "multiprom_file_errors_total"), 0.0);
    assert_eq!(sum_of(&outcome.stdout, "jobs_total"), 5.0);
    for name in FOREIGN {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"content", "{name}");
    }
}
