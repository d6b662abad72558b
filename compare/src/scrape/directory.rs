//! Cold and repeated scrapes of one directory, compared with the Python client and with lower bounds.

use std::hint::black_box;
use std::io;
use std::path::Path;

use multiprom::collector::{FamilyMetadata, Sample};
use multiprom::{Collector as _, FamilySink, MultiProcessCollector};

use super::{BATCH, Effort, Measurement, WARM_UP};
use crate::clocks;
use crate::floor::{Floor, Reads};
use crate::programs::Programs;
use crate::rounds::{Ratio, Times};
use crate::served::{Served, TEXT};
use crate::workload::{Shape, TestDir};

/// Cold scrapes of multiprom per cold scrape of the Python client; their median is used.
const DUMPS: usize = 3;

/// The times of one directory.
pub struct Outcome {
    pub shape: Shape,
    pub writer: &'static str,
    /// Samples in the text.
    samples: usize,
    /// A whole `multiprom dump` process.
    dump: Times,
    python: Option<PythonTimes>,
    /// A repeated scrape of `serve`.
    served: Times,
    floor: FloorTimes,
    /// A new collector that collects once and discards the output.
    merge: Times,
    /// Reads of the files only.
    reads: Times,
}

struct PythonTimes {
    merge: Times,
    whole: Times,
}

struct FloorTimes {
    touch: Times,
    write: Times,
    /// Both.
    whole: Times,
}

/// Measures a directory whose writers have ended.
pub fn measure(
    shape: Shape,
    writer: &'static str,
    dir: &Path,
    programs: &Programs,
    effort: Effort,
) -> io::Result<Outcome> {
    let (samples, dump, python) = measure_cold(dir, programs, effort.pick(3, 1))?;
    let (served, floor) = measure_repeated(&shape, dir, programs, effort.pick(6, 2))?;
    let (merge, reads) = measure_merge(dir, effort.pick(9, 2))?;
    Ok(Outcome { shape, writer, samples, dump, python, served, floor, merge, reads })
}

fn measure_cold(
    dir: &Path,
    programs: &Programs,
    rounds: usize,
) -> io::Result<(usize, Times, Option<PythonTimes>)> {
    let outputs = TestDir::in_memory("compare-outputs");
    let (output, report) = (outputs.path().join("text"), outputs.path().join("seconds"));
    let mut dump = Times::new("dump");
    let (mut merge, mut whole) = (Times::new("merge and text"), Times::new("whole process"));
    let mut samples = 0;
    for _ in 0..rounds {
        let mut dumps = Times::new("dump");
        for _ in 0..DUMPS {
            dumps.push(programs.dump(dir, &output)?);
        }
        dump.push(dumps.median());
        samples = count_samples(&std::fs::read_to_string(&output)?);
        if let Some(python) = &programs.python {
            let times = python.scrape(dir, &report, &output)?;
            merge.push(times.0);
            whole.push(times.1);
            let theirs = count_samples(&std::fs::read_to_string(&output)?);
            if theirs != samples {
                let message =
                    format!("{samples} samples by multiprom, {theirs} by the Python client");
                return Err(io::Error::other(message));
            }
        }
    }
    let python = programs.python.as_ref().map(|_| PythonTimes { merge, whole });
    Ok((samples, dump, python))
}

fn measure_repeated(
    shape: &Shape,
    dir: &Path,
    programs: &Programs,
    rounds: usize,
) -> io::Result<(Times, FloorTimes)> {
    let served = Served::start(programs, dir)?;
    let mut connection = served.connect()?;
    for _ in 0..WARM_UP {
        connection.get(TEXT)?;
    }
    let page = String::from_utf8_lossy(connection.get(TEXT)?).into_owned();
    let mut floor = Floor::new(dir, &page)?;
    assert_eq!(floor.values(), shape.entries(), "all processes have written all samples");
    let mut times = Times::new("served");
    let mut least = FloorTimes {
        touch: Times::new("touch"),
        write: Times::new("write"),
        whole: Times::new("floor"),
    };
    for _ in 0..rounds {
        times.push(served.time_of(&mut connection, BATCH)?);
        let (mut touch, mut write) = (0.0, 0.0);
        for _ in 0..BATCH {
            touch += timed(|| floor.touch())?;
            write += timed(|| floor.write())?;
        }
        least.touch.push(touch / BATCH as f64);
        least.write.push(write / BATCH as f64);
        least.whole.push((touch + write) / BATCH as f64);
    }
    Ok((times, least))
}

fn measure_merge(dir: &Path, rounds: usize) -> io::Result<(Times, Times)> {
    let mut reads = Reads::new(dir)?;
    let (mut merge, mut least) = (Times::new("merge"), Times::new("reads"));
    // The first round warms up.
    for round in 0..=rounds {
        let of_merge = timed(|| {
            let collector = MultiProcessCollector::new(dir)?;
            collector.collect(&mut Nothing);
            Ok::<_, multiprom::Error>(())
        })?;
        let of_reads = timed(|| reads.read())?;
        if round > 0 {
            merge.push(of_merge);
            least.push(of_reads);
        }
    }
    Ok((merge, least))
}

/// Discards families.
struct Nothing;

impl FamilySink for Nothing {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        black_box(head);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        black_box(sample);
    }
}

/// The processor time of one call.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> io::Result<f64> {
    let before = clocks::own()?;
    black_box(work());
    Ok(clocks::own()? - before)
}

/// Counts the lines that both clients have: no comments, and no metrics of multiprom itself.
fn count_samples(text: &str) -> usize {
    let is_common = |line: &&str| !line.starts_with('#') && !line.starts_with("multiprom_");
    text.lines().filter(is_common).count()
}

/// The rows of the summary for one directory.
pub fn summary(outcome: &Outcome) -> Vec<Measurement> {
    let Outcome { shape, writer, dump, python, served, floor, merge, reads, .. } = outcome;
    let row = |what: &str, ratio: Ratio| {
        Measurement::new(format!("{what}, {shape}, written by {writer}"), ratio)
    };
    let mut rows = Vec::new();
    if let Some(python) = python {
        rows.push(row("Python / `dump`", python.merge.ratio(dump)));
        rows.push(row("Python / `serve`", python.merge.ratio(served)));
    }
    rows.push(row("`serve` / its lower bound", served.ratio(&floor.whole)));
    rows.push(row("merge / its lower bound", merge.ratio(reads)));
    rows
}

pub fn print(outcomes: &[Outcome]) {
    println!(
        "Scrapes, in milliseconds of processor time. `Python` is the merge and the text output of the Python client; \
         ratios as median, lowest to highest:\n"
    );
    println!(
        "| directory | written by | samples | `dump` | `serve`, repeated | Python | Python / `dump` | Python / `serve` | \
         Python, whole process / `dump` |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for outcome in outcomes {
        let Outcome { shape, writer, samples, dump, python, served, .. } = outcome;
        print!("| {shape} | {writer} | {samples} | {} | {} |", ms(dump), ms(served));
        match python {
            Some(PythonTimes { merge, whole }) => {
                let [cold, repeated] = [dump, served].map(|times| merge.ratio(times));
                println!(" {} | {cold} | {repeated} | {} |", ms(merge), whole.ratio(dump));
            }
            None => println!(" | | | |"),
        }
    }
    println!(
        "\nThe same compared with lower bounds: for a repeated scrape, the addition of mapped values and the output of \
         prepared lines; for a merge, the reads of the files:\n"
    );
    println!(
        "| directory | written by | `serve`, repeated | add | write | `serve` / both | merge | read | merge / read |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for outcome in outcomes {
        let Outcome { shape, writer, served, floor, merge, reads, .. } = outcome;
        let FloorTimes { touch, write, whole } = floor;
        let ratios: [Ratio; 2] = [served.ratio(whole), merge.ratio(reads)];
        println!(
            "| {shape} | {writer} | {} | {} | {} | {} | {} | {} | {} |",
            ms(served),
            ms(touch),
            ms(write),
            ratios[0],
            ms(merge),
            ms(reads),
            ratios[1]
        );
    }
    println!();
}

fn ms(times: &Times) -> String {
    format!("{:.2}", times.median() * 1e3)
}
