//! `mark-process-dead`: the hook of a supervisor.

use std::process::ExitCode;

use super::args::{self, MarkDeadArguments};
use crate::error::Result;
use crate::multiproc::mark_process_dead;

pub(super) fn run(arguments: &MarkDeadArguments) -> Result<ExitCode> {
    let dir = args::directory(arguments.dir.as_ref())?;
    for pid in &arguments.pids {
        mark_process_dead(&dir, *pid)?;
    }
    Ok(ExitCode::SUCCESS)
}
