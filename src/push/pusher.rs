//! Pushers: what is sent where.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::oneshot;

use super::base64;
use super::grouping_key::{Checked, GroupingKey};
use super::http::{HttpTransport, is_of_body};
use super::push_error::{Problem, PushError};
use super::transport::{Method, Request, Response, Transport};
use super::url::Url;
use crate::background::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::exposition::{Exposition, Format, Negotiated};
use crate::model::Gatherer;
use crate::outgoing::{Periodic, deadline_after, local_ip};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Pushes metrics to a group of a Pushgateway, or to another URL.
///
/// Clones share the configuration. The [module](super) describes blocking, async and errors.
#[derive(Clone)]
pub struct Pusher(Arc<Target>);

/// Where and how a pusher sends.
struct Target {
    url: String,
    /// `None`: the URL is not that of a gateway, and nothing is checked.
    key: Option<GroupingKey>,
    format: Negotiated,
    is_compressed: bool,
    timeout: Duration,
    /// The headers of each request. Those that describe the body are added.
    headers: Vec<(String, String)>,
    transport: Box<dyn Transport>,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").field("url", &self.0.url).finish_non_exhaustive()
    }
}

impl Pusher {
    /// A builder for the group of a job of the gateway at `address`: `http://HOST:PORT`, `https://...`, or `HOST:PORT`.
    ///
    /// A path of the address is kept: `http://proxy/gateway` pushes to `http://proxy/gateway/metrics/job/JOB`.
    pub fn builder(address: &str, job: &str) -> PusherBuilder {
        PusherBuilder::new(address, Some(job.to_owned()))
    }

    /// A builder for a URL that is used as it is, such as `http://victoria:8428/api/v1/import/prometheus`.
    ///
    /// Labels and timestamps are not checked, and all formats are allowed. What the methods do, the server decides.
    pub fn builder_for_url(url: &str) -> PusherBuilder {
        PusherBuilder::new(url, None)
    }

    /// The URL of the requests.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Replaces all metrics of the group (`PUT`).
    ///
    /// # Errors
    ///
    /// Of kind [`Push`](ErrorKind::Push) if there is no response with a status of 2xx, or if samples have timestamps, of
    /// kind [`InvalidLabels`](ErrorKind::InvalidLabels) if samples have labels of the grouping key, and the first error that
    /// a collector reports.
    pub fn push(&self, source: &dyn Gatherer) -> Result<Response> {
        self.send(Method::Put, self.0.body(source)?)
    }

    /// Replaces the families of the group that are pushed, and keeps the others (`POST`).
    ///
    /// # Errors
    ///
    /// Those of [`push`](Pusher::push).
    pub fn push_add(&self, source: &dyn Gatherer) -> Result<Response> {
        self.send(Method::Post, self.0.body(source)?)
    }

    /// Deletes the group. One that does not exist is not an error.
    ///
    /// # Errors
    ///
    /// Of kind [`Push`](ErrorKind::Push) if there is no response with a status of 2xx.
    pub fn delete(&self) -> Result<Response> {
        self.send(Method::Delete, Vec::new())
    }

    /// [`push`](Pusher::push) as a future. The source is gathered on the thread of the push too.
    ///
    /// A push that has begun is completed if the future is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`push`](Pusher::push).
    pub fn push_async(
        &self,
        source: impl Gatherer + Send + 'static,
    ) -> impl Future<Output = Result<Response>> + Send + 'static {
        self.send_async(Method::Put, source)
    }

    /// [`push_add`](Pusher::push_add) as a future. See [`push_async`](Pusher::push_async).
    ///
    /// # Errors
    ///
    /// Those of [`push`](Pusher::push).
    pub fn push_add_async(
        &self,
        source: impl Gatherer + Send + 'static,
    ) -> impl Future<Output = Result<Response>> + Send + 'static {
        self.send_async(Method::Post, source)
    }

    /// [`delete`](Pusher::delete) as a future. See [`push_async`](Pusher::push_async).
    ///
    /// # Errors
    ///
    /// Those of [`delete`](Pusher::delete).
    pub fn delete_async(&self) -> impl Future<Output = Result<Response>> + Send + 'static {
        let target = Arc::clone(&self.0);
        on_thread(move || target.send(Method::Delete, &[]), Arc::clone(&self.0), Method::Delete)
    }

    /// Pushes now, and then once in each interval, on a thread of its own, by [`push`](Pusher::push).
    ///
    /// [`Periodic::stop`] pushes once more. To delete the group at the end, call [`delete`](Pusher::delete) after it.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) if the interval is zero, and of kind [`Io`](ErrorKind::Io) if no thread can be
    /// started. Errors of pushes are logged.
    pub fn start(
        &self,
        source: impl Gatherer + Send + 'static,
        interval: Duration,
    ) -> Result<Periodic> {
        self.start_by(Method::Put, source, interval)
    }

    /// As [`start`](Pusher::start), by [`push_add`](Pusher::push_add).
    ///
    /// # Errors
    ///
    /// Those of [`start`](Pusher::start).
    pub fn start_add(
        &self,
        source: impl Gatherer + Send + 'static,
        interval: Duration,
    ) -> Result<Periodic> {
        self.start_by(Method::Post, source, interval)
    }

    fn start_by(
        &self,
        method: Method,
        source: impl Gatherer + Send + 'static,
        interval: Duration,
    ) -> Result<Periodic> {
        let target = Arc::clone(&self.0);
        // OK because the thread has no async runtime.
        let push = move || target.send(method, &target.body(&source)?).map(drop);
        Periodic::start("multiprom-push", interval, push)
    }

    /// Sends a request on a thread of its own: a runtime cannot be entered on a thread of another one.
    fn send(&self, method: Method, body: Vec<u8>) -> Result<Response> {
        let (done, result) = mpsc::channel();
        let target = Arc::clone(&self.0);
        let send = move || {
            // OK because the receiver waits.
            let _ = done.send(target.send(method, &body));
        };
        let thread = Thread::spawn("multiprom-push", send).map_err(no_thread)?;
        let result = result.recv();
        thread.join();
        result.unwrap_or_else(|_| Err(self.0.failed(method, Problem::Panic)))
    }

    fn send_async(
        &self,
        method: Method,
        source: impl Gatherer + Send + 'static,
    ) -> impl Future<Output = Result<Response>> + Send + 'static {
        let target = Arc::clone(&self.0);
        let push = move || target.send(method, &target.body(&source)?);
        on_thread(push, Arc::clone(&self.0), method)
    }
}

/// Runs a push on a thread that is started when the future is polled.
async fn on_thread(
    push: impl FnOnce() -> Result<Response> + Send + 'static,
    target: Arc<Target>,
    method: Method,
) -> Result<Response> {
    let (done, result) = oneshot::channel();
    let run = move || {
        // OK because sending fails only if the future was dropped.
        let _ = done.send(push());
    };
    drop(Thread::spawn("multiprom-push", run).map_err(no_thread)?);
    result.await.unwrap_or_else(|_| Err(target.failed(method, Problem::Panic)))
}

fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, error)
}

impl Target {
    /// Gathers and encodes a source.
    fn body(&self, source: &dyn Gatherer) -> Result<Vec<u8>> {
        match &self.key {
            Some(key) => self.encode(&Checked { source, key }),
            None => self.encode(source),
        }
    }

    fn encode(&self, source: &dyn Gatherer) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let written = if self.is_compressed {
            let mut gzip = GzEncoder::new(&mut body, Compression::fast());
            Exposition::write(source, self.format, &mut gzip).and_then(|()| gzip.finish().map(drop))
        } else {
            Exposition::write(source, self.format, &mut body)
        };
        let other = |error| Error::new(ErrorKind::Io, error);
        written.map_err(|error| error.downcast::<Error>().unwrap_or_else(other))?;
        Ok(body)
    }

    /// Sends a request on this thread.
    fn send(&self, method: Method, body: &[u8]) -> Result<Response> {
        let mut headers = self.headers.clone();
        if method != Method::Delete {
            headers.push(("Content-Type".to_owned(), self.format.content_type().to_owned()));
            if self.is_compressed {
                headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
            }
        }
        let (url, timeout) = (self.url.as_str(), self.timeout);
        let request = Request { method, url, headers: &headers, body, timeout };
        match self.transport.send(&request) {
            Ok(response) if (200..300).contains(&response.status) => Ok(response),
            Ok(response) => Err(self.failed(method, Problem::Status(response))),
            Err(error) => Err(self.failed(method, Problem::Transport(error))),
        }
    }

    fn failed(&self, method: Method, problem: Problem) -> Error {
        PushError { method, url: self.url.clone(), problem }.into()
    }
}

/// Configures a [`Pusher`]. Mistakes are errors of [`build`](PusherBuilder::build).
#[must_use = "a pusher is made by `build`"]
pub struct PusherBuilder {
    address: String,
    /// `None`: the address is a complete URL.
    job: Option<String>,
    labels: Vec<(String, String)>,
    has_instance_ip: bool,
    format: Negotiated,
    is_compressed: bool,
    timeout: Duration,
    user: Option<String>,
    headers: Vec<(String, String)>,
    transport: Box<dyn Transport>,
}

impl fmt::Debug for PusherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PusherBuilder")
            .field("job", &self.job)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl PusherBuilder {
    fn new(address: &str, job: Option<String>) -> PusherBuilder {
        PusherBuilder {
            address: address.to_owned(),
            job,
            labels: Vec::new(),
            has_instance_ip: false,
            format: Format::Text.into(),
            is_compressed: false,
            timeout: DEFAULT_TIMEOUT,
            user: None,
            headers: Vec::new(),
            transport: Box::new(HttpTransport::new()),
        }
    }

    /// Adds a label to the grouping key. Any text is a value, the empty one too.
    pub fn grouping(mut self, name: impl Into<String>, value: impl Into<String>) -> PusherBuilder {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Adds the label `instance` to the grouping key, with the IP address by which this host reaches the gateway.
    pub fn instance_ip(mut self) -> PusherBuilder {
        self.has_instance_ip = true;
        self
    }

    /// Sets the format, the text format 0.0.4 by default. A gateway reads `Text`, `TextUtf8` and `Protobuf`.
    pub fn format(mut self, format: impl Into<Negotiated>) -> PusherBuilder {
        self.format = format.into();
        self
    }

    /// Compresses bodies by gzip.
    pub fn gzip(mut self) -> PusherBuilder {
        self.is_compressed = true;
        self
    }

    /// Sets the time that a request may take, redirects and the lookup of the host name included; 30 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> PusherBuilder {
        self.timeout = timeout;
        self
    }

    /// Authenticates by user and password (`Authorization: Basic`).
    pub fn basic_auth(mut self, user: &str, password: &str) -> PusherBuilder {
        let credentials = base64::standard(format!("{user}:{password}").as_bytes());
        self.user = Some(user.to_owned());
        self.authorization(format!("Basic {credentials}"))
    }

    /// Authenticates by a token (`Authorization: Bearer`).
    pub fn bearer_token(mut self, token: &str) -> PusherBuilder {
        self.user = None;
        self.authorization(format!("Bearer {token}"))
    }

    fn authorization(mut self, value: String) -> PusherBuilder {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        self.header("Authorization", value)
    }

    /// Adds a header to each request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> PusherBuilder {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the transport, an [`HttpTransport`] with its defaults if none is set.
    pub fn transport(mut self, transport: impl Transport + 'static) -> PusherBuilder {
        self.transport = Box::new(transport);
        self
    }

    /// Makes the pusher. Nothing is sent; [`instance_ip`](PusherBuilder::instance_ip) resolves the name of the gateway.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) if the address, the job, a header or the format cannot be used, of kind
    /// [`InvalidLabels`](ErrorKind::InvalidLabels) if a gateway would refuse the grouping key, and of kind
    /// [`Push`](ErrorKind::Push) if the transport reports a problem, such as a file of a certificate that cannot be read, or
    /// there is no route to the gateway.
    pub fn build(mut self) -> Result<Pusher> {
        let mut url = Url::parse(&self.address)?;
        self.check()?;
        let key = match self.job {
            Some(job) => {
                if self.has_instance_ip {
                    let deadline = deadline_after(self.timeout);
                    let ip = local_ip(&url.host, url.port, deadline)
                        .map_err(|error| Error::new(ErrorKind::Push, error))?;
                    self.labels.push(("instance".to_owned(), ip.to_string()));
                }
                let key = GroupingKey::new(job, self.labels)?;
                url = url.join(&key.path())?;
                Some(key)
            }
            None => None,
        };
        Ok(Pusher(Arc::new(Target {
            url: url.text(),
            key,
            format: self.format,
            is_compressed: self.is_compressed,
            timeout: self.timeout,
            headers: self.headers,
            transport: self.transport,
        })))
    }

    fn check(&self) -> Result<()> {
        let usage = |message: String| Err(Error::new(ErrorKind::Usage, message));
        if self.job.is_none() && (self.has_instance_ip || !self.labels.is_empty()) {
            return usage("a grouping key needs a job, and the address of a gateway".to_owned());
        }
        let is_read = match self.format.format() {
            Format::Text | Format::TextUtf8 => true,
            #[cfg(feature = "protobuf")]
            Format::Protobuf => true,
            _ => false,
        };
        if self.job.is_some() && !is_read {
            return usage("a Pushgateway reads the text formats and protobuf only".to_owned());
        }
        if self.timeout.is_zero() {
            return usage("the timeout of a push must be longer than 0 seconds".to_owned());
        }
        if self.user.as_ref().is_some_and(|user| user.contains(':')) {
            return usage("the user of basic authentication must not contain a colon".to_owned());
        }
        for (name, value) in &self.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                return usage(format!("`{name}` is not the name of a header"));
            }
            // The value may be a secret.
            if HeaderValue::from_str(value).is_err() {
                return usage(format!(
                    "the value of the header `{name}` has characters that are not allowed"
                ));
            }
            let is_own = ["connection", "transfer-encoding"].contains(&&*name.to_ascii_lowercase());
            if is_own || is_of_body(name) {
                return usage(format!("the header `{name}` is set by the pusher"));
            }
        }
        self.transport.check().map_err(|error| Error::new(ErrorKind::Push, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FamilySink;
    use std::error::Error as StdError;
    use std::sync::Mutex;

    type Sent = (Method, Vec<(String, String)>, Vec<u8>);

    /// Records requests, and responds with a status.
    struct Recorder(Arc<Mutex<Vec<Sent>>>, u16);

    impl Transport for Recorder {
        fn send(&self, request: &Request<'_>) -> Result<Response, Box<dyn StdError + Send + Sync>> {
            let taken = (request.method, request.headers.to_vec(), request.body.to_vec());
            self.0.lock().unwrap().push(taken);
            Ok(Response::new(self.1, "gateway says no"))
        }
    }

    struct One;

    impl Gatherer for One {
        fn gather(&self, out: &mut dyn FamilySink) {
            out.gauge("g", "").sample(&[], 1.0);
        }
    }

    #[test]
    fn each_method_sends_its_headers_and_its_body() {
        let sent = Arc::default();
        let pusher = Pusher::builder("gateway", "j")
            .basic_auth("aladdin", "opensesame")
            .header("X-Scope-OrgID", "shop")
            .transport(Recorder(Arc::clone(&sent), 200))
            .build()
            .unwrap();
        pusher.push(&One).unwrap();
        pusher.push_add(&One).unwrap();
        pusher.delete().unwrap();
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let own = vec![
            owned("Authorization", "Basic YWxhZGRpbjpvcGVuc2VzYW1l"),
            owned("X-Scope-OrgID", "shop"),
        ];
        let mut all = own.clone();
        all.push(owned("Content-Type", "text/plain; version=0.0.4; charset=utf-8"));
        let body = b"# TYPE g gauge\ng 1\n".to_vec();
        let expected = [
            (Method::Put, all.clone(), body.clone()),
            (Method::Post, all, body),
            (Method::Delete, own, Vec::new()),
        ];
        assert_eq!(*sent.lock().unwrap(), expected);
    }

    #[test]
    fn a_status_other_than_2xx_is_an_error() {
        for (status, is_success) in
            [(200, true), (202, true), (204, true), (302, false), (400, false)]
        {
            let recorder = Recorder(Arc::default(), status);
            let pusher = Pusher::builder("gateway", "j").transport(recorder).build().unwrap();
            match pusher.push(&One) {
                Ok(response) => assert!(is_success && response.status == status),
                Err(error) => {
                    assert_eq!((error.kind(), is_success), (ErrorKind::Push, false));
                    let shown = format!(
                        "PUT http://gateway/metrics/job/j: status {status}: gateway says no"
                    );
                    assert_eq!(format!("{error:#}"), shown);
                }
            }
        }
    }

    #[test]
    fn a_transport_that_panics_is_an_error() {
        struct Panicking;

        impl Transport for Panicking {
            fn send(&self, _: &Request<'_>) -> Result<Response, Box<dyn StdError + Send + Sync>> {
                panic!("this panic is part of the test")
            }
        }

        let pusher = Pusher::builder("gateway", "j").transport(Panicking).build().unwrap();
        let error = pusher.push(&One).unwrap_err();
        assert!(error.to_string().ends_with("the transport has panicked"), "{error}");
    }

    #[test]
    fn configurations_that_cannot_be_used_are_errors_without_secrets() {
        let gateway = || Pusher::builder("gateway", "j");
        let refused = |builder: PusherBuilder| {
            let error = builder.build().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            error.kind()
        };
        for builder in [
            gateway().header("a b", "x"),
            gateway().header("a", "secret\n"),
            gateway().bearer_token("secret\r\nX: y"),
            gateway().header("Content-Length", "1"),
            gateway().header("transfer-encoding", "chunked"),
            gateway().basic_auth("a:b", "secret"),
            gateway().timeout(Duration::ZERO),
            gateway().format(Format::OpenMetrics),
            Pusher::builder("gateway", ""),
            Pusher::builder_for_url("http://gateway/import").grouping("a", "b"),
        ] {
            assert_eq!(refused(builder), ErrorKind::Usage);
        }
        assert_eq!(refused(gateway().grouping("job", "x")), ErrorKind::InvalidLabels);
        let missing = HttpTransport::new().ca_file("/nonexistent/ca.pem");
        let error = gateway().transport(missing).build().unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/nonexistent/ca.pem`");
        let text = format!("{:?}", gateway().bearer_token("secret").build().unwrap());
        assert!(!text.contains("secret"), "{text}");
    }
}
