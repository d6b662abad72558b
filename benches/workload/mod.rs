//! Directories for benchmarks, and processes that record into them.
//!
//! A benchmark starts itself again as a worker: its `main` calls [`become_worker_if_asked`] first. Each worker
//! records the samples of one process of its [`Shape`], and exits. `compare/python_workload.py` records the same with
//! the Python client.

#![allow(dead_code, reason = "each program that includes this file uses a part of it")]

use std::collections::VecDeque;
use std::env;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::{self, Child, Command};
use std::str::FromStr;

use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

#[path = "../../tests/support/temp_dir.rs"]
mod temp_dir;

pub use temp_dir::TestDir;

/// Samples of one histogram in a series file: the 14 default buckets, that of `+Inf`, and the sum.
const HISTOGRAM_SAMPLES: usize = 16;
/// Samples of one summary: count and sum.
const SUMMARY_SAMPLES: usize = 2;

/// Number of workers that run at once.
const AT_ONCE: usize = 4;

/// The environment variable with the [`Task`] of a worker.
const WORKER_VARIABLE: &str = "MULTIPROM_BENCH_WORKER";
const DIR_VARIABLE: &str = "MULTIPROM_BENCH_WORKER_DIR";

/// The samples that the processes of a directory record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub name: &'static str,
    pub processes: usize,
    /// Samples per process whose keys all processes have.
    pub shared: usize,
    /// Samples per process whose keys no other process has.
    pub own: usize,
    pub types: Types,
    pub order: Order,
}

/// The types of metrics in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// 5 % gauges, 30 % samples of histograms, 5 % samples of summaries; the rest are counters.
    Mix,
    Counters,
}

/// The order in which a process creates its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same in all processes.
    Same,
    /// Shuffled, differently in each process.
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

    /// Samples per process.
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

/// The work of one worker, passed in its environment.
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
        let invalid = || io::Error::other(format!("`{text}` is not the task of a worker"));
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

/// Records and exits, if this process was started by [`fill`].
pub fn become_worker_if_asked() {
    if let (Some(dir), Ok(task)) = (env::var_os(DIR_VARIABLE), env::var(WORKER_VARIABLE)) {
        let task: Task = task.parse().expect("the task of a worker");
        record(Path::new(&dir), &task.shape, task.number).expect("a worker can record");
        process::exit(0);
    }
}

/// Records all processes of a shape into `dir`.
pub fn fill(dir: &Path, shape: &Shape) -> io::Result<()> {
    fill_part(dir, shape, 0..shape.processes)
}

/// Records the processes with these numbers into `dir`.
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

/// Records what the process with this number does. Its files belong to a living writer until the registry is dropped.
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
        let depth = Gauge::builder("queue_depth", "Waiting jobs.").mode(GaugeMode::Sum);
        let peak = Gauge::builder("queue_peak", "Most waiting jobs so far.").mode(GaugeMode::Max);
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

    /// Creates `samples` samples, whose label values contain `group`.
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

/// The number of series of each type for a number of samples.
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

/// The label values of one series: method, route and code.
pub fn request(at: usize) -> [String; 3] {
    request_of("items", at)
}

fn request_of(group: &str, at: usize) -> [String; 3] {
    let method = ["GET", "POST", "PUT", "DELETE"][at % 4];
    let code = ["200", "201", "404", "500", "503"][at / 4 % 5];
    [method.to_owned(), format!("/api/v1/{group}/{}", at / 20), code.to_owned()]
}

/// Values from below the first default bound to above the last, in an order that branch predictors do not learn.
pub fn observations() -> Vec<f64> {
    let mut random = Random(1);
    let mut next = || f64::from(random.next()) / f64::from(u32::MAX);
    (0..4096).map(|_| 0.002 * 10_000f64.powf(next())).collect()
}

/// The linear congruential generator of Knuth's MMIX; its upper bits are random enough.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        let state = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = state.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}
