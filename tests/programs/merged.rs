//! Renders everything that a program should expose, while some series cannot be written to files.
//!
//! usage: `test-merged` with `PROMETHEUS_MULTIPROC_DIR`. It fails if a series is missing from a page or counted twice.
#![expect(unsafe_code, reason = "a limit on the size of files")]
#![allow(clippy::print_stdout, reason = "a program")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiprom::collector::MergeRule;
use multiprom::{
    Collector, Counter, Exposition, Family, FamilySink, Gauge, GaugeMode, Histogram, Registry,
    Static, default_registry,
};

use super::fork::{in_child, wait};

static JOBS: Static<Counter> = Counter::declare("jobs_total", "Jobs.");
static BY_NAME: Static<Family<Counter>> =
    Counter::declare("names_total", "Names.").labels(["name"]);
static LEVEL: Static<Gauge> = Gauge::declare("level", "Level.").mode(GaugeMode::Sum);
static SIZES: Static<Histogram> = Histogram::declare("sizes", "Sizes.").buckets(&[1.0]);

struct Queue;

impl Collector for Queue {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.gauge("queue_depth", "Jobs waiting.").sample(&[], 7.0);
    }

    fn merge_rule(&self, _: &str) -> MergeRule {
        MergeRule::Mode(GaugeMode::LiveMax)
    }
}

fn limit_files(limit: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

/// The values of all lines whose series begin with this text.
fn values(page: &Exposition, series: &str) -> Vec<f64> {
    let text = page.to_string();
    let lines = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    lines.map(|value| value.parse().expect("a number")).collect()
}

fn record() {
    JOBS.inc();
    LEVEL.inc();
    SIZES.observe(0.5);
}

/// Checks that a page has each series once, after this many recordings in all processes.
fn check(recordings: f64) {
    let page = multiprom::render(None);
    assert_eq!(values(&page, "jobs_total"), [recordings], "{page}");
    assert_eq!(values(&page, "level"), [recordings], "{page}");
    assert_eq!(values(&page, "sizes_count"), [recordings], "{page}");
    assert_eq!(values(&page, "queue_depth"), [7.0], "{page}");
    let repeated = values(&page, "multiprom_repeated_families_total");
    assert!(repeated.is_empty(), "{page}");
}

pub fn main() -> multiprom::Result<()> {
    default_registry().register(Queue)?;
    // In a file, so that it does not wait for one below.
    default_registry().flush();
    // Values of another process, in files.
    wait(in_child(record));

    // No file can be created in this process.
    limit_files(0);
    let library = Registry::new();
    Counter::builder("library_calls", "Calls.").register(&library)?.inc_by(2.0);
    default_registry().register(library)?;
    let long = "x".repeat(100_000);
    BY_NAME.with([&long]).inc_by(3.0);
    record();
    check(2.0);
    let page = multiprom::render(None);
    assert_eq!(values(&page, &format!("names_total{{name=\"{long}\"}}")), [3.0]);
    assert_eq!(values(&page, "library_calls_total"), [2.0]);
    let dropped =
        |page: &Exposition| values(page, "multiprom_dropped_series_total{reason=\"key_too_long\"}");
    assert_eq!(dropped(&page), [1.0], "{page}");
    // A page of one process alone has the same series.
    let alone = default_registry().render(None);
    assert_eq!((values(&alone, "jobs_total"), dropped(&alone)), (vec![1.0], vec![1.0]));

    // Now files can be created: pages are exact while the series move into them.
    limit_files(libc::RLIM_INFINITY);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                JOBS.inc_by(0.0);
                LEVEL.add(0.0);
                std::thread::yield_now();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let recovered = "multiprom_recovered_series_total{reason=\"space\"}";
        loop {
            check(2.0);
            let page = multiprom::render(None);
            if values(&page, recovered) == [4.0] {
                break;
            }
            assert!(Instant::now() < deadline, "{page}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    (0..10).for_each(|_| record());
    check(12.0);
    wait(in_child(|| {
        check(12.0);
        record();
        check(13.0);
    }));
    check(13.0);
    println!("done");
    Ok(())
}
