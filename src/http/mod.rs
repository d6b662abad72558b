//! The exporter: serves scrapes over HTTP/1.1.
//!
//! An [`Exporter`] runs on a thread of its own and needs no async runtime of the host program. Every scrape gathers
//! anew. If a gatherer panics, the response has status 500, or is aborted if it has already begun.
//!
//! `Accept` selects the [format](crate::exposition::negotiate), `Accept-Encoding` gzip or (with the feature `zstd`) zstd,
//! and `?name[]=NAME` a family or the samples of a name, before any escaping. A request that Prometheus sends with
//! `X-Prometheus-Scrape-Timeout-Seconds` gets status 503 if gathering takes longer. A response that is unfinished at
//! the timeout is aborted.
//!
//! [`ExporterBuilder::status_page`] adds a page for people. A [`Handler`] has the same responses for another web server.
//!
//! # Slow clients and limits
//!
//! Responses of more than 320 KiB are sent while they are gathered. Simultaneous requests for the same exposition share
//! one gathering. Slow clients do not delay other scrapes: gatherings wait for clients for at most a quarter of a second
//! in total, and then queue the rest of the response in memory. All queued responses together take at most 16 MiB; if
//! other clients wait at this limit, the slow response with the most queued bytes is aborted.
//!
//! A client that reads less than 128 KiB in 15 seconds, or whose response takes 120 seconds, is dropped. At 256 connections,
//! or at half of the descriptors of the process if these are fewer, the most dispensable connection is closed for a new one.
//! [`ExporterMetrics`] counts requests, connections, dropped connections and authentication failures.

mod address;
mod body;
mod coding;
mod connection;
mod connections;
mod counters;
mod encode;
mod endpoint;
mod filter;
#[cfg(feature = "tls")]
mod guard;
#[cfg(not(feature = "tls"))]
#[path = "unguarded.rs"]
mod guard;
mod handler;
mod hooks;
mod listener;
mod pages;
mod queue;
mod request;
mod response;
mod scrapes;
mod server;
mod status;
mod stream;
#[cfg(feature = "tls")]
mod web;

use crate::model::Gatherer;

pub use address::ListenAddress;
pub use body::ResponseBody;
pub use counters::ExporterMetrics;
pub use endpoint::Endpoint;
pub use handler::{Handler, HandlerBuilder};
pub use request::Request;
pub use response::Response;
#[cfg(feature = "cli")]
pub(crate) use scrapes::NextScrape;
pub use server::{Exporter, ExporterBuilder};
#[cfg_attr(not(feature = "cli"), allow(unused_imports, reason = "for the command"))]
pub(crate) use status::source::{
    ArchiveStatus, DirectoryStatus, FamilyBytes, ProcessState, ProcessStatus, Status, StatusSource,
};

/// What is served under a path.
type Source = Box<dyn Gatherer + Send + Sync>;
