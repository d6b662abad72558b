//! The exporter of `serve`, `run` and `demo`: a merging collector, and the metrics of the compactor and of the exporter
//! itself.

use std::sync::{Arc, Mutex, PoisonError};

use super::args::ListenArguments;
use super::merging::Merging;
use super::patterns::{FilteredCollector, UnusedPatternReport};
use crate::error::Result;
use crate::http::{Exporter, ExporterMetrics};
use crate::info::BuildInfo;
use crate::multiproc::{Compactor, ProblemLog};
use crate::registry::Registry;

/// A registry to export, with the metrics of the exporter.
#[derive(Clone)]
pub(super) struct ExportedRegistry {
    registry: Registry,
    /// The metrics of the exporter itself, which are in the registry.
    metrics: ExporterMetrics,
    shows_created: bool,
}

impl ExportedRegistry {
    /// Registers a collector and the metrics of a compactor and of the exporter.
    pub(super) fn new(
        merging: impl Into<Merging>,
        compactor: Option<&Compactor>,
    ) -> Result<ExportedRegistry> {
        let Merging { builder, patterns, shows_created } = merging.into();
        // `multiprom_file_errors_total` counts every occurrence.
        let log = Mutex::new(ProblemLog::default());
        let builder = builder.on_problem(move |error| {
            log.lock().unwrap_or_else(PoisonError::into_inner).log(error);
        });
        let registry = Registry::new();
        registry.register(builder.map_files()?.build()?)?;
        if let Some(compactor) = compactor {
            let (collector, patterns) = (compactor.clone(), Arc::clone(&patterns));
            registry.register(FilteredCollector { collector, patterns })?;
        }
        let collector = BuildInfo::new("multiprom")?.label("version", env!("CARGO_PKG_VERSION"))?;
        let kept = Arc::clone(&patterns);
        registry.register(FilteredCollector { collector, patterns: kept })?;
        let metrics = ExporterMetrics::default();
        let (collector, kept) = (metrics.clone(), Arc::clone(&patterns));
        registry.register(FilteredCollector { collector, patterns: kept })?;
        registry.register(UnusedPatternReport(patterns))?;
        Ok(ExportedRegistry { registry, metrics, shows_created })
    }

    /// Starts an exporter.
    pub(super) fn listen(&self, listen: &ListenArguments) -> Result<Exporter> {
        let builder = Exporter::builder(self.registry.clone())
            .listen(listen.address())
            .telemetry_path(&listen.telemetry_path)
            .metrics(&self.metrics);
        if self.shows_created { builder.created().start() } else { builder.start() }
    }
}
