//! The programs that tests start, in one binary: the name by which it is started selects the program.
//! `support::example` makes a link of that name.

mod background;
mod compacting;
mod companions;
mod computed;
mod counting;
mod facade;
mod fleet;
#[path = "../support/fork.rs"]
mod fork;
mod fork_matrix;
mod forks;
mod host;
mod integrations;
mod killed;
mod merged;
mod process_metrics;
mod removing;
#[path = "../support/seccomp.rs"]
mod seccomp;
mod series;
mod states;
mod streaming;
mod survivor;
mod truth;
mod turnover;
mod values;
mod waiting;
mod worker;

use std::path::Path;
use std::process::{ExitCode, Termination};

fn report<T: Termination>(program: fn() -> T) -> ExitCode {
    program().report()
}

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "test-background" => report(background::main),
        "test-compacting" => report(compacting::main),
        "test-companions" => report(companions::main),
        "test-computed" => report(computed::main),
        "test-counting" => report(counting::main),
        "test-fork-matrix" => report(fork_matrix::main),
        "test-fleet" => report(fleet::main),
        "test-facade" => report(facade::main),
        "test-forks" => report(forks::main),
        "test-host" => report(host::main),
        "test-integrations" => report(integrations::main),
        "test-killed" => report(killed::main),
        "test-merged" => report(merged::main),
        "test-process-metrics" => report(process_metrics::main),
        "test-removing" => report(removing::main),
        "test-series" => report(series::main),
        "test-states" => report(states::main),
        "test-streaming" => report(streaming::main),
        "test-survivor" => report(survivor::main),
        "test-turnover" => report(turnover::main),
        "test-values" => report(values::main),
        "test-waiting" => report(waiting::main),
        "test-worker" => report(worker::main),
        _ => panic!("no program `{name}`"),
    }
}
