//! `run`: its command and the descendants of the command.

mod groups;
mod lingering;
mod process_1;
mod restarts;
mod unsupervised;

use std::process::Command;

use crate::support::{example, multiprom};

/// A launcher that runs a shell script with the path of `test-counting` as `$0`.
fn launcher(flags: &[&str], script: &str) -> Command {
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags);
    command.args(["--", "sh", "-c", script]).arg(example("test-counting").get_program());
    command
}
