//! Instructions per operation, counted by valgrind, so that the load of the machine does not matter.
//!
//! This program runs itself under valgrind with one contestant and N operations, and again with 2 N operations. The
//! difference leaves out the start and the end of the program.

use std::env;
use std::error::Error;
use std::io;
use std::process::{Command, Stdio};

use crate::record::{self, Registries};
use crate::workload::TestDir;

/// The argument of this program under valgrind, before row, contestant and number of batches.
pub const REPEAT: &str = "--repeat";

/// Operations in the shorter run, rounded up to whole batches.
const OPERATIONS: u64 = 100_000;

/// Whether valgrind is installed.
pub fn can_be_counted() -> bool {
    let mut command = Command::new("valgrind");
    let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Prints a table of all single-threaded operations.
pub fn compare(registries: &Registries) -> Result<(), Box<dyn Error>> {
    println!(
        "Instructions per operation; in brackets, the count of multiprom divided by that of the other client.\n"
    );
    println!("| operation | multiprom | {} |", record::PEERS.join(" | "));
    println!("|---|---:|{}", "---:|".repeat(record::PEERS.len()));
    for (number, make) in record::QUIET_ROWS.iter().enumerate() {
        let row = make(registries);
        let counts: Vec<f64> = row
            .contestants()
            .enumerate()
            .map(|(at, contestant)| count(number, at, contestant.batch()))
            .collect::<Result<_, _>>()?;
        let (own_counts, peers) = counts.split_at(row.own.len());
        for (own, count) in row.own.iter().zip(own_counts) {
            print!("| {}, {} | {count:.1} |", row.operation, own.name());
            for name in record::PEERS {
                match row.peers.iter().position(|peer| peer.name() == name) {
                    Some(at) => print!(" {:.1} [{:.2}] |", peers[at], count / peers[at]),
                    None => print!(" |"),
                }
            }
            println!();
        }
    }
    Ok(())
}

/// Runs `batches` batches of one contestant. This is what the program does under valgrind.
pub fn repeat(row: &str, contestant: &str, batches: &str) -> Result<(), Box<dyn Error>> {
    let dir = TestDir::in_memory("compare-repeat");
    let make = record::QUIET_ROWS.get(row.parse::<usize>()?).ok_or("no such row")?;
    let row = make(&Registries::new(dir.path())?);
    let contestant = row.contestants().nth(contestant.parse()?).ok_or("no such contestant")?;
    contestant.repeat(batches.parse()?);
    Ok(())
}

/// Returns the instructions per operation.
fn count(row: usize, contestant: usize, batch: u64) -> Result<f64, Box<dyn Error>> {
    let batches = OPERATIONS.div_ceil(batch);
    let [once, twice] =
        [batches, 2 * batches].map(|batches| collect(&[row, contestant, batches as usize]));
    Ok((twice? - once?) / (batches * batch) as f64)
}

/// Runs this program under valgrind with the arguments `numbers` and returns its total instruction count.
fn collect(numbers: &[usize]) -> Result<f64, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(env::current_exe()?).arg(REPEAT);
    let output = command.args(numbers.iter().map(usize::to_string)).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let collected = stderr.lines().find_map(|line| line.split_once("Collected : "));
    match collected {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => Err(io::Error::other(format!("{command:?}: {}: {stderr}", output.status)).into()),
    }
}
