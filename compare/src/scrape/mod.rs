//! What scrapes cost here, in the Python client and at least, in directories of several shapes.
//!
//! Times are processor times, user and system. What is asked of them is in the last table.

mod busy;
mod directory;
mod encode;
mod ended;
pub mod memory;

use std::fmt;
use std::io;

use crate::programs::Programs;
use crate::rounds::Ratio;
use crate::workload::{self, ScratchDir, Shape};

pub use busy::{LIVE, live};

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    Full,
    /// Small directories and few rounds.
    Quick,
}

impl Effort {
    fn pick(self, full: usize, quick: usize) -> usize {
        if self == Effort::Full { full } else { quick }
    }

    /// The shape, or a small one like it.
    fn shape(self, shape: Shape) -> Shape {
        if self == Effort::Full {
            return shape;
        }
        let processes = shape.processes.div_ceil(32).max(2);
        Shape { processes, shared: shape.shared / 4, own: shape.own / 4, ..shape }
    }
}

/// What is asked, and what was reached.
pub struct Answer {
    what: String,
    asked: &'static str,
    reached: String,
}

impl Answer {
    fn new(what: impl Into<String>, asked: &'static str, reached: impl fmt::Display) -> Answer {
        Answer { what: what.into(), asked, reached: reached.to_string() }
    }

    fn times(what: impl Into<String>, asked: &'static str, ratio: &Ratio) -> Answer {
        Answer::new(what, asked, format_args!("{ratio}"))
    }
}

/// Measures and prints everything.
pub fn compare(programs: &Programs, effort: Effort) -> io::Result<()> {
    let mut outcomes = Vec::new();
    let mut answers = Vec::new();
    for shape in Shape::ALL.map(|shape| effort.shape(shape)) {
        let dir = ScratchDir::new("compare-scrape");
        workload::fill(dir.path(), &shape)?;
        outcomes.push(directory::measure(shape, "multiprom", dir.path(), programs, effort)?);
        if shape.name == Shape::CHURN.name {
            answers.extend(ended::compare(&shape, dir.path(), programs, effort)?);
        }
        drop(dir);
        if let Some(python) = &programs.python {
            let dir = ScratchDir::new("compare-scrape-python");
            python.fill(dir.path(), &shape)?;
            outcomes.push(directory::measure(shape, "Python", dir.path(), programs, effort)?);
        }
    }
    directory::print(&outcomes);
    let large = outcomes.iter().filter(|outcome| outcome.shape.name == Shape::LARGE.name);
    let mut all: Vec<Answer> = large.flat_map(directory::answers).collect();
    all.append(&mut answers);
    all.extend(memory::compare(programs, effort)?);
    all.extend(busy::compare(programs, effort)?);
    all.extend(encode::compare(effort)?);
    println!("Asked and reached; of ratios the median, lowest and highest:\n");
    println!("| what | asked | reached |");
    println!("|---|---|---|");
    for Answer { what, asked, reached } in all {
        println!("| {what} | {asked} | {reached} |");
    }
    println!();
    Ok(())
}
