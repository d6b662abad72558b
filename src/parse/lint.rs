//! Lint rules: those of `promtool check metrics`, and the consistency of histograms.
//!
//! The rules of promtool are reported with its texts (`promlint` of client_golang). Like promtool, the linter
//! ignores families without samples.
//!
//! ```
//! use multiprom::parse::{Syntax, lint};
//!
//! let page = "# TYPE hits counter\nhits 1\n";
//! let problems = lint::check(Syntax::Text, page.as_bytes())?;
//! assert_eq!(problems[0].to_string(), "hits counter metrics should have \"_total\" suffix");
//! assert_eq!(problems[1].to_string(), "hits no help text");
//! # Ok::<(), multiprom::parse::ParseError>(())
//! ```

use std::collections::HashSet;
use std::fmt;
use std::io::BufRead;

use foldhash::quality::RandomState;

use super::error::ParseError;
use super::family::{Families, OwnedFamily, OwnedSample};
use super::parser::{Parser, Syntax};
use crate::model::lint::{check_name, is_camel_case, kinds};
use crate::model::{MetricType, SampleKind};

/// A violation of a lint rule by a valid exposition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Problem {
    /// The name of the family in the text format.
    pub metric: String,
    /// The violated rule.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.metric, self.text)
    }
}

/// Checks an exposition. Returns the problems sorted by metric and text, without duplicates.
///
/// # Errors
///
/// The first error of the exposition, if it does not parse.
pub fn check(syntax: Syntax, source: impl BufRead) -> Result<Vec<Problem>, ParseError> {
    let mut parser = Parser::new(syntax, source);
    parser.bare_counters = Some(Vec::new());
    let families = parser.by_ref().collect::<Result<Vec<_>, _>>()?;
    let bare: HashSet<String, RandomState> =
        parser.bare_counters.take().unwrap_or_default().into_iter().collect();
    let mut problems = Vec::new();
    for family in &families {
        check_unique(family, &mut problems);
    }
    for family in Families(families).joined().0 {
        let is_bare = family.metric_type == MetricType::Counter && bare.contains(&family.name);
        let name = if is_bare { family.name.clone() } else { family.text_name() };
        let mut report = |text: String| problems.push(Problem { metric: name.clone(), text });
        if family.is_empty() {
            continue;
        }
        check_name(&name, &family.help, family.metric_type, &mut report);
        check_labels(&family, &mut report);
        check_histograms(&family, &mut report);
    }
    problems.sort();
    problems.dedup();
    Ok(problems)
}

fn check_unique(family: &OwnedFamily, problems: &mut Vec<Problem>) {
    let mut seen: HashSet<_, RandomState> = HashSet::default();
    for sample in &family.samples {
        let mut labels: Vec<_> = sample.labels.iter().collect();
        labels.sort_unstable();
        let number = match sample.kind {
            SampleKind::Bucket(number) | SampleKind::Quantile(number) => number,
            _ => 0.0,
        };
        let time = sample.timestamp.map(f64::to_bits);
        if !seen.insert((sample.kind.suffix(), number.to_bits(), time, labels)) {
            let text = "metric not unique".to_owned();
            problems.push(Problem { metric: family.text_name(), text });
        }
    }
}

fn check_labels(family: &OwnedFamily, report: &mut impl FnMut(String)) {
    let (is_histogram, is_summary) = kinds(family.metric_type);
    for (name, _) in family.samples.iter().flat_map(|sample| &sample.labels) {
        if is_camel_case(name) {
            report("label names should be written in 'snake_case' not 'camelCase'".to_owned());
        }
        if family.metric_type == MetricType::Unknown {
            continue;
        }
        if !is_histogram && name == "le" {
            report("non-histogram metrics should not have \"le\" label".to_owned());
        }
        if !is_summary && name == "quantile" {
            report("non-summary metrics should not have \"quantile\" label".to_owned());
        }
    }
}

/// Checks that buckets are cumulative, the last one is `+Inf`, and its value equals the count.
fn check_histograms(family: &OwnedFamily, report: &mut impl FnMut(String)) {
    if !kinds(family.metric_type).0 {
        return;
    }
    let is_same = |a: &OwnedSample, b: &OwnedSample| {
        a.labels == b.labels && a.timestamp.map(f64::to_bits) == b.timestamp.map(f64::to_bits)
    };
    for point in family.samples.chunk_by(is_same) {
        let (mut last, mut count) = (None, None);
        for sample in point {
            match sample.kind {
                SampleKind::Bucket(bound) => {
                    if last.is_some_and(|(_, held)| sample.value < held) {
                        report("histogram buckets should be cumulative".to_owned());
                    }
                    last = Some((bound, sample.value));
                }
                SampleKind::Count | SampleKind::GaugeCount => count = Some(sample.value),
                _ => {}
            }
        }
        match (last, count) {
            (Some((f64::INFINITY, held)), Some(count)) if held != count => {
                report("the bucket \"+Inf\" of a histogram should equal its count".to_owned());
            }
            (Some((f64::INFINITY, _)), _) => {}
            _ => report("histograms should have a bucket \"+Inf\"".to_owned()),
        }
    }
}
