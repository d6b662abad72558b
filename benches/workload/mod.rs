//! Directories for benchmarks, and processes that fill them.
//!
//! A benchmark's program starts itself again as a worker: [`become_worker_if_asked`] comes first in
//! its `main`. Each worker records what its [`Shape`] has for one process, and ends.
//! `compare/python_workload.py` records the same with the Python client.

#![allow(dead_code, reason = "each of several programs uses a part of it")]

use std::collections::VecDeque;
use std::env;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::str::FromStr;

use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

/// Samples of one histogram in a series file: the 14 default buckets, that of `+Inf`, and the sum.
const HISTOGRAM_SAMPLES: usize = 16;
/// Samples of one summary: count and sum.
const SUMMARY_SAMPLES: usize = 2;

/// Processes that run at once.
const AT_ONCE: usize = 4;

/// Holds a [`Task`].
const WORKER_VARIABLE: &str = "MULTIPROM_BENCH_WORKER";
const DIR_VARIABLE: &str = "MULTIPROM_BENCH_WORKER_DIR";

/// What the processes of a directory record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub name: &'static str,
    pub processes: usize,
    /// Samples that each process has and all have in common.
    pub shared: usize,
    /// Samples that each process has and no other.
    pub own: usize,
    pub types: Types,
    pub order: Order,
}

/// The types of metrics in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// 5 % gauges, 30 % samples of histograms, 5 % samples of summaries; the rest is counters.
    Mix,
    Counters,
}

/// In which order a process records its series for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In that of every other process.
    Same,
    /// Shuffled, in each process otherwise.
    Shuffled,
}

impl Shape {
    pub const SMALL: Shape = Shape::mix("small", 8, 500);
    pub const MEDIUM: Shape = Shape::mix("medium", 64, 2_000);
    pub const LARGE: Shape = Shape::mix("large", 256, 4_000);
    pub const DISTINCT: Shape = Shape { own: 1_000, ..Shape::mix("distinct", 64, 1_000) };
    pub const CHURN: Shape = Shape::mix("churn", 2_000, 200);
    pub const ALL: [Shape; 5] =
        [Shape::SMALL, Shape::MEDIUM, Shape::LARGE, Shape::DISTINCT, Shape::CHURN];

    pub const fn mix(name: &'static str, processes: usize, shared: usize) -> Shape {
        Shape { name, processes, shared, own: 0, types: Types::Mix, order: Order::Same }
    }

    /// Samples of each process.
    pub const fn series(&self) -> usize {
        self.shared + self.own
    }

    pub const fn entries(&self) -> usize {
        self.processes * self.series()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} x {}", self.name, self.processes, self.series())
    }
}

/// A directory in memory where there is such a file system, removed when this is dropped.
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    pub fn new(name: &str) -> ScratchDir {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let path = base.join(format!("multiprom-{name}-{}", process::id()));
        std::fs::create_dir_all(&path).expect("a scratch directory can be made");
        ScratchDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What one worker does, as its environment tells it.
#[derive(Debug)]
struct Task {
    shape: Shape,
    number: usize,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { shared, own, types, order, .. } = self.shape;
        write!(f, "{} {shared} {own} {types:?} {order:?}", self.number)
    }
}

impl FromStr for Task {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Task> {
        let invalid = || io::Error::other(format!("`{text}` is no task of a worker"));
        let words: Vec<&str> = text.split(' ').collect();
        let [number, shared, own, types, order] = words[..] else { return Err(invalid()) };
        let number_of = |word: &str| word.parse().map_err(|_| invalid());
        let types = if types == "Mix" { Types::Mix } else { Types::Counters };
        let order = if order == "Same" { Order::Same } else { Order::Shuffled };
        let (shared, own) = (number_of(shared)?, number_of(own)?);
        let shape = Shape { name: "", processes: 1, shared, own, types, order };
        Ok(Task { shape, number: number_of(number)? })
    }
}

/// Records and exits, in a process that [`fill`] has started.
pub fn become_worker_if_asked() {
    if let (Some(dir), Ok(task)) = (env::var_os(DIR_VARIABLE), env::var(WORKER_VARIABLE)) {
        let task: Task = task.parse().expect("a worker is told what to do");
        record(Path::new(&dir), &task.shape, task.number).expect("a worker can record");
        process::exit(0);
    }
}

/// Has all processes of a shape record into `dir`.
pub fn fill(dir: &Path, shape: &Shape) -> io::Result<()> {
    fill_part(dir, shape, 0..shape.processes)
}

/// Has the processes of these numbers record into `dir`.
pub fn fill_part(dir: &Path, shape: &Shape, numbers: Range<usize>) -> io::Result<()> {
    let program = env::current_exe()?;
    let mut running: VecDeque<Child> = VecDeque::new();
    for number in numbers {
        if running.len() == AT_ONCE {
            running.pop_front().map_or(Ok(()), end)?;
        }
        let task = Task { shape: *shape, number };
        let mut command = Command::new(&program);
        command.env(WORKER_VARIABLE, task.to_string()).env(DIR_VARIABLE, dir);
        running.push_back(command.spawn()?);
    }
    running.into_iter().try_for_each(end)
}

fn end(mut worker: Child) -> io::Result<()> {
    let status = worker.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("a worker ended with {status}")));
    }
    Ok(())
}

/// Records as the process of this number does; what it has is in its files for as long as the registry is
/// there.
pub fn record(dir: &Path, shape: &Shape, number: usize) -> multiprom::Result<Registry> {
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let families = Families::register(&registry)?;
    families.record(shape, number, shape.shared, "items");
    families.record(shape, number, shape.own, &format!("process-{number}"));
    Ok(registry)
}

/// The families of a process.
struct Families {
    requests: Family<Counter, 3>,
    depth: Family<Gauge>,
    peak: Family<Gauge>,
    latency: Family<Histogram>,
    size: Family<Summary>,
}

impl Families {
    fn register(registry: &Registry) -> multiprom::Result<Families> {
        let requests = Counter::builder("requests_total", "Requests.");
        let depth = Gauge::builder("queue_depth", "Jobs that wait.").mode(GaugeMode::Sum);
        let peak = Gauge::builder("queue_peak", "Jobs that ever waited.").mode(GaugeMode::Max);
        let latency = Histogram::builder("latency_seconds", "Latency by route.");
        let size = Summary::builder("response_bytes", "Size by route.");
        Ok(Families {
            requests: requests.labels(["method", "route", "code"]).register(registry)?,
            depth: depth.labels(["queue"]).register(registry)?,
            peak: peak.labels(["queue"]).register(registry)?,
            latency: latency.labels(["route"]).register(registry)?,
            size: size.labels(["route"]).register(registry)?,
        })
    }

    /// Makes so many samples, whose label values have `group` in them.
    fn record(&self, shape: &Shape, number: usize, samples: usize, group: &str) {
        let counts = Counts::new(shape.types, samples);
        let seed = number as f64;
        let order = |count| order_of(shape.order, number, count);
        for at in order(counts.counters) {
            let [method, route, code] = request_of(group, at);
            self.requests.with([&method, &route, &code]).inc_by(seed + at as f64);
        }
        for at in order(counts.gauges) {
            let (family, other) =
                if at % 2 == 0 { (&self.depth, at / 2) } else { (&self.peak, at / 2) };
            family.with([&format!("{group}-{other}")]).set(seed * 0.25 + at as f64);
        }
        for at in order(counts.histograms) {
            let latency = self.latency.with([&format!("/api/v1/{group}/{at}")]);
            (0..4).for_each(|step| latency.observe(f64::from(step) * 0.37));
        }
        for at in order(counts.summaries) {
            let size = self.size.with([&format!("/api/v1/{group}/{at}")]);
            size.observe(seed + at as f64 * 0.1);
        }
    }
}

/// Children of each type that make a number of samples.
struct Counts {
    counters: usize,
    gauges: usize,
    histograms: usize,
    summaries: usize,
}

impl Counts {
    fn new(types: Types, samples: usize) -> Counts {
        if types == Types::Counters {
            return Counts { counters: samples, gauges: 0, histograms: 0, summaries: 0 };
        }
        let gauges = samples / 20;
        let histograms = samples * 3 / 10 / HISTOGRAM_SAMPLES;
        let summaries = samples / 20 / SUMMARY_SAMPLES;
        let others = gauges + histograms * HISTOGRAM_SAMPLES + summaries * SUMMARY_SAMPLES;
        Counts { counters: samples - others, gauges, histograms, summaries }
    }
}

/// The numbers below `count` in the order in which a process records.
fn order_of(order: Order, number: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    if order == Order::Shuffled {
        let mut random = Random(number as u64 + 1);
        for at in (1..count).rev() {
            all.swap(at, random.next() as usize % (at + 1));
        }
    }
    all
}

/// Method, route and code of one of many series of requests.
pub fn request(at: usize) -> [String; 3] {
    request_of("items", at)
}

fn request_of(group: &str, at: usize) -> [String; 3] {
    let method = ["GET", "POST", "PUT", "DELETE"][at % 4];
    let code = ["200", "201", "404", "500", "503"][at / 4 % 5];
    [method.to_owned(), format!("/api/v1/{group}/{}", at / 20), code.to_owned()]
}

/// Values from below the first default bound to above the last, in an order that no processor learns.
pub fn observations() -> Vec<f64> {
    let mut random = Random(1);
    let mut next = || f64::from(random.next()) / f64::from(u32::MAX);
    (0..4096).map(|_| 0.002 * 10_000f64.powf(next())).collect()
}

/// The generator of Knuth's MMIX; the upper bits are good enough here.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        let state = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = state.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}
