//! Requests, and which exposition a request asks for.

use std::fmt;
use std::time::Duration;

use hyper::Version;

use super::coding::{Coding, CodingChoice};
use super::filter::requested_names;
use crate::exposition::{Negotiated, negotiate};

/// The maximum time that a client may announce for its scrape, in seconds; longer ones are shortened.
const MAX_SCRAPE_SECONDS: f64 = 3600.0;

/// A request for a [`Handler`](super::Handler): the method, the target and those headers that select the response.
///
/// It is converted from `http::Request`, which axum and hyper use, or built from text:
///
/// ```
/// use multiprom::http::Request;
///
/// let request = Request::new("GET", "/metrics?name[]=jobs_total").header("accept", "text/plain");
/// assert_eq!(request.path(), "/metrics");
/// ```
#[derive(Clone, PartialEq)]
pub struct Request {
    method: String,
    path: String,
    query: Option<String>,
    accept: String,
    accept_encoding: String,
    timeout: Option<Duration>,
    has_body: bool,
    framing: Framing,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A request of HTTP/1.1 or later for a path with an optional query.
    pub fn new(method: &str, target: &str) -> Request {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            accept: String::new(),
            accept_encoding: String::new(),
            timeout: None,
            has_body: false,
            framing: Framing::Chunked,
        }
    }

    /// Adds a header. Headers that the handler does not use are ignored.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        match name.to_ascii_lowercase().as_str() {
            "accept" => append(&mut self.accept, value),
            "accept-encoding" => append(&mut self.accept_encoding, value),
            "x-prometheus-scrape-timeout-seconds" => self.timeout = scrape_timeout(value),
            "content-length" => self.has_body |= value.trim() != "0",
            "transfer-encoding" => self.has_body = true,
            _ => {}
        }
        self
    }

    /// Declares that the client uses HTTP/1.0, which has no chunks: the body then begins when its length is known.
    pub fn http_1_0(mut self) -> Request {
        self.framing = Framing::Length;
        self
    }

    /// Returns the path, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    pub(super) fn coding(&self) -> Option<Coding> {
        CodingChoice::new(&self.accept_encoding).coding
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// The time that the client announces for its scrape.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether a body follows the head.
    pub(super) fn has_body(&self) -> bool {
        self.has_body
    }
}

impl<B> From<&hyper::Request<B>> for Request {
    fn from(request: &hyper::Request<B>) -> Request {
        let uri = request.uri();
        let mut converted = Request::new(request.method().as_str(), "");
        uri.path().clone_into(&mut converted.path);
        converted.query = uri.query().map(str::to_owned);
        for (name, value) in request.headers() {
            // Values that are not ASCII are ignored, except for their presence.
            converted = converted.header(name.as_str(), value.to_str().unwrap_or_default());
        }
        if request.version() >= Version::HTTP_11 { converted } else { converted.http_1_0() }
    }
}

/// Adds the value of a further header of the same name.
fn append(list: &mut String, value: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(value);
}

/// The value of `X-Prometheus-Scrape-Timeout-Seconds`; `None` if it is not a positive number.
fn scrape_timeout(value: &str) -> Option<Duration> {
    let seconds: f64 = value.trim().parse().ok()?;
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MAX_SCRAPE_SECONDS)))
}

/// The exposition that a request asks for. Equal requests get equal responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpositionRequest {
    /// The index of the source.
    pub(super) source: usize,
    pub(super) format: Negotiated,
    pub(super) choice: CodingChoice,
    /// The names of the families and samples to include; `None` for all.
    pub(super) names: Option<Vec<String>>,
    pub(super) framing: Framing,
}

/// How the client recognizes the end of a complete body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By the length if it is known, else by the last chunk.
    Chunked,
    /// By the length only. HTTP/1.0 has no chunks, and a closed connection would not distinguish a complete body from a
    /// truncated one.
    Length,
}

impl ExpositionRequest {
    pub(super) fn new(source: usize, request: &Request) -> ExpositionRequest {
        ExpositionRequest {
            source,
            format: negotiate(Some(&request.accept)),
            choice: CodingChoice::new(&request.accept_encoding),
            names: requested_names(request.query.as_deref()),
            framing: request.framing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrape_timeout_is_a_positive_number_of_seconds() {
        let timeout =
            |value| Request::new("GET", "/").header("X-Prometheus-Scrape-Timeout-Seconds", value);
        for (value, seconds) in [("10", 10.0), ("0.25", 0.25), ("1e99", 3600.0), ("inf", 3600.0)] {
            let expected = Duration::from_secs_f64(seconds);
            assert_eq!(timeout(value).timeout(), Some(expected), "{value}");
        }
        for value in ["", "0", "-1", "NaN", "10s", "-inf"] {
            assert_eq!(timeout(value).timeout(), None, "{value}");
        }
    }

    #[test]
    fn a_length_or_a_transfer_coding_announces_a_body() {
        let request = || Request::new("GET", "/metrics");
        assert!(!request().has_body());
        assert!(!request().header("Content-Length", "0").has_body());
        for (name, value) in [("content-length", "1"), ("Transfer-Encoding", "chunked")] {
            assert!(request().header(name, value).has_body(), "{name}");
        }
    }

    #[test]
    fn headers_of_the_same_name_are_one_list() {
        let request = hyper::Request::builder()
            .uri("http://host/metrics?name[]=a")
            .header("accept", "text/html")
            .header("accept", "application/openmetrics-text")
            .body(())
            .unwrap();
        let whole = Request::new("GET", "/metrics?name[]=a")
            .header("Accept", "text/html,application/openmetrics-text");
        assert_eq!(Request::from(&request), whole);
    }
}
