//! Measures contestants in alternating rounds, so that changes of the machine's load affect all of them alike.
//!
//! Times are processor time of the measured thread, which waits for nothing. Two threads slow each other down only while both
//! have a processor, so runs of two threads are short, and are repeated if the threads did not run at once.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clocks;

/// A run of two threads counts if both had a processor for this share of its duration.
const MIN_OVERLAP: f64 = 0.9;
/// A measurement of two threads is the sum of `RUNS` short runs, each of 1/`SHARE` of the batches: about 2 ms, in which the
/// threads are rarely interrupted.
const RUNS: u64 = 4;
const SHARE: u64 = 16;
/// How often a run is tried. The one with the longest overlap counts then.
const MAX_TRIES: usize = 10;

/// The number of rounds, and about how much processor time each contestant's run in a round represents.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub slice: Duration,
}

/// An operation that is measured: `run` returns the processor time of a thread for a number of batches. Contestants with two
/// threads perform a quarter of them and extrapolate.
pub struct Contestant {
    name: &'static str,
    /// Operations in one batch.
    batch: u64,
    run: Box<dyn Fn(u64) -> Duration>,
}

impl Contestant {
    /// `record` performs `batch` operations.
    pub fn new(name: &'static str, batch: usize, record: impl Fn() + 'static) -> Contestant {
        let run = move |count| repeat(count, &record);
        Contestant { name, batch: batch as u64, run: Box::new(run) }
    }

    /// Like [`new`](Self::new), but two threads run at once; the time is that of the slower thread.
    pub fn on_two_threads(
        name: &'static str,
        batch: usize,
        record: impl Fn() + Sync + 'static,
    ) -> Contestant {
        let run = move |count: u64| {
            let each = count.div_ceil(SHARE);
            let total: Duration = (0..RUNS).map(|_| run_at_once(each, &record)).sum();
            total.mul_f64(count as f64 / (each * RUNS) as f64)
        };
        Contestant { name, batch: batch as u64, run: Box::new(run) }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// Runs `batches` batches. Only for contestants with one thread.
    pub fn repeat(&self, batches: u64) {
        (self.run)(batches);
    }

    /// Returns how many batches take about `slice`.
    fn calibrate(&self, slice: Duration) -> u64 {
        let mut count = 16;
        loop {
            let time = (self.run)(count);
            if time > slice / 8 {
                let each = time.as_secs_f64() / count as f64;
                return ((slice.as_secs_f64() / each) as u64).max(1);
            }
            count *= 2;
        }
    }
}

#[inline(always)]
fn repeat(count: u64, record: &impl Fn()) -> Duration {
    let begin = clocks::own_thread();
    for _ in 0..count {
        record();
    }
    clocks::own_thread() - begin
}

/// Runs `count` batches in each of two threads, until both have had a processor for most of the time.
fn run_at_once(count: u64, record: &(impl Fn() + Sync)) -> Duration {
    let (mut time, mut longest) = (Duration::ZERO, 0.0);
    for _ in 0..MAX_TRIES {
        let (slower, overlap) = run_two(count, record);
        if overlap > longest {
            (time, longest) = (slower, overlap);
        }
        if longest >= MIN_OVERLAP {
            return time;
        }
    }
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        eprintln!(
            "multiprom-compare: the machine is too busy: two threads had a processor for only {:.0} % of a run",
            longest * 100.0
        );
    }
    time
}

/// Returns the time of the slower thread, and for which share of the run the threads had a processor.
fn run_two(count: u64, record: &(impl Fn() + Sync)) -> (Duration, f64) {
    let arrived = AtomicU32::new(0);
    let timed = || {
        arrived.fetch_add(1, Ordering::AcqRel);
        // Neither thread sleeps: it would start later than the one that wakes it.
        while arrived.load(Ordering::Acquire) < 2 {
            std::hint::spin_loop();
        }
        let begin = Instant::now();
        let time = repeat(count, record);
        (time, begin.elapsed())
    };
    let [(own, own_wall), (other, other_wall)] = thread::scope(|scope| {
        let other = scope.spawn(timed);
        [timed(), other.join().expect("recording does not panic")]
    });
    let wall = own_wall.max(other_wall).as_secs_f64().max(f64::MIN_POSITIVE);
    (own.max(other), (own + other).as_secs_f64() / 2.0 / wall)
}

/// The times of one contestant in seconds per operation, one per round.
pub struct Times {
    pub name: &'static str,
    per_round: Vec<f64>,
}

/// Runs each contestant once per round.
pub fn measure(contestants: &[&Contestant], effort: Effort) -> Vec<Times> {
    let counts: Vec<u64> =
        contestants.iter().map(|contestant| contestant.calibrate(effort.slice)).collect();
    let mut times: Vec<Times> = contestants
        .iter()
        .map(|contestant| Times { name: contestant.name, per_round: Vec::new() })
        .collect();
    for round in 0..effort.rounds {
        for step in 0..contestants.len() {
            // The order rotates, so that no contestant always follows the same one.
            let at = (round + step) % contestants.len();
            let time = (contestants[at].run)(counts[at]).as_secs_f64();
            times[at].per_round.push(time / (counts[at] * contestants[at].batch) as f64);
        }
    }
    times
}

impl Times {
    pub fn new(name: &'static str) -> Times {
        Times { name, per_round: Vec::new() }
    }

    pub fn push(&mut self, seconds: f64) {
        self.per_round.push(seconds);
    }

    /// The median, in seconds.
    pub fn median(&self) -> f64 {
        median(self.per_round.clone())
    }

    /// Divides these times by those of `other`, round by round.
    pub fn ratio(&self, other: &Times) -> Ratio {
        let pairs = self.per_round.iter().zip(&other.per_round);
        let ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(0.0, f64::max);
        Ratio { median: median(ratios), lowest, highest }
    }
}

pub struct Ratio {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ratio { median, lowest, highest } = self;
        write!(f, "{median:.2}, {lowest:.2} to {highest:.2}")
    }
}

/// The median of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
