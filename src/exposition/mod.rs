//! Exposition: families as text, in the format that a scraper asks for.
//!
//! Encoders take families as they come and write them at once; nothing is kept but the output.

mod lines;
mod negotiate;
mod openmetrics;
mod text;

use std::fmt;

use crate::model::Gatherer;

pub use negotiate::negotiate;
pub use openmetrics::OpenMetricsEncoder;
pub use text::TextEncoder;

/// An exposition format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The value of the HTTP header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A complete exposition: what a scrape is answered with.
///
/// [`Display`](fmt::Display) gives the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// The value of the HTTP header `Content-Type`.
    pub content_type: &'static str,
    /// UTF-8 text.
    pub body: Vec<u8>,
}

impl Exposition {
    /// Gathers everything, in the format that an HTTP `Accept` header prefers.
    pub fn render(source: &dyn Gatherer, accept: Option<&str>) -> Exposition {
        Exposition::encode(source, negotiate(accept))
    }

    /// Gathers everything in one format.
    pub fn encode(source: &dyn Gatherer, format: Format) -> Exposition {
        let mut body = Vec::new();
        match format {
            Format::Text => source.gather(&mut TextEncoder::new(&mut body)),
            Format::OpenMetrics => {
                let mut encoder = OpenMetricsEncoder::new(&mut body);
                source.gather(&mut encoder);
                encoder.finish();
            }
        }
        Exposition { content_type: format.content_type(), body }
    }
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.body))
    }
}
