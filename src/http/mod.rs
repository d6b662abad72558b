//! The exporter: answers scrapes over HTTP/1.1.
//!
//! It runs on a thread of its own and needs no runtime from the host. Each scrape gathers anew; a
//! gatherer that panics costs that scrape, which is answered with status 500, or broken off where it has begun.
//!
//! Responses of more than 320 KiB are sent while they are gathered, and requests for the same exposition that come at the same
//! time share one gathering. Clients that read slowly hold up nobody: sources wait for them for a quarter of a second in
//! all; then the rest is gathered into memory, 16 MiB for all responses together, beyond which the response that is
//! furthest behind is broken off if others wait. A client that reads less than 128 KiB in 15 seconds, or takes 120 seconds for
//! a response, is dropped. At 256 connections the idlest one is closed for a new one.
//! [`ExporterMetrics`] counts them.
//!
//! `Accept` picks the [format](crate::exposition::negotiate), `Accept-Encoding` gzip or zstd, `?name[]=NAME` the samples
//! of some names, which are those before any escaping.

mod address;
mod body;
mod compress;
mod connection;
mod connections;
mod dropped;
mod filter;
mod handler;
mod listener;
mod queue;
mod server;
mod stream;
mod wanted;

pub use address::ListenAddress;
pub use dropped::ExporterMetrics;
pub use server::{Exporter, ExporterBuilder};
