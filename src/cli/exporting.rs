//! The exporter of `serve`, `run` and `demo`: a merging collector, and the metrics of the compactor, of the exporter and of
//! its process.

use std::path::PathBuf;
use std::sync::Arc;

use super::listen_args::ListenArguments;
use super::log;
use super::merging::{Merging, log_changes};
use super::patterns::{FilteredCollector, Patterns, ReportingRegistry};
use super::status::{LastScrapes, ServedDirectories};
use crate::error::Result;
use crate::http::{Exporter, ExporterBuilder, ExporterMetrics};
use crate::info::BuildInfo;
use crate::model::{Collector, Gatherer};
use crate::multiproc::{Compactor, MultiProcessCollectorBuilder};
use crate::process::ProcessCollector;
use crate::registry::Registry;

/// A registry to export, with the metrics of the exporter.
#[derive(Clone)]
pub(super) struct ExportedRegistry {
    registry: ReportingRegistry,
    /// The metrics of the exporter itself, which are in the registry.
    metrics: ExporterMetrics,
    shows_created: bool,
    /// Further registries by their HTTP paths.
    targets: Vec<(String, ReportingRegistry)>,
    /// The directories that the status page shows.
    directories: Vec<PathBuf>,
    last_scrapes: LastScrapes,
}

impl ExportedRegistry {
    /// Registers a collector and the metrics of a compactor and of the exporter.
    pub(super) fn new(
        merging: impl Into<Merging>,
        compactor: Option<&Compactor>,
        directories: Vec<PathBuf>,
    ) -> Result<ExportedRegistry> {
        let Merging { builder, patterns, shows_created } = merging.into();
        let last_scrapes = LastScrapes::default();
        let registry = merged(last_scrapes.of(builder))?;
        if let Some(compactor) = compactor {
            register_filtered(&registry, &patterns, compactor.clone())?;
        }
        let info = BuildInfo::new("multiprom")?.label("version", env!("CARGO_PKG_VERSION"))?;
        register_filtered(&registry, &patterns, info)?;
        register_filtered(&registry, &patterns, ProcessCollector::current())?;
        let metrics = ExporterMetrics::default();
        register_filtered(&registry, &patterns, metrics.clone())?;
        Ok(ExportedRegistry {
            registry: ReportingRegistry::new(registry, patterns),
            metrics,
            shows_created,
            targets: Vec::new(),
            directories,
            last_scrapes,
        })
    }

    /// Exports another collector under a path of its own.
    pub(super) fn add_target(&mut self, path: String, merging: Merging) -> Result<()> {
        let registry = merged(self.last_scrapes.of(merging.builder))?;
        self.targets.push((path, ReportingRegistry::new(registry, merging.patterns)));
        Ok(())
    }

    /// Starts an exporter.
    pub(super) fn listen(&self, listen: &ListenArguments) -> Result<Exporter> {
        let mut builder = configured(self.registry.clone(), listen).metrics(&self.metrics);
        for (path, registry) in &self.targets {
            builder = builder.target(path, registry.clone());
        }
        builder = listen.discovery.apply(builder);
        if !listen.no_status_page {
            builder = builder
                .status_of(ServedDirectories::new(&self.directories, self.last_scrapes.clone()));
        }
        if self.shows_created { builder.created().start() } else { builder.start() }
    }
}

/// Checks the arguments of an exporter and its web configuration.
pub(super) fn check<'a>(
    listen: &ListenArguments,
    targets: impl Iterator<Item = &'a String>,
) -> Result<()> {
    let builder = configured(Registry::new(), listen);
    targets.fold(builder, |builder, path| builder.target(path, Registry::new())).check()
}

/// The builder of an exporter with these arguments.
fn configured(
    source: impl Gatherer + Send + Sync + 'static,
    listen: &ListenArguments,
) -> ExporterBuilder {
    let mut builder = Exporter::builder(source).telemetry_path(&listen.telemetry_path);
    for address in listen.addresses() {
        builder = builder.listen(address);
    }
    if let Some(mode) = listen.socket_mode {
        builder = builder.socket_mode(mode);
    }
    if let Some(path) = &listen.web_config {
        builder = builder.web_config_file(path);
    }
    builder
}

/// A registry of a collector.
fn merged(builder: MultiProcessCollectorBuilder) -> Result<Registry> {
    let registry = Registry::new();
    registry.register(log_changes(builder).map_files()?.build()?)?;
    Ok(registry)
}

/// Registers a collector of metrics about the command itself.
fn register_filtered(
    registry: &Registry,
    patterns: &Arc<Patterns>,
    collector: impl Collector + 'static,
) -> Result<()> {
    registry.register(FilteredCollector { collector, patterns: Arc::clone(patterns) })?;
    Ok(())
}

/// Logs the URLs of the metrics.
pub(super) fn report(exporter: &Exporter) {
    for url in exporter.urls() {
        log::info(&format_args!("serving {url}"));
    }
}
