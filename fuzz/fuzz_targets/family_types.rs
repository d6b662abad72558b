//! Gauges with entries of the kind `type` are merged to a page that every parser accepts, whatever their keys and types are.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/family_types.rs"]
mod check;
#[path = "../checks/scratch.rs"]
mod scratch;

fuzz_target!(|input: &[u8]| {
    check::check(input, scratch::dir());
});
