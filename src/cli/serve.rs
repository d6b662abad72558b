//! `serve`: the merging exporter.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::args::{self, CompactMode, ListenArguments, MergeArguments, ServeArguments};
use super::compact::UncompactedHint;
use super::patterns::{EndOfPage, Kept, Patterns};
use super::signals::{Signal, Signals};
use super::{compact, owner, print_message};
use crate::error::{Error, Result};
use crate::file::sys::raise_descriptor_limit;
use crate::http::{Exporter, ExporterMetrics};
use crate::multiproc::{
    Compactor, MultiProcessCollector, MultiProcessCollectorBuilder, ProblemLog,
};
use crate::registry::Registry;

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
    let builder = configure(builder, arguments.merge);
    let exporter = start(builder, compactor.as_ref(), &arguments.listen)?;
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

/// Starts an exporter of a collector and of the metrics of a compactor.
pub(super) fn start(
    merging: impl Into<Merging>,
    compactor: Option<&Compactor>,
    listen: &ListenArguments,
) -> Result<Exporter> {
    self::listen(&page(merging, compactor)?, listen)
}

/// The builder of a collector, and the patterns that it was configured with.
pub(super) struct Merging {
    pub(super) builder: MultiProcessCollectorBuilder,
    pub(super) patterns: Arc<Patterns>,
}

impl From<MultiProcessCollectorBuilder> for Merging {
    fn from(builder: MultiProcessCollectorBuilder) -> Merging {
        Merging { builder, patterns: Arc::default() }
    }
}

/// A registry with a collector and the metrics of a compactor and of the exporter.
pub(super) fn page(merging: impl Into<Merging>, compactor: Option<&Compactor>) -> Result<Page> {
    let Merging { builder, patterns } = merging.into();
    // `multiprom_file_errors_total` counts every occurrence.
    let log = Mutex::new(ProblemLog::default());
    let builder = builder.on_problem(move |error| {
        log.lock().unwrap_or_else(PoisonError::into_inner).log(error);
    });
    let registry = Registry::new();
    registry.register(builder.map_files()?.build()?)?;
    if let Some(compactor) = compactor {
        let (collector, patterns) = (compactor.clone(), Arc::clone(&patterns));
        registry.register(Kept { collector, patterns })?;
    }
    let metrics = ExporterMetrics::default();
    registry.register(Kept { collector: metrics.clone(), patterns: Arc::clone(&patterns) })?;
    registry.register(EndOfPage(patterns))?;
    Ok(Page { registry, metrics })
}

/// What an exporter serves.
#[derive(Clone)]
pub(super) struct Page {
    registry: Registry,
    /// The metrics of the exporter itself, which are in the registry.
    metrics: ExporterMetrics,
}

/// Starts an exporter of a page.
pub(super) fn listen(page: &Page, listen: &ListenArguments) -> Result<Exporter> {
    Exporter::builder(page.registry.clone())
        .listen(listen.listen.clone())
        .telemetry_path(&listen.telemetry_path)
        .metrics(&page.metrics)
        .start()
}

/// Reports each problem each time it occurs.
pub(super) fn report_problem(error: &Error) {
    print_message(error);
}

/// Applies the options of the merge.
pub(super) fn configure(
    mut builder: MultiProcessCollectorBuilder,
    merge: MergeArguments,
) -> Merging {
    let MergeArguments {
        gauge_mode,
        default_gauge_mode,
        include,
        exclude,
        labels,
        any_file_system,
        pid_label,
    } = merge;
    builder = builder.pid_label(pid_label).owner_lease(owner::lease());
    if let Some(mode) = default_gauge_mode {
        builder = builder.default_gauge_mode(mode);
    }
    if any_file_system {
        builder = builder.any_file_system();
    }
    for (name, value) in labels {
        builder = builder.label(name, value);
    }
    let patterns = Arc::new(Patterns::new(include, exclude, gauge_mode));
    if patterns.are_filtering() {
        let patterns = Arc::clone(&patterns);
        builder = builder.filter(move |name, metric_type| patterns.keeps(name, metric_type));
    }
    if patterns.have_modes() {
        let patterns = Arc::clone(&patterns);
        builder = builder.gauge_mode(move |name| patterns.mode(name));
    }
    Merging { builder, patterns }
}
