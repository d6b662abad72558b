//! Encodes families in the exposition format that a scraper asks for.
//!
//! Encoders are streaming: they write each sample when they receive it. Besides the output they keep the names of
//! the families. In addition, text keeps the gauge families that follow the current family, OpenMetrics 2.0 the
//! current metric, which is one line, and protobuf the current family, which is one message. The documentation of
//! each encoder lists what it omits or changes because the format cannot represent it.

mod escape;
mod format;
mod json;
mod lines;
mod names;
mod negotiate;
mod openmetrics;
mod openmetrics2;
mod page;
mod pending;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(feature = "protobuf")]
mod protobuf_text;
mod text;
#[cfg(feature = "protobuf")]
mod wire;

use crate::model::FamilySink;

pub use escape::{Escaping, UnknownEscaping};
pub use format::{Format, Negotiated};
pub use json::JsonEncoder;
pub use negotiate::negotiate;
pub use openmetrics::OpenMetricsEncoder;
pub use openmetrics2::OpenMetrics2Encoder;
pub use page::Exposition;
#[cfg(feature = "protobuf")]
pub use protobuf::ProtobufEncoder;
pub use text::TextEncoder;

/// A sink that encodes families into a buffer.
trait Encoder: FamilySink {
    /// The output so far, for the caller to drain. `None` while the encoder may still remove the end of it.
    fn chunk(&mut self) -> Option<&mut Vec<u8>>;

    /// Ends the exposition.
    fn end(&mut self);
}
