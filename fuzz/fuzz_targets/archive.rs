//! The archive reader accepts arbitrary bytes, also with a valid checksum appended.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    multiprom::fuzzing::archive(bytes);
});
