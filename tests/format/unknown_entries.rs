//! Entries and sections of unknown kinds: each is skipped, counted and reported, and no compactor loses it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::{MAGIC, companion_entry, count, counter_key, entry, run_in, series_file, skipped};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{Outcome, PATIENCE, Running, run};
use crate::support::{TestDir, multiprom, wait_for, wait_for_deaths};

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
    assert_read(&run_in(dir.path(), "dump"));
    wait_for_deaths(dir.path());
    let outcome = run_in(dir.path(), "compact");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("1 damaged and not changed"), "{}", outcome.stdout);
    assert!(fs::read(&path).unwrap() == bytes);
    assert_read(&run_in(dir.path(), "dump"));
    let outcome = run_in(dir.path(), "check");
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
        let outcome = run_in(dir.path(), "compact");
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
        let dump = run_in(dir.path(), "dump");
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
    let outcome = run_in(dir.path(), "check");
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("is of a kind"), "{}", outcome.stderr);
}

#[test]
fn entries_of_an_unknown_kind_in_an_archive_are_skipped_and_counted_and_copied() {
    let dir = TestDir::new("archived-kind");
    count(dir.path(), 5);
    assert_eq!(run_in(dir.path(), "compact").status, 0);
    let path = dir.path().join("archive.multiprom");
    let entries = with_unknown_kind();
    add_sections(&path, &[section("counter_archive.db", &entries.concat())]);
    for jobs in [5.0, 8.0] {
        let dump = run_in(dir.path(), "dump");
        assert_eq!((dump.status, dump.stderr.lines().count()), (0, 1), "{}", dump.stderr);
        assert!(dump.stderr.trim_end().ends_with(KIND_MESSAGE), "{}", dump.stderr);
        let total = |name| sum_of(&dump.stdout, name);
        let totals = (total("first_total"), total("jobs_total"), total("last_total"));
        assert_eq!(totals, (1.0, jobs, 2.0));
        let errors = total("multiprom_file_errors_total");
        assert_eq!((skipped(&dump.stdout, "kind"), errors), (1.0, 1.0));
        count(dir.path(), 3);
        let outcome = run_in(dir.path(), "compact");
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
        let bytes = fs::read(&path).unwrap();
        for entry in &entries {
            let found = bytes.windows(entry.len()).filter(|bytes| bytes == entry).count();
            assert_eq!(found, 1, "{entry:?}");
        }
    }
}

#[test]
fn companion_entries_of_an_unknown_kind_are_skipped_and_counted_and_their_file_is_not_compacted() {
    const UNIT: u32 = 1;
    const SIZE: &str = r#"["job_size_bytes", "job_size_bytes", {}, "Help."]"#;
    const TIME: &str = r#"["job_duration_seconds", "job_duration_seconds", {}, "Help."]"#;
    let dir = TestDir::new("companion-kind");
    count(dir.path(), 5);
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let id = names.iter().find_map(|name| name.strip_prefix("counter_")?.strip_suffix(".db"));
    // The companion belongs to the process that has counted.
    let path = dir.path().join(format!("companion_{}.mpx", id.unwrap()));
    let entries = [
        companion_entry(UNIT, SIZE, b"bytes\0\0\0"),
        companion_entry(7, SIZE, &[0xff; 16]),
        companion_entry(UNIT, TIME, b"seconds\0"),
    ];
    let bytes = series_file(*b"MPX\x01", &entries);
    fs::write(&path, &bytes).unwrap();
    for compacted in [false, true] {
        let mut command = multiprom();
        command.args(["dump", "--format", "openmetrics", "--dir"]).arg(dir.path());
        let dump = run(&mut command);
        assert_eq!((dump.status, dump.stderr.lines().count()), (0, 1), "{}", dump.stderr);
        assert!(dump.stderr.trim_end().ends_with(KIND_MESSAGE), "{}", dump.stderr);
        for line in ["# UNIT job_size_bytes bytes\n", "# UNIT job_duration_seconds seconds\n"] {
            assert!(dump.stdout.contains(line), "{line}: {}", dump.stdout);
        }
        assert_eq!(sum_of(&dump.stdout, "jobs_total"), 5.0);
        let errors = sum_of(&dump.stdout, "multiprom_file_errors_total");
        assert_eq!((skipped(&dump.stdout, "kind"), errors), (1.0, 1.0));
        if !compacted {
            wait_for_deaths(dir.path());
            let outcome = run_in(dir.path(), "compact");
            assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
            assert!(outcome.stdout.contains("1 damaged and not changed"), "{}", outcome.stdout);
            assert!(fs::read(&path).unwrap() == bytes, "the companion is not changed");
            let counters = names.iter().find(|name| name.starts_with("counter_")).unwrap();
            assert!(!dir.path().join(counters).exists(), "series files are compacted");
        }
    }
}
