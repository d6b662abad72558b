//! The guard of builds without the feature `tls`: it accepts every connection and request.
#![expect(clippy::unused_self, reason = "as with the feature `tls`")]

use std::future::ready;
use std::path::Path;

use hyper::header::HeaderMap;

use super::connection::Connection;
use super::counters::HttpCounters;
use super::response::Refusal;
use super::stream::{ClientStream, Socket};
use crate::error::Result;

#[derive(Clone)]
pub(super) struct Guard;

pub(super) enum Accepted<S: Socket> {
    Plain(ClientStream<S>),
}

pub(super) struct Checked {
    pub(super) refusal: Option<Refusal>,
}

impl Guard {
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature `tls`")]
    pub(super) fn open(_: Option<&Path>) -> Result<Guard> {
        Ok(Guard)
    }

    pub(super) fn scheme(&self) -> &'static str {
        "http"
    }

    pub(super) fn accept<S: Socket>(
        &self,
        stream: ClientStream<S>,
        _: &Connection,
    ) -> impl Future<Output = Accepted<S>> + use<S> {
        ready(Accepted::Plain(stream))
    }

    pub(super) fn check(
        &self,
        _: &HeaderMap,
        _: &HttpCounters,
    ) -> impl Future<Output = Checked> + use<> {
        ready(Checked { refusal: None })
    }
}

impl Checked {
    pub(super) fn add_headers(&self, _: &mut HeaderMap) {}
}
