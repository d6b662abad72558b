//! The program of workers in trouble, and what is merged from their directories.

use std::io::Write as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Output};

use multiprom::{MultiProcessCollector, Registry};

use super::example;
use super::http::sum_of;
use super::process::Running;

/// The program with a scenario.
pub fn survivor(scenario: &str, dir: &Path) -> Command {
    let mut command = example("test-survivor");
    command.arg(scenario).arg(dir);
    command
}

/// Everything that is merged from a directory.
pub fn merged(dir: &Path) -> String {
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    registry.render(None).to_string()
}

/// The sum of the samples of a name, whoever of the writers lives.
pub fn sum_of_all_files(dir: &Path, name: &str) -> f64 {
    let registry = Registry::new();
    registry.register(super::samples::of_all_files(dir)).unwrap();
    sum_of(&registry.render(None).to_string(), name)
}

/// The sum of the samples of a name in the merge.
pub fn sum(dir: &Path, name: &str) -> f64 {
    sum_of(&merged(dir), name)
}

/// The value of one sample, which must be there.
#[track_caller]
pub fn value(exposition: &str, series: &str) -> f64 {
    let found = exposition.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{exposition}")).parse().unwrap()
}

/// The lines of ours on a standard error.
pub fn log_lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().filter(|line| line.starts_with("multiprom: ")).map(str::to_owned).collect()
}

/// The number behind a name in the output.
#[track_caller]
pub fn said(output: &Output, name: &str) -> f64 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    value(&text, name)
}

/// A worker that does what it is told.
pub struct Obedient {
    pub program: Running,
    stdin: ChildStdin,
    told: usize,
}

impl Obedient {
    pub fn start(command: &mut Command) -> Obedient {
        let mut program = Running::start(command);
        let stdin = program.stdin();
        Obedient { program, stdin, told: 0 }
    }

    pub fn new(dir: &Path) -> Obedient {
        Obedient::start(&mut survivor("obey", dir))
    }

    /// Does not wait.
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Waits until it is done.
    pub fn tell(&mut self, line: &str) {
        self.say(line);
        self.program.line_after(&format!("did {}", self.told));
        self.told += 1;
    }

    /// Ends its input and waits for its end.
    pub fn end(self) -> Output {
        drop(self.stdin);
        self.program.end()
    }
}
