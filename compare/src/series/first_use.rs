//! The first use of a series: its creation by the lookup of its labels, and one recording.

use std::io;

use super::families::{self, Family, Library, Metric};
use crate::clocks;
use crate::rounds::Times;
use crate::scrape::Effort;

pub fn compare(effort: Effort) -> io::Result<()> {
    let (rounds, count) = (effort.pick(15, 3), effort.pick(1_000, 100));
    println!(
        "First use of a series, mean of {count} in a new family, in microseconds of processor time; in brackets, the time \
         of multiprom in memory divided by that of the other library; median of {rounds} rounds, lowest and highest:\n"
    );
    println!(
        "| series | multiprom, mapped | multiprom, in memory | mapped / in memory | prometheus | prometheus-client | \
         fastmetrics |"
    );
    println!("|---|---:|---:|---|---:|---:|---:|");
    for (what, metric) in
        [("counter", Metric::Counter), ("histogram, 14 bounds", Metric::Histogram)]
    {
        let [mapped, in_memory, peers @ ..] = measure(metric, rounds, count)?;
        print!("| {what} | {:.2} |", mapped.median() * 1e6);
        print!(" {:.2} | {} |", in_memory.median() * 1e6, mapped.ratio(&in_memory));
        for peer in &peers {
            print!(" {:.2} [{}] |", peer.median() * 1e6, in_memory.ratio(peer));
        }
        println!();
    }
    println!();
    Ok(())
}

/// The times of all libraries, in the order of [`Library::ALL`].
fn measure(metric: Metric, rounds: usize, count: usize) -> io::Result<[Times; Library::ALL.len()]> {
    let labels = families::label_sets(count + 1);
    let mut times = Library::ALL.map(|library| Times::new(library.name()));
    for round in 0..rounds {
        for step in 0..times.len() {
            let at = (round + step) % times.len();
            let family = Family::new(Library::ALL[at], metric, &labels)?;
            // The first series of a directory creates the file, which is not measured.
            family.record(count);
            let begin = clocks::own_thread();
            (0..count).for_each(|at| family.record(at));
            let time = clocks::own_thread() - begin;
            times[at].push(time.as_secs_f64() / count as f64);
        }
    }
    Ok(times)
}
