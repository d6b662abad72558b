//! The options of the merge, applied to a collector.

use std::sync::Arc;

use super::args::{MergeArguments, WorkerArguments};
use super::output::print_message;
use super::owner;
use super::patterns::Patterns;
use super::scrape_log::ScrapeLog;
use crate::error::Error;
use crate::multiproc::MultiProcessCollectorBuilder;

/// The builder of a collector, and the patterns that it was configured with.
pub(super) struct Merging {
    pub(super) builder: MultiProcessCollectorBuilder,
    pub(super) patterns: Arc<Patterns>,
    /// Whether the text formats and OpenMetrics 1.0 have the samples `_created`.
    pub(super) shows_created: bool,
}

impl From<MultiProcessCollectorBuilder> for Merging {
    fn from(builder: MultiProcessCollectorBuilder) -> Merging {
        Merging { builder, patterns: Arc::default(), shows_created: false }
    }
}

/// Applies the options of the merge.
pub(super) fn configure(builder: MultiProcessCollectorBuilder, merge: MergeArguments) -> Merging {
    let MergeArguments { gauge_mode, include, exclude, .. } = &merge;
    let patterns = Patterns::new(include.clone(), exclude.clone(), gauge_mode.clone());
    configure_with(builder, merge, Arc::new(patterns))
}

/// Applies the options of the merge, with patterns that collectors may share.
pub(super) fn configure_with(
    mut builder: MultiProcessCollectorBuilder,
    merge: MergeArguments,
    patterns: Arc<Patterns>,
) -> Merging {
    let MergeArguments { default_gauge_mode, labels, any_file_system, created, pid_label, .. } =
        merge;
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
    if patterns.are_filtering() {
        let patterns = Arc::clone(&patterns);
        builder = builder.filter(move |name, metric_type| patterns.keeps(name, metric_type));
    }
    if patterns.have_modes() {
        let patterns = Arc::clone(&patterns);
        builder = builder.gauge_mode(move |name| patterns.mode(name));
    }
    Merging { builder, patterns, shows_created: created }
}

/// Adds the metrics of workers, if they are wanted.
pub(super) fn with_worker_metrics(
    builder: MultiProcessCollectorBuilder,
    arguments: &WorkerArguments,
) -> MultiProcessCollectorBuilder {
    if arguments.worker_metrics { builder.worker_metrics_of(&arguments.procfs) } else { builder }
}

/// Reports each problem each time it occurs.
pub(super) fn report_problem(error: &Error) {
    print_message(error);
}

/// Logs problems when they appear and when they end, in commands that gather repeatedly.
pub(super) fn log_changes(builder: MultiProcessCollectorBuilder) -> MultiProcessCollectorBuilder {
    let log = ScrapeLog::default();
    builder.on_scrape(move |stats| log.add(stats))
}
