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

use super::body::{Body, BodyWriter};
use super::compress;
use super::connection::Connection;
use super::filter::Filtered;
use super::queue::{Failure, Head, MAX_QUEUED_LEN, Queues, Receiver, Running, Start};
use super::wanted::Wanted;
use crate::model::Gatherer;

/// What is served, and where.
pub(super) struct Handler {
    pub(super) source: Box<dyn Gatherer + Send + Sync>,
    pub(super) telemetry_path: String,
    pub(super) queues: Arc<Queues>,
}

/// The path that says that the exporter runs, as in Prometheus itself.
const HEALTH_PATH: &str = "/-/healthy";

/// How long a request waits for the end of a gathering for the same exposition that has begun before it. One that takes
/// longer may hang, or wait for a lock; then both run.
const SHARING_PATIENCE: Duration = Duration::from_secs(1);

impl Handler {
    pub(super) async fn respond(
        self: Arc<Handler>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response<Body>, Infallible> {
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
        let wanted = Wanted::new(&request);
        let content_type = wanted.format.content_type();
        let (receiver, start) = self.queues.join(wanted, Arc::clone(&connection));
        Ok(match self.begin(&receiver, start).await {
            Ok(head) => {
                let body = Body::queued(receiver, head.len, Arc::clone(&connection));
                metrics(content_type, head, body)
            }
            Err(Failure::Source(None)) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, "gathering failed\n".into())
            }
            Err(Failure::Source(Some(error))) => {
                let text = format!("gathering failed: {error}\n");
                plain(StatusCode::INTERNAL_SERVER_ERROR, text.into())
            }
            Err(Failure::TooLong) => {
                let text = format!(
                    "more than {MAX_QUEUED_LEN} bytes: too much for HTTP/1.0, use HTTP/1.1\n"
                );
                plain(StatusCode::SERVICE_UNAVAILABLE, text.into())
            }
        })
    }

    /// Has the gathering begin, and waits until its body does.
    async fn begin(
        self: &Arc<Handler>,
        receiver: &Receiver,
        start: Start,
    ) -> Result<Head, Failure> {
        let head = poll_fn(|context| receiver.poll_head(context));
        if start == Start::Later {
            let mut head = std::pin::pin!(head);
            if let Ok(head) = tokio::time::timeout(SHARING_PATIENCE, head.as_mut()).await {
                return head;
            }
            // OK because a gathering begins once.
            self.start(receiver.gathering());
            return head.await;
        }
        self.start(receiver.gathering());
        head.await
    }

    fn start(self: &Arc<Handler>, gathering: u64) {
        let handler = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Some(running) = handler.queues.begin(gathering) {
                handler.run(running);
            }
        });
    }

    /// Gathers, and has the next gathering for the same exposition begin.
    fn run(self: &Arc<Handler>, mut running: Running) {
        let wanted = Arc::clone(running.wanted());
        let body = BodyWriter::new(running.sender(), wanted.framing);
        // What a panic leaves behind in the source is the source's to bear, as in any thread.
        let result = catch_unwind(AssertUnwindSafe(|| self.gather(&wanted, body)));
        if let Ok(Err(error)) = result {
            running.fail(Failure::new(&error));
        }
        drop(running);
        if let Some(next) = self.queues.successor(&wanted) {
            self.start(next);
        }
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

const fn header(text: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(text)
}

fn metrics(content_type: &'static str, head: Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, header(content_type));
    if let Some(coding) = head.coding {
        response.headers_mut().insert(CONTENT_ENCODING, header(coding.as_str()));
    }
    response.headers_mut().insert(VARY, const { header("Accept, Accept-Encoding") });
    response
}

fn plain(status: StatusCode, text: Bytes, connection: &Arc<Connection>) -> Response<Body> {
    let mut response = Response::new(Body::whole(text, Arc::clone(connection)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, const { header("text/plain; charset=utf-8") });
    response
}
