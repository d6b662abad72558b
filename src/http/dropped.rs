//! Counts of connections that the exporter drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Collector, FamilySink};

/// Why a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The head of a request takes too long.
    Head,
    /// The connection is the idlest one when a new one needs its place.
    Limit,
    /// The response is the furthest behind when the memory for responses is used up.
    Memory,
    /// The client reads too slowly.
    Slow,
    /// The response takes too long in all.
    Time,
}

impl Reason {
    const ALL: [Reason; 5] =
        [Reason::Head, Reason::Limit, Reason::Memory, Reason::Slow, Reason::Time];

    /// The label value of `multiprom_http_connections_dropped_total`.
    const fn as_str(self) -> &'static str {
        match self {
            Reason::Head => "head",
            Reason::Limit => "limit",
            Reason::Memory => "memory",
            Reason::Slow => "slow",
            Reason::Time => "time",
        }
    }
}

/// Counted over the life of an exporter, by [`Reason::ALL`].
#[derive(Debug, Default)]
pub(super) struct Dropped([AtomicU64; Reason::ALL.len()]);

impl Dropped {
    pub(super) fn count(&self, reason: Reason) {
        if let Some(at) = Reason::ALL.iter().position(|known| *known == reason) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn get(&self, reason: Reason) -> u64 {
        let at = Reason::ALL.iter().position(|known| *known == reason).unwrap();
        self.0[at].load(Ordering::Relaxed)
    }
}

/// What exporters count about themselves: `multiprom_http_connections_dropped_total{reason}`.
///
/// It is part of the exposition when it is registered.
///
/// ```
/// use multiprom::{Registry, http::{Exporter, ExporterMetrics}};
///
/// let (registry, metrics) = (Registry::new(), ExporterMetrics::default());
/// registry.register(metrics.clone())?;
/// let exporter = Exporter::builder(registry).metrics(&metrics);
/// let exporter = exporter.listen("127.0.0.1:0".parse()?).start()?;
/// # exporter.stop();
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExporterMetrics(pub(super) Arc<Dropped>);

impl Collector for ExporterMetrics {
    fn collect(&self, out: &mut dyn FamilySink) {
        let help = "Connections that the exporter dropped, by reason.";
        let mut family = out.counter("multiprom_http_connections_dropped_total", help);
        for (reason, count) in Reason::ALL.iter().zip(&self.0.0) {
            let count = count.load(Ordering::Relaxed);
            family.sample(&[("reason", reason.as_str())], count as f64);
        }
    }
}
