//! Lint rules on names, with the texts of promtool (`promlint` of client_golang).

use super::MetricType;

/// Unit names, each with its base unit.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

const UNIT_PREFIXES: [&str; 19] = [
    "", "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
    "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

const UNIT_ABBREVIATIONS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

const TYPE_WORDS: [&str; 5] = ["counter", "gauge", "summary", "histogram", "gauge_histogram"];

/// The problems of a family that is registered. `name` is that in the text format.
pub(crate) fn problems<'a>(
    name: &str,
    help: &str,
    metric_type: MetricType,
    labels: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut problems = Vec::new();
    check_name(name, help, metric_type, &mut |problem| problems.push(problem));
    for label in labels.into_iter().filter(|label| is_camel_case(label)) {
        let rule = "label names should be written in 'snake_case' not 'camelCase'";
        problems.push(format!("{rule}: `{label}`"));
    }
    problems
}

/// Checks the name, the help text and the type of a family. `name` is that in the text format.
pub(crate) fn check_name(
    name: &str,
    help: &str,
    metric_type: MetricType,
    report: &mut impl FnMut(String),
) {
    if help.is_empty() {
        report("no help text".to_owned());
    }
    if let Some((unit, base)) = unit_of(name).filter(|(unit, base)| unit != base) {
        report(format!("use base unit \"{base}\" instead of \"{unit}\""));
    }
    let is_total = name.ends_with("_total");
    match metric_type {
        MetricType::Counter if !is_total => {
            report("counter metrics should have \"_total\" suffix".to_owned());
        }
        MetricType::Counter | MetricType::Unknown => {}
        _ if is_total => report("non-counter metrics should not have \"_total\" suffix".to_owned()),
        _ => {}
    }
    let lower = name.to_ascii_lowercase();
    let has_word = |word: &str| {
        lower.match_indices(word).any(|(at, _)| {
            let rest = &lower[at + word.len()..];
            lower[..at].ends_with('_') && (rest.is_empty() || rest.starts_with('_'))
        })
    };
    for word in TYPE_WORDS.into_iter().filter(|word| has_word(word)) {
        report(format!("metric name should not include type '{word}'"));
    }
    if name.contains(':') {
        report("metric names should not contain ':'".to_owned());
    }
    if is_camel_case(name) {
        report("metric names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    if UNIT_ABBREVIATIONS.into_iter().any(has_word) {
        report("metric names should not contain abbreviated units".to_owned());
    }
    let (is_histogram, is_summary) = kinds(metric_type);
    if metric_type == MetricType::Unknown {
        return;
    }
    if !is_histogram && name.ends_with("_bucket") {
        report("non-histogram metrics should not have \"_bucket\" suffix".to_owned());
    }
    for suffix in ["_count", "_sum"] {
        if !is_histogram && !is_summary && name.ends_with(suffix) {
            report(format!(
                "non-histogram and non-summary metrics should not have \"{suffix}\" suffix"
            ));
        }
    }
}

/// Whether a type is a histogram, and whether it is a summary.
pub(crate) fn kinds(metric_type: MetricType) -> (bool, bool) {
    let is_histogram = matches!(metric_type, MetricType::Histogram | MetricType::GaugeHistogram);
    (is_histogram, metric_type == MetricType::Summary)
}

/// The first word of a name that is a unit, with its base unit.
fn unit_of(name: &str) -> Option<(&str, &'static str)> {
    name.split('_').find_map(|word| {
        UNITS.iter().find_map(|(unit, base)| {
            let prefix = word.strip_suffix(unit)?;
            UNIT_PREFIXES.contains(&prefix).then_some((word, *base))
        })
    })
}

/// Whether a lower-case letter is followed by an upper-case one.
pub(crate) fn is_camel_case(name: &str) -> bool {
    let is_step = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    name.as_bytes().windows(2).any(is_step)
}
