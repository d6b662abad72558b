//! `push`, `textfile` and `graphite`: merged metrics that are sent or written, once or periodically.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::args::{self, MergeArguments, parse_duration};
use super::gathering::{Reporting, collector_of, registry};
use super::push_args::{PushMethod, PushOptions};
use super::signals::{Signal, Signals};
use crate::bridge::{Graphite, Textfile};
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Escaping, Format, Negotiated};
use crate::outgoing::Periodic;
use crate::registry::Registry;

/// How long the commands wait for a signal at a time.
const WAIT_TIME: Duration = Duration::from_secs(3600);

/// The directories of a command, and how they are merged.
#[derive(Args, Debug)]
pub(super) struct SourceArguments {
    /// Multiprocess directory, or a glob pattern of several (repeatable); by default
    /// $PROMETHEUS_MULTIPROC_DIR
    #[arg(long)]
    dir: Vec<PathBuf>,
    #[command(flatten)]
    merge: MergeArguments,
}

impl SourceArguments {
    fn open(self, interval: Option<Duration>) -> Result<Registry> {
        let dirs = args::directories(&self.dir)?;
        let reporting = if interval.is_some() { Reporting::Once } else { Reporting::EachTime };
        registry(collector_of(dirs), self.merge, reporting)
    }
}

#[derive(Args, Debug)]
pub(super) struct PushArguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    options: PushOptions,
}

pub(super) fn push(arguments: PushArguments) -> Result<ExitCode> {
    let PushArguments { source, options } = arguments;
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
    let registry = source.open(target.interval)?;
    let (Some(interval), Some(signals)) = (target.interval, signals) else {
        return target.end(&registry).map(|()| ExitCode::SUCCESS);
    };
    let (pushed, source) = (target.clone(), registry.clone());
    let periodic = Periodic::start("multiprom-push", interval, move || pushed.push(&source))?;
    while signals.wait_for(WAIT_TIME).is_none() {}
    periodic.cancel();
    target.end(&registry).map(|()| ExitCode::SUCCESS)
}

#[derive(Args, Debug)]
pub(super) struct TextfileArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// File to replace; node_exporter reads files whose names end in .prom
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file every TIME: 500ms, 15s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Escaping of names: underscores, dots, values, or allow-utf-8 for names in quotes
    #[arg(long, value_name = "SCHEME", default_value = "underscores")]
    escaping: Escaping,
    /// Permissions of the file, in octal
    #[arg(long, value_name = "MODE", default_value = "644", value_parser = parse_mode)]
    mode: u32,
    /// Directory of the temporary file, on the same file system [default: that of the file]
    #[arg(long, value_name = "DIR")]
    temporary_dir: Option<PathBuf>,
}

pub(super) fn textfile(arguments: TextfileArguments) -> Result<ExitCode> {
    let TextfileArguments { source, output, interval, escaping, mode, temporary_dir } = arguments;
    let format = Negotiated::new(Format::Text, escaping);
    let format = if source.merge.created { format.created() } else { format };
    let mut textfile = Textfile::new(output).mode(mode).format(format);
    if let Some(dir) = temporary_dir {
        textfile = textfile.temporary_dir(dir);
    }
    repeat(source, interval, "multiprom-text", move |registry| textfile.write(registry))
}

#[derive(Args, Debug)]
pub(super) struct GraphiteArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Address of the plaintext receiver; the default port is 2003
    #[arg(long, value_name = "HOST[:PORT]")]
    address: String,
    /// Send every TIME: 500ms, 15s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Beginning of all paths, such as shop.web1
    #[arg(long, value_name = "PATH", default_value = "")]
    prefix: String,
    /// Write labels as tags (Graphite 1.1 or later) instead of parts of the path
    #[arg(long)]
    tags: bool,
    /// How long sending may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) fn graphite(arguments: GraphiteArguments) -> Result<ExitCode> {
    let GraphiteArguments { source, address, interval, prefix, tags, timeout } = arguments;
    let graphite = Graphite::new(&address)?.prefix(&prefix).timeout(timeout);
    let graphite = if tags { graphite.tags() } else { graphite };
    repeat(source, interval, "multiprom-graph", move |registry| graphite.push(registry))
}

/// Signals are blocked before threads are started.
fn block() -> Result<Signals> {
    Signals::block(&[Signal::INT, Signal::TERM])
}

/// Runs a task once; or in each interval until a signal, and then once more. The result is that of the last run.
fn repeat(
    source: SourceArguments,
    interval: Option<Duration>,
    name: &str,
    task: impl Fn(&Registry) -> Result<()> + Send + 'static,
) -> Result<ExitCode> {
    let Some(interval) = interval else {
        return task(&source.open(None)?).map(|()| ExitCode::SUCCESS);
    };
    let signals = block()?;
    let registry = source.open(Some(interval))?;
    let has_failed = Arc::new(AtomicBool::new(false));
    let failed = Arc::clone(&has_failed);
    let periodic = Periodic::start(name, interval, move || {
        let result = task(&registry);
        failed.store(result.is_err(), Ordering::Relaxed);
        result
    })?;
    while signals.wait_for(WAIT_TIME).is_none() {}
    periodic.stop();
    Ok(ExitCode::from(u8::from(has_failed.load(Ordering::Relaxed))))
}

fn parse_mode(text: &str) -> std::result::Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected permissions in octal, such as 640".to_owned())
}
