//! Directories for benchmarks, and processes that fill them.
//!
//! A benchmark's program starts itself again as a worker: [`become_worker_if_asked`] comes first in
//! its `main`. Each worker writes [`SERIES`] series and ends.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};

use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry};

/// Samples that each process has in the directory.
#[allow(dead_code, reason = "one of several programs prints it")]
pub const SERIES: usize = COUNTERS + 2 * GAUGES + HISTOGRAMS * HISTOGRAM_SAMPLES;

const COUNTERS: usize = 1_200;
const GAUGES: usize = 80;
const HISTOGRAMS: usize = 40;
/// The 14 default buckets, that of `+Inf`, and the sum.
const HISTOGRAM_SAMPLES: usize = 16;

/// Processes that run at once.
const AT_ONCE: usize = 8;

const WORKER_VARIABLE: &str = "MULTIPROM_BENCH_WORKER_DIR";

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

/// Records and exits, in a process that [`fill`] has started.
#[allow(dead_code, reason = "not every program fills a directory")]
pub fn become_worker_if_asked() {
    if let Some(dir) = env::var_os(WORKER_VARIABLE) {
        record(Path::new(&dir)).expect("a worker can record");
        process::exit(0);
    }
}

/// Has `processes` processes record into `dir`.
#[allow(dead_code, reason = "not every program fills a directory")]
pub fn fill(dir: &Path, processes: usize) -> io::Result<()> {
    let program = env::current_exe()?;
    let mut left = processes;
    while left > 0 {
        let start = |_| Command::new(&program).env(WORKER_VARIABLE, dir).spawn();
        let batch: io::Result<Vec<Child>> = (0..left.min(AT_ONCE)).map(start).collect();
        for mut worker in batch? {
            let status = worker.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("a worker ended with {status}")));
            }
            left -= 1;
        }
    }
    Ok(())
}

/// Records as one process of many does; what it has is in its files for as long as the registry is there.
pub fn record(dir: &Path) -> multiprom::Result<Registry> {
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let seed = process::id();

    let labels = ["method", "route", "code"];
    let requests =
        Counter::builder("requests_total", "Requests.").labels(labels).register(&registry)?;
    for at in 0..COUNTERS {
        let request = request(at);
        requests.with(request.each_ref().map(String::as_str)).inc_by(f64::from(seed) + at as f64);
    }

    for (name, mode) in [("queue_depth", GaugeMode::All), ("in_flight", GaugeMode::LiveSum)] {
        let builder = Gauge::builder(name, "Something that goes up and down.").mode(mode);
        let family = builder.labels(["queue"]).register(&registry)?;
        for at in 0..GAUGES {
            family.with([&format!("queue-{at}")]).set(f64::from(seed) * 0.25 + at as f64);
        }
    }

    let latency = Histogram::builder("latency_seconds", "Latency by route.");
    let latency = latency.labels(["route"]).register(&registry)?;
    for at in 0..HISTOGRAMS {
        let route = latency.with([&format!("/api/v1/items/{at}")]);
        (0..20).for_each(|step| route.observe(f64::from(step) * 0.37));
    }
    Ok(registry)
}

/// Method, route and code of one of many series of requests.
pub fn request(at: usize) -> [String; 3] {
    let method = ["GET", "POST", "PUT", "DELETE"][at % 4];
    let code = ["200", "201", "404", "500", "503"][at / 4 % 5];
    [method.to_owned(), format!("/api/v1/items/{}", at / 20), code.to_owned()]
}

/// Values from below the first default bound to above the last, in an order that no processor learns.
#[allow(dead_code, reason = "not every program observes")]
pub fn observations() -> Vec<f64> {
    let mut state = 1u64;
    let mut next = || {
        // The generator of Knuth's MMIX; the upper bits are good enough here.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as f64 / f64::from(u32::MAX)
    };
    (0..4096).map(|_| 0.002 * 10_000f64.powf(next())).collect()
}
