//! The parsers: their rules, and comparisons with other parsers.

mod convert;
mod generated;
mod judges;
mod openmetrics_rules;
mod protobuf_native;
mod protobuf_parser;
mod round_trip;
mod text_rules;

use multiprom::parse::{Limits, OwnedFamily, ParseError, Parser};

/// Parses a text exposition.
fn text(page: &str) -> Result<Vec<OwnedFamily>, ParseError> {
    Parser::text(page.as_bytes()).collect()
}

/// Parses an OpenMetrics exposition.
fn openmetrics(page: &str) -> Result<Vec<OwnedFamily>, ParseError> {
    Parser::openmetrics(page.as_bytes()).collect()
}

/// Limits that are small enough to exceed each of them.
const SMALL: Limits = Limits { line_len: 60, labels: 2, family_len: 100, families: 3 };
