//! The OpenMetrics parser takes any bytes, and gives the same families in pieces of any size.
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
