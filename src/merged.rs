//! What a program exposes: the merged directory, or the default registry.

use crate::error::Result;
use crate::exposition::Exposition;
use crate::model::{FamilySink, Gatherer};
use crate::registry::default_registry;

/// Gathers everything that a program should expose, whether its metrics are in a multiprocess directory or in memory.
///
/// If the values of the [default registry](default_registry) are in a directory, that is the merge of the directory,
/// series of this process that could not be written to a file included, and the collectors that are registered with
/// the default registry. Otherwise it is the default registry. See [`render`] for the page, and
/// `multiprom::http` for an exporter, which takes this as its source.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultGatherer;

impl Gatherer for DefaultGatherer {
    fn gather(&self, out: &mut dyn FamilySink) {
        #[cfg(target_os = "linux")]
        if let Some(merged) = directory::merged() {
            return merged.gather(out);
        }
        default_registry().gather(out);
    }
}

/// The [`DefaultGatherer`], which gathers everything that a program should expose.
pub fn gatherer() -> DefaultGatherer {
    DefaultGatherer
}

/// Renders everything that a program should expose, in the format that an HTTP `Accept` header prefers.
///
/// The code is the same with and without `PROMETHEUS_MULTIPROC_DIR`: see [`DefaultGatherer`].
///
/// ```
/// use multiprom::{Counter, Static};
///
/// static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
///
/// HITS.inc();
/// let page = multiprom::render(None);
/// assert_eq!(page.content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert!(page.to_string().contains("\nhits_total 1\n"));
/// ```
pub fn render(accept: Option<&str>) -> Exposition {
    Exposition::render(&DefaultGatherer, accept)
}

/// As [`render`], for handlers that can respond to a scrape with status 500.
///
/// # Errors
///
/// Those of [`Registry::try_render`](crate::Registry::try_render).
pub fn try_render(accept: Option<&str>) -> Result<Exposition> {
    Exposition::try_render(&DefaultGatherer, accept)
}

#[cfg(target_os = "linux")]
mod directory {
    use std::sync::OnceLock;

    use crate::multiproc::MultiProcessCollector;
    use crate::registry::{Registry, default_registry};
    use crate::store::fork::PerProcess;

    /// The registry with the collector of the default registry's directory. Its caches last from scrape to scrape.
    ///
    /// `None` if the default registry is in memory, or while its directory cannot be read.
    pub(super) fn merged() -> Option<&'static Registry> {
        // OK because no other process initializes this cell: each process has its own.
        static MERGED: PerProcess<OnceLock<Registry>> = PerProcess::new();
        let path = default_registry().store_or_later().ok()?.path()?;
        let merged = MERGED.get_or_create(OnceLock::new);
        if merged.get().is_none() {
            let registry = Registry::new();
            registry.register(MultiProcessCollector::new(path).ok()?).ok()?;
            registry.register(default_registry().clone()).ok()?;
            // OK because of two threads that create one, either will do.
            let _ = merged.set(registry);
        }
        merged.get()
    }
}
