//! The OpenMetrics parser accepts arbitrary bytes, and returns the same families if they arrive in small pieces.
#![no_main]

use std::io::BufReader;

use libfuzzer_sys::fuzz_target;
use multiprom::parse::Parser;

fuzz_target!(|bytes: &[u8]| {
    let whole = Parser::openmetrics(bytes).collect::<Result<Vec<_>, _>>();
    let pieces = Parser::openmetrics(BufReader::with_capacity(3, bytes));
    let pieces = pieces.collect::<Result<Vec<_>, _>>();
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
});
