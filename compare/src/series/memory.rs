//! Memory of histogram series that one thread has used.

use std::io;

use super::child;
use super::families::{self, Family, Library, Metric};
use crate::rounds::Times;
use crate::scrape::Effort;

/// The name of this measurement.
pub const WHAT: &str = "memory";

pub fn compare(effort: Effort) -> io::Result<()> {
    let (rounds, count) = (effort.pick(3, 1), effort.pick(10_000, 1_000));
    let mut bytes = Library::ALL.map(|library| Times::new(library.name()));
    for _ in 0..rounds {
        for (bytes, library) in bytes.iter_mut().zip(Library::ALL) {
            let [each] = child::run(WHAT, library, count)?;
            bytes.push(each);
        }
    }
    println!(
        "Resident memory per histogram series (14 bounds, one label, {count} series, one thread), mapped files included:\n"
    );
    println!("| library | bytes | multiprom in memory / library, median, lowest to highest |");
    println!("|---|---:|---|");
    let [_, in_memory, ..] = &bytes;
    for other in &bytes {
        println!("| {} | {:.0} | {} |", other.name, other.median(), in_memory.ratio(other));
    }
    println!();
    Ok(())
}

/// Bytes per series.
pub fn measure(library: Library, count: usize) -> io::Result<[f64; 1]> {
    let labels = families::label_sets(count);
    let family = Family::new(library, Metric::Histogram, &labels)?;
    let before = child::resident()?;
    (0..count).for_each(|at| family.record(at));
    Ok([(child::resident()? - before) / count as f64])
}
