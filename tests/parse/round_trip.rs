//! What an encoder writes is what a parser reads; and a parser takes any bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use multiprom::exposition::{Escaping, Exposition, Format, Negotiated};
use multiprom::parse::{Families, Family, OwnedSample, Parser, Syntax};
use multiprom::{MetricType, Part};

use super::generated::{Naming, families, held};

/// The formats that are written and read, and how names that need it are shown in a test of any names.
const FORMATS: [(Format, Syntax); 4] = [
    (Format::Text, Syntax::Text),
    (Format::TextUtf8, Syntax::Text),
    (Format::OpenMetrics, Syntax::OpenMetrics),
    (Format::Protobuf, Syntax::Protobuf),
];

fn written(families: &Families, format: Negotiated) -> Vec<u8> {
    Exposition::encode(families, format.created()).body
}

fn read(syntax: Syntax, bytes: &[u8]) -> Result<Families, TestCaseError> {
    let families = Parser::new(syntax, bytes).collect::<Result<Vec<_>, _>>();
    let page = String::from_utf8_lossy(bytes);
    families.map(Families).map_err(|error| TestCaseError::fail(format!("{error}\n{page}")))
}

/// Compares families, all NaN being one and zero having two signs; tells the first lines that differ.
fn check_same(what: &str, found: &Families, wanted: &Families) -> Result<(), TestCaseError> {
    let (found, wanted) = (format!("{found:#?}"), format!("{wanted:#?}"));
    if found == wanted {
        return Ok(());
    }
    let pairs = found.lines().zip(wanted.lines()).enumerate();
    let at = pairs.clone().find(|(_, (one, other))| one != other).map_or(0, |(at, _)| at);
    let around: Vec<_> = pairs.skip(at.saturating_sub(8)).take(12).collect();
    Err(TestCaseError::fail(format!("{what}: found and wanted are {around:#?}")))
}

/// Writes, reads and writes again.
fn check(given: &Families, escaping: Escaping) -> Result<(), TestCaseError> {
    for (format, syntax) in FORMATS {
        let to = Negotiated::new(format, escaping);
        let held_of_it = held(format, given);
        let bytes = written(&held_of_it, to);
        let page = String::from_utf8_lossy(&bytes);
        let read_back = read(syntax, &bytes)?;
        check_same(&format!("{format:?}\n{page}"), &read_back, &held_of_it)?;
        prop_assert!(written(&read_back, to) == bytes, "{:?}\n{}", format, page);
        // What a format does not hold is left out, and nothing else.
        let all = written(given, to);
        let has_blank_help = given.0.iter().any(|family| family.help.starts_with([' ', '\t']));
        let is_same = all == bytes || (has_blank_help && syntax == Syntax::Text);
        prop_assert!(is_same, "{:?}\n{}\n{}", format, String::from_utf8_lossy(&all), page);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_is_read_back_in_every_format(given in families(Naming::Plain)) {
        check(&given, Escaping::Underscores)?;
    }

    #[test]
    fn names_of_any_text_are_read_back_in_every_format(given in families(Naming::Any)) {
        check(&given, Escaping::AllowUtf8)?;
    }

    #[test]
    fn what_goes_through_two_formats_is_what_both_hold(given in families(Naming::Any)) {
        for (first, first_syntax) in FORMATS {
            // In the text format a time of creation is a gauge, whose name OpenMetrics keeps for the counter.
            let through = Negotiated::new(first, Escaping::AllowUtf8);
            let through = read(first_syntax, &Exposition::encode(&given, through).body)?;
            for (second, second_syntax) in FORMATS {
                let to = Negotiated::new(second, Escaping::AllowUtf8);
                let bytes = written(&through, to);
                let read_back = read(second_syntax, &bytes)?;
                let both = held(second, &through);
                check_same(&format!("{first:?} {second:?}"), &read_back, &both)?;
            }
        }
    }
}

proptest! {
    #[test]
    fn every_parser_takes_any_bytes(bytes: Vec<u8>) {
        for syntax in SYNTAXES {
            Parser::new(syntax, &bytes[..]).for_each(drop);
        }
    }

    #[test]
    fn every_parser_takes_any_mixture_of_what_it_knows(words in vec(proptest::sample::select(WORDS.to_vec()), 0..40)) {
        let page = words.concat();
        for syntax in SYNTAXES {
            Parser::new(syntax, page.as_bytes()).for_each(drop);
        }
    }
}

#[test]
fn every_character_is_kept_in_label_values_and_help() {
    // All that lines, quotes and terminals could stumble over: controls, line separators, marks.
    let others = ['\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{fffd}', '\u{10ffff}'];
    for char in ('\0'..='/').chain('['..='^').chain(others) {
        for text in
            [format!("{char}"), format!("a{char}"), format!("a{char}b"), format!("a\\{char}")]
        {
            let labels = vec![("x".to_owned(), text.clone())];
            let sample = OwnedSample { labels, ..value(1.0) };
            let help = text.clone();
            let families = Families(vec![Family { help, samples: vec![sample], ..gauge("g") }]);
            check(&families, Escaping::AllowUtf8)
                .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        }
    }
}

fn value(value: f64) -> OwnedSample {
    OwnedSample { part: Part::Value, labels: Vec::new(), value, timestamp: None, exemplar: None }
}

fn gauge(name: &str) -> Family {
    let [help, unit] = ["", ""].map(str::to_owned);
    let (name, metric_type) = (name.to_owned(), MetricType::Gauge);
    Family { name, help, unit, metric_type, samples: Vec::new(), native_histograms: Vec::new() }
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
fn the_seeds_of_the_fuzz_targets_are_taken() {
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
