//! The metrics of an exporter about itself: requests and connections, over all listeners and paths.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::own_metrics::{
    DurationSum, HTTP_AUTHENTICATION_FAILURES, HTTP_CONNECTIONS, HTTP_CONNECTIONS_DROPPED,
    HTTP_CONNECTIONS_OPEN, HTTP_REQUESTS, HTTP_REQUESTS_IN_FLIGHT, HTTP_RESPONSE_DURATION,
    OwnCounters,
};
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
    /// The handshake of TLS has failed.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "used with TLS"))]
    Tls,
}

/// Why a request is not authenticated: the index of a value of the label `reason` of
/// `multiprom_http_authentication_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "used by the web configuration"))]
pub(super) enum AuthenticationFailure {
    /// The request has no credentials.
    Missing,
    /// User or password are wrong.
    Invalid,
    /// Too many requests wait for the verification of a password.
    Busy,
}

/// How many codes are exported before a response has had them.
const USUAL_CODES: usize = 3;

/// Counted over the life of an exporter, by the threads that serve.
#[derive(Debug, Default)]
pub(super) struct HttpCounters {
    dropped: OwnCounters<{ HTTP_CONNECTIONS_DROPPED.values().len() }>,
    responses: OwnCounters<{ HTTP_REQUESTS.values().len() }>,
    response_time: DurationSum,
    in_flight: AtomicU64,
    connections: AtomicU64,
    open_connections: AtomicU64,
    /// Whether a request was authenticated, successfully or not.
    authenticates: AtomicBool,
    authentication_failures: OwnCounters<{ HTTP_AUTHENTICATION_FAILURES.values().len() }>,
}

impl HttpCounters {
    pub(super) fn count_drop(&self, reason: DropReason) {
        self.dropped.add(reason as usize, 1);
    }

    #[cfg(test)]
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize)
    }

    /// Counts a request by the status code of its response.
    pub(super) fn count_response(&self, status: u16) {
        let code = status.to_string();
        let codes = HTTP_REQUESTS.values();
        let at = codes.iter().position(|known| *known == code);
        self.responses.add(at.unwrap_or(codes.len() - 1), 1);
    }

    pub(super) fn begin_response(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_response(&self, duration: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.response_time.add(duration);
    }

    /// Counts a request that was authenticated, or the reason why it was not.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "used by the web configuration"))]
    pub(super) fn count_authentication(&self, result: Result<(), AuthenticationFailure>) {
        self.authenticates.store(true, Ordering::Relaxed);
        if let Err(failure) = result {
            self.authentication_failures.add(failure as usize, 1);
        }
    }
}

/// Counts an open connection while it exists.
pub(super) struct OpenConnection(Arc<HttpCounters>);

impl OpenConnection {
    pub(super) fn count(counters: &Arc<HttpCounters>) -> OpenConnection {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        counters.open_connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(counters))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The metrics of an exporter about itself.
///
/// | family | type | about |
/// |---|---|---|
/// | `multiprom_http_requests_total{code}` | counter | requests by status code: 200, 500 and 503, and those that occurred |
/// | `multiprom_http_requests_in_flight` | gauge | requests whose response is not completely written |
/// | `multiprom_http_response_duration_seconds` | summary | time from the head of a request to the end of its response |
/// | `multiprom_http_connections_total`, `multiprom_http_connections_open` | counter, gauge | accepted and open connections |
/// | `multiprom_http_connections_dropped_total{reason}` | counter | dropped connections |
/// | `multiprom_http_authentication_failures_total{reason}` | counter | if the web configuration has users |
///
/// They are about all addresses and paths of the exporter together. Requests whose head is malformed are not counted. A
/// [`Handler`](super::Handler) has no connections, and does not export those metrics.
///
/// No exporter of a program exports them by default. To export them, register them and pass them to
/// [`ExporterBuilder::metrics`](super::ExporterBuilder::metrics) or [`HandlerBuilder::metrics`](super::HandlerBuilder::metrics).
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
pub struct ExporterMetrics(pub(super) Arc<HttpCounters>);

/// Which families are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Those that say something about what has happened so far.
    Present,
    All,
}

impl ExporterMetrics {
    fn write(&self, out: &mut dyn FamilySink, written: Written) {
        let counters = &self.0;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        HTTP_REQUESTS.write_first_and_nonzero(out, USUAL_CODES, counters.responses.counts());
        HTTP_REQUESTS_IN_FLIGHT.write(out, get(&counters.in_flight));
        HTTP_RESPONSE_DURATION.write_summaries(out, std::slice::from_ref(&counters.response_time));
        if written == Written::All || get(&counters.connections) > 0.0 {
            HTTP_CONNECTIONS.write(out, get(&counters.connections));
            HTTP_CONNECTIONS_OPEN.write(out, get(&counters.open_connections));
        }
        HTTP_CONNECTIONS_DROPPED.write_all(out, counters.dropped.counts());
        if written == Written::All || counters.authenticates.load(Ordering::Relaxed) {
            HTTP_AUTHENTICATION_FAILURES.write_all(out, counters.authentication_failures.counts());
        }
    }
}

impl Collector for ExporterMetrics {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.write(out, Written::Present);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.write(out, Written::All);
    }

    fn is_merged(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Backend, Registry};

    #[test]
    fn families_that_are_written_later_are_described_and_found_by_name() {
        let registry = Registry::builder().backend(Backend::in_memory()).build().unwrap();
        let metrics = ExporterMetrics::default();
        registry.register(metrics.clone()).unwrap();
        metrics.0.connections.fetch_add(3, Ordering::Relaxed);
        let name = "multiprom_http_connections_total";
        let page = crate::Exposition::render(&registry.restricted([name]), None).to_string();
        assert!(page.contains("multiprom_http_connections_total 3"), "{page}");
    }

    #[test]
    fn each_reason_has_the_label_value_of_its_name() {
        let reasons = [
            DropReason::Head,
            DropReason::Limit,
            DropReason::Memory,
            DropReason::Slow,
            DropReason::Time,
            DropReason::Tls,
        ];
        let values = reasons.map(|reason| HTTP_CONNECTIONS_DROPPED.values()[reason as usize]);
        assert_eq!(values, ["head", "limit", "memory", "slow", "time", "tls"]);
        assert_eq!(HTTP_CONNECTIONS_DROPPED.values().len(), reasons.len());
        let failures = [
            AuthenticationFailure::Missing,
            AuthenticationFailure::Invalid,
            AuthenticationFailure::Busy,
        ];
        let values = failures.map(|it| HTTP_AUTHENTICATION_FAILURES.values()[it as usize]);
        assert_eq!(values, ["missing", "invalid", "busy"]);
        assert_eq!(HTTP_AUTHENTICATION_FAILURES.values().len(), failures.len());
    }

    #[test]
    fn requests_are_counted_by_code_and_an_unknown_code_as_other() {
        let counters = HttpCounters::default();
        for status in [200, 200, 405, 418] {
            counters.count_response(status);
        }
        let counts: Vec<u64> = counters.responses.counts().collect();
        let count = |code| {
            let at = HTTP_REQUESTS.values().iter().position(|it| *it == code);
            counts[at.unwrap()]
        };
        assert_eq!([count("200"), count("405"), count("other"), count("503")], [2, 1, 1, 0]);
    }
}
