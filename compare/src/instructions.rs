//! How many instructions an operation takes, as valgrind counts them: the same on a busy machine.
//!
//! This program runs itself under valgrind with one contestant and a number of operations, and then with
//! twice as many. The difference has nothing of start and end.

use std::env;
use std::error::Error;
use std::io;
use std::process::{Command, Stdio};

use crate::record::{self, Registries, Row};
use crate::rounds::Contestant;
use crate::workload::ScratchDir;

/// The argument of this program under valgrind, before row, contestant and number of batches.
pub const REPEAT: &str = "--repeat";

/// Operations in the shorter run; those of one batch more or less make no difference.
const OPERATIONS: u64 = 20_000;

/// Whether there is a valgrind.
pub fn can_be_counted() -> bool {
    let mut command = Command::new("valgrind");
    let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Prints a table of all operations that one thread makes.
pub fn compare(rows: &[Row]) -> Result<(), Box<dyn Error>> {
    println!(
        "Instructions per operation; in brackets, those of ours for each 1.00 of the other's.\n"
    );
    println!("| operation | ours | {} |", record::PEERS.join(" | "));
    println!("|---|---:|{}", "---:|".repeat(record::PEERS.len()));
    for (number, row) in rows.iter().enumerate() {
        if !row.ours.iter().all(Contestant::is_alone) {
            continue;
        }
        let counts: Vec<f64> = row
            .contestants()
            .enumerate()
            .map(|(at, contestant)| count(number, at, contestant.batch()))
            .collect::<Result<_, _>>()?;
        let (ours, peers) = counts.split_at(row.ours.len());
        for (own, count) in row.ours.iter().zip(ours) {
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

/// What this program does under valgrind: so many batches of one contestant.
pub fn repeat(row: &str, contestant: &str, batches: &str) -> Result<(), Box<dyn Error>> {
    let dir = ScratchDir::new("compare-repeat");
    let rows = record::rows(&Registries::new(dir.path())?);
    let row = rows.get(row.parse::<usize>()?).ok_or("no such row")?;
    let contestant = row.contestants().nth(contestant.parse()?).ok_or("no such contestant")?;
    contestant.repeat(batches.parse()?);
    Ok(())
}

/// The instructions of one operation.
fn count(row: usize, contestant: usize, batch: u64) -> Result<f64, Box<dyn Error>> {
    let batches = OPERATIONS.div_ceil(batch);
    let [once, twice] =
        [batches, 2 * batches].map(|batches| collect(&[row, contestant, batches as usize]));
    Ok((twice? - once?) / (batches * batch) as f64)
}

/// All instructions of this program, run with these numbers.
fn collect(numbers: &[usize]) -> Result<f64, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(env::current_exe()?).arg(REPEAT);
    let output = command.args(numbers.iter().map(usize::to_string)).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => Err(io::Error::other(format!("{command:?} gave {}: {said}", output.status)).into()),
    }
}
