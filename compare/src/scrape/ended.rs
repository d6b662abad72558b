//! Many ended processes after compaction, compared with one process that has the same series.

use std::hint::black_box;
use std::io;
use std::path::Path;

use multiprom::exposition::{Exposition, Format};
use multiprom::{MultiProcessCollector, Registry};

use super::{Effort, Measurement};
use crate::clocks;
use crate::programs::Programs;
use crate::rounds::Times;
use crate::workload::{self, Shape, TestDir};

/// Repeated scrapes per measured time, as a single one is short.
const BATCH: usize = 50;

/// Compacts `dir`, which has the shape `shape`, and measures its scrapes.
pub fn compare(
    shape: &Shape,
    dir: &Path,
    programs: &Programs,
    effort: Effort,
) -> io::Result<Vec<Measurement>> {
    let one = TestDir::in_memory("compare-one");
    workload::fill(one.path(), &Shape { processes: 1, ..*shape })?;
    let outputs = TestDir::in_memory("compare-outputs");
    let output = outputs.path().join("text");
    programs.compact(dir, &output)?;

    let (mut cold, mut cold_one) = (Times::new("compacted"), Times::new("one"));
    let (mut repeated, mut repeated_one) = (Times::new("compacted"), Times::new("one"));
    let (merged, merged_one) = (merged(dir)?, merged(one.path())?);
    for _ in 0..effort.pick(15, 2) {
        cold.push(programs.dump(dir, &output)?);
        cold_one.push(programs.dump(one.path(), &output)?);
        repeated.push(time_of(&merged)?);
        repeated_one.push(time_of(&merged_one)?);
    }
    println!(
        "{} processes that have ended, compacted, compared with one process with the same series:\n",
        shape.processes
    );
    println!("| scrape | compacted, ms | one, ms | compacted / one, median, lowest to highest |");
    println!("|---|---:|---:|---:|");
    let mut rows = Vec::new();
    let both = [("`dump`", &cold, &cold_one), ("repeated", &repeated, &repeated_one)];
    for (what, times, times_of_one) in both {
        let (all, one) = (times.median() * 1e3, times_of_one.median() * 1e3);
        let ratio = times.ratio(times_of_one);
        println!("| {what} | {all:.3} | {one:.3} | {ratio} |");
        let what = format!("{what} of {shape}, compacted / one process");
        rows.push(Measurement::new(what, ratio));
    }
    println!();
    Ok(rows)
}

fn merged(dir: &Path) -> io::Result<Registry> {
    let merged = Registry::new();
    let collector = MultiProcessCollector::new(dir).map_err(io::Error::other)?;
    merged.register(collector).map_err(io::Error::other)?;
    black_box(Exposition::encode(&merged, Format::Text));
    Ok(merged)
}

/// The processor time per scrape.
fn time_of(merged: &Registry) -> io::Result<f64> {
    let before = clocks::own()?;
    for _ in 0..BATCH {
        black_box(Exposition::encode(merged, Format::Text));
    }
    Ok((clocks::own()? - before) / BATCH as f64)
}
