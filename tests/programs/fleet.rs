//! A server with many workers, of which one is replaced several times a second.
//!
//! usage: test-fleet WORKERS SAMPLES RESTARTS TRUTH
//!
//! The workers record into the directory of `$PROMETHEUS_MULTIPROC_DIR`, so that a scrape has about SAMPLES samples; each
//! of them records an eighth. RESTARTS workers are replaced per second, by turns by SIGKILL and SIGTERM. The program prints `ready`
//! when all workers have recorded once, and ends when its standard input does.
//!
//! TRUTH is a file of two words: the jobs that were begun, and those that are counted. So the merged total is between them.
#![allow(clippy::print_stdout, reason = "a program")]
#![expect(unsafe_code, reason = "kill, and atomic words in a mapped file")]
#![expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to pages")]

use std::fs::OpenOptions;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use memmap2::MmapRaw;
use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry};

use super::fork::{in_child, wait_status};

const BUCKETS: [f64; 8] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Samples of a label set of the histogram: the buckets, `+Inf`, `_sum` and `_count`.
const HISTOGRAM_SAMPLES: usize = BUCKETS.len() + 3;
/// A worker records one of this many parts of the label sets.
const PARTS: usize = 8;
/// How many jobs a worker does at a time, and the pause after them.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// Words that all workers share.
struct Truth(MmapRaw);

impl Truth {
    fn add(&self, at: usize) {
        assert!((at + 1) * size_of::<u64>() <= self.0.len());
        // SAFETY: within the mapping, by the assertion above.
        let word = unsafe { self.0.as_mut_ptr().cast::<u64>().add(at) };
        // SAFETY: aligned, as a mapping begins at a page; all processes access it by atomic operations.
        let word = unsafe { AtomicU64::from_ptr(word) };
        // ORDERING: between the operations that it counts.
        word.fetch_add(1, Ordering::AcqRel);
    }
}

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
    sets(sizes.counters).for_each(job);
    for round in 0_usize.. {
        for at in round * BATCH..(round + 1) * BATCH {
            durations[at % durations.len()].observe(BUCKETS[at % BUCKETS.len()]);
            job(worker % PARTS
                + at * PARTS % sizes.counters.next_multiple_of(PARTS).saturating_sub(PARTS));
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
    let truth = OpenOptions::new().read(true).write(true).open(truth).expect("TRUTH is a file");
    let truth = Truth(MmapRaw::map_raw(&truth).expect("TRUTH is mapped"));
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
