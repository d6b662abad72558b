//! What a cold scrape costs here and in the Python client.
//!
//! Ours is a whole process, the command `multiprom dump`: start, merge, text and end. Of the Python
//! client both are given: the whole process, and the part between its imports and its output. Times
//! are processor times, user and system.

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use multiprom::exposition::{Exposition, Format};
use multiprom::{MultiProcessCollector, Registry};

use crate::rounds::{Ratio, Times};
use crate::workload::{self, ScratchDir};

pub const PROCESSES: usize = 64;

/// The programs of a cold scrape.
pub struct Programs {
    /// `multiprom`.
    command: PathBuf,
    /// The interpreter that has the Python client.
    pub python: Option<PathBuf>,
    /// Where the scripts are.
    pub scripts: PathBuf,
}

impl Programs {
    /// Looks in the target directory; `None` where the command is not built.
    pub fn find() -> Option<Programs> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let command = target.join("release/multiprom");
        let python = target.join("python/newest/bin/python");
        let found = Programs {
            command,
            python: python.exists().then_some(python),
            scripts: root.join("compare"),
        };
        found.command.exists().then_some(found)
    }
}

/// What was measured in one directory.
pub struct Outcome {
    pub workload: &'static str,
    /// Our whole process.
    pub ours: Times,
    pub python: Option<PythonTimes>,
    /// The second and later scrapes of one collector, by the wall clock.
    pub repeated: Times,
    /// Samples in the text.
    pub samples: usize,
}

pub struct PythonTimes {
    pub merge: Times,
    pub whole: Times,
}

impl Outcome {
    /// How many times longer the Python client takes, for its merge and text alone and as a process.
    pub fn ratios(&self) -> Option<(Ratio, Ratio)> {
        let python = self.python.as_ref()?;
        Some((python.merge.ratio(&self.ours), python.whole.ratio(&self.ours)))
    }
}

/// Measures directories that our workers and, where there is one, the Python client have written.
pub fn outcomes(programs: &Programs, rounds: usize) -> io::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let ours = ScratchDir::new("compare-scrape");
    workload::fill(ours.path(), PROCESSES)?;
    outcomes.push(measure("written by multiprom", ours.path(), programs, rounds)?);
    if let Some(python) = &programs.python {
        let theirs = ScratchDir::new("compare-scrape-python");
        let status = Command::new(python)
            .arg(programs.scripts.join("python_workload.py"))
            .arg(PROCESSES.to_string())
            .env("PROMETHEUS_MULTIPROC_DIR", theirs.path())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("python_workload.py ended with {status}")));
        }
        outcomes.push(measure("written by the Python client", theirs.path(), programs, rounds)?);
    }
    Ok(outcomes)
}

fn measure(
    workload: &'static str,
    dir: &Path,
    programs: &Programs,
    rounds: usize,
) -> io::Result<Outcome> {
    let outputs = ScratchDir::new("compare-outputs");
    let output = outputs.path().join("text");
    let report = outputs.path().join("seconds");
    let mut ours = Times::new("ours");
    let mut python = programs
        .python
        .as_ref()
        .map(|program| (program, Times::new("merge and text"), Times::new("whole process")));
    let mut samples = 0;
    for _ in 0..rounds {
        ours.push(run(Command::new(&programs.command).arg("dump").arg("--dir").arg(dir), &output)?);
        samples = count_samples(&std::fs::read_to_string(&output)?);
        if let Some((program, merge, whole)) = &mut python {
            let script = programs.scripts.join("python_scrape.py");
            let mut command = Command::new(program);
            let time = run(command.arg(script).arg(dir).arg(&report), &output)?;
            whole.push(time);
            merge.push(read_seconds(&report)?);
            let theirs = count_samples(&std::fs::read_to_string(&output)?);
            if theirs != samples {
                let message = format!("{samples} samples here, {theirs} by the Python client");
                return Err(io::Error::other(message));
            }
        }
    }
    let python = python.map(|(_, merge, whole)| PythonTimes { merge, whole });
    let repeated = repeated(dir, rounds).map_err(io::Error::other)?;
    Ok(Outcome { workload, ours, python, repeated, samples })
}

fn repeated(dir: &Path, rounds: usize) -> multiprom::Result<Times> {
    let merged = Registry::new();
    merged.register(MultiProcessCollector::new(dir)?)?;
    let mut times = Times::new("repeated");
    for round in 0..=rounds {
        let begin = Instant::now();
        let exposition = Exposition::encode(&merged, Format::Text);
        let time = begin.elapsed();
        std::hint::black_box(exposition.body.len());
        if round > 0 {
            times.push(time.as_secs_f64());
        }
    }
    Ok(times)
}

/// The lines that both clients have: no comments, nothing that the collector tells of itself, and no live
/// gauges, which ours leaves out as their processes have ended.
fn count_samples(text: &str) -> usize {
    let others = ["#", "multiprom_", "in_flight"];
    let is_common = |line: &&str| !others.iter().any(|other| line.starts_with(other));
    text.lines().filter(is_common).count()
}

pub fn read_seconds(report: &Path) -> io::Result<f64> {
    let text = std::fs::read_to_string(report)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("not a number of seconds: {text}")))
}

/// Runs a process and gives the processor time that it took, in seconds.
fn run(command: &mut Command, output: &Path) -> io::Result<f64> {
    let before = time_of_children()?;
    let status = command.stdout(File::create(output)?).stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(time_of_children()? - before)
}

/// The processor time of all children that have ended, user and system, in seconds.
fn time_of_children() -> io::Result<f64> {
    time_of(libc::RUSAGE_CHILDREN)
}

/// The processor time of this process, user and system, in seconds.
pub fn processor_time() -> io::Result<f64> {
    time_of(libc::RUSAGE_SELF)
}

fn time_of(who: libc::c_int) -> io::Result<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory of the size that the call fills.
    let result = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has filled the structure.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}
