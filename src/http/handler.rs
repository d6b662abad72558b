//! Answers one request.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use super::compress::{self, Body, Choice};
use super::filter::{Filtered, wanted_names};
use crate::exposition::{Negotiated, negotiate};
use crate::model::Gatherer;

/// What is served, and where.
pub(super) struct Handler {
    pub(super) source: Box<dyn Gatherer + Send + Sync>,
    pub(super) telemetry_path: String,
}

/// The path that says that the exporter runs, as in Prometheus itself.
const HEALTH_PATH: &str = "/-/healthy";

type Answer = Response<Full<Bytes>>;

impl Handler {
    pub(super) async fn answer(
        self: Arc<Handler>,
        request: Request<Incoming>,
    ) -> Result<Answer, Infallible> {
        let path = request.uri().path();
        let is_telemetry = path == self.telemetry_path;
        if !is_telemetry && path != HEALTH_PATH {
            return Ok(plain(StatusCode::NOT_FOUND, "not found\n"));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            answer.headers_mut().insert(ALLOW, const { header("GET, HEAD") });
            return Ok(answer);
        }
        if !is_telemetry {
            return Ok(plain(StatusCode::OK, "healthy\n"));
        }
        let wanted = Wanted {
            format: negotiate(Some(&joined(&request, ACCEPT))),
            choice: compress::choose(&joined(&request, ACCEPT_ENCODING)),
            names: wanted_names(request.uri().query()),
        };
        let content_type = wanted.format.content_type();
        let gathered =
            tokio::task::spawn_blocking(move || self.gather(&wanted)).await.ok().flatten();
        Ok(gathered.map_or_else(
            || plain(StatusCode::INTERNAL_SERVER_ERROR, "gathering failed\n"),
            |body| metrics(content_type, body),
        ))
    }

    /// `None` where the gatherer panics.
    fn gather(&self, wanted: &Wanted) -> Option<Body> {
        let source = self.source.as_ref();
        let gather = || match &wanted.names {
            Some(names) => {
                compress::encode(&Filtered { source, names }, wanted.format, wanted.choice)
            }
            None => compress::encode(source, wanted.format, wanted.choice),
        };
        // OK because what a panic leaves behind in the source is the source's to bear, as in any thread.
        std::panic::catch_unwind(AssertUnwindSafe(gather)).ok()
    }
}

/// What a scrape asks for.
struct Wanted {
    format: Negotiated,
    choice: Choice,
    names: Option<Vec<String>>,
}

/// The values of a header as one list; those that are not ASCII are left out.
fn joined(request: &Request<Incoming>, name: HeaderName) -> String {
    let values = request.headers().get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

const fn header(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}

fn metrics(content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.bytes)));
    answer.headers_mut().insert(CONTENT_TYPE, header(content_type));
    if let Some(coding) = body.coding {
        answer.headers_mut().insert(CONTENT_ENCODING, header(coding.as_str()));
    }
    answer.headers_mut().insert(VARY, const { header("Accept, Accept-Encoding") });
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, const { header("text/plain; charset=utf-8") });
    answer
}
