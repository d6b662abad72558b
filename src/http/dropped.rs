//! Counts of connections that the exporter drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Collector, FamilySink};

/// Why a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    /// The head of the request takes too long.
    Head,
    /// The connection is the most dispensable one at the connection limit.
    Limit,
    /// The response is slow and has the most queued bytes when the memory for responses is used up.
    Memory,
    /// The client reads too slowly.
    Slow,
    /// The response takes too long in total.
    Time,
}

impl DropReason {
    const ALL: [DropReason; 5] = [
        DropReason::Head,
        DropReason::Limit,
        DropReason::Memory,
        DropReason::Slow,
        DropReason::Time,
    ];

    /// The label value of `multiprom_http_connections_dropped_total`.
    const fn as_str(self) -> &'static str {
        match self {
            DropReason::Head => "head",
            DropReason::Limit => "limit",
            DropReason::Memory => "memory",
            DropReason::Slow => "slow",
            DropReason::Time => "time",
        }
    }
}

/// Counts of dropped connections over the life of an exporter, in the order of [`DropReason::ALL`].
#[derive(Debug, Default)]
pub(super) struct Dropped([AtomicU64; DropReason::ALL.len()]);

impl Dropped {
    pub(super) fn count(&self, reason: DropReason) {
        if let Some(at) = DropReason::ALL.iter().position(|other| *other == reason) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn get(&self, reason: DropReason) -> u64 {
        let at = DropReason::ALL.iter().position(|other| *other == reason).unwrap();
        self.0[at].load(Ordering::Relaxed)
    }
}

/// The metrics of an exporter about itself: `multiprom_http_connections_dropped_total{reason}`.
///
/// To export them, register them and pass them to [`ExporterBuilder::metrics`](super::ExporterBuilder::metrics).
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
        for (reason, count) in DropReason::ALL.iter().zip(&self.0.0) {
            let count = count.load(Ordering::Relaxed);
            family.sample(&[("reason", reason.as_str())], count as f64);
        }
    }
}
