//! Answers one request.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, VARY,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::task::JoinError;

use super::body::{Begun, Body, BodyWriter, MAX_WHOLE_LEN};
use super::compress::{self, Choice};
use super::filter::{Filtered, wanted_names};
use crate::error::Error;
use crate::exposition::{Negotiated, negotiate};
use crate::model::Gatherer;

/// What is served, and where.
pub(super) struct Handler {
    pub(super) source: Box<dyn Gatherer + Send + Sync>,
    pub(super) telemetry_path: String,
}

/// The path that says that the exporter runs, as in Prometheus itself.
const HEALTH_PATH: &str = "/-/healthy";

type Answer = Response<Body>;

/// Held by whoever gathers for a connection.
pub(super) type Gathering = Arc<()>;

impl Handler {
    pub(super) async fn answer(
        self: Arc<Handler>,
        request: Request<Incoming>,
        gathering: Gathering,
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
        // In HTTP/1.0 nothing but the length tells a whole body from a broken one.
        let max_whole_len =
            if request.version() < Version::HTTP_11 { usize::MAX } else { MAX_WHOLE_LEN };
        let (body, begun) = BodyWriter::new(max_whole_len);
        let gathered = tokio::task::spawn_blocking(move || {
            // OK because a body that is not finished tells of it, also after a panic; what that leaves behind in
            // the source is the source's to bear, as in any thread.
            let result = self.gather(&wanted, body);
            drop(gathering);
            result
        });
        Ok(match begun.await {
            Ok(begun) => metrics(content_type, begun),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, failure(gathered.await)),
        })
    }

    fn gather(&self, wanted: &Wanted, body: BodyWriter) -> io::Result<()> {
        let source = self.source.as_ref();
        match &wanted.names {
            Some(names) => {
                let source = Filtered { source, names };
                compress::write(&source, wanted.format, wanted.choice, body)
            }
            None => compress::write(source, wanted.format, wanted.choice, body),
        }
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

fn metrics(content_type: &'static str, begun: Begun) -> Answer {
    let mut answer = Response::new(begun.body);
    answer.headers_mut().insert(CONTENT_TYPE, header(content_type));
    if let Some(coding) = begun.coding {
        answer.headers_mut().insert(CONTENT_ENCODING, header(coding.as_str()));
    }
    answer.headers_mut().insert(VARY, const { header("Accept, Accept-Encoding") });
    answer
}

/// What a failed scrape is answered with: the error of the collector, or a text that tells nothing of a panic.
fn failure(gathered: Result<io::Result<()>, JoinError>) -> String {
    let error = gathered.ok().and_then(Result::err);
    match error.as_ref().and_then(io::Error::get_ref).filter(|error| error.is::<Error>()) {
        Some(error) => format!("gathering failed: {error}\n"),
        None => "gathering failed\n".to_owned(),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::Whole(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, const { header("text/plain; charset=utf-8") });
    answer
}
