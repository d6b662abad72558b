//! Answers one request.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, VARY};
use hyper::{Method, Request, Response, StatusCode};

use crate::exposition::Exposition;
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
        let values = request.headers().get_all(ACCEPT).iter();
        let accept: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let accept = accept.join(",");
        let gathered =
            tokio::task::spawn_blocking(move || self.gather(&accept)).await.ok().flatten();
        Ok(gathered.map_or_else(
            || plain(StatusCode::INTERNAL_SERVER_ERROR, "gathering failed\n"),
            metrics,
        ))
    }

    /// `None` where the gatherer panics.
    fn gather(&self, accept: &str) -> Option<Exposition> {
        let gather = || Exposition::render(self.source.as_ref(), Some(accept));
        // OK because what a panic leaves behind in the source is the source's to bear, as in any thread.
        std::panic::catch_unwind(AssertUnwindSafe(gather)).ok()
    }
}

const fn header(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}

fn metrics(exposition: Exposition) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(exposition.body)));
    answer.headers_mut().insert(CONTENT_TYPE, header(exposition.content_type));
    answer.headers_mut().insert(VARY, const { header("Accept") });
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, const { header("text/plain; charset=utf-8") });
    answer
}
