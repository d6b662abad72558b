//! `run`: the launcher.
//!
//! Creates a directory, starts the command with it, serves its metrics, and ends when the last descendant of
//! the command has ended: orphans become children of this process, so daemons and re-executed servers are
//! followed too.

use std::process::ExitCode;

use super::compact::{self, UncompactedHint};
use super::exporting::{self, ExportedRegistry};
use super::gathering::{Reporting, registry};
use super::launcher::{CommandLine, Delivery, Launcher};
use super::linger::wait_for_scrape;
use super::merging::{configure, with_worker_metrics};
use super::restarts::Restarts;
use super::run_args::RunArguments;
use super::run_dir::RunDir;
use super::run_endpoint::{Listening, RunEndpoint};
use super::run_push::RunPush;
use super::signals::{self, Signal, Signals};
use crate::error::{Error, ErrorKind, Result};
use crate::multiproc::MultiProcessCollector;

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let blocked: Vec<Signal> = Signal::FORWARDED.into_iter().chain([Signal::CHLD]).collect();
    let signals = Signals::block(&blocked)?;
    exporting::check(&arguments.listen, std::iter::empty())?;
    let target = arguments.push.target(arguments.merge.created)?;
    let launch = &arguments.launch;
    // Several commands that push run on one machine, and nothing scrapes them.
    let serves = target.is_none() || arguments.listen.has_address();
    if !serves && launch.linger.is_some() {
        let message = "--linger waits for a scrape, but nothing is served with --push: give --web.listen-address";
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let run_dir = RunDir::open(arguments)?;
    let dir = run_dir.path().to_owned();
    let builder = || MultiProcessCollector::builder().labelled_directory(&dir, run_dir.label());
    let exported = with_worker_metrics(builder(), &arguments.worker_metrics);
    let merging = configure(exported, arguments.merge.clone());
    let dirs = std::slice::from_ref(&dir);
    let flag = compact::compact_flag(arguments.compact, &arguments.merge);
    let usual = run_dir.usual_compaction();
    let compactor = compact::beside_exporter(dirs, flag, usual, &arguments.keep_dead)?;
    let hint = UncompactedHint::new(dirs, flag, usual, compactor.as_ref());
    let exported = ExportedRegistry::new(merging, compactor.as_ref(), dirs.to_vec())?;
    let listening =
        if arguments.listen_optional { Listening::Optional } else { Listening::Required };
    let open = || RunEndpoint::open(exported, &arguments.listen, listening);
    let mut endpoint = serves.then(open).transpose()?;
    run_dir.report();
    compact::report(flag, usual, compactor.as_ref());
    endpoint.iter().for_each(RunEndpoint::report);
    let source = || registry(builder(), arguments.merge.clone(), Reporting::Changes);
    let with_source = |target| source().map(|source| RunPush::new(target, source));
    let mut push = target.map(with_source).transpose()?;
    let compacting = compactor.map(|compactor| compactor.start()).transpose()?;
    signals::adopt_orphans()?;
    let command = CommandLine {
        words: &arguments.command,
        dir: &dir,
        delivery: if launch.signal_group { Delivery::Group } else { Delivery::Process },
        ends_with_parent: launch.die_with_parent,
    };
    let restarts = Restarts::new(launch.restart, launch.restart_delay, launch.max_restarts);
    let mut launcher = Launcher::new(command, &signals, restarts, hint);
    if let Err(status) = launcher.start() {
        return Ok(ExitCode::from(status));
    }
    push.iter_mut().for_each(RunPush::start);
    let status = launcher.run();
    if let (Some(limit), Some(endpoint)) = (launch.linger, &mut endpoint) {
        wait_for_scrape(endpoint, limit, &signals);
    }
    signals::exit_on_next(Some(status))?;
    // First, so that a signal that ends this process leaves neither a socket nor a file for service discovery.
    if let Some(endpoint) = endpoint {
        endpoint.stop();
    }
    drop(compacting);
    if let Some(push) = push {
        push.end();
    }
    Ok(ExitCode::from(status))
}
