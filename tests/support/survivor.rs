//! `test-survivor`, the worker under failures, and the merged metrics of its directory.

use std::io::Write as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Output};

use multiprom::{MultiProcessCollector, Registry};

use super::example;
use super::http::sum_of;
use super::process::Running;

/// The program `test-survivor` with a scenario.
pub fn survivor(scenario: &str, dir: &Path) -> Command {
    let mut command = example("test-survivor");
    command.arg(scenario).arg(dir);
    command
}

/// The merged metrics of a directory, as text.
pub fn merged(dir: &Path) -> String {
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    registry.render(None).to_string()
}

/// The sum of the samples with a name in all files, regardless of liveness.
pub fn sum_of_all_files(dir: &Path, name: &str) -> f64 {
    let registry = Registry::new();
    registry.register(super::samples::of_all_files(dir)).unwrap();
    sum_of(&registry.render(None).to_string(), name)
}

/// The sum of the samples with a name in the merged metrics.
pub fn sum(dir: &Path, name: &str) -> f64 {
    sum_of(&merged(dir), name)
}

/// The value of one sample, which must exist.
#[track_caller]
pub fn value(exposition: &str, series: &str) -> f64 {
    let found = exposition.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{exposition}")).parse().unwrap()
}

/// The lines that multiprom has logged to standard error.
pub fn log_lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|line| line.starts_with("multiprom: ")).map(str::to_owned).collect()
}

/// The value of a `NAME VALUE` line in the output.
#[track_caller]
pub fn printed(output: &Output, name: &str) -> f64 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    value(&text, name)
}

/// A worker that executes commands.
pub struct ControlledWorker {
    pub program: Running,
    stdin: ChildStdin,
    executed: usize,
}

impl ControlledWorker {
    pub fn start(command: &mut Command) -> ControlledWorker {
        let mut program = Running::start(command);
        let stdin = program.stdin();
        ControlledWorker { program, stdin, executed: 0 }
    }

    pub fn new(dir: &Path) -> ControlledWorker {
        ControlledWorker::start(&mut survivor("commands", dir))
    }

    /// Sends a command without waiting.
    pub fn send(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Sends a command and waits until it is executed.
    pub fn execute(&mut self, line: &str) {
        self.send(line);
        self.program.line_after(&format!("did {}", self.executed));
        self.executed += 1;
    }

    /// Ends the worker's input and waits for its exit.
    pub fn end(self) -> Output {
        drop(self.stdin);
        self.program.end()
    }
}
