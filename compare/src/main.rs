//! Measures multiprom against other clients in one run, and prints the result as Markdown.
//!
//! usage: multiprom-compare [--quick | --recording [PART] | --instructions | --churn | --scrapes | --modes | --series | --curves]
//!
//! See `scripts/bench-compare`, which builds what this needs.

mod churn;
mod clocks;
mod curves;
mod floor;
#[path = "../../tests/support/fork.rs"]
mod fork;
mod http;
mod instructions;
mod parse;
mod programs;
mod record;
mod rounds;
mod scrape;
mod series;
mod served;
#[path = "../../benches/workload/mod.rs"]
mod workload;

use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use programs::Programs;
use record::Registries;
use rounds::Effort;
use workload::TestDir;

const RECORDING: Effort = Effort { rounds: 15, slice: Duration::from_millis(30) };
const QUICK_RECORDING: Effort = Effort { rounds: 5, slice: Duration::from_millis(5) };
const CHURN: churn::Effort = churn::Effort { dead: 10_000, rounds: 25, opens: 500_000 };
const QUICK_CHURN: churn::Effort = churn::Effort { dead: 100, rounds: 5, opens: 10_000 };

fn main() -> ExitCode {
    workload::become_worker_if_asked();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] => compare(false),
        ["--quick"] => compare(true),
        ["--instructions"] => count_instructions(),
        ["--recording"] => measure_recording(""),
        ["--recording", part] => measure_recording(part),
        ["--churn"] => churn::compare(CHURN).map_err(Into::into),
        ["--curves"] => measure_curves(),
        ["--series"] => series::compare(scrape::Effort::Full).map_err(Into::into),
        ["--series", "--quick"] => series::compare(scrape::Effort::Quick).map_err(Into::into),
        ["--scrapes"] => compare_scrapes(scrape::Effort::Full),
        [instructions::REPEAT, row, contestant, batches] => {
            instructions::repeat(row, contestant, batches)
        }
        [series::MEASURE, what, library, count] => series::measure(what, library, count),
        ["--modes"] => compare_modes(),
        [scrape::RECORD, dir, number] => scrape::record(dir, number),
        [scrape::LIVE, dir, shared, number] => scrape::live(dir, shared, number),
        _ => {
            eprintln!(
                "usage: multiprom-compare [--quick | --recording [PART] | --instructions | --churn | --scrapes | --modes | --series | --curves]"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multiprom-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(quick: bool) -> Result<(), Box<dyn Error>> {
    compare_recording("", if quick { QUICK_RECORDING } else { RECORDING })?;
    println!();
    if instructions::can_be_counted() && !quick {
        count_instructions()?;
    } else {
        println!("Instructions are not counted: this needs valgrind and a run without --quick.");
    }
    println!();
    let programs = programs()?;
    let parsed = parse::outcomes(&programs, if quick { 2 } else { 7 })?;
    print_parsed(&parsed.unwrap_or_default());
    let effort = if quick { scrape::Effort::Quick } else { scrape::Effort::Full };
    compare_series(quick)?;
    scrape::compare(&programs, effort)?;
    churn::compare(if quick { QUICK_CHURN } else { CHURN })?;
    Ok(())
}

/// Compares in a process of its own: here, threads of other measurements are alive and have cells.
fn compare_series(quick: bool) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--series").args(quick.then_some("--quick"));
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{command:?} ended with {status}").into()),
    }
}

fn measure_recording(part: &str) -> Result<(), Box<dyn Error>> {
    compare_recording(part, RECORDING)
}

fn compare_scrapes(effort: scrape::Effort) -> Result<(), Box<dyn Error>> {
    Ok(scrape::compare(&programs()?, effort)?)
}

fn compare_modes() -> Result<(), Box<dyn Error>> {
    Ok(scrape::compare_modes(&programs()?, scrape::Effort::Full)?)
}

fn measure_curves() -> Result<(), Box<dyn Error>> {
    curves::measure(&programs()?)
}

fn programs() -> Result<Programs, Box<dyn Error>> {
    Programs::find().ok_or_else(|| "the command is not built".into())
}

fn count_instructions() -> Result<(), Box<dyn Error>> {
    let dir = TestDir::in_memory("compare-instructions");
    instructions::compare(&Registries::new(dir.path())?)
}

/// Compares the operations whose names contain `part`.
fn compare_recording(part: &str, effort: Effort) -> Result<(), Box<dyn Error>> {
    let dir = TestDir::in_memory("compare-record");
    let registries = Registries::new(dir.path())?;
    println!(
        "Nanoseconds of processor time per operation; in brackets, the time of multiprom divided by that of the other \
         client:"
    );
    println!("median of {} rounds, lowest and highest.\n", effort.rounds);
    println!("| operation | multiprom | {} |", record::PEERS.join(" | "));
    println!("|---|---:|{}", "---:|".repeat(record::PEERS.len()));
    for row in record::ROWS.map(|make| make(&registries)) {
        if !row.operation.contains(part) {
            continue;
        }
        let times = rounds::measure(&row.contestants().collect::<Vec<_>>(), effort);
        let (own_times, peers) = times.split_at(row.own.len());
        for own in own_times {
            print!("| {}, {} | {:.1} |", row.operation, own.name, own.median() * 1e9);
            for name in record::PEERS {
                match peers.iter().find(|peer| peer.name == name) {
                    Some(peer) => print!(" {:.1} [{}] |", peer.median() * 1e9, own.ratio(peer)),
                    None => print!(" |"),
                }
            }
            println!();
        }
    }
    Ok(())
}

fn print_parsed(outcomes: &[parse::Outcome]) {
    println!(
        "| parsing | samples | multiprom, ms | Python, ms | Python / multiprom, median, lowest to highest |"
    );
    println!("|---|---:|---:|---:|---|");
    for parse::Outcome { format, samples, own, python } in outcomes {
        let (own_ms, python_ms) = (own.median() * 1e3, python.median() * 1e3);
        let ratio = python.ratio(own);
        println!("| {format} | {samples} | {own_ms:.2} | {python_ms:.1} | {ratio} |");
    }
}
