//! Measures contestants against each other in rounds, so that all see the same machine.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// How long and how often each contestant runs.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub slice: Duration,
}

/// Something that is measured: runs a number of batches and gives the time.
pub struct Contestant {
    name: &'static str,
    /// Operations in one batch.
    batch: u64,
    threads: u32,
    run: Box<dyn Fn(u64) -> Duration>,
}

impl Contestant {
    /// `record` makes `batch` operations.
    pub fn new(name: &'static str, batch: usize, record: impl Fn() + 'static) -> Contestant {
        let run = move |count| repeat(count, &record);
        Contestant { name, batch: batch as u64, threads: 1, run: Box::new(run) }
    }

    /// As [`new`](Self::new), by two threads at once; the time is that of each.
    pub fn on_two_threads(
        name: &'static str,
        batch: usize,
        record: impl Fn() + Sync + 'static,
    ) -> Contestant {
        let run = move |count| {
            let start = Barrier::new(2);
            let timed = || {
                start.wait();
                repeat(count, &record)
            };
            thread::scope(|scope| {
                let other = scope.spawn(timed);
                let own = timed();
                own.max(other.join().expect("recording does not panic"))
            })
        };
        Contestant { name, batch: batch as u64, threads: 2, run: Box::new(run) }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn batch(&self) -> u64 {
        self.batch
    }

    pub fn is_alone(&self) -> bool {
        self.threads == 1
    }

    /// Makes so many batches.
    pub fn repeat(&self, batches: u64) {
        (self.run)(batches);
    }

    /// How many batches fill `slice`.
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
    let begin = Instant::now();
    for _ in 0..count {
        record();
    }
    begin.elapsed()
}

/// The times of one contestant, one for each round.
pub struct Times {
    pub name: &'static str,
    per_round: Vec<f64>,
}

/// Runs each contestant once in each round; gives seconds per operation.
pub fn measure(contestants: &[&Contestant], effort: Effort) -> Vec<Times> {
    let counts: Vec<u64> =
        contestants.iter().map(|contestant| contestant.calibrate(effort.slice)).collect();
    let mut times: Vec<Times> = contestants
        .iter()
        .map(|contestant| Times { name: contestant.name, per_round: Vec::new() })
        .collect();
    for round in 0..effort.rounds {
        for step in 0..contestants.len() {
            // Each round starts with another one, so that none always follows the same.
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

    /// What this took for each unit of what `other` took, round by round.
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
