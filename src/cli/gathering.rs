//! The registry of commands that write merged metrics somewhere: `dump`, `push`, `run --push`, `textfile`, `graphite`.

use std::path::Path;

use super::args::MergeArguments;
use super::merging::{Merging, configure, log_changes, report_problem};
use super::patterns::ReportingRegistry;
use crate::error::Result;
use crate::multiproc::{MultiProcessCollector, MultiProcessCollectorBuilder};
use crate::registry::Registry;

/// How often a problem of the directory is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reporting {
    /// Each time it occurs, in commands that gather once.
    EachTime,
    /// When it appears and when it ends, in commands that gather repeatedly.
    Changes,
}

/// A builder of a collector of these directories.
pub(super) fn collector_of(
    dirs: impl IntoIterator<Item = impl AsRef<Path>>,
) -> MultiProcessCollectorBuilder {
    let builder = MultiProcessCollector::builder();
    dirs.into_iter().fold(builder, MultiProcessCollectorBuilder::directory)
}

/// A registry with a collector, to which the options of the merge are applied.
pub(super) fn registry(
    builder: MultiProcessCollectorBuilder,
    merge: MergeArguments,
    reporting: Reporting,
) -> Result<ReportingRegistry> {
    let Merging { builder, patterns, .. } = configure(builder, merge);
    let builder = match reporting {
        Reporting::EachTime => builder.scraped_once().on_problem(report_problem),
        Reporting::Changes => log_changes(builder),
    };
    let registry = Registry::new();
    registry.register(builder.build()?)?;
    Ok(ReportingRegistry::new(registry, patterns))
}
