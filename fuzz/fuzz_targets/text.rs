//! The text parser accepts arbitrary bytes, and the families that it returns are encoded to text that parses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom::exposition::{Exposition, Format};
use multiprom::parse::{Families, Parser, lint};

fuzz_target!(|bytes: &[u8]| {
    let _ = lint::check(multiprom::parse::Syntax::Text, bytes);
    let Ok(families) = Parser::text(bytes).collect::<Result<Vec<_>, _>>() else { return };
    // Other names are escaped with underscores, and may become equal.
    let is_plain = |name: &str| {
        let has_digit_first = name.starts_with(|first: char| first.is_ascii_digit());
        !has_digit_first && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let labels = families.iter().flat_map(|family| &family.samples).flat_map(|one| &one.labels);
    if !labels.map(|(name, _)| name.as_str()).all(is_plain) {
        return;
    }
    let body = Exposition::encode(&Families(families).joined(), Format::Text).body;
    Parser::text(&body[..]).for_each(|family| drop(family.expect("the text output of multiprom parses")));
});
