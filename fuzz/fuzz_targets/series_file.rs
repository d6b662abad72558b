//! The reader of series files accepts arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    multiprom::fuzzing::series_file(bytes);
});
