//! Parsers of the exposition formats: text, OpenMetrics and protobuf.
//!
//! A [`Parser`] reads from any [`BufRead`](std::io::BufRead). It yields families as an iterator of [`OwnedFamily`], or writes them
//! to a [`FamilySink`](crate::FamilySink), such as an encoder. For any input it never panics, does not recurse, and bounds its
//! memory by its [`Limits`].
//!
//! - **Text** is parsed as leniently as Prometheus parses it: samples need no metadata, blank lines and
//!   comments are skipped, the last line feed may be missing, metadata may follow the samples or be
//!   repeated. A family whose samples are interleaved with those of another yields one `OwnedFamily` for each
//!   run of samples; the help text is in the first. A sample that does not fit the type of its family is
//!   yielded in a family of unknown type, so no sample is lost.
//! - **OpenMetrics** is parsed strictly: everything that the specification forbids within one exposition is
//!   an error. Quoted names are accepted in both text formats.
//! - **Protobuf** is the length-delimited `io.prometheus.client.MetricFamily` that Prometheus scrapes
//!   (feature `protobuf`).
//!
//! Errors name line and column. An exposition with an error is invalid as a whole: discard the families that
//! were yielded before the error.
//!
//! ```
//! use multiprom::collector::MetricType;
//! use multiprom::parse::Parser;
//!
//! let page = "# TYPE hits counter\nhits_total{route=\"/\"} 3\n# EOF\n";
//! let families = Parser::openmetrics(page.as_bytes()).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(families[0].metric_type, MetricType::Counter);
//! assert_eq!(families[0].samples[0].value, 3.0);
//!
//! let error = Parser::openmetrics(&b"hits 3\n"[..]).last().unwrap().unwrap_err();
//! assert_eq!(error.to_string(), "line 2, column 1: the exposition ends without `# EOF`");
//! # Ok::<(), multiprom::parse::ParseError>(())
//! ```

mod error;
mod exemplar;
mod family;
mod limits;
mod lines;
pub mod lint;
mod native;
mod number;
mod openmetrics;
mod parser;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(feature = "protobuf")]
mod protobuf_native;
mod sample_form;
mod scan;
mod sink;
mod strict;
mod text;
#[cfg(feature = "protobuf")]
mod wire;

pub use error::{ParseError, ParseErrorKind};
pub use exemplar::OwnedExemplar;
pub use family::{Families, OwnedFamily, OwnedSample};
pub use limits::Limits;
pub use native::{OwnedNativeBuckets, OwnedNativeHistogram};
pub use parser::{Parser, Syntax};
