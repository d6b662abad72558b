//! The examples of `docs/format.md`, and the sizes that it states.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, PoisonError};

use multiprom::inspect::family_usage;
use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Summary, Unit, buckets};

use super::run_in;
use crate::support::{TestDir, root, wait_for_deaths};
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
    wait_for_deaths(dir.path());
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
    // This thread lives while the other one records, which therefore adds to shared entries.
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
    let sets = 2;
    let assert_sizes = |of_record: usize| {
        for (prefix, of_label_set) in [
            ("counter_", sets * counter + of_record * counter),
            ("gauge_sum_", gauge),
            ("summary_", sets * summary + of_record * time_sum),
            ("histogram_", sets * histogram + of_record * size_sum),
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

/// The bytes of an entry by the README: names of family and sample, help text, labels.
fn entry_of_the_readme(family: &str, sample: &str, help: &str, labels: &[(&str, &str)]) -> usize {
    let fixed = if labels.is_empty() { 40 } else { 38 };
    let labels = labels.iter().map(|(name, value)| 8 + name.len() + value.len());
    let len = fixed + family.len() + sample.len() + help.len() + labels.sum::<usize>();
    len.next_multiple_of(8)
}

#[test]
fn the_size_of_files_is_that_of_the_formula_and_the_example_in_the_readme() {
    const THREADS: usize = 4;
    /// Entries of a sample: that of the first thread, and that of all others.
    const SETS: usize = 2;
    const ROUTES: usize = 100;
    const NAME: &str = "http_request_duration_seconds";
    const HELP: &str = "Duration of HTTP requests.";
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("readme-size");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let time = Histogram::builder(NAME, HELP).buckets(buckets::GO_DEFAULT).labels(["route"]);
    let time = time.register(&registry).unwrap();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue", "kind"]);
    let jobs = jobs.register(&registry).unwrap();
    let level = Gauge::builder("level", "Level.").mode(GaugeMode::Sum).labels(["queue"]);
    let level = level.register(&registry).unwrap();
    let size = Summary::builder("size", "Sizes.").labels(["queue"]).register(&registry).unwrap();
    let routes: Vec<String> = (0..ROUTES).map(|at| format!("/api/v1/items/{at:02}")).collect();
    // All threads live until the last one has recorded, so none takes over the entries of another one.
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for route in &routes {
                    time.with([route]).observe(0.5);
                }
                jobs.with(["mail", "x"]).inc();
                let ticks = Counter::builder("ticks_total", "Ticks!");
                ticks.get_or_register(&registry).unwrap().inc();
                level.with(["mail"]).inc();
                size.with(["mail"]).observe(1.0);
                barrier.wait();
            });
        }
    });

    let route = ("route", &*routes[0]);
    let sum = entry_of_the_readme(NAME, &format!("{NAME}_sum"), HELP, &[route]);
    let bounds = buckets::GO_DEFAULT.iter().map(|bound| format!("{bound:?}"));
    let bounds: Vec<String> = bounds.chain(["+Inf".to_owned()]).collect();
    let sample = format!("{NAME}_bucket");
    let bucket = |le: &str| entry_of_the_readme(NAME, &sample, HELP, &[("le", le), route]);
    let series = sum + bounds.iter().map(|le| bucket(le)).sum::<usize>();
    let queue = ("queue", "mail");
    let job = entry_of_the_readme("jobs", "jobs_total", "Jobs done.", &[queue, ("kind", "x")]);
    let tick = entry_of_the_readme("ticks", "ticks_total", "Ticks!", &[]);
    let gauge = entry_of_the_readme("level", "level", "Level.", &[queue]);
    let summary = ["size_count", "size_sum"];
    let summary = summary.map(|sample| entry_of_the_readme("size", sample, "Sizes.", &[queue]));
    let summary: usize = summary.iter().sum();
    let assert_sizes = |sets: usize| {
        let usage = family_usage([dir.path()]).unwrap();
        assert!(usage.errors.is_empty(), "{:?}", usage.errors);
        let find = |name: &str| usage.families.iter().find(|family| family.name == name).unwrap();
        for (name, series, entries, bytes) in [
            (NAME, ROUTES, (buckets::GO_DEFAULT.len() + 2) * sets, series * sets),
            ("jobs_total", 1, sets, job * sets),
            ("ticks_total", 1, sets, tick * sets),
            ("level", 1, 1, gauge),
            ("size", 1, 2 * sets, summary * sets),
        ] {
            let family = find(name);
            assert_eq!((family.series, family.entries), (series, series * entries), "{name}");
            assert_eq!(family.bytes, (series * bytes) as u64, "{name}");
        }
    };
    assert_sizes(SETS);
    let entries = SETS * ROUTES * series;
    assert_eq!(committed(dir.path(), "histogram_").len(), 8 + entries);
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
    let mut lens = files.map(|entry| entry.metadata().unwrap().len());
    assert_eq!(lens.by_ref().max(), Some(512 * 1024));

    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Size of the directory\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let section = section.split_whitespace().collect::<Vec<_>>().join(" ");
    let grouped = |number: usize| match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    };
    for text in [
        format!("{NAME}` (\"{HELP}\") with the {} bounds", buckets::GO_DEFAULT.len()),
        format!("{ROUTES} values of {} characters", routes[0].len()),
        format!("recorded by {THREADS} threads, which makes T {SETS}"),
        "An entry takes 38 bytes (40 without labels),".to_owned(),
        format!("The sum takes {sum} bytes and a bucket {} bytes", bucket("0.5")),
        format!("a series takes {} bytes for each set", grouped(series)),
        format!("The entries of a process take {} bytes, in a file of 512 KiB", grouped(entries)),
        format!("those in the archive {} bytes", grouped(ROUTES * series)),
    ] {
        assert!(section.contains(&text), "the README lacks: {text}");
    }
    assert!(bounds.iter().all(|le| bucket(le) == bucket("0.5")), "all buckets have one size");

    registry.close();
    wait_for_deaths(dir.path());
    let outcome = run_in(dir.path(), "compact");
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the archive alone");
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
