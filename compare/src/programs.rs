//! The programs that are measured as whole processes.

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::clocks;
use crate::floor;
use crate::workload::{Order, Shape, Types};

pub struct Programs {
    /// `multiprom`.
    pub multiprom: PathBuf,
    pub python: Option<Python>,
}

/// The interpreter that has the Python client.
pub struct Python {
    interpreter: PathBuf,
    /// Where the scripts are.
    scripts: PathBuf,
}

impl Programs {
    /// Looks in the target directory; `None` where the command is not built.
    pub fn find() -> Option<Programs> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let interpreter = target.join("python/newest/bin/python");
        let python = Python { interpreter, scripts: root.join("compare") };
        let found = Programs {
            multiprom: target.join("release/multiprom"),
            python: python.interpreter.exists().then_some(python),
        };
        found.multiprom.exists().then_some(found)
    }

    /// The processor time of a whole `multiprom dump` into `output`.
    pub fn dump(&self, dir: &Path, output: &Path) -> io::Result<f64> {
        run(Command::new(&self.multiprom).arg("dump").arg("--dir").arg(dir), output)
    }

    /// Compacts what processes that have ended left, and shortens the list of that, as the second pass of
    /// an exporter does.
    pub fn compact(&self, dir: &Path, output: &Path) -> io::Result<()> {
        for _ in 0..2 {
            run(Command::new(&self.multiprom).arg("compact").arg("--dir").arg(dir), output)?;
        }
        match floor::series_files(dir)?.len() {
            0 => Ok(()),
            count => Err(io::Error::other(format!("{count} files were not compacted"))),
        }
    }
}

impl Python {
    /// A command of the interpreter for one of the scripts.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(self.scripts.join(name));
        command
    }

    /// Has all processes of a shape record into `dir`.
    pub fn fill(&self, dir: &Path, shape: &Shape) -> io::Result<()> {
        assert_eq!(
            (shape.types, shape.order),
            (Types::Mix, Order::Same),
            "the script has no others"
        );
        let mut command = self.script("python_workload.py");
        let numbers = [shape.processes, shape.shared, shape.own];
        command.args(numbers.map(|number| number.to_string()));
        let status = command.env("PROMETHEUS_MULTIPROC_DIR", dir).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("python_workload.py ended with {status}")));
        }
        Ok(())
    }

    /// The processor times of merge and text, and of the whole process, which writes into `output`.
    pub fn scrape(&self, dir: &Path, report: &Path, output: &Path) -> io::Result<(f64, f64)> {
        let whole = run(self.script("python_scrape.py").arg(dir).arg(report), output)?;
        Ok((read_seconds(report)?, whole))
    }
}

/// Runs a process and gives the processor time that it took, in seconds.
fn run(command: &mut Command, output: &Path) -> io::Result<f64> {
    let before = clocks::of_children()?;
    let status = command.stdout(File::create(output)?).stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(clocks::of_children()? - before)
}

pub fn read_seconds(report: &Path) -> io::Result<f64> {
    let text = std::fs::read_to_string(report)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("not a number of seconds: {text}")))
}
