//! Counts of connections that the exporter drops.

use std::sync::Arc;

use crate::model::own_metrics::{HTTP_CONNECTIONS_DROPPED, OwnCounters};
use crate::model::{Collector, FamilySink};

/// Why a connection is dropped: the index of a value of the label `reason` of `multiprom_http_connections_dropped_total`.
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

/// Counted over the life of an exporter, by reason.
#[derive(Debug, Default)]
pub(super) struct Dropped(OwnCounters<{ HTTP_CONNECTIONS_DROPPED.values().len() }>);

impl Dropped {
    pub(super) fn count(&self, reason: DropReason) {
        self.0.add(reason as usize, 1);
    }

    #[cfg(test)]
    pub(super) fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize)
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
        HTTP_CONNECTIONS_DROPPED.write_all(out, self.0.0.counts());
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collect(out);
    }

    fn is_merged(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_the_label_value_of_its_name() {
        let reasons = [
            DropReason::Head,
            DropReason::Limit,
            DropReason::Memory,
            DropReason::Slow,
            DropReason::Time,
        ];
        let values = reasons.map(|reason| HTTP_CONNECTIONS_DROPPED.values()[reason as usize]);
        assert_eq!(values, ["head", "limit", "memory", "slow", "time"]);
        assert_eq!(HTTP_CONNECTIONS_DROPPED.values().len(), reasons.len());
    }
}
