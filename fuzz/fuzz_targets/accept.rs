//! Any `Accept` header has an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom::exposition::negotiate;

fuzz_target!(|header: &str| {
    let _ = negotiate(Some(header));
});
