//! The exposition that a request asks for.

use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};
use hyper::{Request, Version};

use super::compress::{self, Choice};
use super::filter::wanted_names;
use crate::exposition::{Negotiated, negotiate};

/// Requests that are equal in this get the same response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) format: Negotiated,
    pub(super) choice: Choice,
    /// Only the samples of these names.
    pub(super) names: Option<Vec<String>>,
    pub(super) framing: Framing,
}

/// How a client sees where a body ends, and so that it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length where it is known, else by the last chunk.
    Chunked,
    /// By its length only: HTTP/1.0 has no chunks, and the end of the connection would also end a broken body.
    Length,
}

impl Wanted {
    pub(super) fn new(request: &Request<Incoming>) -> Wanted {
        let is_old = request.version() < Version::HTTP_11;
        Wanted {
            format: negotiate(Some(&joined(request, ACCEPT))),
            choice: compress::choose(&joined(request, ACCEPT_ENCODING)),
            names: wanted_names(request.uri().query()),
            framing: if is_old { Framing::Length } else { Framing::Chunked },
        }
    }
}

/// The values of a header as one list; those that are not ASCII are left out.
fn joined(request: &Request<Incoming>, name: HeaderName) -> String {
    let values = request.headers().get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}
