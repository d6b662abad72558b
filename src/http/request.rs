//! Which exposition a request asks for.

use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};
use hyper::{Request, Version};

use super::coding::CodingChoice;
use super::filter::requested_names;
use crate::exposition::{Negotiated, negotiate};

/// The exposition that a request asks for. Equal requests get equal responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpositionRequest {
    pub(super) format: Negotiated,
    pub(super) choice: CodingChoice,
    /// The names of the samples to include; `None` for all samples.
    pub(super) names: Option<Vec<String>>,
    pub(super) framing: Framing,
}

/// How the client recognizes the end of a complete body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By the length if it is known, else by the last chunk.
    Chunked,
    /// By the length only. HTTP/1.0 has no chunks, and a closed connection would not distinguish a complete body from a
    /// truncated one.
    Length,
}

impl ExpositionRequest {
    pub(super) fn new(request: &Request<Incoming>) -> ExpositionRequest {
        let has_chunks = request.version() >= Version::HTTP_11;
        ExpositionRequest {
            format: negotiate(Some(&joined(request, ACCEPT))),
            choice: CodingChoice::new(&joined(request, ACCEPT_ENCODING)),
            names: requested_names(request.uri().query()),
            framing: if has_chunks { Framing::Chunked } else { Framing::Length },
        }
    }
}

/// The values of all headers of this name as one list. Values that are not ASCII are ignored.
fn joined(request: &Request<Incoming>, name: HeaderName) -> String {
    let values = request.headers().get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}
