//! The parsers, by their rules and by foreign judges.

mod convert;
mod generated;
mod judges;
mod openmetrics_rules;
mod protobuf_native;
mod protobuf_parser;
mod round_trip;
mod text_rules;

use multiprom::parse::{Family, Limits, ParseError, Parser};

/// The families of a text exposition.
fn text(page: &str) -> Result<Vec<Family>, ParseError> {
    Parser::text(page.as_bytes()).collect()
}

/// The families of an OpenMetrics exposition.
fn openmetrics(page: &str) -> Result<Vec<Family>, ParseError> {
    Parser::openmetrics(page.as_bytes()).collect()
}

/// Small limits, to meet each of them.
const SMALL: Limits = Limits { line_len: 60, labels: 2, family_len: 100, families: 3 };
