//! Responses.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};

use super::body::ResponseBody;

/// The response of a [`Handler`](super::Handler).
///
/// It converts to `http::Response`, which axum and hyper use.
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: ResponseBody,
}

/// Status, text and optional header of a response that refuses a request.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "created by the guard with TLS"))]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: &'static str,
    pub(super) header: Option<(&'static str, &'static str)>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl Response {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the headers: names in lower case, and values. The length of the body is not among them.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Returns the body. The response to `HEAD` has one too, which a server does not send.
    pub fn into_body(self) -> ResponseBody {
        self.body
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Response> for hyper::Response<ResponseBody> {
    fn from(response: Response) -> hyper::Response<ResponseBody> {
        let mut converted = hyper::Response::new(response.body);
        // OK because the handler sets valid statuses and headers only.
        if let Ok(status) = response.status.try_into() {
            *converted.status_mut() = status;
        }
        for (name, value) in response.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                converted.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        converted
    }
}
