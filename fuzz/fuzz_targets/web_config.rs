//! Every web configuration file is valid, or refused with an error that names the file and a line.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/web_config.rs"]
mod check;
#[path = "../checks/scratch.rs"]
mod scratch;

fuzz_target!(|content: &[u8]| {
    check::check(content, scratch::dir());
});
