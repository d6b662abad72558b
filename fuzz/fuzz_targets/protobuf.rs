//! The protobuf parser accepts arbitrary bytes, and the families that it returns round-trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom::exposition::{Escaping, Exposition, Format, Negotiated};
use multiprom::parse::{Families, Parser};

fuzz_target!(|bytes: &[u8]| {
    let Ok(families) = Parser::protobuf(bytes).collect::<Result<Vec<_>, _>>() else { return };
    // Beyond this, seconds as `f64` do not represent every number of milliseconds.
    let is_near = |time: Option<f64>| time.is_none_or(|seconds| seconds.abs() < 1e12);
    for family in &families {
        let samples = family.samples.iter().map(|sample| sample.timestamp);
        let natives = family.native_histograms.iter().map(|native| native.timestamp);
        if !samples.chain(natives).all(is_near) {
            return;
        }
    }
    let format = Negotiated::new(Format::Protobuf, Escaping::AllowUtf8);
    let written = Exposition::encode(&Families(families).joined(), format).body;
    let read = Parser::protobuf(&written[..]).collect::<Result<Vec<_>, _>>();
    let again = Exposition::encode(&Families(read.expect("the protobuf output of multiprom parses")), format).body;
    assert!(again == written, "the second encoding equals the first");
});
