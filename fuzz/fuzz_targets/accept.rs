//! Every `Accept` header is negotiated to a format with a content type, and to OpenMetrics 2.0 only if the header
//! names it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom::exposition::{Format, negotiate};

fuzz_target!(|header: &str| {
    let negotiated = negotiate(Some(header));
    assert!(!negotiated.content_type().is_empty());
    assert!(negotiated.format() != Format::OpenMetrics2 || header.contains("2.0.0"));
    assert!(negotiated.format() != Format::Json);
});
