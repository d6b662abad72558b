//! Encoded families are parsed to the same families, and no input makes a parser panic.

use proptest::collection::vec;
use proptest::prelude::*;

use multiprom::collector::{MetricType, SampleKind};
use multiprom::exposition::{Escaping, Exposition, Format, Negotiated};
use multiprom::parse::{Families, OwnedFamily, OwnedSample, Parser, Syntax};

use super::generated::{Naming, families, representable};

/// The formats that can be both encoded and parsed.
const FORMATS: [(Format, Syntax); 4] = [
    (Format::Text, Syntax::Text),
    (Format::TextUtf8, Syntax::Text),
    (Format::OpenMetrics, Syntax::OpenMetrics),
    (Format::Protobuf, Syntax::Protobuf),
];

fn encode(families: &Families, format: Negotiated) -> Vec<u8> {
    Exposition::encode(families, format.created()).body
}

fn read(syntax: Syntax, bytes: &[u8]) -> Result<Families, TestCaseError> {
    let families = Parser::new(syntax, bytes).collect::<Result<Vec<_>, _>>();
    let page = String::from_utf8_lossy(bytes);
    families.map(Families).map_err(|error| TestCaseError::fail(format!("{error}\n{page}")))
}

/// Compares families; all NaN are equal, and the sign of zero matters. The error shows the first lines that differ.
fn check_same(what: &str, found: &Families, expected: &Families) -> Result<(), TestCaseError> {
    let (found, expected) = (format!("{found:#?}"), format!("{expected:#?}"));
    if found == expected {
        return Ok(());
    }
    let pairs = found.lines().zip(expected.lines()).enumerate();
    let at = pairs.clone().find(|(_, (one, other))| one != other).map_or(0, |(at, _)| at);
    let around: Vec<_> = pairs.skip(at.saturating_sub(8)).take(12).collect();
    Err(TestCaseError::fail(format!("{what}: found and expected are {around:#?}")))
}

/// Encodes, parses and encodes again.
fn check(input: &Families, escaping: Escaping) -> Result<(), TestCaseError> {
    for (format, syntax) in FORMATS {
        let to = Negotiated::new(format, escaping);
        let expected = representable(format, input);
        let bytes = encode(&expected, to);
        let page = String::from_utf8_lossy(&bytes);
        let read_back = read(syntax, &bytes)?;
        check_same(&format!("{format:?}\n{page}"), &read_back, &expected)?;
        prop_assert!(encode(&read_back, to) == bytes, "{:?}\n{}", format, page);
        // Exactly what the format cannot represent is omitted.
        let all = encode(input, to);
        let has_blank_help = input.0.iter().any(|family| family.help.starts_with([' ', '\t']));
        let is_same = all == bytes || (has_blank_help && syntax == Syntax::Text);
        prop_assert!(is_same, "{:?}\n{}\n{}", format, String::from_utf8_lossy(&all), page);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn families_with_plain_names_round_trip_in_every_format(input in families(Naming::Plain)) {
        check(&input, Escaping::Underscores)?;
    }

    #[test]
    fn families_with_any_names_round_trip_in_every_format(input in families(Naming::Any)) {
        check(&input, Escaping::AllowUtf8)?;
    }

    #[test]
    fn conversion_between_formats_keeps_what_both_can_represent(input in families(Naming::Any)) {
        for (first, first_syntax) in FORMATS {
            // Start timestamps are not enabled: in the text format they are gauges, whose names OpenMetrics
            // reserves for samples of the counter.
            let through = Negotiated::new(first, Escaping::AllowUtf8);
            let through = read(first_syntax, &Exposition::encode(&input, through).body)?;
            for (second, second_syntax) in FORMATS {
                let to = Negotiated::new(second, Escaping::AllowUtf8);
                let bytes = encode(&through, to);
                let read_back = read(second_syntax, &bytes)?;
                let both = representable(second, &through);
                check_same(&format!("{first:?} {second:?}"), &read_back, &both)?;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
        for syntax in SYNTAXES {
            Parser::new(syntax, &bytes[..]).for_each(drop);
        }
    }

    #[test]
    fn no_sequence_of_tokens_makes_a_parser_panic(words in vec(proptest::sample::select(WORDS.to_vec()), 0..40)) {
        let page = words.concat();
        for syntax in SYNTAXES {
            Parser::new(syntax, page.as_bytes()).for_each(drop);
        }
    }
}

#[test]
fn every_character_round_trips_in_label_values_and_help() {
    // Control characters, punctuation, line separators and special code points.
    let others = ['\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{fffd}', '\u{10ffff}'];
    for char in ('\0'..='/').chain('['..='^').chain(others) {
        for text in
            [format!("{char}"), format!("a{char}"), format!("a{char}b"), format!("a\\{char}")]
        {
            let labels = vec![("x".to_owned(), text.clone())];
            let mut family = OwnedFamily::new("g", text.as_str(), MetricType::Gauge);
            family.samples.push(OwnedSample::new(SampleKind::Value, labels, 1.0));
            let families = Families(vec![family]);
            check(&families, Escaping::AllowUtf8)
                .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        }
    }
}

const SYNTAXES: [Syntax; 3] = [Syntax::Text, Syntax::OpenMetrics, Syntax::Protobuf];

const WORDS: [&str; 36] = [
    "# TYPE ",
    "# HELP ",
    "# UNIT ",
    "# EOF",
    "\n",
    " ",
    "a",
    "a_total",
    "a_bucket",
    "a_sum",
    "\"",
    "\\",
    "{",
    "}",
    "le=\"1\"",
    "le=\"+Inf\"",
    "quantile=\"0.5\"",
    ",",
    "=",
    " # {",
    "counter",
    "histogram",
    "summary",
    "gauge",
    "info",
    "stateset",
    "1",
    "-1",
    "NaN",
    "+Inf",
    ".5",
    "e9",
    "\u{e9}",
    "\t",
    "#",
    "\0",
];

#[test]
fn the_seeds_of_the_fuzz_targets_are_parsed() {
    let seeds = crate::support::root().join("fuzz/seeds");
    let (mut files, mut good) = (0, 0);
    for target in std::fs::read_dir(seeds).unwrap() {
        for file in std::fs::read_dir(target.unwrap().path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            files += 1;
            for syntax in SYNTAXES {
                let pieces = std::io::BufReader::with_capacity(3, &bytes[..]);
                let pieces = Parser::new(syntax, pieces).collect::<Result<Vec<_>, _>>();
                let whole = Parser::new(syntax, &bytes[..]).collect::<Result<Vec<_>, _>>();
                assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
                good += usize::from(whole.is_ok());
            }
            multiprom::exposition::negotiate(std::str::from_utf8(&bytes).ok());
        }
    }
    assert!(files >= 14 && good >= 4, "{files} files, {good} good");
}
