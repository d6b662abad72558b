//! `mark-process-dead`, for hooks of supervisors.

use std::process::ExitCode;

use super::args::{self, MarkDeadArguments};
use super::owner;
use crate::error::Result;
use crate::multiproc::mark_process_dead_by;

pub(super) fn run(arguments: &MarkDeadArguments) -> Result<ExitCode> {
    let dir = args::directory(arguments.dir.as_ref())?;
    let mut prober = owner::prober();
    for pid in &arguments.pids {
        mark_process_dead_by(&dir, *pid, &mut prober)?;
    }
    Ok(ExitCode::SUCCESS)
}
