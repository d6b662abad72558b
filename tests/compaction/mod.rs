//! Compaction: the files of dead processes become one archive, and all totals stay exact.

mod companions;
mod damaged;
mod kept;
mod killed;
mod readers;
mod removed;
mod reset;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use multiprom::exposition::Format;
use multiprom::inspect::inspect_archive;
use multiprom::{Exposition, MultiProcessCollector, Registry};

use crate::support::mount::succeeds;
use crate::support::process::{Outcome, run};
use crate::support::samples::{Line, samples_of};
use crate::support::{self, TestDir, example, multiprom, output_of, root};

/// The name of the archive.
const ARCHIVE: &str = "archive.multiprom";

/// The families with a unit of [`count`], in the merged exposition of a directory.
fn units(dir: &Path) -> Vec<String> {
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    let text = Exposition::encode(&registry, Format::OpenMetrics).to_string();
    let lines = text.lines().filter_map(|line| line.strip_prefix("# UNIT "));
    lines.filter(|line| line.starts_with("job_")).map(str::to_owned).collect()
}

const UNITS: [&str; 2] = ["job_duration_seconds seconds", "job_size_bytes bytes"];

/// Runs a process that counts `jobs`, and leaves a file of each type and gauge mode, and a companion.
fn count(dir: &Path, jobs: u32) {
    output_of(example("test-counting").arg(dir).arg(jobs.to_string()));
}

/// Like [`count`], by the real Python client. Returns `None` if it is missing, which is reported.
fn count_in_python(dir: &Path, jobs: u32) -> Option<()> {
    output_of(&mut counting_in_python(dir, jobs)?);
    Some(())
}

/// The program of [`count_in_python`].
fn counting_in_python(dir: &Path, jobs: u32) -> Option<Command> {
    let mut python = support::python("newest")?;
    python.arg(root().join("tests/python/counting.py")).arg(dir).arg(jobs.to_string());
    Some(python)
}

/// The merged samples of a directory, and the reported problems.
fn merge(dir: &Path) -> (Vec<Line>, Vec<String>) {
    let problems: Arc<Mutex<Vec<String>>> = Arc::default();
    let reported = Arc::clone(&problems);
    let builder = MultiProcessCollector::builder().directory(dir);
    let builder = builder.on_problem(move |error| reported.lock().unwrap().push(error.to_string()));
    let (lines, _) = samples_of(&builder.build().unwrap());
    let problems = problems.lock().unwrap().clone();
    (lines, problems)
}

/// The merged samples of a directory without problems.
#[track_caller]
fn merged(dir: &Path) -> Vec<Line> {
    let (lines, problems) = merge(dir);
    assert!(problems.is_empty(), "{problems:#?}");
    lines
}

/// The value of the only sample with a name.
#[track_caller]
fn value(lines: &[Line], name: &str) -> f64 {
    let found: Vec<&Line> = lines.iter().filter(|line| line.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0].value()
}

/// Runs `compact` with flags separated by spaces.
fn compact_with(flags: &str, dir: &Path) -> Outcome {
    let mut command = multiprom();
    command.arg("compact").args(flags.split_whitespace()).arg("--dir").arg(dir);
    run(&mut command)
}

/// Compacts all files, which must succeed without a message.
#[track_caller]
fn compact(dir: &Path) {
    let outcome = compact_with("", dir);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
}

/// A copy of a directory, made by another process, so that no child of this process has its files open.
fn copy_of(dir: &Path, name: &str) -> (TestDir, PathBuf) {
    let parent = TestDir::new(name);
    let copy = parent.path().join("copy");
    assert!(succeeds("cp", &["-a", dir.to_str().unwrap(), copy.to_str().unwrap()]));
    (parent, copy)
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asserts that the directory has a valid archive and no other file: no source, no retired file, no staging file.
#[track_caller]
fn assert_only_archive(dir: &Path) {
    let names: Vec<String> = names_in(dir).into_iter().filter(|name| name != "retired").collect();
    assert_eq!(names, [ARCHIVE]);
    if dir.join("retired").exists() {
        assert_eq!(names_in(&dir.join("retired")), Vec::<String>::new());
    }
    let archive = inspect_archive(dir).unwrap().unwrap();
    assert!(archive.error.is_none(), "{archive:?}");
}
