//! `serve`: the merging exporter.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::args::{self, CompactMode, ServeArguments};
use super::compact::{self, UncompactedHint};
use super::exporting::ExportedRegistry;
use super::merging::{configure, with_worker_metrics};
use super::output::print_message;
use super::signals::{Signal, Signals};
use crate::error::Result;
use crate::file::sys::raise_descriptor_limit;
use crate::multiproc::MultiProcessCollector;

/// Interval at which `--wait` checks for directories.
const WAIT_INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn run(arguments: ServeArguments) -> Result<ExitCode> {
    let signals = Signals::block(&[Signal::INT, Signal::TERM])?;
    if arguments.wait && !wait_for_directories(&arguments.dir, &signals)? {
        return Ok(ExitCode::SUCCESS);
    }
    let dirs = args::directories(&arguments.dir)?;
    raise_descriptor_limit();
    let mut builder = MultiProcessCollector::builder();
    for dir in &dirs {
        builder = builder.directory(dir);
        if arguments.reset {
            compact::reset(dir)?;
        }
    }
    let flag = compact::compact_flag(arguments.compact, &arguments.merge);
    let keep_dead = &arguments.keep_dead;
    let usual = CompactMode::Own;
    let compactor = compact::beside_exporter(&dirs, flag, usual, keep_dead)?;
    let mut hint = UncompactedHint::new(&dirs, flag, usual, compactor.as_ref());
    let builder = with_worker_metrics(builder, &arguments.worker_metrics);
    let merging = configure(builder, arguments.merge);
    let exported = ExportedRegistry::new(merging, compactor.as_ref())?;
    let exporter = exported.listen(&arguments.listen)?;
    print_message(&format_args!("serving {}", exporter.url()));
    let compacting = compactor.map(|compactor| compactor.start()).transpose()?;
    while signals.wait_for(hint.check()).is_none() {}
    drop(compacting);
    exporter.stop();
    Ok(ExitCode::SUCCESS)
}

/// Waits until every directory exists; `false` if a signal ends the wait.
fn wait_for_directories(flags: &[PathBuf], signals: &Signals) -> Result<bool> {
    let mut reported = None;
    while let Some(dir) = args::missing_directory(flags)? {
        if reported.as_ref() != Some(&dir) {
            print_message(&format_args!(
                "directory `{}` does not exist yet: waiting for it",
                dir.display()
            ));
            reported = Some(dir);
        }
        if signals.wait_for(WAIT_INTERVAL).is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
