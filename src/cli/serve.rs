//! `serve`: the merging exporter.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::args::{self, CompactMode, ServeArguments};
use super::compact::{self, UncompactedHint};
use super::exporting::{self, ExportedRegistry};
use super::gathering::collector_of;
use super::log;
use super::merging::{configure, configure_with, with_worker_metrics};
use super::signals::{self, Signal, Signals};
use crate::error::Result;
use crate::file::sys::raise_descriptor_limit;
use crate::http::Exporter;

/// Interval at which `--wait` checks for directories.
const WAIT_INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn run(arguments: ServeArguments) -> Result<ExitCode> {
    let signals = Signals::block(&[Signal::INT, Signal::TERM, Signal::HUP])?;
    exporting::check(&arguments.listen, arguments.targets.iter().map(|(path, _)| path))?;
    if arguments.check_config {
        return Ok(ExitCode::SUCCESS);
    }
    let targets: Vec<PathBuf> = arguments.targets.iter().map(|(_, dir)| dir.clone()).collect();
    let is_default = arguments.dir.is_empty() && !targets.is_empty();
    let merged = if is_default { &targets } else { &arguments.dir };
    if arguments.wait
        && !wait_for_directories(&[merged.clone(), targets.clone()].concat(), &signals)?
    {
        return Ok(ExitCode::SUCCESS);
    }
    let mut dirs = args::directories(merged)?;
    raise_descriptor_limit();
    let builder = collector_of(&dirs);
    let others: Vec<PathBuf> = targets.into_iter().filter(|dir| !dirs.contains(dir)).collect();
    dirs.extend(others);
    if arguments.reset {
        dirs.iter().try_for_each(|dir| compact::reset(dir))?;
    }
    let flag = compact::compact_flag(arguments.compact, &arguments.merge);
    let keep_dead = &arguments.keep_dead;
    let usual = CompactMode::Own;
    let compactor = compact::beside_exporter(&dirs, flag, usual, keep_dead)?;
    let mut hint = UncompactedHint::new(&dirs, flag, usual, compactor.as_ref());
    let builder = with_worker_metrics(builder, &arguments.worker_metrics);
    let merging = configure(builder, arguments.merge.clone());
    let patterns = Arc::clone(&merging.patterns);
    let mut exported = ExportedRegistry::new(merging, compactor.as_ref(), dirs)?;
    for (path, dir) in arguments.targets {
        let builder = collector_of([dir]);
        // A pattern that matches a family of any target is used.
        let merge = arguments.merge.clone();
        exported.add_target(path, configure_with(builder, merge, Arc::clone(&patterns)))?;
    }
    let exporter = exported.listen(&arguments.listen)?;
    exporting::report(&exporter);
    let compacting = compactor.map(|compactor| compactor.start()).transpose()?;
    loop {
        match signals.wait_for(hint.check()) {
            None => {}
            Some((Signal::HUP, _)) => reload(&exporter),
            Some(_) => break,
        }
    }
    signals::exit_on_next(None)?;
    // First, so that a signal that ends this process leaves no file for service discovery.
    exporter.stop();
    drop(compacting);
    Ok(ExitCode::SUCCESS)
}

/// Reads the web configuration again.
fn reload(exporter: &Exporter) {
    match exporter.reload() {
        Ok(()) => log::info(&"SIGHUP: the web configuration is reloaded"),
        Err(error) => {
            log::error(&format_args!("SIGHUP: {error:#}: the last valid version stays in use"));
        }
    }
}

/// Waits until every directory exists; `false` if a signal ends the wait.
fn wait_for_directories(flags: &[PathBuf], signals: &Signals) -> Result<bool> {
    let mut reported = None;
    while let Some(dir) = args::missing_directory(flags)? {
        if reported.as_ref() != Some(&dir) {
            log::info(&format_args!(
                "directory `{}` does not exist yet: waiting for it",
                dir.display()
            ));
            reported = Some(dir);
        }
        if signals.wait_for(WAIT_INTERVAL).is_some_and(|(signal, _)| signal != Signal::HUP) {
            return Ok(false);
        }
    }
    Ok(true)
}
