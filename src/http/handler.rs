//! Responds to requests.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Source;
use super::body::{BodyWriter, ResponseBody};
use super::coding::Coding;
use super::connection::Connection;
use super::counters::{ExporterMetrics, HttpCounters};
use super::encode::{compress, encode};
use super::filter::Filtered;
use super::pages;
use super::queue::{Failure, Head, MAX_QUEUED_LEN, Queues, Receiver, Running, Start};
use super::request::{ExpositionRequest, Request};
use super::response::{Refusal, Response};
use super::scrapes::Scrapes;
use super::status::source::StatusSource;
use super::status::{self, StatusPage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Gatherer;
use crate::panics::caught;

/// The paths of the checks, as in Prometheus.
const HEALTH_PATH: &str = "/-/healthy";
const READY_PATH: &str = "/-/ready";
const ROBOTS_PATH: &str = "/robots.txt";
const ICON_PATH: &str = "/favicon.ico";

/// The paths that have a meaning of their own.
const RESERVED_PATHS: [&str; 6] =
    [HEALTH_PATH, READY_PATH, ROBOTS_PATH, ICON_PATH, status::STYLE_PATH, status::SCRIPT_PATH];

const ALLOWED: &str = "GET, HEAD, OPTIONS";

const TEXT: &str = "text/plain; charset=utf-8";

/// How long a request waits for the end of a running gathering for the same exposition. A gathering that takes longer may
/// hang or wait for a lock; the next one then runs beside it.
const MAX_TURN_WAIT: Duration = Duration::from_secs(1);

/// How long a page waits for a gathering. After that it shows what was gathered before.
const MAX_STATUS_WAIT: Duration = Duration::from_secs(5);

/// How long a request waits for a page of what was gathered before: all threads may be in gatherings that hang.
const MAX_LATE_WAIT: Duration = Duration::from_secs(1);

/// A response with an error must arrive before the client's timeout: by this time, or in half of a timeout that is shorter
/// than twice this time.
const TIMEOUT_OFFSET: Duration = Duration::from_millis(500);

/// What an [`Exporter`](super::Exporter) serves, for use in another web server: its paths, formats, codings, `name[]` and
/// streaming.
///
/// The limits for connections and slow clients are those of the server; the limit for queued responses is that of the
/// handler. It is cheap to clone. A program that forks creates it in the process that serves.
///
/// ```
/// use multiprom::{Registry, http::{Handler, Request}};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let handler = Handler::builder(Registry::new()).build()?;
/// let request = Request::new("GET", "/metrics").header("accept-encoding", "gzip");
/// let response = handler.respond(&request).await;
/// assert_eq!(response.status(), 200);
/// let mut body = response.into_body();
/// while let Some(chunk) = body.chunk().await {
///     let _bytes = chunk.expect("the gathering failed: abort the response");
/// }
/// # Ok::<(), multiprom::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Handler(Arc<Shared>);

struct Shared {
    /// The sources by their paths. The first is that of the telemetry path.
    sources: Vec<(String, Source)>,
    /// Whether the text formats and OpenMetrics 1.0 have the samples `_created`.
    shows_created: bool,
    queues: Arc<Queues>,
    counters: Arc<HttpCounters>,
    scrapes: Arc<Scrapes>,
    status: Option<StatusPage>,
    /// Held while the status page gathers, so that it takes one thread at most.
    status_turn: Arc<Semaphore>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&str> = self.0.sources.iter().map(|(path, _)| path.as_str()).collect();
        f.debug_struct("Handler").field("paths", &paths).finish_non_exhaustive()
    }
}

/// Configures a [`Handler`].
#[must_use = "a handler is created by `build`"]
pub struct HandlerBuilder {
    source: Source,
    pub(super) telemetry_path: String,
    targets: Vec<(String, Source)>,
    shows_created: bool,
    counters: Arc<HttpCounters>,
    status: Option<StatusPage>,
}

impl fmt::Debug for HandlerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerBuilder")
            .field("telemetry_path", &self.telemetry_path)
            .field("shows_created", &self.shows_created)
            .finish_non_exhaustive()
    }
}

impl HandlerBuilder {
    /// Sets the path of the exposition; `/metrics` by default.
    pub fn telemetry_path(mut self, path: impl Into<String>) -> HandlerBuilder {
        self.telemetry_path = path.into();
        self
    }

    /// Serves another source under a path of its own.
    pub fn target(
        mut self,
        path: impl Into<String>,
        source: impl Gatherer + Send + Sync + 'static,
    ) -> HandlerBuilder {
        self.targets.push((path.into(), Box::new(source)));
        self
    }

    /// Adds the start timestamps of counters, histograms and summaries to the text formats and OpenMetrics 1.0, as samples
    /// `_created`, which Prometheus stores as series. The other formats always have start timestamps.
    pub fn created(mut self) -> HandlerBuilder {
        self.shows_created = true;
        self
    }

    /// Serves a status page at `/`, instead of a list of links: the families with their values, and plots of their rates and
    /// values. An [`Exporter`](super::Exporter) gathers the sources every fifteen seconds for the plots, or less often, so that
    /// this takes at most 1 % of the time; with a handler in another server plots have the values of earlier pages only.
    ///
    /// The page loads `/-/status.css` and `/-/status.js`. Whoever may scrape sees the same values on it. It is not served if the
    /// telemetry path or the path of a target is `/`.
    pub fn status_page(mut self) -> HandlerBuilder {
        self.status = Some(StatusPage::new(None));
        self
    }

    /// The same with the state of directories.
    pub(super) fn status_of(mut self, directories: impl StatusSource + 'static) -> HandlerBuilder {
        self.status = Some(StatusPage::new(Some(Box::new(directories))));
        self
    }

    /// Counts requests and aborted responses in these metrics, which must be registered to be exported.
    pub fn metrics(mut self, metrics: &ExporterMetrics) -> HandlerBuilder {
        self.counters = Arc::clone(&metrics.0);
        self
    }

    /// Creates the handler.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) if a path has no leading slash, occurs twice or has another meaning.
    pub fn build(self) -> Result<Handler> {
        let mut sources = vec![(self.telemetry_path, self.source)];
        sources.extend(self.targets);
        for (at, (path, _)) in sources.iter().enumerate() {
            let what = if at == 0 { "telemetry path" } else { "path of a target" };
            let usage = |why: &str| Error::new(ErrorKind::Usage, format!("{what} `{path}` {why}"));
            if !path.starts_with('/') {
                return Err(usage("must begin with /"));
            }
            if path.contains(['?', '#']) {
                return Err(usage("must have no `?` and no `#`"));
            }
            if RESERVED_PATHS.contains(&path.as_str()) {
                return Err(usage("has another meaning"));
            }
            if sources.iter().take(at).any(|(other, _)| other == path) {
                return Err(usage("is already used"));
            }
        }
        let is_root_taken = sources.iter().any(|(path, _)| path == "/");
        Ok(Handler(Arc::new(Shared {
            sources,
            shows_created: self.shows_created,
            queues: Arc::new(Queues::default()),
            counters: self.counters,
            scrapes: Arc::default(),
            status: self.status.filter(|_| !is_root_taken),
            status_turn: Arc::new(Semaphore::new(1)),
        })))
    }
}

impl Handler {
    /// A builder of a handler of `source`, usually a [`Registry`](crate::Registry).
    pub fn builder(source: impl Gatherer + Send + Sync + 'static) -> HandlerBuilder {
        HandlerBuilder {
            source: Box::new(source),
            telemetry_path: "/metrics".to_owned(),
            targets: Vec::new(),
            shows_created: false,
            counters: Arc::default(),
            status: None,
        }
    }

    pub(super) fn counters(&self) -> &Arc<HttpCounters> {
        &self.0.counters
    }

    /// The scrapes that are served completely.
    pub(super) fn scrapes(&self) -> &Arc<Scrapes> {
        &self.0.scrapes
    }

    /// Responds to a request. The sources are gathered on blocking threads of the runtime.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with its timer.
    pub async fn respond(&self, request: &Request) -> Response {
        let connection = Connection::new(Arc::clone(&self.0.counters));
        connection.begin_response();
        let response = self.respond_on(request, connection).await;
        self.0.counters.count_response(response.status);
        response
    }

    pub(super) async fn respond_on(
        &self,
        request: &Request,
        connection: Arc<Connection>,
    ) -> Response {
        close_after_body(self.route(request, connection).await, request)
    }

    async fn route(&self, request: &Request, connection: Arc<Connection>) -> Response {
        let (sources, path) = (&self.0.sources, request.path());
        let source = sources.iter().position(|(known, _)| known == path);
        let has_status = self.0.status.is_some();
        let asset = |content_type, text: &'static str| {
            let asset = whole(200, content_type, text, &connection);
            // The URL has the version.
            Some(asset.with("cache-control", "max-age=86400"))
        };
        let page = match (source, path) {
            (Some(_), _) => None,
            (None, "/")
                if has_status
                    && !request.has_body()
                    && matches!(request.method(), "GET" | "HEAD") =>
            {
                Some(self.status(request, &connection).await)
            }
            (None, "/") => {
                let html = pages::landing(sources.iter().map(|(path, _)| path.as_str()));
                Some(html_page(html, pages::CONTENT_SECURITY_POLICY, &connection))
            }
            (None, HEALTH_PATH) => Some(plain(200, "healthy\n", &connection)),
            (None, READY_PATH) => Some(plain(200, "ready\n", &connection)),
            (None, ROBOTS_PATH) => Some(plain(200, pages::ROBOTS, &connection)),
            (None, ICON_PATH) => Some(whole(200, "image/svg+xml", pages::ICON, &connection)),
            (None, status::STYLE_PATH) if has_status => {
                asset("text/css; charset=utf-8", status::STYLE)
            }
            (None, status::SCRIPT_PATH) if has_status => {
                asset("text/javascript; charset=utf-8", status::SCRIPT)
            }
            // Of the server as a whole.
            (None, "*") if request.method() == "OPTIONS" => Some(plain(204, "", &connection)),
            (None, _) => return plain(404, "not found\n", &connection),
        };
        match request.method() {
            "GET" | "HEAD" if request.has_body() => {
                plain(413, "requests must have no body\n", &connection)
            }
            "GET" | "HEAD" => match (page, source) {
                (Some(page), _) => page,
                (None, source) => {
                    self.expose(source.unwrap_or_default(), request, connection).await
                }
            },
            "OPTIONS" => Response {
                status: 204,
                headers: vec![("allow", ALLOWED.to_owned())],
                body: ResponseBody::whole("".into(), connection),
            },
            _ => plain(405, "method not allowed\n", &connection).with("allow", ALLOWED),
        }
    }

    /// The status page.
    async fn status(&self, request: &Request, connection: &Arc<Connection>) -> Response {
        let Some(status) = &self.0.status else {
            return plain(404, "not found\n", connection);
        };
        let arrived = Instant::now();
        let deadline = status.begun().unwrap_or(arrived) + MAX_STATUS_WAIT;
        let turn = Arc::clone(&self.0.status_turn).acquire_owned();
        let rendered = match tokio::time::timeout_at(deadline.into(), turn).await {
            Ok(Ok(turn)) => {
                let render = move |status: &StatusPage, sources: &[_], query: Option<&str>| {
                    let html = status.render(sources, query);
                    drop(turn);
                    html
                };
                tokio::time::timeout_at(
                    (arrived + MAX_STATUS_WAIT).into(),
                    self.page(request, render),
                )
                .await
                .ok()
            }
            _ => None,
        };
        let rendered = match rendered {
            Some(rendered) => Some(rendered),
            None => {
                let running = status.begun().unwrap_or(arrived).elapsed();
                let render = move |status: &StatusPage, sources: &[_], query: Option<&str>| {
                    status.render_late(sources, query, running)
                };
                tokio::time::timeout(MAX_LATE_WAIT, self.page(request, render)).await.ok()
            }
        };
        let (coding, bytes) = match rendered {
            Some(Some(page)) => page,
            Some(None) => return plain(500, "the status page cannot be rendered\n", connection),
            None => {
                let text = "no thread is free to render the status page: gatherings hang\n";
                return plain(503, text, connection);
            }
        };
        let page = html_page(bytes, status::CONTENT_SECURITY_POLICY, connection)
            .with("cache-control", "no-store")
            .with("vary", "Accept-Encoding");
        match coding {
            Some(coding) => page.with("content-encoding", coding.as_str()),
            None => page,
        }
    }

    /// Renders the status page on another thread. Returns `None` if that panics.
    async fn page(
        &self,
        request: &Request,
        render: impl FnOnce(&StatusPage, &[(String, Source)], Option<&str>) -> String + Send + 'static,
    ) -> Option<(Option<Coding>, Vec<u8>)> {
        let (handler, query) = (self.clone(), request.query().map(str::to_owned));
        let coding = request.coding();
        let render = move || {
            let status = handler.0.status.as_ref()?;
            let html = render(status, &handler.0.sources, query.as_deref());
            Some(match coding.map(|coding| (coding, compress(coding, html.as_bytes()))) {
                Some((coding, Ok(compressed))) => (Some(coding), compressed),
                _ => (None, html.into_bytes()),
            })
        };
        tokio::task::spawn_blocking(render).await.ok().flatten()
    }

    /// Gathers regularly for the plots of the status page. Never ends if there is one.
    pub(super) async fn keep_history(&self) {
        let mut pause = status::MIN_PAUSE;
        while self.0.status.is_some() {
            tokio::time::sleep(pause).await;
            let Ok(turn) = Arc::clone(&self.0.status_turn).acquire_owned().await else {
                return;
            };
            let handler = self.clone();
            let sample = move || {
                let _turn = turn;
                handler.0.status.as_ref().map(|status| status.sample(&handler.0.sources))
            };
            let Ok(Some(next)) = tokio::task::spawn_blocking(sample).await else {
                return;
            };
            pause = next;
        }
    }

    async fn expose(
        &self,
        source: usize,
        request: &Request,
        connection: Arc<Connection>,
    ) -> Response {
        let mut asked = ExpositionRequest::new(source, request);
        if self.0.shows_created {
            asked.format = asked.format.created();
        }
        let content_type = asked.format.content_type();
        let is_whole = source == 0 && asked.names.is_none();
        let scrape = is_whole.then(|| self.0.scrapes.request());
        let queues = &self.0.queues;
        let (receiver, start) = Receiver::join(queues, asked, Arc::clone(&connection));
        let begin = tokio::time::Instant::now();
        let begun = self.begin(&receiver, start);
        let begun = match request.timeout() {
            Some(timeout) => {
                let limit = timeout.saturating_sub(TIMEOUT_OFFSET).max(timeout / 2);
                tokio::time::timeout(limit, begun).await
            }
            None => Ok(begun.await),
        };
        let response = match begun {
            Ok(Ok(head)) => {
                let deadline = request.timeout().map(|timeout| begin + timeout);
                let body = ResponseBody::queued(receiver, head.len, deadline, connection);
                let body = body.of_scrape(scrape);
                let headers = vec![("content-type", content_type.to_owned())];
                let response = Response { status: 200, headers, body };
                match head.coding {
                    Some(coding) => response.with("content-encoding", coding.as_str()),
                    None => response,
                }
            }
            Ok(Err(Failure::Source(None))) => plain(500, "gathering failed\n", &connection),
            Ok(Err(Failure::Source(Some(error)))) => {
                plain(500, format!("gathering failed: {error:#}\n"), &connection)
            }
            Ok(Err(Failure::TooLong)) => {
                let text = format!(
                    "the exposition has more than {MAX_QUEUED_LEN} bytes, the limit for HTTP/1.0: use HTTP/1.1\n"
                );
                plain(503, text, &connection)
            }
            Err(_) => {
                let text = "gathering takes longer than X-Prometheus-Scrape-Timeout-Seconds\n";
                plain(503, text, &connection)
            }
        };
        response.with("vary", "Accept, Accept-Encoding")
    }

    /// Starts the gathering, if another request does not, and waits until its body begins.
    async fn begin(&self, receiver: &Receiver, start: Start) -> std::result::Result<Head, Failure> {
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

    fn start(&self, gathering: u64) {
        let handler = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Some(running) = Running::begin(&handler.0.queues, gathering) {
                handler.run(running);
            }
        });
    }

    /// Runs a gathering, then starts the next one for the same exposition.
    fn run(&self, mut running: Running) {
        let request = Arc::clone(running.request());
        let body = BodyWriter::new(running.sender(), request.framing);
        // Unwind safety is left to the source, as for a panic in any of its threads.
        let begin = Instant::now();
        let result = caught(|| self.gather(&request, body));
        if let Some(status) = &self.0.status {
            status.note_scrape(begin.elapsed());
        }
        if let Ok(Err(error)) = result {
            running.fail(Failure::new(&error));
        }
        drop(running);
        if let Some(next) = self.0.queues.successor(&request) {
            self.start(next);
        }
    }

    fn gather(&self, request: &ExpositionRequest, body: BodyWriter) -> io::Result<()> {
        let (_, source) = &self.0.sources[request.source];
        match &request.names {
            Some(names) => {
                let source = Filtered { source: source.as_ref(), names };
                encode(&source, request.format, request.choice, body)
            }
            None => encode(source.as_ref(), request.format, request.choice, body),
        }
    }
}

/// The response that refuses a request.
pub(super) fn refuse(
    refusal: Refusal,
    request: &Request,
    connection: &Arc<Connection>,
) -> Response {
    let Refusal { status, text, header } = refusal;
    let mut response = plain(status, text, connection);
    response.headers.extend(header.map(|(name, value)| (name, value.to_owned())));
    close_after_body(response, request)
}

/// Closes the connection after the response, if the client has announced a body, which it may send at any speed.
fn close_after_body(response: Response, request: &Request) -> Response {
    if request.has_body() { response.with("connection", "close") } else { response }
}

fn plain(status: u16, text: impl Into<Bytes>, connection: &Arc<Connection>) -> Response {
    whole(status, TEXT, text, connection)
}

/// A page for a browser.
fn html_page(
    html: impl Into<Bytes>,
    policy: &'static str,
    connection: &Arc<Connection>,
) -> Response {
    whole(200, "text/html; charset=utf-8", html, connection)
        .with("content-security-policy", policy)
        .with("x-content-type-options", "nosniff")
        .with("referrer-policy", "no-referrer")
}

fn whole(
    status: u16,
    content_type: &str,
    text: impl Into<Bytes>,
    connection: &Arc<Connection>,
) -> Response {
    let body = ResponseBody::whole(text.into(), Arc::clone(connection));
    Response { status, headers: vec![("content-type", content_type.to_owned())], body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Families;

    fn empty() -> HandlerBuilder {
        Handler::builder(Families(Vec::new()))
    }

    #[test]
    fn nothing_is_gathered_for_a_page_whose_path_is_that_of_a_source() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let is_gathered = |builder: HandlerBuilder| {
            let handler = builder.status_page().build().unwrap();
            let limit = Duration::from_millis(10);
            runtime.block_on(async {
                tokio::time::timeout(limit, handler.keep_history()).await.is_err()
            })
        };
        assert!(is_gathered(empty()));
        assert!(!is_gathered(empty().telemetry_path("/")));
        assert!(!is_gathered(empty().target("/", Families(Vec::new()))));
    }
}
