//! The rules of OpenMetrics 1.0.0. `docs/openmetrics.md` lists the rules with the tests that check them.

mod histograms;
mod structure;
mod syntax;
mod values;

use multiprom::collector::{MetricType, SampleKind};
use multiprom::parse::{OwnedFamily, ParseErrorKind, Parser};

use super::{openmetrics, small};

/// Parses lines, to which `# EOF` is appended, and asserts that they are valid.
#[track_caller]
fn accepted(lines: &str) -> Vec<OwnedFamily> {
    let page = format!("{lines}# EOF\n");
    openmetrics(&page).unwrap_or_else(|error| panic!("{page}{error}"))
}

/// Asserts that lines, to which `# EOF` is appended, are refused at line `at` with an error that ends with `message`.
#[track_caller]
fn refused(lines: &str, at: u64, message: &str) {
    let page = format!("{lines}# EOF\n");
    let error = openmetrics(&page).expect_err(&page);
    let text = error.to_string();
    assert!(error.line() == at && text.ends_with(message), "{page}\n{text}, not {at} {message}");
}

/// Asserts that a complete exposition is refused with this error.
#[track_caller]
fn exposition_refused(page: &str, message: &str) {
    assert_eq!(openmetrics(page).expect_err(page).to_string(), message);
}

#[test]
fn every_type_is_parsed() {
    let families = accepted(
        "# TYPE c_seconds counter\n# UNIT c_seconds seconds\n# HELP c_seconds A \\\"b\\\".\\n\\\\\n\
         c_seconds_total{a=\"b\"} 3 1.5 # {t=\"x\"} 0.5 1.25\nc_seconds_created{a=\"b\"} 1 1.5\n\
         # TYPE g gauge\ng -Inf\n\
         # TYPE h histogram\nh_bucket{le=\"0.5\",x=\"y\"} 1 # {} 0.25\nh_bucket{x=\"y\",le=\"+Inf\"} 2\n\
         h_sum{x=\"y\"} 5\nh_count{x=\"y\"} 2\nh_created{x=\"y\"} 7\n\
         # TYPE gh gaugehistogram\ngh_bucket{le=\"+Inf\"} 2\ngh_gcount 2\ngh_gsum 3\n\
         # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 4\ns_count 3\ns_created 7\n\
         # TYPE i info\ni_info{a=\"b\"} 1\n\
         # TYPE e stateset\ne{e=\"on\",a=\"b\"} 1\ne{e=\"off\",a=\"b\"} 0\n\
         # TYPE u unknown\nu 1\nv 2\n",
    );
    let parts: Vec<Vec<SampleKind>> = families
        .iter()
        .map(|family| family.samples.iter().map(|sample| sample.kind).collect())
        .collect();
    let infinity = SampleKind::Bucket(f64::INFINITY);
    assert_eq!(
        parts,
        [
            vec![SampleKind::Total, SampleKind::Created],
            vec![SampleKind::Value],
            vec![
                SampleKind::Bucket(0.5),
                infinity,
                SampleKind::Sum,
                SampleKind::Count,
                SampleKind::Created
            ],
            vec![infinity, SampleKind::GaugeCount, SampleKind::GaugeSum],
            vec![
                SampleKind::Quantile(0.5),
                SampleKind::Sum,
                SampleKind::Count,
                SampleKind::Created
            ],
            vec![SampleKind::Info],
            vec![SampleKind::State, SampleKind::State],
            vec![SampleKind::Value],
            vec![SampleKind::Value],
        ]
    );
    let counter = &families[0];
    assert_eq!(
        (counter.name.as_str(), counter.unit.as_str(), counter.help.as_str()),
        ("c_seconds", "seconds", "A \"b\".\n\\")
    );
    let sample = &counter.samples[0];
    assert_eq!((sample.value, sample.timestamp), (3.0, Some(1.5)));
    let exemplar = sample.exemplar.as_ref().unwrap();
    assert_eq!((exemplar.value, exemplar.timestamp), (0.5, Some(1.25)));
    assert_eq!(exemplar.labels, [("t".to_owned(), "x".to_owned())]);
    let labels = |family: usize| families[family].samples[0].labels.clone();
    assert_eq!(labels(2), [("x".to_owned(), "y".to_owned())]);
    assert_eq!(labels(6).len(), 2);
    assert_eq!(families[8].metric_type, MetricType::Unknown);
    assert_eq!(families.len(), 9);
}

#[test]
fn exceeding_any_limit_is_an_error() {
    let limited = |page: &str, message: &str| {
        let parser = Parser::openmetrics(page.as_bytes()).with_limits(small());
        let error = parser.last().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ParseErrorKind::Limit, message));
    };
    let long = format!("# HELP a {}\n# EOF\n", "x".repeat(60));
    limited(&long, "line 1, column 1: the length of a line is above the limit of 60");
    let labels = "a{b=\"\",c=\"\",d=\"\"} 1\n# EOF\n";
    limited(labels, "line 1, column 13: the number of labels is above the limit of 2");
    let samples: Vec<_> = (1000..1020).map(|number| format!("a{{b=\"{number}\"}} 1\n")).collect();
    limited(
        &samples.concat(),
        "line 8, column 1: the length of a family is above the limit of 100",
    );
    limited(
        "a 1\nb 1\nc 1\nd 1\n# EOF\n",
        "line 4, column 1: the number of families is above the limit of 3",
    );
}
