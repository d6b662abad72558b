//! The first use of a series: its creation by the lookup of its labels, and one recording.

use std::io;

use super::child;
use super::families::{self, Family, Library, Metric};
use crate::clocks;
use crate::rounds::Times;
use crate::scrape::Effort;

/// The measurements, and what they measure.
pub const WHAT: [(&str, &str, Metric); 2] = [
    ("first-counter", "counter", Metric::Counter),
    ("first-histogram", "histogram, 14 bounds", Metric::Histogram),
];

/// The families of one measurement.
const FAMILIES: usize = 10;

pub fn compare(effort: Effort) -> io::Result<()> {
    let (rounds, count) = (effort.pick(15, 3), effort.pick(1_000, 100));
    println!(
        "First use of a series, mean of {count} in each of {FAMILIES} new families, in microseconds of processor time; in brackets, the time \
         of multiprom in memory divided by that of the other library; median of {rounds} rounds, lowest and highest:\n"
    );
    println!(
        "| series | multiprom, mapped | multiprom, in memory | mapped / in memory | prometheus | prometheus-client | \
         fastmetrics |"
    );
    println!("|---|---:|---:|---|---:|---:|---:|");
    for (name, what, _) in WHAT {
        let [mapped, in_memory, peers @ ..] = measure_all(name, rounds, count)?;
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
fn measure_all(what: &str, rounds: usize, count: usize) -> io::Result<[Times; Library::ALL.len()]> {
    let mut times = Library::ALL.map(|library| Times::new(library.name()));
    for _ in 0..rounds {
        for (times, library) in times.iter_mut().zip(Library::ALL) {
            let [time] = child::run(what, library, count)?;
            times.push(time);
        }
    }
    Ok(times)
}

/// Seconds of processor time per series of several families, which are kept as those of a program are.
pub fn measure(library: Library, metric: Metric, count: usize) -> io::Result<[f64; 1]> {
    let labels = families::label_sets(count + 1);
    let (mut kept, mut time) = (Vec::new(), 0.0);
    for _ in 0..FAMILIES {
        let family = Family::new(library, metric, &labels)?;
        // The first series of a directory creates the file, which is not measured.
        family.record(count);
        let begin = clocks::own_thread();
        (0..count).for_each(|at| family.record(at));
        time += (clocks::own_thread() - begin).as_secs_f64();
        kept.push(family);
    }
    Ok([time / (FAMILIES * count) as f64])
}
