//! Workers that are killed at any moment lose no recording, and leave files that every reader can read.
//!
//! `MULTIPROM_KILLS` sets the number of kills; the default is 1,200.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use multiprom::MultiProcessCollector;
use multiprom::collector::MultiProcessCollectorBuilder;
use multiprom::inspect::{FileLayout, Liveness, list_files};

use crate::support::process::PATIENCE;
use crate::support::random::random;
use crate::support::samples::{assert_same, own_samples, python_samples, samples_of};
use crate::support::{TestDir, example, output_of, python, root, skip};

const DEFAULT_KILLS: usize = 1_200;
/// Kills in one directory.
const BATCH: usize = 200;
const WORKERS_AT_A_TIME: usize = 2;
/// A worker is killed at most this long after its start; of each three workers two, after their first operation was noticed.
const MAX_LIFE: Duration = Duration::from_millis(30);
const SEED: u64 = 0x6d75_6c74_6970_726f;
const SIGKILL: i32 = 9;

/// The same as in `tests/programs/killed.rs`.
const THREADS: usize = 3;
const ROW: usize = 8;

/// The series that the words of a row count: the sample that shows the number of operations, and the amount that one
/// operation adds to it.
const SERIES: [(&str, f64); 7] = [
    ("ones_total", 1.0),
    ("halves_total", 0.5),
    ("sizes_count", 1.0),
    ("times_count", 1.0),
    ("level", 1.0),
    ("sets_total", 1.0),
    ("set_sizes_count", 1.0),
];
/// The words of the families whose label sets the threads create in ascending order.
const LABELLED: [usize; 2] = [5, 6];

/// Values by name and label values.
type Values = BTreeMap<(String, Vec<String>), f64>;

/// A worker that was killed, and the rows of its truth file.
struct Killed {
    pid: String,
    truth: [[u64; ROW]; THREADS],
}

impl Killed {
    /// The number of completed operations on a series.
    fn count(&self, series: usize) -> u64 {
        self.truth.iter().map(|row| row[series]).sum()
    }
}

/// When the life of a worker begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Birth {
    /// With its process, so that it is killed at any moment of its start.
    Start,
    /// With its first operation, however late a busy machine runs it.
    Recording,
}

struct Worker {
    child: Child,
    truth: PathBuf,
    birth: Birth,
    life: Duration,
    due: Instant,
}

impl Worker {
    fn start(dir: &Path, truth: PathBuf, birth: Birth, life: Duration) -> Worker {
        fs::write(&truth, [0; THREADS * ROW * size_of::<u64>()]).unwrap();
        let child = example("test-killed").arg(dir).arg(&truth).spawn().unwrap();
        Worker { child, truth, birth, life, due: Instant::now() + life }
    }

    /// Kills it at the end of its life.
    fn kill(mut self) -> Killed {
        if self.birth == Birth::Recording {
            let has_recorded = || fs::read(&self.truth).unwrap().iter().any(|byte| *byte != 0);
            // Polls more often than `wait_for`: the label sets are created directly after the first operations.
            let start = Instant::now();
            while !has_recorded() {
                assert!(start.elapsed() < PATIENCE, "no operation after {PATIENCE:?}");
                std::thread::park_timeout(Duration::from_micros(100));
            }
            self.due = Instant::now() + self.life;
        }
        while let Some(left) = self.due.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "a worker exited before it was killed");
        let bytes = fs::read(&self.truth).unwrap();
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let truth = [(); THREADS].map(|()| [(); ROW].map(|()| words.next().unwrap()));
        Killed { pid: self.child.id().to_string(), truth }
    }
}

/// Starts workers and kills each at a random moment.
fn kill_batch(dir: &TestDir, metrics: &Path, kills: usize, seed: &mut u64) -> Vec<Killed> {
    let mut running: Vec<Worker> = Vec::new();
    let mut killed = Vec::new();
    for number in 0..kills + WORKERS_AT_A_TIME {
        if number < kills {
            let life = Duration::from_micros(random(seed) % MAX_LIFE.as_micros() as u64);
            let truth = dir.path().join(format!("truth-{number}"));
            let birth = if number % 3 == 0 { Birth::Start } else { Birth::Recording };
            running.push(Worker::start(metrics, truth, birth, life));
        }
        if running.len() == WORKERS_AT_A_TIME || number >= kills {
            let order = |at: &usize| (running[*at].birth, running[*at].due);
            let Some(first) = (0..running.len()).min_by_key(order) else { break };
            killed.push(running.swap_remove(first).kill());
        }
    }
    assert_eq!(killed.len(), kills);
    killed
}

/// The values of a collector, which must not skip anything.
fn values(builder: MultiProcessCollectorBuilder) -> Values {
    let problems = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&problems);
    let collector =
        builder.on_problem(move |error| reported.lock().unwrap().push(error.to_string()));
    let (lines, _) = samples_of(&collector.build().unwrap());
    assert_eq!(*problems.lock().unwrap(), Vec::<String>::new());
    let key = |labels: BTreeMap<_, _>| labels.into_values().collect();
    lines
        .into_iter()
        .map(|line| ((line.name.clone(), key(line.labels.clone())), line.value()))
        .collect()
}

/// The sum over all label sets.
fn sum(values: &Values, name: &str) -> f64 {
    values.iter().filter(|((known, _), _)| known == name).map(|(_, value)| value).sum()
}

/// Compares the values of killed workers with their truth: no operation is missing, and at most the operations during
/// which threads were killed are in excess.
#[track_caller]
fn assert_true(what: &str, values: &Values, killed: &[&Killed]) {
    let mut more = 0.0;
    for (series, (name, unit)) in SERIES.into_iter().enumerate() {
        let truth: u64 = killed.iter().map(|worker| worker.count(series)).sum();
        let ahead = sum(values, name) / unit - truth as f64;
        assert!(ahead >= 0.0, "{what}: {name} is {} operations behind {truth}", -ahead);
        more += ahead;
    }
    let threads = killed.len() * THREADS;
    assert!(more <= threads as f64, "{what}: {more} operations ahead, of {threads} threads");

    // Each observation is 1. A recording updates the sum last.
    for (family, first) in [("sizes", 2), ("times", 3), ("set_sizes", 6)] {
        let truth: u64 = killed.iter().map(|worker| worker.count(first)).sum();
        let observed = sum(values, &format!("{family}_sum"));
        let count = sum(values, &format!("{family}_count"));
        assert!(truth as f64 <= observed && observed <= count, "{what}: sum of {family}");
    }
    for ((name, labels), count) in values {
        let Some(family) = name.strip_suffix("_count") else { continue };
        let bucket = |bound: &str| {
            // The label of bounds sorts before that of sets.
            let labels = std::iter::once(bound.to_owned()).chain(labels.iter().cloned());
            values.get(&(format!("{family}_bucket"), labels.collect())).copied()
        };
        // A series without all of its buckets has counted nothing.
        if family != "times" && *count > 0.0 {
            let buckets = ["0.5", "2.0", "inf"].map(bucket);
            assert_eq!(
                buckets,
                [Some(0.0), Some(*count), Some(*count)],
                "{what}: {name} {labels:?}"
            );
        }
    }
    for series in LABELLED {
        let (name, _) = SERIES[series];
        let rows = || killed.iter().flat_map(|worker| worker.truth).map(|row| row[series]);
        for ((_, labels), value) in values.iter().filter(|((known, _), _)| known == name) {
            let set: u64 = labels[0].split('-').next().unwrap().parse().unwrap();
            let done = rows().filter(|done| *done > set).count();
            let under_way = rows().filter(|done| *done == set).count();
            let allowed = done as f64..=(done + under_way) as f64;
            assert!(
                allowed.contains(value),
                "{what}: {name} of set {set} is {value}, not {allowed:?}"
            );
        }
    }
}

fn check_batch(metrics: &Path, killed: &[Killed]) {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in list_files(metrics).unwrap() {
        assert!(file.error.is_none(), "{file:?}");
        assert_eq!(file.liveness, Liveness::Dead, "{file:?}");
        assert!(matches!(file.layout, None | Some(FileLayout::Empty | FileLayout::Own)));
        let pid = file.id.split('-').next().unwrap().to_owned();
        files.entry(pid).or_default().push(file.path);
    }
    let mut sums = Values::new();
    for worker in killed {
        let paths = files.remove(&worker.pid).unwrap_or_default();
        // A worker that is killed before it has a file has recorded nothing.
        let values = if paths.is_empty() {
            Values::new()
        } else {
            let builder = MultiProcessCollector::builder();
            values(paths.iter().fold(builder, MultiProcessCollectorBuilder::file))
        };
        assert_true(&format!("worker {} alone", worker.pid), &values, &[worker]);
        for (key, value) in values {
            *sums.entry(key).or_default() += value;
        }
    }
    assert!(files.is_empty(), "files of no worker: {files:?}");
    let merged = values(MultiProcessCollector::builder().directory(metrics));
    assert_true("all workers merged", &merged, &killed.iter().collect::<Vec<_>>());
    assert_eq!(merged, sums, "the merged values are the sums of the workers");
}

/// Compares multiprom and the Python client as readers of the files of killed workers.
fn compare_with_python(metrics: &Path) {
    let Some(mut python) = python("newest") else { return };
    let text = output_of(python.arg(root().join("tests/python/collect.py")).arg(metrics));
    let (mut own, mut reference) = (own_samples(metrics).0, python_samples(&text).0);
    // The Python client exports a histogram without all of its buckets differently.
    own.retain(|line| line.metric_type != "histogram");
    reference.retain(|line| line.metric_type != "histogram");
    assert!(own.iter().any(|line| line.name == "sets_total"));
    assert_same("files of killed workers", &own, &reference);
}

#[test]
fn killed_workers_lose_no_recording() {
    let kills = match std::env::var("MULTIPROM_KILLS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => DEFAULT_KILLS,
    };
    if kills == 0 {
        return skip("MULTIPROM_KILLS is 0");
    }
    let mut seed = SEED;
    let (mut left, mut operations, mut idle) = (kills, 0, 0);
    while left > 0 {
        let dir = TestDir::new("kill");
        let metrics = dir.path().join("metrics");
        fs::create_dir(&metrics).unwrap();
        let killed = kill_batch(&dir, &metrics, left.min(BATCH), &mut seed);
        left -= killed.len();
        check_batch(&metrics, &killed);
        for worker in &killed {
            let count: u64 = (0..SERIES.len()).map(|series| worker.count(series)).sum();
            operations += count;
            idle += usize::from(count == 0);
        }
        if left == 0 {
            compare_with_python(&metrics);
        }
    }
    // If most kills came before the first operation, the test would check nothing.
    assert!(idle * 2 < kills, "{idle} of {kills} workers were killed before they recorded");
    println!("{kills} kills, {idle} of them before the first operation, {operations} operations");
}
