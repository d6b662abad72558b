//! `push`, `textfile` and `graphite`: merged metrics that are sent or written, once or periodically.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::args::{self, GraphiteArguments, PushArguments, SourceArguments, TextfileArguments};
use super::gathering::{Reporting, collector_of, registry};
use super::patterns::ReportingRegistry;
use super::push_args::PushMethod;
use super::signals::{self, Signal, Signals};
use crate::bridge::{Graphite, Textfile};
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Format, Negotiated};
use crate::outgoing::Periodic;

/// How long the commands wait for a signal at a time.
const WAIT_TIME: Duration = Duration::from_secs(3600);

/// The registry of the directories.
fn open(source: SourceArguments, interval: Option<Duration>) -> Result<ReportingRegistry> {
    let dirs = args::directories(&source.dir)?;
    let reporting = if interval.is_some() { Reporting::Changes } else { Reporting::EachTime };
    registry(collector_of(dirs), source.merge, reporting)
}

pub(super) fn push(arguments: PushArguments) -> Result<ExitCode> {
    let PushArguments { source, options, .. } = arguments;
    let signals = options.push_interval.map(|_| block()).transpose()?;
    let target = options.target(source.merge.created)?.ok_or_else(|| {
        Error::new(ErrorKind::Usage, "no target: give --gateway and --job, or --push-url")
    })?;
    if target.method == PushMethod::Delete {
        if target.interval.is_some() {
            return Err(Error::new(
                ErrorKind::Usage,
                "a group is deleted once: omit --push-interval",
            ));
        }
        return target.pusher.delete().map(|_| ExitCode::SUCCESS);
    }
    let registry = open(source, target.interval)?;
    if let (Some(periodic), Some(signals)) = (target.start(&registry)?, signals) {
        wait(&signals)?;
        periodic.cancel();
    }
    target.end(&registry).map(|()| ExitCode::SUCCESS)
}

pub(super) fn textfile(arguments: TextfileArguments) -> Result<ExitCode> {
    let TextfileArguments { source, output, interval, escaping, mode, temporary_dir, .. } =
        arguments;
    let format = Negotiated::new(Format::Text, escaping);
    let format = if source.merge.created { format.created() } else { format };
    let mut textfile = Textfile::new(output).mode(mode).format(format);
    if let Some(dir) = temporary_dir {
        textfile = textfile.temporary_dir(dir);
    }
    repeat(source, interval, "multiprom-text", move |registry| textfile.write(registry))
}

pub(super) fn graphite(arguments: GraphiteArguments) -> Result<ExitCode> {
    let GraphiteArguments { source, address, interval, prefix, tags, timeout, .. } = arguments;
    let graphite = Graphite::new(&address)?.prefix(&prefix).timeout(timeout);
    let graphite = if tags { graphite.tags() } else { graphite };
    repeat(source, interval, "multiprom-graph", move |registry| graphite.push(registry))
}

/// Signals are blocked before threads are started.
fn block() -> Result<Signals> {
    Signals::block(&[Signal::INT, Signal::TERM])
}

/// Waits for a signal. A further one ends the process at once.
fn wait(signals: &Signals) -> Result<()> {
    while signals.wait_for(WAIT_TIME).is_none() {}
    signals::exit_on_next(None)
}

/// Runs a task once; or in each interval until a signal, and then once more. The result is that of the last run.
fn repeat(
    source: SourceArguments,
    interval: Option<Duration>,
    name: &str,
    task: impl Fn(&ReportingRegistry) -> Result<()> + Send + 'static,
) -> Result<ExitCode> {
    let Some(interval) = interval else {
        return task(&open(source, None)?).map(|()| ExitCode::SUCCESS);
    };
    let signals = block()?;
    let registry = open(source, Some(interval))?;
    let has_failed = Arc::new(AtomicBool::new(false));
    let failed = Arc::clone(&has_failed);
    let periodic = Periodic::start(name, interval, move || {
        let result = task(&registry);
        failed.store(result.is_err(), Ordering::Relaxed);
        result
    })?;
    wait(&signals)?;
    periodic.stop();
    Ok(ExitCode::from(u8::from(has_failed.load(Ordering::Relaxed))))
}
