//! Responds to one request.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use hyper::{Method, Request, Response, StatusCode};

use super::body::{BodyWriter, ResponseBody};
use super::connection::Connection;
use super::encode::encode;
use super::filter::Filtered;
use super::queue::{Failure, Head, MAX_QUEUED_LEN, Queues, Receiver, Running, Start};
use super::request::ExpositionRequest;
use crate::model::Gatherer;

/// The source, the path and the queues of an exporter.
pub(super) struct Handler {
    pub(super) source: Box<dyn Gatherer + Send + Sync>,
    pub(super) telemetry_path: String,
    /// Whether the text formats and OpenMetrics 1.0 have the samples `_created`.
    pub(super) shows_created: bool,
    pub(super) queues: Arc<Queues>,
}

/// The path of the health check, as in Prometheus.
const HEALTH_PATH: &str = "/-/healthy";

/// How long a request waits for the end of a running gathering for the same exposition. A gathering that takes longer may
/// hang or wait for a lock; the next one then runs beside it.
const MAX_TURN_WAIT: Duration = Duration::from_secs(1);

impl Handler {
    pub(super) async fn respond(
        self: Arc<Handler>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let plain = |status, text: Bytes| plain(status, text, &connection);
        let path = request.uri().path();
        let is_telemetry = path == self.telemetry_path;
        if !is_telemetry && path != HEALTH_PATH {
            return Ok(plain(StatusCode::NOT_FOUND, "not found\n".into()));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".into());
            response.headers_mut().insert(ALLOW, const { header("GET, HEAD") });
            return Ok(response);
        }
        if !is_telemetry {
            return Ok(plain(StatusCode::OK, "healthy\n".into()));
        }
        let mut request = ExpositionRequest::new(&request);
        if self.shows_created {
            request.format = request.format.created();
        }
        let content_type = request.format.content_type();
        let (receiver, start) = Receiver::join(&self.queues, request, Arc::clone(&connection));
        Ok(match self.begin(&receiver, start).await {
            Ok(head) => {
                let body = ResponseBody::queued(receiver, head.len, Arc::clone(&connection));
                metrics(content_type, head, body)
            }
            Err(Failure::Source(None)) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "gathering failed\n".into())
            }
            Err(Failure::Source(Some(error))) => {
                let text = format!("gathering failed: {error:#}\n");
                plain(StatusCode::INTERNAL_SERVER_ERROR, text.into())
            }
            Err(Failure::TooLong) => {
                let text = format!(
                    "the exposition has more than {MAX_QUEUED_LEN} bytes, the limit for HTTP/1.0: use HTTP/1.1\n"
                );
                plain(StatusCode::SERVICE_UNAVAILABLE, text.into())
            }
        })
    }

    /// Starts the gathering, if another request does not, and waits until its body begins.
    async fn begin(
        self: &Arc<Handler>,
        receiver: &Receiver,
        start: Start,
    ) -> Result<Head, Failure> {
        let head = poll_fn(|context| receiver.poll_head(context));
        if start == Start::Later {
            let mut head = std::pin::pin!(head);
            if let Ok(head) = tokio::time::timeout(MAX_TURN_WAIT, head.as_mut()).await {
                return head;
            }
            // OK because `Running::begin` begins a gathering only once.
            self.start(receiver.gathering());
            return head.await;
        }
        self.start(receiver.gathering());
        head.await
    }

    fn start(self: &Arc<Handler>, gathering: u64) {
        let handler = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Some(running) = Running::begin(&handler.queues, gathering) {
                handler.run(running);
            }
        });
    }

    /// Runs a gathering, then starts the next one for the same exposition.
    fn run(self: &Arc<Handler>, mut running: Running) {
        let request = Arc::clone(running.request());
        let body = BodyWriter::new(running.sender(), request.framing);
        // Unwind safety is left to the source, as for a panic in any of its threads.
        let result = catch_unwind(AssertUnwindSafe(|| self.gather(&request, body)));
        if let Ok(Err(error)) = result {
            running.fail(Failure::new(&error));
        }
        drop(running);
        if let Some(next) = self.queues.successor(&request) {
            self.start(next);
        }
    }

    fn gather(&self, request: &ExpositionRequest, body: BodyWriter) -> io::Result<()> {
        let source = self.source.as_ref();
        match &request.names {
            Some(names) => {
                let source = Filtered { source, names };
                encode(&source, request.format, request.choice, body)
            }
            None => encode(source, request.format, request.choice, body),
        }
    }
}

const fn header(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}

fn metrics(content_type: &'static str, head: Head, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, header(content_type));
    if let Some(coding) = head.coding {
        response.headers_mut().insert(CONTENT_ENCODING, header(coding.as_str()));
    }
    response.headers_mut().insert(VARY, const { header("Accept, Accept-Encoding") });
    response
}

fn plain(status: StatusCode, text: Bytes, connection: &Arc<Connection>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(text, Arc::clone(connection)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, const { header("text/plain; charset=utf-8") });
    response
}
