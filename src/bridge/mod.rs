//! Bridges to other systems: files for the textfile collector of node_exporter, and Graphite.
//!
//! A bridge writes what a [`Gatherer`](crate::collector::Gatherer) exports: a registry,
//! [`gatherer`](crate::gatherer()) for everything that the program exposes, or a registry with a
//! [`MultiProcessCollector`](crate::MultiProcessCollector) for a directory. It runs once, or
//! [periodically](Periodic) on a thread of its own. Nothing is retried within a run.

mod graphite;
mod textfile;

pub use crate::outgoing::Periodic;
pub use graphite::Graphite;
pub use textfile::Textfile;
