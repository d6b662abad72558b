//! Directories with damaged, unrelated and malicious files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::support::http::{scrape, sum_of};
use crate::support::process::{Outcome, PATIENCE, Running, run};
use crate::support::{TestDir, example, multiprom, output_of, root, wait_for, wait_for_deaths};

/// The release of the Python client whose files are among the valid ones.
const RELEASE: &str = "0.26.0";

/// A bad file: its name, how it is created, the reason that it is counted for, and a part of its message.
struct Bad {
    name: &'static str,
    make: fn(&Path),
    reason: &'static str,
    message: &'static str,
}

const BAD: &[Bad] = &[
    Bad {
        name: "counter_10.db",
        make: |path| write(path, b""),
        reason: "empty",
        message: "file is empty",
    },
    Bad {
        name: "counter_11.db",
        make: |path| write(path, &[8, 0, 0]),
        reason: "truncated",
        message: "file has 3 bytes",
    },
    Bad {
        name: "gauge_all_12.db",
        make: |path| truncated("0.3.1", path),
        reason: "truncated",
        message: "used is",
    },
    Bad {
        name: "gauge_all_13.db",
        make: |path| truncated("0.8.0", path),
        reason: "truncated",
        message: "used is",
    },
    Bad {
        name: "gauge_all_14.db",
        make: |path| truncated("0.16.0", path),
        reason: "truncated",
        message: "used is",
    },
    Bad {
        name: "gauge_all_15.db",
        make: |path| truncated("0.26.0", path),
        reason: "truncated",
        message: "used is",
    },
    Bad {
        name: "counter_16-0000000f.db",
        make: truncated_own,
        reason: "truncated",
        message: "used is",
    },
    Bad { name: "counter_17.db", make: random, reason: "header", message: "magic" },
    Bad { name: "counter_9.db", make: sqlite, reason: "header", message: "magic" },
    Bad { name: "cache.db", make: sqlite, reason: "name", message: "not that of a series file" },
    Bad { name: "counter_1.db", make: fifo, reason: "not_regular", message: "not a regular file" },
    Bad {
        name: "counter_2.db",
        make: |path| fs::create_dir(path).unwrap(),
        reason: "not_regular",
        message: "not a regular file",
    },
    Bad { name: "counter_3.db", make: link, reason: "open", message: "cannot be opened" },
    Bad {
        name: "counter_4.db",
        make: sparse,
        reason: "header",
        message: "used is 2147483640, the limit",
    },
    Bad {
        name: "counter_5.db",
        make: |path| write(path, &[12, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        reason: "header",
        message: "not a multiple of 8",
    },
    Bad {
        name: "counter_6-00000006.db",
        make: |path| write(path, b"\x08\0\0\0MPR\x02"),
        reason: "header",
        message: "format version is 2",
    },
    Bad {
        name: "counter_7.db",
        make: |path| entries(path, &["not json", "[]"]),
        reason: "layout",
        message: "offset 8 is malformed",
    },
    Bad { name: "counter_8.db", make: half_damaged, reason: "key", message: "key is malformed" },
    Bad {
        name: "histogram_9.db",
        make: |path| entries(path, &[r#"["odd", "odd_bucket", {"le": "abc"}, ""]"#]),
        reason: "sample",
        message: "`odd_bucket` is not a sample",
    },
    Bad {
        name: "histogram_8.db",
        make: |path| entries(path, &[r#"["odd", "odd_sum", {"le": "1"}, ""]"#]),
        reason: "sample",
        message: "`odd_sum` is not a sample",
    },
];

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

/// Writes a file in the format of the Python client, in which each series is 0.
fn entries(path: &Path, keys: &[&str]) {
    let mut bytes = vec![0; 8];
    for key in keys {
        bytes.extend((key.len() as u32).to_le_bytes());
        bytes.extend(key.bytes());
        bytes.resize(bytes.len() + 8 - bytes.len() % 8, b' ');
        bytes.extend([0; 16]);
    }
    let used = bytes.len() as u32;
    bytes[..4].copy_from_slice(&used.to_le_bytes());
    write(path, &bytes);
}

fn half_damaged(path: &Path) {
    let keys = [r#"["undamaged", "undamaged_total", {}, ""]"#, r#"["\ud8", "", {}, ""]"#];
    entries(path, &keys);
}

fn used(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize
}

/// Writes a file of a release, truncated in the middle of its last entry.
fn truncated(release: &str, path: &Path) {
    let from = root().join("multiproc-fixtures").join(release).join("gauge_all_101.db");
    let bytes = fs::read(from).unwrap();
    write(path, &bytes[..used(&bytes) - 12]);
}

/// The used bytes of a counter file of multiprom.
fn own_counters() -> Vec<u8> {
    let dir = TestDir::new("own");
    output_of(example("test-counting").arg(dir.path()).arg("3"));
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
    let is_counter =
        |file: &fs::DirEntry| file.file_name().to_str().unwrap().starts_with("counter_");
    let bytes = fs::read(files.into_iter().find(is_counter).unwrap().path()).unwrap();
    bytes[..used(&bytes)].to_vec()
}

fn truncated_own(path: &Path) {
    let bytes = own_counters();
    write(path, &bytes[..bytes.len() - 12]);
}

fn random(path: &Path) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let bytes = (0..4096).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    write(path, &bytes.collect::<Vec<u8>>());
}

/// Creates an SQLite database, or a file that begins like one.
fn sqlite(path: &Path) {
    let program = "import sqlite3, sys\n\
                   base = sqlite3.connect(sys.argv[1])\n\
                   base.execute('create table t (x)')\n\
                   base.commit()";
    let made = Command::new("python3").args(["-c", program]).arg(path).output();
    if !made.is_ok_and(|output| output.status.success()) {
        let mut bytes = b"SQLite format 3\0".to_vec();
        bytes.resize(8192, 0);
        write(path, &bytes);
    }
    assert!(fs::read(path).unwrap().starts_with(b"SQLite format 3\0"));
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Creates a symbolic link to a valid file.
fn link(path: &Path) {
    let target = path.with_extension("elsewhere");
    entries(&target, &[r#"["jobs", "jobs_total", {}, ""]"#]);
    symlink(target, path).unwrap();
}

/// Creates a sparse file of 1 TiB, or as long as the file system allows, with a header.
fn sparse(path: &Path) {
    let file = File::create(path).unwrap();
    if file.set_len(1 << 40).is_err() {
        file.set_len(1 << 32).unwrap();
    }
    file.write_all_at(&(i32::MAX as u32 - 7).to_le_bytes(), 0).unwrap();
}

/// A directory with valid files of multiprom and of the Python client.
fn good(name: &str) -> TestDir {
    let dir = TestDir::new(name);
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let fixtures = root().join("multiproc-fixtures").join(RELEASE);
    for entry in fs::read_dir(fixtures).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|ending| ending == "db") {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    wait_for_deaths(dir.path());
    dir
}

fn dump(dir: &Path) -> Outcome {
    let start = Instant::now();
    let outcome = run(multiprom().arg("dump").arg("--dir").arg(dir));
    // Whatever is in the directory.
    assert!(start.elapsed() < PATIENCE, "dump took {:?}", start.elapsed());
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome
}

/// The lines of an exposition, without the exporter's own metrics and without the entry before the damage in a file that
/// is read up to the damage.
fn merged(exposition: &str) -> Vec<&str> {
    let others = ["multiprom_", "undamaged_total"];
    exposition.lines().filter(|line| !others.iter().any(|other| line.contains(other))).collect()
}

/// Compares line by line, so that the message shows the first difference.
fn assert_same(lines: &[&str], wanted: &[&str], what: &str) {
    for (line, wanted) in lines.iter().zip(wanted) {
        assert_eq!(line, wanted, "{what}");
    }
    assert_eq!(lines.len(), wanted.len(), "{what}");
}

/// The number of files and entries skipped for a reason, or for any reason.
fn skipped(exposition: &str, reason: Option<&str>) -> f64 {
    let name = "multiprom_file_errors_total";
    match reason {
        Some(reason) => sum_of(exposition, &format!("{name}{{reason=\"{reason}\"}}")),
        None => sum_of(exposition, name),
    }
}

fn assert_names_once(stderr: &str, bad: &Bad) {
    let path = format!("/{}`: ", bad.name);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(&path)).collect();
    assert_eq!(lines.len(), 1, "{}: {stderr}", bad.name);
    assert!(lines[0].contains(bad.message), "{}: {}", bad.name, lines[0]);
}

#[test]
fn each_bad_file_is_reported_and_counted_and_the_rest_is_served() {
    let dir = good("one-by-one");
    let before = dump(dir.path());
    assert_eq!(before.stderr, "");
    assert_eq!(skipped(&before.stdout, None), 0.0);
    for bad in BAD {
        let path = dir.path().join(bad.name);
        (bad.make)(&path);
        wait_for_deaths(dir.path());
        let outcome = dump(dir.path());
        let rest = merged(&outcome.stdout);
        assert_same(&rest, &merged(&before.stdout), bad.name);
        assert_names_once(&outcome.stderr, bad);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert_eq!(skipped(&outcome.stdout, Some(bad.reason)), 1.0, "{}", bad.name);
        assert_eq!(skipped(&outcome.stdout, None), 1.0, "{}", bad.name);
        let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        removed.unwrap();
    }
}

#[test]
fn all_bad_files_are_reported_once_and_counted_at_each_scrape() {
    let dir = good("together");
    let before = dump(dir.path());
    for bad in BAD {
        (bad.make)(&dir.path().join(bad.name));
    }
    wait_for_deaths(dir.path());
    let mut command = multiprom();
    // Compaction would change the order of lines, as the archive is merged after the files.
    command.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0"]);
    // On this level files with the same reason have lines of their own.
    command.args(["--log.level", "debug", "--exclude", "process_.*", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut command);
    let url = server.url();
    for scrapes in 1..=3u32 {
        let body = scrape(&url);
        let rest = merged(&body);
        assert_same(&rest, &merged(&before.stdout), "together");
        assert_eq!(skipped(&body, None), f64::from(scrapes) * BAD.len() as f64);
        for bad in BAD {
            let same = BAD.iter().filter(|other| other.reason == bad.reason).count();
            let count = skipped(&body, Some(bad.reason));
            assert_eq!(count, f64::from(scrapes) * same as f64, "{}", bad.reason);
        }
    }
    server.signal("TERM");
    let output = server.end();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for bad in BAD {
        assert_names_once(&stderr, bad);
    }
    assert_eq!(stderr.lines().count(), 1 + BAD.len(), "{stderr}");
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    let dir = TestDir::new("surrogates");
    let key = r#"["s", "s_total", {"a": "\ud800-\udc00\ud83d\ude00"}, "\udfff"]"#;
    entries(&dir.path().join("counter_9.db"), &[key]);
    let outcome = dump(dir.path());
    assert_eq!(outcome.stderr, "");
    let wanted = "# HELP s_total \u{fffd}\n# TYPE s_total counter\n\
                  s_total{a=\"\u{fffd}-\u{fffd}\u{1f600}\"} 0\n";
    assert!(outcome.stdout.starts_with(wanted), "{}", outcome.stdout);
}

#[test]
fn names_that_are_not_utf8_and_unrelated_files_change_no_metrics() {
    let dir = good("names");
    let before = dump(dir.path());
    write(&dir.path().join(OsStr::from_bytes(b"counter_\xff.db")), b"x");
    for other in ["notes.txt", ".counter_1.db", "counter_1.db.tmp", "counter_1"] {
        write(&dir.path().join(other), b"x");
    }
    wait_for_deaths(dir.path());
    let outcome = dump(dir.path());
    assert_same(&merged(&outcome.stdout), &merged(&before.stdout), "names");
    // Of these files only the one whose name ends with `.db` is reported.
    assert_eq!(skipped(&outcome.stdout, Some("name")), 1.0);
    assert_eq!(skipped(&outcome.stdout, None), 1.0);
}

#[test]
fn every_file_with_a_bad_key_is_reported_although_the_keys_are_equal() {
    let dir = TestDir::new("repeated");
    for pid in 1..=3 {
        entries(
            &dir.path().join(format!("counter_{pid}.db")),
            &[r#"["c", "other_total", {}, ""]"#],
        );
    }
    let outcome = dump(dir.path());
    for pid in 1..=3 {
        assert!(
            outcome.stderr.contains(&format!("counter_{pid}.db`: entry skipped")),
            "{}",
            outcome.stderr
        );
    }
    assert!(outcome.stdout.contains("multiprom_file_errors_total{reason=\"sample\"} 3\n"));
}

#[test]
fn a_file_that_a_python_worker_is_just_creating_is_no_error() {
    let dir = TestDir::new("newborn");
    let path = dir.path().join("counter_7.db");
    let errors = || {
        let text = output_of(multiprom().arg("dump").arg("--dir").arg(dir.path()));
        sum_of(&text, "multiprom_file_errors_total")
    };
    let worker = File::create(path).unwrap();
    assert_eq!(errors(), 0.0);
    // The file of a worker that has ended there is reported.
    drop(worker);
    wait_for("the report", PATIENCE, || (errors() == 1.0).then_some(()));
}

#[test]
fn a_server_logs_many_problems_as_one_line_when_they_appear_and_one_when_they_end() {
    const SCRAPES: usize = 3;
    const FILES_EACH: usize = 500;
    let dir = TestDir::in_memory("problems");
    let mut command = multiprom();
    command.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut command);
    let url = server.url();
    let mut names: Vec<String> = Vec::new();
    for round in 0..SCRAPES {
        // As if processes with damaged files started and ended.
        for name in names.drain(..) {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        names.extend(
            (0..FILES_EACH).map(|file| format!("counter_{}.db", round * FILES_EACH + file)),
        );
        for name in &names {
            write(&dir.path().join(name), b"");
        }
        wait_for_deaths(dir.path());
        for _ in 0..2 {
            scrape(&url);
        }
    }
    let total = (2 * SCRAPES * FILES_EACH) as f64;
    assert_eq!(skipped(&scrape(&url), None), total + FILES_EACH as f64);
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    let count = |text: &str| stderr.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("500 problems with the reason `empty`: series file `"), SCRAPES, "{stderr}");
    assert_eq!(
        count("500 problems with the reason `empty` have ended: `"),
        SCRAPES - 1,
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 2 * SCRAPES, "{stderr}");
}
