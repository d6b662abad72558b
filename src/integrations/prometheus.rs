//! Registries of the crate `prometheus`.

use std::fmt;

use prometheus::{Registry, TextEncoder};

use super::page::FamilyReader;
use crate::model::{Collector, FamilySink};
use crate::parse::Syntax;

/// Shows a registry of the crate [`prometheus`](https://docs.rs/prometheus/0.14) (version 0.14).
///
/// ```
/// use multiprom::integrations::PrometheusCollector;
/// use multiprom::{Backend, Registry};
/// use prometheus::{IntCounter, Opts};
///
/// let theirs = prometheus::Registry::new();
/// let sent = IntCounter::with_opts(Opts::new("mails_sent", "Mails sent."))?;
/// theirs.register(Box::new(sent.clone()))?;
/// sent.inc_by(3);
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// registry.register(PrometheusCollector::new(theirs))?;
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP mails_sent_total Mails sent.\n\
///      ## TYPE mails_sent_total counter\n\
///      mails_sent_total 3\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Counters, gauges, histograms and summaries arrive with their timestamps. The samples of a counter end in `_total` here,
/// which that crate does not require.
#[derive(Clone)]
pub struct PrometheusCollector(std::sync::Arc<Source>);

struct Source {
    registry: Registry,
    reader: FamilyReader,
}

impl PrometheusCollector {
    /// A collector of the metrics in a registry.
    pub fn new(registry: Registry) -> PrometheusCollector {
        let reader = FamilyReader::new("prometheus", Syntax::Text);
        PrometheusCollector(std::sync::Arc::new(Source { registry, reader }))
    }

    /// A collector of the metrics in `prometheus::default_registry()`, where the macros of that crate register theirs. With
    /// its feature `process` the registry also has the `process_` metrics: omit
    /// [`ProcessCollector`](crate::ProcessCollector) then.
    pub fn of_default_registry() -> PrometheusCollector {
        PrometheusCollector::new(prometheus::default_registry().clone())
    }
}

impl Collector for PrometheusCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        let Source { registry, reader } = &*self.0;
        let mut texts = Vec::new();
        for family in registry.gather() {
            // One at a time, as an error ends the text.
            match TextEncoder::new().encode_to_string(std::slice::from_ref(&family)) {
                Ok(text) => texts.push(text),
                Err(error) => reader.report(&error),
            }
        }
        reader.write(texts.iter().map(String::as_str), out);
    }
}

impl fmt::Debug for PrometheusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusCollector").finish_non_exhaustive()
    }
}
