//! An archive is any bytes, with the right checksum too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    multiprom::fuzzing::archive(bytes);
});
