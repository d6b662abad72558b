//! Records series that cannot be written to a file at their first recording.
//!
//! usage: `test-waiting SCENARIO DIR`. Each scenario is documented at its function. It exits when everything is in the
//! files, or fails after [`LIMIT`]. It prints `NAME VALUE` lines.
#![expect(unsafe_code, reason = "limits and handlers of forks")]
#![allow(clippy::print_stdout, reason = "a program")]

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiprom::inspect::list_files;
use multiprom::{
    Backend, Counter, Family, Gauge, GaugeMode, Histogram, MultiProcessCollector, Registry, Result,
    Static, Summary, default_registry,
};

use super::fork::{in_child, wait};

/// Limit for the time until everything is in the files.
const LIMIT: Duration = Duration::from_secs(60);

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, dir] = &arguments[..] else { panic!("usage: SCENARIO DIR") };
    let dir = Path::new(dir);
    match &**scenario {
        "slow-fork" => slow_fork(dir),
        "late-directory" => late_directory(dir),
        "no-descriptors" => no_descriptors(dir),
        "close" => close(dir),
        other => panic!("unknown scenario {other}"),
    }
}

/// One series of every type.
#[derive(Clone, Copy)]
struct Series {
    counter: Counter,
    histogram: Histogram,
    summary: Summary,
    level: Gauge,
    recent: Gauge,
}

impl Series {
    fn register(registry: &Registry) -> Result<Series> {
        let level = Gauge::builder("level", "A gauge.").mode(GaugeMode::Sum);
        let recent = Gauge::builder("recent", "A gauge.").mode(GaugeMode::MostRecent);
        Ok(Series {
            counter: Counter::builder("counted", "A counter.").register(registry)?,
            histogram: Histogram::builder("sizes", "A histogram.")
                .buckets([1.0])
                .register(registry)?,
            summary: Summary::builder("times", "A summary.").register(registry)?,
            level: level.register(registry)?,
            recent: recent.register(registry)?,
        })
    }

    /// Adds 2 to every value, except for the gauge `recent`, which is set.
    fn record(&self) {
        self.counter.inc();
        self.counter.inc_by(1.0);
        self.histogram.observe(0.5);
        self.histogram.observe(1.5);
        self.summary.observe(1.0);
        self.summary.observe(1.0);
        self.level.inc();
        self.level.add(1.0);
        self.recent.set(7.0);
    }

    /// The values that this process reads.
    fn values(&self) -> [f64; 6] {
        [
            self.counter.get(),
            self.histogram.get_count() as f64,
            self.histogram.get_sum(),
            self.summary.get_count() as f64,
            self.summary.get_sum(),
            self.level.get(),
        ]
    }
}

fn registry(dir: &Path) -> Result<Registry> {
    Registry::builder().backend(Backend::directory(dir)?).build()
}

/// Merges the files of the directory, without the series of this process that are in no file. The closure returns the sum of
/// the samples with a name, or `None` if there are none.
fn merged(dir: &Path) -> impl Fn(&str) -> Option<f64> {
    let files = list_files(dir).unwrap_or_default();
    let collector = MultiProcessCollector::builder();
    let collector = files.iter().fold(collector, |collector, file| collector.file(&file.path));
    let text = collector.build().and_then(|collector| {
        let registry = Registry::builder().backend(Backend::in_memory()).build()?;
        registry.register(collector)?;
        Ok(registry.render(None).to_string())
    });
    let text = text.unwrap_or_default();
    move |name| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = lines.filter(|rest| rest.starts_with([' ', '{']));
        let values = values.map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        values.reduce(|sum, value| Some(sum? + value?)).flatten()
    }
}

/// Checks that everything is in the files after `count` calls of `record` in all threads and processes.
fn check(dir: &Path, count: u64) {
    let merged = merged(dir);
    let sum = 2.0 * count as f64;
    for name in ["counted_total", "sizes_count", "sizes_sum", "times_count", "times_sum", "level"] {
        assert_eq!(merged(name), Some(sum), "{name}");
    }
    assert_eq!(merged("sizes_bucket{le=\"1.0\"}"), Some(count as f64));
    assert_eq!(merged("recent"), Some(7.0));
    let value = |name| merged(name).unwrap_or(0.0);
    let dropped = value("multiprom_dropped_series_total");
    assert_eq!(dropped, value("multiprom_recovered_series_total"));
    println!("dropped {dropped}");
}

/// Records until the files have a sample with that name; returns the number of calls.
fn record_until(dir: &Path, name: &str, record: impl Fn()) -> u64 {
    let start = Instant::now();
    let mut count = 0;
    while merged(dir)(name).is_none() {
        assert!(start.elapsed() < LIMIT, "{name} is not written to a file");
        record();
        count += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    count
}

extern "C" fn fork_slowly() {
    std::thread::sleep(Duration::from_millis(2_600));
}

/// Records new series while another thread forks. A fork handler of the host makes the fork take longer than a recording
/// waits.
fn slow_fork(dir: &Path) -> Result<()> {
    // SAFETY: the handler may run at any fork, and is never unloaded.
    let result = unsafe { libc::pthread_atfork(Some(fork_slowly), None, None) };
    assert_eq!(result, 0);
    let registry = registry(dir)?;
    let family = Counter::builder("first", "By label.").labels(["n"]).register(&registry)?;
    let begins = Barrier::new(2);
    let longest = std::thread::scope(|scope| {
        scope.spawn(|| {
            begins.wait();
            wait(in_child(|| {}));
        });
        begins.wait();
        std::thread::sleep(Duration::from_millis(300));
        let mut longest = Duration::ZERO;
        for number in ["a", "b", "a", "c"] {
            let begin = Instant::now();
            family.with([number]).inc();
            longest = longest.max(begin.elapsed());
        }
        longest
    });
    println!("longest {}", longest.as_millis());
    // Recordings of existing series suffice to write everything to the files.
    let count = record_until(dir, "first_total", || family.with(["a"]).inc());
    let merged = merged(dir);
    for (number, value) in [("a", 2 + count), ("b", 1), ("c", 1)] {
        let series = format!("first_total{{n=\"{number}\"}}");
        assert_eq!(merged(&series), Some(value as f64), "{series}");
    }
    assert_eq!(merged("multiprom_dropped_series_total"), Some(3.0));
    assert_eq!(merged("multiprom_recovered_series_total"), Some(3.0));
    Ok(())
}

static JOBS: Static<Counter> = Counter::declare("jobs_total", "Jobs.");
static LENGTHS: Static<Family<Histogram>> =
    Histogram::declare("lengths", "By process.").buckets(&[1.0]).labels(["who"]);
static BUSY: Static<Gauge> = Gauge::declare("busy", "In progress.").mode(GaugeMode::LiveSum);

/// Uses statics before the directory that the environment names exists, and forks: the child records for itself.
fn late_directory(dir: &Path) -> Result<()> {
    let is_refused = || {
        let built = Counter::builder("built", "By builder.").register(default_registry());
        built.is_err() && multiprom::register_statics(&[&JOBS]).is_err()
    };
    assert!(is_refused(), "registration returns the error");
    JOBS.inc();
    LENGTHS.with(["parent"]).observe(0.5);
    let guard = BUSY.track_inprogress();
    assert!(is_refused(), "registration returns the error");

    let child = in_child(|| {
        assert_eq!(JOBS.get(), 0.0);
        JOBS.inc();
        JOBS.inc();
        LENGTHS.with(["child"]).observe(2.0);
        record_until(dir, "lengths_count{who=\"child\"}", || JOBS.inc_by(0.0));
    });
    fs::create_dir(dir).expect("the name is free");
    wait(child);

    JOBS.inc();
    record_until(dir, "lengths_count{who=\"parent\"}", || JOBS.inc_by(0.0));
    drop(guard);
    BUSY.inc();
    Counter::builder("built", "By builder.").register(default_registry())?;
    multiprom::register_statics(&[&JOBS])?;
    let merged = merged(dir);
    assert_eq!(merged("jobs_total"), Some(4.0));
    assert_eq!((merged("lengths_count"), merged("lengths_sum")), (Some(2.0), Some(2.5)));
    assert_eq!((merged("busy"), BUSY.get()), (Some(1.0), 1.0));
    Ok(())
}

fn limit_descriptors(limit: u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid and writable.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) };
    assert_eq!(result, 0);
    limits.rlim_cur = limit.min(limits.rlim_max);
    // SAFETY: the structure is valid.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    assert_eq!(result, 0);
}

/// More threads than have cells of their own record all the time. At first no file can be opened, later all can.
fn no_descriptors(dir: &Path) -> Result<()> {
    const THREADS: usize = 24;
    let registry = registry(dir)?;
    limit_descriptors(0);
    let series = Series::register(&registry)?;
    let is_over = AtomicBool::new(false);
    let total = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    series.record();
                    count += 1;
                }
                total.fetch_add(count, Ordering::Relaxed);
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        limit_descriptors(1024);
        let start = Instant::now();
        let names = ["counted_total", "sizes_count", "times_count", "level", "recent"];
        while start.elapsed() < LIMIT {
            let merged = merged(dir);
            if names.iter().all(|name| merged(name).is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The threads continue in their own cells.
        std::thread::sleep(Duration::from_millis(200));
        is_over.store(true, Ordering::Relaxed);
    });
    let total = total.into_inner();
    let sum = 2.0 * total as f64;
    assert_eq!(series.values(), [sum; 6]);
    check(dir, total);
    println!("total {total}");
    Ok(())
}

/// Closes the registry when waiting series can be written but no write was retried. Then records into the same series
/// while files cannot be opened again, twice.
fn close(dir: &Path) -> Result<()> {
    let registry = registry(dir)?;
    limit_descriptors(0);
    let series = Series::register(&registry)?;
    (0..3).for_each(|_| series.record());
    limit_descriptors(1024);
    registry.close();
    check(dir, 3);
    assert_eq!(series.values(), [6.0; 6]);

    let mut count = 3;
    for _ in 0..2 {
        registry.close();
        limit_descriptors(0);
        series.record();
        limit_descriptors(1024);
        let before = count;
        count += 1;
        let start = Instant::now();
        while merged(dir)("counted_total") != Some(2.0 * count as f64) {
            assert!(start.elapsed() < LIMIT, "the write is not retried");
            std::thread::sleep(Duration::from_millis(20));
            series.record();
            count += 1;
        }
        check(dir, count);
        let [totals @ .., own_level] = series.values();
        assert_eq!(totals, [2.0 * count as f64; 5]);
        // A gauge starts from zero in new files.
        assert_eq!(own_level, 2.0 * (count - before) as f64);
    }
    Ok(())
}
