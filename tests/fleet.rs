//! Many workers that are replaced all the time, under `run`, scraped each second by a real Prometheus: memory and
//! descriptors of the exporter do not grow, and no total ever decreases.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::churn::{self, is_total};
use crate::support::http::get;
use crate::support::process::{PATIENCE, Running};
use crate::support::prometheus::{is_installed, scraping, value};
use crate::support::{TestDir, example, multiprom, wait_for};

/// What is started, and for how long.
struct Scale {
    workers: usize,
    samples: usize,
    restarts: usize,
    time: Duration,
}

impl Scale {
    fn new() -> Scale {
        match std::env::var("MULTIPROM_FLEET_SECONDS") {
            Ok(seconds) => {
                let time = Duration::from_secs(seconds.parse().unwrap());
                Scale { workers: 64, samples: 50_000, restarts: 2, time }
            }
            Err(_) => {
                let time = Duration::from_secs(3);
                Scale { workers: 8, samples: 1_000, restarts: 8, time }
            }
        }
    }
}

/// Growth is not checked in shorter runs.
const SETTLED: Duration = Duration::from_secs(120);

/// The range of queries for decreases, which are made at this interval.
const QUERY_RANGE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Memory of the exporter without the files that it maps, in KiB.
    memory: usize,
    /// Pages of the mapped files, in KiB: they vary with the files that wait for compaction.
    mapped: usize,
    descriptors: usize,
    files: usize,
}

impl Usage {
    fn of(pid: u32, dir: &Path) -> Usage {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let count = |dir: &Path| fs::read_dir(dir).map_or(0, Iterator::count);
        Usage {
            memory: kib("RssAnon:"),
            mapped: kib("RssShmem:"),
            descriptors: count(Path::new(&format!("/proc/{pid}/fd"))),
            files: count(dir),
        }
    }
}

fn median(values: &[Usage], of: impl Fn(&Usage) -> usize) -> usize {
    churn::median(&values.iter().map(of).collect::<Vec<_>>())
}

/// The names of the samples of an exposition whose values never decrease.
fn totals(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.split(['{', ' ']).next());
    names.filter(|name| is_total(name)).map(str::to_owned).collect()
}

fn assert_no_resets(api: &str, names: &BTreeSet<String>, range: u64) {
    for name in names {
        let query = |what: &str| value(api, &format!("sum({what}({name}[{range}s]))"));
        assert!(query("count_over_time") > Some(0.0), "{name}");
        assert_eq!(query("resets"), Some(0.0), "{name}");
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "prints measurements")]
fn memory_and_descriptors_stay_flat_and_no_total_decreases_while_workers_are_replaced() {
    if !is_installed("prometheus") {
        return;
    }
    let Scale { workers, samples, restarts, time } = Scale::new();
    let (dir, home) = (TestDir::in_memory("fleet"), TestDir::new("fleet-prometheus"));
    let (target, truth) = (home.path().join("fleet.json"), home.path().join("truth"));
    fs::write(&truth, [0; 16]).unwrap();
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0", "--linger", "50s", "--dir"]).arg(dir.path());
    command.arg("--discovery.file").arg(&target).arg("--").arg(example("test-fleet").get_program());
    command.args([workers, samples, restarts].map(|number| number.to_string())).arg(&truth);
    let mut launcher = Running::start(&mut command);
    let url = launcher.url();
    launcher.line_after("ready");
    let job = format!(
        "{{job_name: fleet, file_sd_configs: [{{files: ['{}'], refresh_interval: 1s}}]}}",
        target.display()
    );
    let (_prometheus, api) = scraping(home.path(), &job, &[]);
    let text = wait_for("all samples", 3 * PATIENCE, || {
        // The machine may be busy while all workers start.
        let text = get(&url).ok()?.body;
        let found = text.lines().filter(|line| line.starts_with("fleet_")).count();
        (found >= samples).then_some(text)
    });
    let names = totals(&text);
    assert!(names.len() > 10, "{names:?}");

    // Prometheus waits up to five seconds before it scrapes a new target.
    wait_for("the first scrape of Prometheus", 3 * PATIENCE, || {
        value(&api, "sum(fleet_jobs_total)").filter(|jobs| *jobs > 0.0)
    });

    let (start, mut usages, mut queried) = (Instant::now(), Vec::new(), Duration::ZERO);
    while start.elapsed() < time {
        thread::park_timeout(Duration::from_secs(1));
        assert!(launcher.is_running(), "{}", launcher.stderr());
        usages.push(Usage::of(launcher.id(), dir.path()));
        if start.elapsed() >= queried + QUERY_RANGE {
            queried = start.elapsed();
            assert_no_resets(&api, &names, QUERY_RANGE.as_secs() + 10);
        }
    }
    drop(launcher.stdin());
    // The last scrape is one of Prometheus.
    let output = launcher.end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("no scrape") && !stderr.contains("series file"), "{stderr}");
    let words = fs::read(&truth).unwrap();
    let word = |at: usize| u64::from_le_bytes(words[at..at + 8].try_into().unwrap()) as f64;
    let (begun, counted) = (word(0), word(8));
    let last = wait_for("the last scrape", PATIENCE, || {
        let last = value(&api, "sum(max_over_time(fleet_jobs_total[1m]))")?;
        (last >= counted).then_some(last)
    });
    assert!(last <= begun, "{counted} <= {last} <= {begun}");
    assert_no_resets(&api, &names, QUERY_RANGE.as_secs() + 10);
    let range = (start.elapsed() + QUERY_RANGE).as_secs();
    let over_run = |function: &str, metric: &str| {
        value(&api, &format!("{function}({metric}[{range}s])")).unwrap_or(f64::NAN)
    };
    // Medians of eight parts of the time.
    let parts: Vec<&[Usage]> = usages.chunks(usages.len().div_ceil(8)).collect();
    let medians = |of: fn(&Usage) -> usize| -> Vec<usize> {
        parts.iter().map(|part| median(part, of)).collect()
    };
    let memory = medians(|usage| usage.memory);
    let mapped = medians(|usage| usage.mapped);
    let descriptors = medians(|usage| usage.descriptors);
    let files = medians(|usage| usage.files);
    let scraped = over_run("avg_over_time", "up");
    eprintln!(
        "{workers} workers, {} replaced, {samples} samples, {:.0} s; memory of {memory:?} KiB and {mapped:?} KiB of files, \
         {descriptors:?} descriptors, \
         {files:?} files; scrapes of {:.0} ms, at most {:.0} ms, {:.1} % of them in time; {counted} jobs",
        restarts * usages.len(),
        time.as_secs_f64(),
        over_run("avg_over_time", "scrape_duration_seconds") * 1e3,
        over_run("max_over_time", "scrape_duration_seconds") * 1e3,
        scraped * 100.0,
    );
    if time >= SETTLED {
        // The first quarter fills the caches and the archive. Files that wait for compaction have descriptors.
        let (early, late) =
            (&usages[usages.len() / 4..usages.len() / 2], &usages[usages.len() * 3 / 4..]);
        let both = |of: fn(&Usage) -> usize| (median(early, of), median(late, of));
        let (memory, descriptors) = (both(|usage| usage.memory), both(|usage| usage.descriptors));
        assert!(memory.1 < memory.0 * 11 / 10 + 8 * 1024, "{usages:?}");
        assert!(descriptors.1 < descriptors.0 * 13 / 10 + 32, "{usages:?}");
    }
}
