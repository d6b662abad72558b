//! A server with many workers, some of which are replaced every second.
//!
//! usage: test-fleet WORKERS SAMPLES RESTARTS TRUTH
//!
//! The workers record into the directory of `$PROMETHEUS_MULTIPROC_DIR`, so that a scrape has about SAMPLES samples; each
//! of them records an eighth. RESTARTS workers are replaced per second, by turns by SIGKILL and SIGTERM. The program prints `ready`
//! when all workers have recorded once, and ends when its standard input does.
//!
//! TRUTH is a file of two words: the number of jobs begun and the number of jobs counted. The merged total is never outside
//! of this range.
#![allow(clippy::print_stdout, reason = "a program")]
#![expect(unsafe_code, reason = "kill")]

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry};

use super::fork::{in_child, wait_status};
use super::truth::{self, Truth};

const BUCKETS: [f64; 8] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Samples of a label set of the histogram: the buckets, `+Inf`, `_sum` and `_count`.
const HISTOGRAM_SAMPLES: usize = BUCKETS.len() + 3;
/// A worker records one of this many parts of the label sets.
const PARTS: usize = 8;
/// How many jobs a worker does at a time, and the pause after them.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// The label sets of each family.
#[derive(Clone, Copy)]
struct Sizes {
    histograms: usize,
    counters: usize,
}

impl Sizes {
    /// Two thirds of the samples are of histograms.
    fn new(samples: usize) -> Sizes {
        let histograms = samples * 2 / 3 / HISTOGRAM_SAMPLES;
        Sizes { histograms, counters: samples - histograms * HISTOGRAM_SAMPLES }
    }
}

fn work(worker: usize, sizes: Sizes, truth: &Truth) -> multiprom::Result<()> {
    let dir = std::env::var_os("PROMETHEUS_MULTIPROC_DIR").expect("a directory");
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let jobs = Counter::builder("fleet_jobs_total", "Jobs.").labels(["set"]).register(&registry)?;
    let seconds = Histogram::builder("fleet_duration_seconds", "Durations.");
    let seconds = seconds.buckets(BUCKETS).labels(["set"]).register(&registry)?;
    let busy = Gauge::builder("fleet_busy", "Workers.").mode(GaugeMode::LiveSum);
    busy.register(&registry)?.set(1.0);
    let sets = |count: usize| (worker % PARTS..count).step_by(PARTS);
    let durations: Vec<_> =
        sets(sizes.histograms).map(|set| seconds.with([format!("{set:06}")])).collect();
    let job = |set: usize| {
        truth.add(0);
        jobs.with([format!("{set:06}")]).inc();
        truth.add(1);
    };
    for (at, duration) in durations.iter().enumerate() {
        duration.observe(BUCKETS[at % BUCKETS.len()]);
    }
    let jobs_of: Vec<usize> = sets(sizes.counters).collect();
    jobs_of.iter().copied().for_each(job);
    for round in 0_usize.. {
        for at in round * BATCH..(round + 1) * BATCH {
            durations[at % durations.len()].observe(BUCKETS[at % BUCKETS.len()]);
            job(jobs_of[at % jobs_of.len()]);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workers, samples, restarts, truth] = arguments.as_slice() else {
        panic!("usage: test-fleet WORKERS SAMPLES RESTARTS TRUTH")
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let truth = truth::open(truth);
    let (sizes, pause) = (Sizes::new(number(samples)), 1.0 / number(restarts) as f64);
    let start = |worker: usize| in_child(|| work(worker, sizes, &truth).expect("a worker records"));
    let mut running: Vec<libc::pid_t> = (0..number(workers)).map(start).collect();
    println!("ready");
    // The only thread that is started: it does nothing but read.
    let is_over: &'static AtomicBool = Box::leak(Box::default());
    let reader = move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        is_over.store(true, Ordering::Relaxed);
    };
    thread::spawn(reader);
    let end = |pid: libc::pid_t, signal: libc::c_int| {
        // SAFETY: takes numbers only, and the child was not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        assert_eq!(wait_status(pid), signal, "a worker failed");
    };
    for turn in 0_usize.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(Duration::from_secs_f64(pause));
        let worker = turn % running.len();
        end(running[worker], if turn % 2 == 0 { libc::SIGKILL } else { libc::SIGTERM });
        running[worker] = start(worker);
    }
    for pid in running {
        end(pid, libc::SIGKILL);
    }
}
