//! The exporter: answers scrapes over HTTP/1.1.
//!
//! It runs on a thread of its own and needs no runtime from the host. Each scrape gathers anew; a
//! gatherer that panics costs that scrape, which is answered with status 500, or broken off where it has begun.
//!
//! Answers of more than 64 KiB are sent while they are gathered. A gatherer waits for a client that reads slowly a
//! quarter of a second in all; then the rest is gathered into memory. A client that takes nothing for 30 seconds is
//! dropped.
//!
//! `Accept` picks the [format](crate::exposition::negotiate), `Accept-Encoding` gzip or zstd, `?name[]=NAME` the samples
//! of some names, which are those before any escaping.

mod address;
mod body;
mod compress;
mod filter;
mod handler;
mod listener;
mod queue;
mod server;
mod write_timeout;

pub use address::ListenAddress;
pub use server::{Exporter, ExporterBuilder};
