//! The trait of transports, which send a request and return the response.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The HTTP method of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Replaces all metrics of the group.
    Put,
    /// Replaces the families of the group that are pushed, and keeps the others.
    Post,
    /// Deletes the group.
    Delete,
}

impl Method {
    /// The name in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that a [`Transport`] sends.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The URL, `http://...` or `https://...`.
    pub url: &'a str,
    /// Names and values of the headers. `Host`, `Content-Length` and `User-Agent` are not among them unless the program has
    /// set them.
    pub headers: &'a [(String, String)],
    /// The body; empty for [`Method::Delete`].
    pub body: &'a [u8],
    /// The time that the whole exchange may take.
    pub timeout: Duration,
}

impl fmt::Debug for Request<'_> {
    /// Leaves out the values of headers, as they contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &names)
            .field("body_len", &self.body.len())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// The response to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// The body, or its first 64 KiB.
    pub body: Vec<u8>,
    /// The header `Location` of a redirect.
    pub location: Option<String>,
}

impl Response {
    /// A response with this status and body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response { status, body: body.into(), location: None }
    }
}

/// Sends a request and returns its response: [`HttpTransport`](super::HttpTransport), or an HTTP client of the program.
///
/// A [`Pusher`](super::Pusher) calls it on a thread of its own, which it may block, and which has no async runtime. It
/// should return by the timeout of the request. The pusher judges the status.
///
/// ```
/// use multiprom::push::{HttpTransport, Pusher, Request, Response, Transport};
///
/// /// Logs each request, and sends it by HTTP.
/// struct Logged(HttpTransport);
///
/// impl Transport for Logged {
///     fn send(
///         &self,
///         request: &Request<'_>,
///     ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
///         eprintln!("{} {}", request.method, request.url);
///         self.0.send(request)
///     }
/// }
///
/// let pusher = Pusher::builder("gateway:9091", "backup").transport(Logged(HttpTransport::new())).build()?;
/// assert_eq!(pusher.url(), "http://gateway:9091/metrics/job/backup");
/// # Ok::<(), multiprom::Error>(())
/// ```
pub trait Transport: Send + Sync {
    /// Sends a request.
    ///
    /// # Errors
    ///
    /// If there is no complete response.
    fn send(&self, request: &Request<'_>) -> Result<Response, Box<dyn StdError + Send + Sync>>;

    /// Checks the configuration before the first request; called by
    /// [`PusherBuilder::build`](super::PusherBuilder::build).
    ///
    /// # Errors
    ///
    /// If requests would fail for this reason, such as a file with a certificate that cannot be read.
    fn check(&self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }
}
