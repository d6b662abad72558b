//! Any `Accept` header has an answer, with a content type, and OpenMetrics 2.0 only where it is named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom::exposition::{Format, negotiate};

fuzz_target!(|header: &str| {
    let answer = negotiate(Some(header));
    assert!(!answer.content_type().is_empty());
    assert!(answer.format() != Format::OpenMetrics2 || header.contains("2.0.0"));
    assert!(answer.format() != Format::Json);
});
