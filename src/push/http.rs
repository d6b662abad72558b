//! The transport over HTTP/1.1, by hyper and rustls.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::tls::{TlsError, TlsFiles};
use super::transport::{Request, Response, Transport};
use super::url::Url;
use crate::outgoing::{ConnectError, connect, deadline_after};

/// The longest body of a response, in bytes; the rest is not read.
const MAX_RESPONSE_LEN: usize = 64 * 1024;

/// Sends requests over HTTP/1.1, each on a new connection. The default transport of a [`Pusher`](super::Pusher).
///
/// TLS is 1.2 or 1.3. A server has to have a certificate for its host name that a CA of the system has signed, or
/// that of [`ca_file`](HttpTransport::ca_file). Proxies are not used. [`send`](Transport::send) must not be called on a
/// thread of an async runtime; pushers call it on threads of their own.
///
/// ```no_run
/// use multiprom::push::{HttpTransport, Pusher};
///
/// let transport = HttpTransport::new()
///     .ca_file("/etc/gateway/ca.pem")
///     .client_certificate("/etc/backup/cert.pem", "/etc/backup/key.pem")
///     .redirects(3);
/// let pusher = Pusher::builder("https://gateway:9091", "backup").transport(transport).build()?;
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HttpTransport {
    tls: TlsFiles,
    max_redirects: u32,
}

impl HttpTransport {
    /// A transport that trusts the CAs of the system and follows no redirects.
    pub fn new() -> HttpTransport {
        HttpTransport::default()
    }

    /// Sets a file with CA certificates in PEM format, which replace those of the system. It is read for each request.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> HttpTransport {
        self.tls.ca = Some(path.into());
        self
    }

    /// Sets files in PEM format with the client's certificate chain and its key. They are read for each request.
    pub fn client_certificate(
        mut self,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> HttpTransport {
        self.tls.client = Some((chain.into(), key.into()));
        self
    }

    /// Follows this number of redirects, with the same method and body; none by default.
    ///
    /// The headers that the program has set, credentials included, are not sent to another scheme, host or port. A redirect
    /// from HTTPS to HTTP is an error.
    pub fn redirects(mut self, max: u32) -> HttpTransport {
        self.max_redirects = max;
        self
    }

    /// Makes one request.
    async fn exchange(
        &self,
        url: &Url,
        request: &Request<'_>,
        headers: Headers,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        // The thread has no other work than this connection.
        let stream = connect(&url.host, url.port, deadline).map_err(HttpError::Connect)?;
        stream.set_nonblocking(true).map_err(HttpError::Socket)?;
        let stream = TcpStream::from_std(stream).map_err(HttpError::Socket)?;
        let message = message(url, request, headers)?;
        let response = if url.is_https {
            let config = self.tls.config().map_err(HttpError::Tls)?;
            let name = ServerName::try_from(url.host.clone())
                .map_err(|_| HttpError::ServerName(url.host.clone()))?;
            let handshake = TlsConnector::from(config).connect(name, stream);
            let stream = by(deadline, request, "the TLS handshake has not ended", handshake)
                .await?
                .map_err(HttpError::Handshake)?;
            by(deadline, request, NO_RESPONSE, respond(stream, message)).await
        } else {
            by(deadline, request, NO_RESPONSE, respond(stream, message)).await
        };
        response?
    }
}

const NO_RESPONSE: &str = "there is no complete response";

impl Transport for HttpTransport {
    fn send(&self, request: &Request<'_>) -> Result<Response, Box<dyn StdError + Send + Sync>> {
        let deadline = deadline_after(request.timeout);
        let mut url = Url::parse(request.url)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut headers = Headers::All;
        let mut left = self.max_redirects;
        loop {
            let response = runtime.block_on(self.exchange(&url, request, headers, deadline))?;
            // The other redirects change the method, or are none.
            let is_redirect = matches!(response.status, 301 | 302 | 307 | 308);
            let Some(location) = response.location.as_ref().filter(|_| is_redirect && left > 0)
            else {
                return Ok(response);
            };
            let next = url.redirect(location)?;
            if url.is_https && !next.is_https {
                return Err(HttpError::Downgrade(next.text()).into());
            }
            if !next.has_origin_of(&url) {
                headers = Headers::OfBody;
            }
            url = next;
            left -= 1;
        }
    }

    fn check(&self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        if !self.tls.is_default() {
            self.tls.config()?;
        }
        Ok(())
    }
}

/// The headers of a request that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Headers {
    All,
    /// Only those that describe the body.
    OfBody,
}

/// Whether a header describes the body.
pub(super) fn is_of_body(name: &str) -> bool {
    name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"))
}

fn message(
    url: &Url,
    request: &Request<'_>,
    sent: Headers,
) -> Result<hyper::Request<WholeBody>, HttpError> {
    let mut builder =
        hyper::Request::builder().method(request.method.as_str()).uri(url.path.as_str());
    let is_sent = |name: &str| sent == Headers::All || is_of_body(name);
    for (name, value) in request.headers.iter().filter(|(name, _)| is_sent(name)) {
        builder = builder.header(name, value);
    }
    if let Some(headers) = builder.headers_mut() {
        if !headers.contains_key(HOST) {
            let host = url.authority.parse().map_err(HttpError::Header)?;
            headers.insert(HOST, host);
        }
        if !headers.contains_key(USER_AGENT) {
            let agent = concat!("multiprom/", env!("CARGO_PKG_VERSION"));
            headers.insert(USER_AGENT, hyper::header::HeaderValue::from_static(agent));
        }
    }
    builder.body(WholeBody(Bytes::copy_from_slice(request.body))).map_err(HttpError::Message)
}

/// Runs a future until the deadline.
async fn by<T>(
    deadline: Instant,
    request: &Request<'_>,
    missing: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, HttpError> {
    let timeout = request.timeout;
    timeout_at(deadline.into(), future).await.map_err(|_| HttpError::Timeout { missing, timeout })
}

/// Sends a message and reads the response.
async fn respond(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    message: hyper::Request<WholeBody>,
) -> Result<Response, HttpError> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(HttpError::Exchange)?;
    // It ends with the runtime. Its errors are those of `sender` and of the body.
    tokio::spawn(connection);
    let (head, body) =
        sender.send_request(message).await.map_err(HttpError::Exchange)?.into_parts();
    let status = head.status.as_u16();
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(str::to_owned);
    let mut response = Response { status, location, ..Response::default() };
    match read(body, &mut response.body).await {
        // The status says more than the end of the body.
        Err(cause) if head.status.is_success() => Err(HttpError::Body { status, cause }),
        _ => Ok(response),
    }
}

async fn read(mut body: Incoming, into: &mut Vec<u8>) -> Result<(), hyper::Error> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Some(data) = frame?.data_ref() {
            into.extend_from_slice(data);
        }
        if into.len() > MAX_RESPONSE_LEN {
            into.truncate(MAX_RESPONSE_LEN);
            break;
        }
    }
    Ok(())
}

/// The body of a request, whose length is known.
struct WholeBody(Bytes);

impl hyper::body::Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Why there is no response.
#[derive(Debug)]
enum HttpError {
    Connect(ConnectError),
    Socket(io::Error),
    Tls(TlsError),
    ServerName(String),
    Handshake(io::Error),
    Header(hyper::header::InvalidHeaderValue),
    Message(hyper::http::Error),
    Exchange(hyper::Error),
    Body { status: u16, cause: hyper::Error },
    Timeout { missing: &'static str, timeout: Duration },
    Downgrade(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Connect(error) => error.fmt(f),
            HttpError::Socket(_) => f.write_str("the socket cannot be used"),
            HttpError::Tls(error) => error.fmt(f),
            HttpError::ServerName(host) => {
                write!(f, "`{host}` is not a host name that a certificate can have")
            }
            HttpError::Handshake(_) => f.write_str("the TLS handshake has failed"),
            HttpError::Header(_) | HttpError::Message(_) => f.write_str("the request is malformed"),
            HttpError::Exchange(_) => f.write_str(NO_RESPONSE),
            HttpError::Body { status, .. } => {
                write!(f, "the response with status {status} ends early")
            }
            HttpError::Timeout { missing, timeout } => write!(f, "{missing} after {timeout:?}"),
            HttpError::Downgrade(url) => {
                write!(f, "the response redirects from https to `{url}`, which is not encrypted")
            }
        }
    }
}

impl StdError for HttpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            HttpError::Connect(error) => error.source(),
            HttpError::Tls(error) => error.source(),
            HttpError::Socket(cause) | HttpError::Handshake(cause) => Some(cause),
            HttpError::Header(cause) => Some(cause),
            HttpError::Message(cause) => Some(cause),
            HttpError::Exchange(cause) | HttpError::Body { cause, .. } => Some(cause),
            HttpError::ServerName(_) | HttpError::Timeout { .. } | HttpError::Downgrade(_) => None,
        }
    }
}
