//! Start timestamps of counters, histograms and summaries: in memory, through the merge, and in the formats.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use multiprom::exposition::{Format, Negotiated, negotiate};
use multiprom::{Counter, Exposition, Gauge, Histogram, Summary};

use crate::support::http::{Connection, scrape};
use crate::support::process::Running;
use crate::support::registries::in_memory;
use crate::support::{self, TestDir, example, multiprom, output_of, root};

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The values of the samples that begin with this name, from a page in OpenMetrics.
fn values(page: &str, name: &str) -> Vec<f64> {
    let of_line = |line: &str| line.rsplit_once(' ').unwrap().1.parse().unwrap();
    page.lines().filter(|line| line.starts_with(name)).map(of_line).collect()
}

#[test]
fn a_series_in_memory_has_the_time_of_its_first_recording_in_any_thread() {
    let registry = in_memory();
    let before = now();
    let jobs = Counter::builder("jobs", "").labels(["queue"]).register(&registry).unwrap();
    let sizes = Histogram::builder("sizes", "").buckets([1.0]).register(&registry).unwrap();
    let waits = Summary::builder("waits", "").register(&registry).unwrap();
    Gauge::builder("level", "").register(&registry).unwrap().set(1.0);
    let mail = jobs.with(["mail"]);
    mail.inc();
    let first = before..=now();
    let page = || {
        let format = Negotiated::from(Format::OpenMetrics).created();
        Exposition::encode(&registry, format).to_string()
    };
    let at_first = page();
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                mail.inc();
                sizes.observe(2.0);
                waits.observe(2.0);
                // All threads have cells of their own.
                barrier.wait();
            });
        }
    });
    jobs.with(["print"]).inc();
    let second = *first.end()..=now();
    let page = page();
    for name in ["jobs_created{queue=\"mail\"}", "sizes_created", "waits_created"] {
        let [created] = values(&page, name)[..] else { panic!("{page}") };
        assert!(first.contains(&created), "{name} {created} {first:?}");
        assert_eq!(values(&at_first, name), [created], "{name}");
    }
    let [print] = values(&page, "jobs_created{queue=\"print\"}")[..] else { panic!("{page}") };
    assert!(second.contains(&print), "{print} {second:?}");
    assert!(values(&page, "level_created").is_empty());
    assert_eq!(
        registry.sample_value("sizes_created", &[]),
        Some(values(&page, "sizes_created")[0])
    );
    // They are series of their own in Prometheus, and left out by default.
    for accept in [None, Some("application/openmetrics-text")] {
        assert!(!registry.render(accept).to_string().contains("_created"));
    }
    let text = Exposition::encode(&registry, negotiate(None).created()).to_string();
    assert!(text.contains("# TYPE sizes_created gauge\nsizes_created "), "{text}");
}

#[test]
fn a_series_that_comes_back_after_its_removal_begins_at_its_next_recording() {
    let registry = in_memory();
    let jobs = Counter::builder("jobs", "").labels(["queue"]).register(&registry).unwrap();
    let created = || registry.sample_value("jobs_created", &[("queue", "mail")]);
    jobs.with(["mail"]).inc();
    let first = created().unwrap();
    for _ in 0..2 {
        assert!(jobs.remove(["mail"]));
        assert_eq!(created(), None);
        let before = now();
        jobs.with(["mail"]).inc();
        let recording = before..=now();
        let again = created().unwrap();
        assert!(again >= first && recording.contains(&again), "{again} {recording:?}");
        assert_eq!(registry.sample_value("jobs_total", &[("queue", "mail")]), Some(1.0));
    }
}

/// Runs a worker; returns the time that this took.
fn run_worker(dir: &Path, index: u32) -> RangeInclusive<f64> {
    let start = now();
    output_of(example("test-worker").arg(dir).arg(index.to_string()));
    start..=now()
}

fn dump(dir: &Path, flags: &str) -> String {
    output_of(multiprom().arg("dump").args(flags.split_whitespace()).arg("--dir").arg(dir))
}

#[test]
fn a_merged_series_has_the_earliest_time_of_all_processes_also_after_compaction() {
    let dir = TestDir::in_memory("created");
    let first = run_worker(dir.path(), 0);
    let page = || {
        let flags = "--created --format openmetrics --exclude multiprom_.*";
        dump(dir.path(), flags)
    };
    let alone = page();
    for name in ["requests_created ", "latency_seconds_created", "payload_bytes_created"] {
        let created = values(&alone, name);
        assert!(!created.is_empty() && created.iter().all(|it| first.contains(it)), "{alone}");
    }
    let later = [run_worker(dir.path(), 1), run_worker(dir.path(), 2)];
    let all = page();
    assert_eq!(values(&all, "requests_created "), values(&alone, "requests_created "));
    // Some label sets are first recorded by a later process.
    let odd = values(&all, "odd_labels_created");
    assert!(odd.iter().all(|it| (*first.start()..=*later[1].end()).contains(it)), "{odd:?}");
    output_of(multiprom().args(["compact", "--dir"]).arg(dir.path()));
    assert_eq!(page(), all);
    run_worker(dir.path(), 3);
    assert_eq!(values(&page(), "requests_created "), values(&alone, "requests_created "));
    assert!(!dump(dir.path(), "--format openmetrics").contains("_created"));
    assert!(!dump(dir.path(), "--format text").contains("_created"));
    assert!(dump(dir.path(), "--format json").contains("requests_created"));
}

#[test]
fn files_of_the_python_client_have_no_start_timestamps() {
    let Some(mut python) = support::python("newest") else { return };
    let dir = TestDir::in_memory("created");
    output_of(python.arg(root().join("tests/python/worker.py")).arg(dir.path()));
    let page = || dump(dir.path(), "--created --format openmetrics");
    assert!(!page().contains("_created"));
    // A series of both clients has the time of the process that has one.
    let time = run_worker(dir.path(), 0);
    let [created] = values(&page(), "requests_created ")[..] else { panic!("{}", page()) };
    assert!(time.contains(&created));
}

#[test]
fn the_exporter_writes_start_timestamps_in_text_only_if_the_flag_is_set() {
    let dir = TestDir::in_memory("created");
    run_worker(dir.path(), 0);
    for flag in [&[][..], &["--created"]] {
        let mut server = multiprom();
        server.args(["serve", "--listen", "127.0.0.1:0"]).args(flag).arg("--dir").arg(dir.path());
        let mut server = Running::start(&mut server);
        let url = server.url();
        for _ in 0..2 {
            assert_eq!(scrape(&url).contains("\nrequests_created "), !flag.is_empty());
        }
        let accept = "application/openmetrics-text;version=2.0.0";
        let mut connection = Connection::open(&url).unwrap();
        let headers = format!("Accept: {accept}\r\n");
        let response = connection.request("GET", "/metrics", &headers);
        let page = response.body;
        assert!(page.contains("requests_total 1.1 st@"), "{page}");
        server.signal("TERM");
        assert_eq!(server.end().status.code(), Some(0));
    }
}
