//! The rules of the merge if processes disagree: every page is valid, and no value is lost without a report.

mod modes;
mod names;
mod patterns;
mod processes;
mod random;
mod series;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::support::process::{Outcome, run};
use crate::support::{self, TestDir, multiprom, output_of, root, skip};

/// Runs processes of the Python client, each with an id and statements. Returns `None` if the client is missing, which is
/// reported.
fn record(dir: &Path, processes: &[(&str, &str)]) -> Option<()> {
    let mut python = support::python("newest")?;
    python.arg(root().join("tests/python/record.py")).arg(dir);
    for (id, statements) in processes {
        python.arg(id).arg(statements);
    }
    output_of(&mut python);
    Some(())
}

/// Runs `dump` with flags separated by spaces.
fn dump(dirs: &[&Path], flags: &str) -> Outcome {
    let mut command = multiprom();
    command.arg("dump").args(flags.split_whitespace());
    for dir in dirs {
        command.arg("--dir").arg(dir);
    }
    let outcome = run(&mut command);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome
}

/// The samples of a page in the text format, without those of the exporter itself and its process.
fn samples(page: &str) -> Vec<&str> {
    let others = ["#", "multiprom_", "process_"];
    page.lines().filter(|line| !others.iter().any(|other| line.starts_with(other))).collect()
}

/// Runs `dump`. Asserts that no series is repeated, and that all parsers accept the output: promtool, those of the Python
/// client, and multiprom's, which is strict in OpenMetrics.
#[track_caller]
fn dump_checked(dirs: &[&Path], flags: &str) -> Outcome {
    let outcome = dump(dirs, flags);
    assert_no_series_is_repeated(&outcome.stdout);
    let scratch = TestDir::new("dump_checked");
    let page = |format: &str| {
        let path = scratch.path().join(format);
        std::fs::write(&path, dump(dirs, &format!("{flags} --format {format}")).stdout).unwrap();
        path
    };
    let (text, openmetrics) = (page("text"), page("openmetrics"));
    for (from, path) in [("text", &text), ("openmetrics", &openmetrics)] {
        let mut convert = multiprom();
        convert.args(["convert", "--from", from, "--to", "json"]).arg(path);
        let verdict = run(&mut convert);
        assert_eq!(verdict.status, 0, "{from}: {}", verdict.stderr);
        if let Some(mut python) = support::python("newest") {
            python.arg(root().join("tests/python/parse.py")).arg(from);
            output_of(python.stdin(File::open(path).unwrap()));
        }
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(File::open(&text).unwrap());
    match promtool.output() {
        // Status 3 reports recommendations.
        Ok(output) => assert!(
            matches!(output.status.code(), Some(0 | 3)),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            outcome.stdout
        ),
        Err(_) => skip("promtool is not installed"),
    }
    outcome
}

/// Asserts that a page in the text format has each series once, and one type per family.
#[track_caller]
fn assert_no_series_is_repeated(page: &str) {
    let mut seen = HashSet::new();
    for line in page.lines() {
        let series = match line.strip_prefix("# ") {
            Some(comment) => comment.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "),
            None => line.rsplit_once(' ').unwrap().0.to_owned(),
        };
        assert!(seen.insert(series), "repeated: {line}\n{page}");
    }
}
