//! The client of the Pushgateway: pushes the metrics of batch jobs, and of programs that cannot be scraped.
//!
//! A [`Pusher`] sends what a [`Gatherer`](crate::collector::Gatherer) exports: a registry,
//! [`gatherer`](crate::gatherer()) for everything that the program exposes, or a registry with a
//! [`MultiProcessCollector`](crate::MultiProcessCollector) for a directory.
//!
//! ```no_run
//! use multiprom::push::Pusher;
//! use multiprom::{Counter, Registry};
//!
//! let registry = Registry::new();
//! let rows = Counter::builder("rows_total", "Rows that were backed up.").register(&registry)?;
//! rows.inc_by(3.0);
//!
//! let pusher = Pusher::builder("http://gateway:9091", "backup").grouping("database", "orders").build()?;
//! pusher.push(&registry)?;
//! # Ok::<(), multiprom::Error>(())
//! ```
//!
//! # Blocking and async
//!
//! [`push`](Pusher::push), [`push_add`](Pusher::push_add) and [`delete`](Pusher::delete) block the calling thread until the
//! response has arrived, for the timeout at most. They may be called on a thread of an async runtime, which they then block.
//! [`push_async`](Pusher::push_async), [`push_add_async`](Pusher::push_add_async) and
//! [`delete_async`](Pusher::delete_async) return futures that run on any runtime. In both cases the request is made on a
//! thread of its own, in which all signals are blocked. [`start`](Pusher::start) pushes periodically.
//!
//! # Errors
//!
//! An error names the method, the URL and the cause. Nothing is retried. A response with a status other than 2xx is an
//! error, with the first line of its body. Labels that a gateway would overwrite, and timestamps, which it refuses, are errors
//! before anything is sent.

mod base64;
mod grouping_key;
mod http;
mod push_error;
mod pusher;
mod tls;
mod transport;
mod url;

pub use crate::outgoing::Periodic;
pub use http::HttpTransport;
pub use pusher::{Pusher, PusherBuilder};
pub use transport::{Method, Request, Response, Transport};
