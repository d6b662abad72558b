//! Registration of many label sets by several threads while another thread records.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::child;
use super::families::{self, Family, Library, Metric};
use crate::rounds::Times;
use crate::scrape::Effort;

/// The name of this measurement.
pub const WHAT: &str = "cardinality";

const THREADS: usize = 8;
/// Series that exist before, in which the other thread records in turn.
const KNOWN: usize = 100;
/// Recordings of which the time is kept; later ones are made without.
const TIMED: usize = 2_000_000;

/// The results of one library, one per round.
struct Results {
    /// Seconds per label set.
    seconds: Times,
    /// Seconds of a recording, 99.9th percentile.
    tail: Times,
    /// Bytes per label set.
    bytes: Times,
}

pub fn compare(effort: Effort) -> io::Result<()> {
    let (rounds, count) = (effort.pick(5, 1), effort.pick(100_000, 2_000));
    let mut all = Library::ALL.map(|library| Results {
        seconds: Times::new(library.name()),
        tail: Times::new(library.name()),
        bytes: Times::new(library.name()),
    });
    for _ in 0..rounds {
        for (results, library) in all.iter_mut().zip(Library::ALL) {
            let [seconds, tail, bytes] = child::run(WHAT, library, count)?;
            results.seconds.push(seconds);
            results.tail.push(tail);
            results.bytes.push(bytes);
        }
    }
    println!(
        "Registration of {count} label sets of a counter by {THREADS} threads, while another thread looks up one of \
         {KNOWN} others and increments it; medians of {rounds} rounds, in brackets that of multiprom in memory divided \
         by that of the library, lowest and highest:\n"
    );
    println!(
        "| library | label sets per second | microseconds per label set | p99.9 of a recording, microseconds | bytes \
         per label set |"
    );
    println!("|---|---:|---:|---:|---:|");
    let [_, in_memory, ..] = &all;
    for other in &all {
        let Results { seconds, tail, bytes } = other;
        print!("| {} | {:.0} |", seconds.name, 1.0 / seconds.median());
        print!(" {:.2} [{}] |", seconds.median() * 1e6, in_memory.seconds.ratio(seconds));
        print!(" {:.2} [{}] |", tail.median() * 1e6, in_memory.tail.ratio(tail));
        println!(" {:.0} [{}] |", bytes.median(), in_memory.bytes.ratio(bytes));
    }
    println!();
    Ok(())
}

/// Seconds per label set, 99.9th percentile of the seconds of a recording, and bytes per label set.
pub fn measure(library: Library, count: usize) -> io::Result<[f64; 3]> {
    let labels = families::label_sets(KNOWN + count);
    // Not 0, so that these pages are resident before memory is measured.
    let mut nanoseconds = vec![u32::MAX; TIMED];
    let family = Family::new(library, Metric::Counter, &labels)?;
    (0..KNOWN).for_each(|at| family.record(at));
    let before = child::resident()?;
    let is_done = AtomicBool::new(false);
    let start = Barrier::new(THREADS + 1);
    let (spans, timed) = thread::scope(|scope| {
        let register = |number: usize| {
            start.wait();
            let begin = Instant::now();
            (KNOWN + number..KNOWN + count).step_by(THREADS).for_each(|at| family.record(at));
            (begin, Instant::now())
        };
        let threads = (0..THREADS).map(|number| scope.spawn(move || register(number)));
        let threads: Vec<_> = threads.collect();
        let recorder = scope.spawn(|| {
            start.wait();
            record_until(&is_done, &family, &mut nanoseconds)
        });
        let spans = threads.into_iter().map(|thread| thread.join());
        let spans: Vec<_> = spans.map(|span| span.expect("registration does not panic")).collect();
        is_done.store(true, Ordering::Relaxed);
        (spans, recorder.join().expect("recording does not panic"))
    });
    let first = spans.iter().map(|span| span.0).min().expect("there are threads");
    let last = spans.iter().map(|span| span.1).max().expect("there are threads");
    let seconds = (last - first).as_secs_f64();
    let bytes = child::resident()? - before;
    let nanoseconds = &mut nanoseconds[..timed];
    nanoseconds.sort_unstable();
    let tail = nanoseconds[(timed - 1) * 999 / 1_000];
    Ok([seconds / count as f64, f64::from(tail) * 1e-9, bytes / count as f64])
}

/// Records in turn in the known series until `is_done`, at least once; returns how many durations it has written.
fn record_until(is_done: &AtomicBool, family: &Family, nanoseconds: &mut [u32]) -> usize {
    let mut made = 0;
    loop {
        let begin = Instant::now();
        family.record(made % KNOWN);
        let elapsed = begin.elapsed().as_nanos();
        if let Some(slot) = nanoseconds.get_mut(made) {
            *slot = elapsed.try_into().unwrap_or(u32::MAX);
        }
        made += 1;
        if is_done.load(Ordering::Relaxed) {
            return made.min(nanoseconds.len());
        }
    }
}
