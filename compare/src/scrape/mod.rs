//! Scrapes of directories of several shapes, compared with the Python client and with lower bounds.
//!
//! Times are processor times, user and system. The last table is a summary.

mod busy;
mod directory;
mod encode;
mod ended;
pub mod memory;
mod modes;

use std::fmt;
use std::io;

use crate::programs::Programs;
use crate::workload::{self, Shape, TestDir};

pub use busy::{LIVE, live};
pub use modes::{RECORD, record};

/// Scrapes before the measured ones.
const WARM_UP: usize = 3;
/// Scrapes, or passes of the lower bound, per measured time.
const BATCH: usize = 5;

/// The amount of measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    Full,
    /// Small directories and few rounds.
    Quick,
}

impl Effort {
    pub fn pick(self, full: usize, quick: usize) -> usize {
        if self == Effort::Full { full } else { quick }
    }

    /// The shape itself, or a smaller version of it.
    fn shape(self, shape: Shape) -> Shape {
        if self == Effort::Full {
            return shape;
        }
        let processes = shape.processes.div_ceil(32).max(2);
        Shape { processes, shared: shape.shared / 4, own: shape.own / 4, ..shape }
    }
}

/// A row of the summary.
pub struct Measurement {
    what: String,
    result: String,
}

impl Measurement {
    fn new(what: impl Into<String>, result: impl fmt::Display) -> Measurement {
        Measurement { what: what.into(), result: result.to_string() }
    }
}

/// Measures and prints everything.
pub fn compare(programs: &Programs, effort: Effort) -> io::Result<()> {
    let mut outcomes = Vec::new();
    let mut ended = Vec::new();
    for shape in Shape::ALL.map(|shape| effort.shape(shape)) {
        let dir = TestDir::in_memory("compare-scrape");
        workload::fill(dir.path(), &shape)?;
        outcomes.push(directory::measure(shape, "multiprom", dir.path(), programs, effort)?);
        if shape.name == Shape::CHURN.name {
            ended.extend(ended::compare(&shape, dir.path(), programs, effort)?);
        }
        drop(dir);
        if let Some(python) = &programs.python {
            let dir = TestDir::in_memory("compare-scrape-python");
            python.fill(dir.path(), &shape)?;
            outcomes.push(directory::measure(shape, "Python", dir.path(), programs, effort)?);
        }
    }
    directory::print(&outcomes);
    let large = outcomes.iter().filter(|outcome| outcome.shape.name == Shape::LARGE.name);
    let mut all: Vec<Measurement> = large.flat_map(directory::summary).collect();
    all.append(&mut ended);
    all.extend(memory::compare(programs, effort)?);
    all.extend(busy::compare(programs, effort)?);
    all.extend(encode::compare(effort)?);
    all.extend(modes::compare(programs, effort)?);
    print_summary(&all);
    Ok(())
}

/// Measures the directory with all types and gauge modes only.
pub fn compare_modes(programs: &Programs, effort: Effort) -> io::Result<()> {
    modes::compare(programs, effort)?;
    Ok(())
}

fn print_summary(all: &[Measurement]) {
    println!("Summary; ratios as median, lowest to highest:\n");
    println!("| measurement | result |");
    println!("|---|---|");
    for Measurement { what, result } in all {
        println!("| {what} | {result} |");
    }
    println!();
}
