//! Exposition: families as text, in the format that a scraper asks for.
//!
//! Encoders take families as they come and write them at once. What is kept besides the output is the
//! name of each family, and in the formats that show a metric as a whole, that metric; protobuf is
//! written family by family. What a format cannot hold is left out or mended as the encoder's page says.

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

/// What all encoders can besides taking families.
trait Encoder: FamilySink {
    /// What is encoded so far and will not be changed any more, if that is all: to be taken away.
    fn chunk(&mut self) -> Option<&mut Vec<u8>>;

    /// Ends the exposition.
    fn end(&mut self);
}
