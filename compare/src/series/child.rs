//! Measurements of memory and of first uses. Each takes place in a new process, whose allocator has no freed memory to reuse.

use std::env;
use std::error::Error;
use std::io;
use std::process::Command;

use super::families::Library;

/// First argument of this program when it runs as such a process; measurement, library and count follow.
pub const MEASURE: &str = "--measure";

/// Runs a measurement in a new process; returns the numbers that it prints.
pub fn run<const N: usize>(what: &str, library: Library, count: usize) -> io::Result<[f64; N]> {
    let mut command = Command::new(env::current_exe()?);
    let output = command.args([MEASURE, what, library.name(), &count.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
    match numbers.map(<[f64; N]>::try_from) {
        Ok(Ok(numbers)) if output.status.success() => Ok(numbers),
        _ => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("{command:?}: {}: {text}{stderr}", output.status)))
        }
    }
}

/// Makes the measurement in this process and prints its numbers.
pub fn measure(what: &str, library: &str, count: &str) -> Result<(), Box<dyn Error>> {
    let library = Library::ALL.into_iter().find(|one| one.name() == library);
    let (library, count) = (library.ok_or("no such library")?, count.parse()?);
    let first = super::first_use::WHAT.into_iter().find(|(name, ..)| *name == what);
    let numbers = match what {
        _ if let Some((_, _, metric)) = first => {
            super::first_use::measure(library, metric, count)?.to_vec()
        }
        super::memory::WHAT => super::memory::measure(library, count)?.to_vec(),
        super::cardinality::WHAT => super::cardinality::measure(library, count)?.to_vec(),
        _ => return Err("no such measurement".into()),
    };
    println!("{}", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// Resident memory of this process in bytes, with mapped files.
pub fn resident() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    let kib: f64 = kib
        .and_then(|kib| kib.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no Rss in {text}")))?;
    Ok(kib * 1024.0)
}
