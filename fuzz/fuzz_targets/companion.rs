//! The reader of companion files accepts arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    multiprom::fuzzing::companion(bytes);
});
