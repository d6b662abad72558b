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
fn small() -> Limits {
    let mut limits = Limits::default();
    (limits.line_len, limits.labels, limits.family_len, limits.families) = (60, 2, 100, 3);
    limits
}
