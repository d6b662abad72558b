//! The protobuf parser takes any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom::parse::Parser;

fuzz_target!(|bytes: &[u8]| Parser::protobuf(bytes).for_each(drop));
