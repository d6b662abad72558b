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
    /// The `multiprom` command.
    pub multiprom: PathBuf,
    pub python: Option<Python>,
}

/// A Python interpreter with the Python client.
pub struct Python {
    interpreter: PathBuf,
    /// The directory of the scripts.
    scripts: PathBuf,
}

impl Programs {
    /// Searches the target directory; the command in the profile of this program. Returns `None` if the command is not built.
    pub fn find() -> Option<Programs> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let interpreter = target.join("python/newest/bin/python");
        let python = Python { interpreter, scripts: root.join("compare") };
        let found = Programs {
            multiprom: env::current_exe().ok()?.with_file_name("multiprom"),
            python: python.interpreter.exists().then_some(python),
        };
        found.multiprom.exists().then_some(found)
    }

    /// Runs `multiprom dump` into `output`; returns the processor time of the process.
    pub fn dump(&self, dir: &Path, output: &Path) -> io::Result<f64> {
        run(Command::new(&self.multiprom).arg("dump").arg("--dir").arg(dir), output)
    }

    /// Compacts the files of ended processes. The second pass shortens the archive's list of sources, as the second
    /// pass of an exporter does.
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
    /// A command that runs one of the scripts.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(self.scripts.join(name));
        command
    }

    /// Records all processes of a shape into `dir`.
    pub fn fill(&self, dir: &Path, shape: &Shape) -> io::Result<()> {
        assert_eq!(
            (shape.types, shape.order),
            (Types::Mix, Order::Same),
            "the script supports no other types or order"
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

    /// Scrapes into `output`; returns the processor time of merge and text, and that of the whole process.
    pub fn scrape(&self, dir: &Path, report: &Path, output: &Path) -> io::Result<(f64, f64)> {
        let whole = run(self.script("python_scrape.py").arg(dir).arg(report), output)?;
        Ok((read_seconds(report)?, whole))
    }
}

/// Runs a process; returns its processor time in seconds.
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
