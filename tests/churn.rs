//! Thousands of short-lived workers of multiprom and of the Python client, while a real Prometheus scrapes.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multiprom::compact::Compactor;

use crate::support::http::{get, sum_of};
use crate::support::process::{PATIENCE, Running, can_unshare_pids, unshare_pids};
use crate::support::prometheus::{is_installed, prometheus, value};
use crate::support::{
    TestDir, example, multiprom, output_of, python, root, wait_for, wait_for_deaths,
};

/// Workers of each kind per minute, if the machine can start as many.
const PER_MINUTE: u32 = 1_000;

/// One of this many workers is killed after it has counted.
const KILLED_OF: u32 = 10;

/// The duration of the test.
fn duration() -> Duration {
    let seconds = std::env::var("MULTIPROM_CHURN_SECONDS").ok();
    Duration::from_secs(seconds.map_or(10, |seconds| seconds.parse().unwrap()))
}

/// Growth is not checked before this time, as the first files that are kept have not expired yet.
const SETTLED: Duration = Duration::from_secs(60);

/// The expected counts.
#[derive(Clone, Copy, Default)]
struct Truth {
    workers: u32,
    jobs: u32,
}

/// Starts workers of multiprom, one after the other, until `stop` is set.
fn churn_own(dir: &Path, stop: &Stop) -> Truth {
    let mut truth = Truth::default();
    let start = Instant::now();
    while !stop.is_set() {
        let due = start + Duration::from_secs(60) * truth.workers / PER_MINUTE;
        thread::park_timeout(due.saturating_duration_since(Instant::now()));
        let jobs = 1 + truth.workers * 7 % 40;
        let mut command = example("test-counting");
        command.arg(dir).arg(jobs.to_string());
        if truth.workers.is_multiple_of(KILLED_OF) {
            let mut worker =
                command.arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            worker.kill().unwrap();
            worker.wait().unwrap();
        } else {
            assert!(command.status().unwrap().success());
        }
        truth.workers += 1;
        truth.jobs += jobs;
    }
    truth
}

/// Starts workers of the Python client, in a pid namespace if possible, so that pids are reused.
fn churn_python(dir: &Path, python: &Command) -> Running {
    let mut command = if can_unshare_pids() {
        let mut command = unshare_pids();
        command.arg(python.get_program());
        command
    } else {
        Command::new(python.get_program())
    };
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(root().join("tests/python/churn.py")).arg(dir);
    Running::start(command.arg(PER_MINUTE.to_string()))
}

/// A flag that stops threads, also if the test fails.
#[derive(Default)]
struct Stop(AtomicBool);

impl Stop {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct StopAtEnd<'a>(&'a [&'a Stop]);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|stop| stop.set());
    }
}

/// Whether the values of a series never decrease.
pub(crate) fn is_total(series: &str) -> bool {
    let name = series.split('{').next().unwrap();
    ["_total", "_count", "_bucket", "_sum"].iter().any(|suffix| name.ends_with(suffix))
}

/// Scrapes repeatedly and asserts that no total ever decreases. Returns the number of scrapes.
fn watch_totals(url: &str, stop: &Stop) -> u32 {
    let mut known: HashMap<String, f64> = HashMap::new();
    let mut scrapes = 0;
    while !stop.is_set() {
        let text = get(url).unwrap().body;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples: HashMap<&str, f64> = samples
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| is_total(series))
            .map(|(series, value)| (series, value.parse().unwrap()))
            .collect();
        for (series, before) in &mut known {
            let now = samples.get(series.as_str()).copied();
            assert!(now.is_some_and(|now| now >= *before), "{series}: {before}, then {now:?}");
            *before = now.unwrap();
        }
        for (series, value) in samples {
            known.entry(series.to_owned()).or_insert(value);
        }
        scrapes += 1;
        thread::park_timeout(Duration::from_millis(200));
    }
    scrapes
}

/// The number of files in the directory, including retired ones.
fn count_files(dir: &Path) -> usize {
    let count = |dir: &Path| fs::read_dir(dir).map_or(0, Iterator::count);
    count(dir) + count(&dir.join("retired"))
}

pub(crate) fn median(values: &[usize]) -> usize {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

/// The medians of the first and the last third of values that were read each second.
fn thirds(seen: &[usize]) -> (usize, usize) {
    let third = seen.len().div_ceil(3);
    (median(&seen[..third]), median(&seen[seen.len() - third..]))
}

/// The medians of the first and the last third of the last `seconds`, from Prometheus.
fn scraped_thirds(prometheus: &str, metric: &str, seconds: u64) -> (f64, f64) {
    let third = seconds.div_ceil(3).max(3);
    let before = seconds.saturating_sub(third).max(1);
    let of = |range: &str| {
        let query = format!("quantile_over_time(0.5, {metric}[{third}s]{range})");
        value(prometheus, &query).unwrap_or(f64::NAN)
    };
    (of(&format!(" offset {before}s")), of(""))
}

fn assert_exact(text: &str, own: u32, python: u32) {
    let (own, python) = (f64::from(own), f64::from(python));
    for (name, truth) in [
        ("jobs_total", own),
        ("jobs_by_parity_total", own),
        ("job_size_bytes_count", own),
        ("job_duration_seconds_sum", own / 2.0),
        ("python_jobs_total", python),
        ("python_size_count", python),
        ("python_busy", 0.0),
        ("queue_livesum_ratio", 0.0),
        ("multiprom_file_errors_total", 0.0),
    ] {
        assert_eq!(sum_of(text, name), truth, "{name}:\n{text}");
    }
}

#[test]
fn names_of_removed_files_are_dropped_from_the_archive() {
    let dir = TestDir::in_memory("names");
    output_of(example("test-counting").arg(dir.path()).arg("3"));
    let named = |prefix: &str| {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut found = entries.filter(|it| it.to_string_lossy().contains(prefix));
        found.next().unwrap()
    };
    let counter = named("/counter_");
    for number in 0..1_100 {
        fs::copy(&counter, dir.path().join(format!("counter_7-{number:08x}.db"))).unwrap();
    }
    wait_for_deaths(dir.path());
    let compactor = Compactor::builder().directory(dir.path()).build().unwrap();
    let pass = || {
        let files = compactor.run().unwrap().files;
        let text = output_of(multiprom().arg("dump").arg("--dir").arg(dir.path()));
        assert_eq!(sum_of(&text, "jobs_total"), 3.0 * 1_101.0);
        (files, fs::metadata(dir.path().join("archive.multiprom")).unwrap().len())
    };
    let (files, long) = pass();
    assert!(files > 1_100);
    let (files, short) = pass();
    assert!(files == 0 && short + 1_100 * 22 <= long, "{long}, then {short} bytes");
    // Later passes write nothing.
    let identity = || fs::metadata(dir.path().join("archive.multiprom")).unwrap().ino();
    let before = identity();
    assert_eq!((pass(), identity()), ((0, short), before));
}

#[test]
#[allow(clippy::print_stderr, reason = "prints measurements, which are not checked")]
fn totals_are_exact_and_never_decrease_while_thousands_of_workers_start_and_end() {
    let Some(python) = python("newest") else {
        return;
    };
    if !is_installed("prometheus") {
        return;
    }
    let (dir, home) = (TestDir::in_memory("churn"), TestDir::new("churn-prometheus"));
    let mut command = multiprom();
    command.args(["serve", "--listen", "127.0.0.1:0", "--compact=all", "--keep-dead=10s", "--dir"]);
    let mut exporter = Running::start(command.arg(dir.path()));
    let metrics = exporter.url();
    let target = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let (_prometheus, api) = prometheus(home.path(), &[("test", target)], &[]);
    let mut python_workers = churn_python(dir.path(), &python);

    let (start, limit) = (Instant::now(), duration());
    let (over, seen) = (Stop::default(), Stop::default());
    let (truth, jobs, scrapes) = thread::scope(|scope| {
        let _stop = StopAtEnd(&[&over, &seen]);
        let own = scope.spawn(|| churn_own(dir.path(), &over));
        let watch = scope.spawn(|| watch_totals(&metrics, &seen));
        let mut files = Vec::new();
        while start.elapsed() < limit {
            files.push(count_files(dir.path()));
            thread::park_timeout(Duration::from_secs(1));
            assert!(python_workers.is_running(), "{}", python_workers.stderr());
            assert!(exporter.is_running(), "{}", exporter.stderr());
        }
        over.set();
        drop(python_workers.stdin());
        let output = python_workers.end();
        let truth = own.join().unwrap();
        let output: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |name: &str| output[name].as_u64().unwrap() as u32;
        eprintln!(
            "{} workers of multiprom, {} of the Python client with {} pids, in {:.0} s",
            truth.workers,
            count("workers"),
            count("pids"),
            start.elapsed().as_secs_f64(),
        );
        assert_bounded(&files, &api, limit, truth.workers * 13 + count("workers") * 4);

        // In the end, only the archive is left.
        wait_for("an archive without other files", 3 * PATIENCE, || {
            let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names = names.filter(|name| name != "retired" && name != "archive.multiprom");
            let is_alone = names.next().is_none() && count_files(dir.path()) <= 2;
            (is_alone && dir.path().join("archive.multiprom").exists()).then_some(())
        });
        seen.set();
        (truth, count("jobs"), watch.join().unwrap())
    });
    let text = get(&metrics).unwrap().body;
    assert!(!exporter.stderr().contains("series file"), "{}", exporter.stderr());
    assert_exact(&text, truth.jobs, jobs);
    for (query, truth) in [("sum(jobs_total)", truth.jobs), ("sum(python_jobs_total)", jobs)] {
        wait_for("the exact sum", PATIENCE, || {
            (value(&api, query) == Some(f64::from(truth))).then_some(())
        });
    }
    let range = (start.elapsed() + SETTLED).as_secs();
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| is_total(name))
        .collect();
    names.dedup();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let query = |what: &str| value(&api, &format!("sum({what}({name}[{range}s]))"));
        assert!(query("count_over_time") > Some(0.0), "{name}");
        assert_eq!(query("resets"), Some(0.0), "{name}");
    }
    eprintln!("{scrapes} scrapes in addition to those of Prometheus");
}

/// Asserts that the numbers of files and series stay bounded. Prints the durations of scrapes, which are not checked.
#[allow(clippy::print_stderr, reason = "prints measurements, which are not checked")]
fn assert_bounded(files: &[usize], api: &str, limit: Duration, created: u32) {
    let (most, (first, last)) = (files.iter().max().unwrap(), thirds(files));
    let of = |metric| scraped_thirds(api, metric, limit.as_secs());
    let (series, duration) = (of("scrape_samples_scraped"), of("scrape_duration_seconds"));
    eprintln!(
        "first and last third, medians: {first} and {last} files (most {most}, {created} in all), \
         {} and {} samples, scrapes of {:.1} and {:.1} ms",
        series.0,
        series.1,
        duration.0 * 1e3,
        duration.1 * 1e3,
    );
    if limit >= SETTLED {
        // Compactors pause longer on a busy machine. This bound is still a small part of the files of an hour.
        let in_30_s = (f64::from(created) * 30.0 / limit.as_secs_f64()) as usize;
        assert!(*most < in_30_s && last < first + in_30_s / 3, "{files:?}");
        assert!(series.1 < 2.0 * series.0 + 200.0, "{series:?}");
    }
}
