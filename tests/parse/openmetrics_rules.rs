//! The rules of OpenMetrics 1.0.0. `docs/openmetrics.md` lists the rules with the tests that check them.

use multiprom::parse::{Family, ParseErrorKind, Parser};
use multiprom::{MetricType, SampleKind};

use super::{openmetrics, small};

/// Parses lines, to which `# EOF` is appended, and asserts that they are valid.
#[track_caller]
fn accepted(lines: &str) -> Vec<Family> {
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
fn an_exposition_ends_with_one_eof() {
    assert_eq!(accepted(""), []);
    assert!(openmetrics("a 1\n# EOF").is_ok());
    exposition_refused("", "line 1, column 1: the exposition ends without `# EOF`");
    exposition_refused("a 1\n", "line 2, column 1: the exposition ends without `# EOF`");
    exposition_refused("a 1", "line 1, column 4: expected a line feed, and `# EOF`");
    exposition_refused("# EOF\n\n", "line 2, column 1: unexpected content after `# EOF`");
    exposition_refused("# EOF\n# EOF\n", "line 2, column 1: unexpected content after `# EOF`");
    exposition_refused("# EOF \n", "line 1, column 3: expected HELP, TYPE, UNIT or EOF after `#`");
    exposition_refused("a 1# EOF\n", "line 1, column 3: expected a number, got `1#`");
}

#[test]
fn lines_end_with_a_line_feed_and_are_neither_empty_nor_comments() {
    refused("a 1\r\n", 1, "column 4: the line ends with a carriage return");
    assert_eq!(accepted("# HELP a b\r\na 1\n")[0].help, "b\r");
    exposition_refused(
        "# HELP a b\r\n# TYPE a gauge\r\n# EOF\r\n",
        "line 2, column 15: the line ends with a carriage return",
    );
    exposition_refused(
        "# HELP a b\r\n# EOF\r\n",
        "line 2, column 6: the line ends with a carriage return",
    );
    refused("\n", 1, "column 1: the line is empty");
    refused(" a 1\n", 1, "column 1: expected a metric name");
    refused("# a comment\n", 1, "column 3: expected HELP, TYPE, UNIT or EOF after `#`");
    refused("#a\n", 1, "column 2: expected a space after `#`");
    accepted("a{b=\"\r\"} 1\n");
}

#[test]
fn bytes_are_utf8_without_byte_order_mark() {
    let families = accepted("a{b=\"\0\u{1f600}\"} 1\n");
    assert_eq!(families[0].samples[0].labels[0].1, "\0\u{1f600}");
    refused("\u{feff}a 1\n", 1, "column 1: the exposition begins with a byte order mark");
    let error = Parser::openmetrics(&b"a{b=\"\xff\"} 1\n# EOF\n"[..]).last().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 6: the bytes are not UTF-8");
}

#[test]
fn numbers_follow_the_grammar() {
    for number in ["0042", "1.", ".5", "+1e3", "1E-3", "nan", "NaN", "inf", "-INF", "Infinity"] {
        accepted(&format!("a {number}\n"));
    }
    for number in ["0x1", "1_0", "1e999", "+nan", "e5", ".", "a", "1d"] {
        refused(&format!("a {number}\n"), 1, &format!("expected a number, got `{number}`"));
    }
}

#[test]
fn timestamps_are_finite_numbers_of_seconds() {
    let families = accepted("a{b=\"1\"} 1 -1.5\na{b=\"2\"} 1 1.5e3\na{b=\"3\"} 1 000\n");
    let times: Vec<_> = families[0].samples.iter().map(|sample| sample.timestamp).collect();
    assert_eq!(times, [Some(-1.5), Some(1500.0), Some(0.0)]);
    for time in ["NaN", "+Inf", "1z", "1.1.1", ""] {
        refused(&format!("a 1 {time}\n"), 1, &format!("timestamp in seconds, got `{time}`"));
    }
}

#[test]
fn only_the_spaces_of_the_grammar_are_accepted() {
    accepted("# HELP a \n# UNIT a \na{} 1\n");
    for (line, column) in [
        ("a  1", 3),
        ("a 1 ", 5),
        ("a 1 2 ", 7),
        ("a\t1", 2),
        ("a {b=\"1\"} 1", 3),
        ("a{b=\"1\"}1", 9),
        ("a{ b=\"1\"} 1", 3),
        ("a{b =\"1\"} 1", 4),
        ("a{b=\"1\" } 1", 8),
        ("a{b=\"1\",} 1", 9),
        ("a{,} 1", 3),
        ("a{b=\"1\",,c=\"2\"} 1", 9),
        ("a{b=\"1\"c=\"2\"} 1", 8),
        ("a{b='1'} 1", 5),
        ("a{b=\"1} 1", 5),
        ("#  TYPE a gauge", 3),
        ("# TYPE  a gauge", 8),
        ("# TYPE a  gauge", 10),
        ("# TYPE a gauge ", 10),
        ("# TYPE a", 9),
        ("# HELP a", 9),
        ("# HELP", 7),
        ("# UNIT a\t", 9),
        ("# UNIT a_s s ", 13),
    ] {
        let error = openmetrics(&format!("{line}\n# EOF\n")).expect_err(line);
        assert_eq!((error.line(), error.column()), (1, column), "{line}: {error}");
        assert_eq!(error.kind(), ParseErrorKind::Syntax);
    }
}

#[test]
fn known_escapes_are_resolved_and_other_backslashes_are_literal() {
    let families = accepted("# HELP a \\\\ \\n \\\" \" \\x\na{b=\"\\\\\\n\\\"\\x{,}#\"} 1\n");
    assert_eq!(families[0].help, "\\ \n \" \" \\x");
    assert_eq!(families[0].samples[0].labels[0].1, "\\\n\"\\x{,}#");
}

#[test]
fn unquoted_names_follow_the_grammar() {
    accepted("a:b_9 1\n");
    for line in ["9a 1", "a-b 1", "a.b 1", "a{9=\"1\"} 1", "a{b:c=\"1\"} 1", "# TYPE 9 gauge"] {
        assert!(openmetrics(&format!("{line}\n# EOF\n")).is_err(), "{line}");
    }
    let families = accepted("# TYPE \"a.b\" counter\n{\"a.b_total\",\"c d\"=\"e\"} 1\n");
    assert_eq!((families[0].name.as_str(), families[0].samples.len()), ("a.b", 1));
    for line in ["{} 1", "{\"\"} 1", "{a} 1", "{b=\"1\",\"a\"} 1", "a{\"b\"} 1"] {
        assert!(openmetrics(&format!("{line}\n# EOF\n")).is_err(), "{line}");
    }
}

#[test]
fn names_that_begin_with_an_underscore_are_reserved() {
    refused("_a 1\n", 1, "names that begin with an underscore are reserved");
    refused("# TYPE _a gauge\n", 1, "names that begin with an underscore are reserved");
    for line in ["a{_b=\"1\"} 1\n", "a{__name__=\"b\"} 1\n", "a{\"_b\"=\"1\"} 1\n"] {
        refused(line, 1, "names that begin with an underscore are reserved");
    }
    let total = "# TYPE a counter\na_total 1 # {_b=\"c\"} 1\n";
    refused(total, 2, "an exemplar's label name begins with an underscore");
}

#[test]
fn label_names_are_unique_within_a_sample() {
    refused("a{b=\"1\",b=\"2\"} 1\n", 1, "label name `b` is given twice");
    let total = "# TYPE a counter\na_total 1 # {b=\"1\",b=\"2\"} 1\n";
    refused(total, 2, "label name `b` is given twice");
}

#[test]
fn each_metadata_line_occurs_once_and_precedes_the_samples() {
    accepted("# UNIT a_s s\n# HELP a_s x\n# TYPE a_s gauge\na_s 1\n");
    refused("# TYPE a gauge\n# TYPE a gauge\n", 2, "a second TYPE line for one family");
    refused("# HELP a \n# HELP a b\n", 2, "a second HELP line for one family");
    refused("# UNIT a_s s\n# UNIT a_s s\n", 2, "a second UNIT line for one family");
    refused(
        "# TYPE a gauge\na 1\n# HELP a b\n",
        3,
        "metadata must precede the samples of its family",
    );
    refused("a 1\n# TYPE a gauge\n", 2, "metadata must precede the samples of its family");
}

#[test]
fn the_type_is_one_of_the_specification() {
    for word in ["untyped", "Gauge", "", "gauges", "gauge_histogram"] {
        refused(&format!("# TYPE a {word}\n"), 1, &format!("`{word}` is not a metric type"));
    }
    assert_eq!(accepted("# HELP a b\na 1\n")[0].metric_type, MetricType::Unknown);
}

#[test]
fn the_unit_is_a_suffix_of_the_name_and_not_allowed_for_every_type() {
    accepted("# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n");
    accepted("# TYPE a info\n# UNIT a \na_info 1\n");
    let message = "the name `a` does not end in `_seconds`, as its unit requires";
    refused("# TYPE a gauge\n# UNIT a seconds\na 1\n", 3, message);
    refused(
        "# UNIT seconds seconds\n",
        2,
        "the name `seconds` does not end in `_seconds`, as its unit requires",
    );
    refused(
        "# UNIT aseconds seconds\n",
        2,
        "the name `aseconds` does not end in `_seconds`, as its unit requires",
    );
    refused("# TYPE a_s info\n# UNIT a_s s\n", 3, "a family of type info must not have a unit");
    refused(
        "# TYPE a_s stateset\n# UNIT a_s s\n",
        3,
        "a family of type stateset must not have a unit",
    );
    refused("# UNIT a_m/s m/s\n", 1, "column 11: expected a space after the metric name");
}

#[test]
fn families_are_not_interleaved_and_their_names_do_not_collide() {
    let collision = |name: &str| format!("the name `{name}` is already used by another family");
    refused("a 1\nb 1\na 2\n", 3, &collision("a"));
    refused("# TYPE a gauge\n# TYPE b gauge\n# TYPE a gauge\n", 4, &collision("a"));
    refused("# TYPE a counter\na 1\n", 2, &collision("a"));
    let both = "# TYPE a counter\na_total 1\n# TYPE a_created gauge\na_created 1\n";
    refused(both, 4, &collision("a_created"));
    refused("a_total 1\n# TYPE a counter\na_total 2\n", 3, &collision("a_total"));
    for (metric_type, suffixes) in [
        ("counter", &["", "_total", "_created"][..]),
        ("summary", &["", "_count", "_sum", "_created"]),
        ("histogram", &["", "_count", "_sum", "_bucket", "_created"]),
        ("gaugehistogram", &["", "_gcount", "_gsum", "_bucket"]),
        ("info", &["", "_info"]),
        ("gauge", &[""]),
        ("stateset", &[""]),
        ("unknown", &[""]),
    ] {
        for suffix in ["", "_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum"] {
            let page =
                format!("# TYPE a {metric_type}\n# TYPE a{suffix} gauge\n# HELP b b\n# EOF\n");
            let clashes = suffixes.contains(&suffix);
            assert_eq!(openmetrics(&page).is_err(), clashes, "{page}");
        }
    }
}

#[test]
fn metrics_are_neither_interleaved_nor_repeated() {
    let apart = "the samples of the metric are not consecutive";
    refused("a{b=\"1\"} 1\na{b=\"2\"} 1\na{b=\"1\"} 1\n", 3, apart);
    refused("# TYPE a summary\na_sum{b=\"1\"} 1\na_sum 1\na_count{b=\"1\"} 1\n", 4, apart);
    refused("a 1\na 1\n", 2, "duplicate sample");
    refused("a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 1\n", 2, "duplicate sample");
    let total = "# TYPE a counter\na_total 1\na_created 1\na_total 1\n";
    refused(total, 4, "duplicate sample");
    let states = "# TYPE a stateset\na{a=\"x\"} 1\na{a=\"y\"} 1\na{a=\"x\"} 1\n";
    refused(states, 4, "duplicate sample");
    let quantiles = "# TYPE a summary\na{quantile=\"0.5\"} 1\na{quantile=\"5e-1\"} 1\n";
    refused(quantiles, 3, "duplicate sample");
    let infos = "# TYPE a info\na_info{b=\"1\"} 1\na_info{b=\"2\"} 1\na_info{b=\"1\"} 1\n";
    refused(infos, 4, "duplicate sample");
    // Label sets are not confused by concatenation of names and values.
    accepted("a{b=\"1\",c=\"\"} 1\na{b=\"1\"} 1\na{b=\"1c\"} 1\na{bc=\"1\"} 1\n");
}

#[test]
fn points_of_a_metric_are_in_time_order_and_not_interleaved() {
    accepted("# TYPE a summary\na_sum 1 1\na_count 1 1\na_sum 2 2\na_count 2 2\n");
    accepted("a 1 1.0000000000000001\na 2 1.0000000000000002\n");
    accepted("# TYPE a info\na_info{b=\"1\"} 1 2\na_info{b=\"2\"} 1 1\n");
    let back = "the timestamps of the metric go backwards";
    refused("# TYPE a summary\na_sum 1 1\na_sum 2 2\na_count 1 1\n", 4, back);
    refused("a 1 2\na 1 1\n", 2, back);
    refused("a 1 2\na 1 2\na 1 1\n", 3, back);
    let some = "only some samples of the metric have timestamps";
    refused("# TYPE a summary\na_sum 1 1\na_count 2\n", 3, some);
    refused("# TYPE a summary\na_sum 1\na_count 2 1\n", 3, some);
}

#[test]
fn points_of_a_metric_may_have_equal_timestamps() {
    // `duplicate_timestamps` from the OpenMetrics project's corpus of valid documents, and variants in which timestamps
    // are equal as text or as numbers.
    for times in [["0.0000000000", "0.0000000001", "0.0000000010"], ["0"; 3], ["0", "0.0", "0e1"]] {
        let [first, second, third] = times;
        let families = accepted(&format!(
            "# TYPE a gauge\n# HELP a help\n\
             a{{a=\"1\",foo=\"bar\"}} 1 {first}\n\
             a{{a=\"1\",foo=\"bar\"}} 2 {second}\n\
             a{{a=\"1\",foo=\"bar\"}} 3 {third}\n\
             a{{a=\"2\",foo=\"bar\"}} 4 {first}\n\
             a{{a=\"2\",foo=\"bar\"}} 5 {second}\n"
        ));
        let values: Vec<f64> = families[0].samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
    accepted("# TYPE a counter\na_total 1 5\na_created 1 5\na_total 2 5\n");
    accepted("# TYPE a stateset\na{a=\"x\"} 1 5\na{a=\"y\"} 0 5\na{a=\"x\"} 0 5\na{a=\"y\"} 1 5\n");
    accepted("# TYPE a info\na_info{b=\"1\"} 1 5\na_info{b=\"1\"} 1 5\n");
    accepted(
        "# TYPE a summary\na{quantile=\"0.5\"} 1 5\na_sum 1 5\na{quantile=\"0.5\"} 2 5\na_sum 2 5\n",
    );
    let point = |first: u32, last: u32| {
        format!(
            "a_bucket{{le=\"1\"}} {first} 5\na_bucket{{le=\"+Inf\"}} {last} 5\na_count {last} 5\na_sum 1 5\n"
        )
    };
    accepted(&format!("# TYPE a histogram\n{}{}", point(3, 4), point(1, 2)));
    // Each point is checked separately, as if its timestamp were unique.
    refused(
        "# TYPE a histogram\na_bucket{le=\"2\"} 1 5\na_bucket{le=\"1\"} 1 5\n",
        3,
        "the histogram before this line has no bucket `+Inf`",
    );
    refused(
        &format!(
            "# TYPE a histogram\n{}a_bucket{{le=\"1\"}} 5 5\na_bucket{{le=\"+Inf\"}} 4 5\n",
            point(1, 2)
        ),
        7,
        "the bucket counts are not cumulative",
    );
    // Without timestamps a metric has only one point.
    refused("a 1\na 1\n", 2, "duplicate sample");
}

#[test]
fn counter_totals_are_neither_nan_nor_negative() {
    accepted("# TYPE a counter\na_total +Inf\n");
    accepted("# TYPE a counter\na_created 1\na_total 0.5\n");
    let of = |value: &str| format!("# TYPE a counter\na_total {value}\n");
    refused(&of("NaN"), 2, "the value must not be NaN in a family of type counter");
    refused(&of("-1"), 2, "the value must not be negative in a family of type counter");
    refused(
        "# TYPE a counter\na_created NaN\n",
        2,
        "the creation time must be finite in a family of type counter",
    );
}

#[test]
fn the_value_of_an_info_is_one() {
    refused(
        "# TYPE a info\na_info 0\n",
        2,
        "the value of an info must be 1 in a family of type info",
    );
    accepted("# TYPE a info\na_info{b=\"1\"} 1.0\n");
}

#[test]
fn states_are_zero_or_one_and_have_a_label_named_after_their_family() {
    refused("# TYPE a stateset\na 1\n", 2, "the state has no label `a`");
    let two = "# TYPE a stateset\na{a=\"x\"} 2\n";
    refused(two, 2, "the value of a state must be 0 or 1 in a family of type stateset");
}

#[test]
fn quantiles_are_between_zero_and_one_with_non_negative_values() {
    accepted("# TYPE a summary\na{quantile=\"1\"} NaN\na{quantile=\"0\"} 1\n");
    refused("# TYPE a summary\na 1\n", 2, "the sample has no label `quantile`");
    let of = |quantile: &str| format!("# TYPE a summary\na{{quantile=\"{quantile}\"}} 1\n");
    refused(&of("1.1"), 2, "a quantile must be between 0 and 1");
    refused(&of("-0.1"), 2, "a quantile must be between 0 and 1");
    refused(&of("NaN"), 2, "expected a number in `le` or `quantile`, got `NaN`");
    refused(&of("x"), 2, "expected a number in `le` or `quantile`, got `x`");
    let negative = "# TYPE a summary\na{quantile=\"1\"} -1\n";
    refused(
        negative,
        2,
        "the value of a quantile must not be negative in a family of type summary",
    );
}

#[test]
fn counts_and_sums_of_summaries_follow_the_rules_of_counters() {
    refused(
        "# TYPE a summary\na_count 1.5\n",
        2,
        "a count must be an integer in a family of type summary",
    );
    refused(
        "# TYPE a summary\na_count -1\n",
        2,
        "the value must not be negative in a family of type summary",
    );
    refused(
        "# TYPE a summary\na_sum -1\n",
        2,
        "the value must not be negative in a family of type summary",
    );
    refused(
        "# TYPE a summary\na_sum NaN\n",
        2,
        "the value must not be NaN in a family of type summary",
    );
    let label = "# TYPE a summary\na_sum{quantile=\"1\"} 1\n";
    refused(label, 2, "a sample `_sum` must not have the label `quantile`");
}

/// A histogram with these buckets, followed by other lines.
fn histogram(buckets: &[(&str, &str)], others: &str) -> String {
    let bucket = |(bound, value): &(&str, &str)| format!("a_bucket{{le=\"{bound}\"}} {value}\n");
    let buckets: Vec<String> = buckets.iter().map(bucket).collect();
    format!("# TYPE a histogram\n{}{others}", buckets.concat())
}

#[test]
fn buckets_are_sorted_cumulative_integers_that_end_with_infinity() {
    accepted(&histogram(&[("-1", "1"), ("1.1e-4", "1.0"), ("1", "2"), ("+Inf", "2")], ""));
    let missing = "the histogram before this line has no bucket `+Inf`";
    refused(&histogram(&[("1", "1")], ""), 3, missing);
    refused(&histogram(&[], "a_sum 1\na_count 1\n"), 4, missing);
    refused(&histogram(&[], "a_created 1\n"), 3, missing);
    let fall = "the bucket bounds are not increasing";
    refused(&histogram(&[("2", "1"), ("1", "1"), ("+Inf", "1")], ""), 3, fall);
    refused(&histogram(&[("1", "1"), ("1.0", "1"), ("+Inf", "1")], ""), 3, fall);
    refused(&histogram(&[("+Inf", "1"), ("1", "1")], ""), 3, fall);
    let less = "the bucket counts are not cumulative";
    refused(&histogram(&[("1", "2"), ("+Inf", "1")], ""), 3, less);
    let integer = "a count must be an integer in a family of type histogram";
    for value in ["1.5", "NaN", "+Inf"] {
        refused(&histogram(&[("+Inf", value)], ""), 2, integer);
    }
    let negative = "the value must not be negative in a family of type histogram";
    refused(&histogram(&[("+Inf", "-1")], ""), 2, negative);
    refused("# TYPE a histogram\na_bucket 1\n", 2, "the sample has no label `le`");
    refused(
        &histogram(&[("NaN", "1")], ""),
        2,
        "expected a number in `le` or `quantile`, got `NaN`",
    );
    refused(&histogram(&[("x", "1")], ""), 2, "expected a number in `le` or `quantile`, got `x`");
    for bound in ["inf", "+INF", "+Infinity"] {
        refused(&histogram(&[(bound, "1")], ""), 2, "positive infinity must be spelled `+Inf`");
    }
    let label = &histogram(&[("+Inf", "1")], "a_sum{le=\"1\"} 1\n");
    refused(label, 3, "a sample `_sum` must not have the label `le`");
}

#[test]
fn a_histogram_has_both_count_and_sum_or_neither_and_they_match_its_buckets() {
    let one = [("+Inf", "1")];
    accepted(&histogram(&one, "a_count 1\na_sum 2\na_created 3\n"));
    let differs = "the histogram before this line has a count that differs from its bucket `+Inf`";
    refused(&histogram(&one, "a_count 2\na_sum 2\n"), 5, differs);
    let missing = "the histogram before this line has only one of count and sum";
    refused(&histogram(&one, "a_count 1\n"), 4, missing);
    refused(&histogram(&one, "a_sum 1\n"), 4, missing);
    let below = [("-1", "1"), ("+Inf", "1")];
    let sum = "the histogram before this line has both a sum and negative bucket bounds";
    refused(&histogram(&below, "a_count 1\na_sum 2\n"), 6, sum);
    let value = "in a family of type histogram";
    refused(&histogram(&one, "a_sum -1\n"), 3, &format!("the value must not be negative {value}"));
    refused(&histogram(&one, "a_sum NaN\n"), 3, &format!("the value must not be NaN {value}"));
    // Each point of each metric is checked.
    let first =
        "# TYPE a histogram\na_bucket{b=\"1\",le=\"1\"} 1\na_bucket{b=\"2\",le=\"+Inf\"} 1\n";
    refused(first, 3, "the histogram before this line has no bucket `+Inf`");
    let second = "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1 1\na_bucket{le=\"1\"} 1 2\n";
    refused(second, 4, "the histogram before this line has no bucket `+Inf`");
}

#[test]
fn gauge_histograms_follow_the_rules_of_histograms() {
    let of = |others: &str| format!("# TYPE a gaugehistogram\na_bucket{{le=\"+Inf\"}} 1\n{others}");
    accepted(&of("a_gcount 1\na_gsum 2\n"));
    accepted(
        "# TYPE a gaugehistogram\na_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 1\na_gcount 1\na_gsum -2\n",
    );
    let differs = "the histogram before this line has a count that differs from its bucket `+Inf`";
    refused(&of("a_gcount 2\na_gsum 2\n"), 5, differs);
    let missing = "the histogram before this line has only one of count and sum";
    refused(&of("a_gcount 1\n"), 4, missing);
    let negative =
        "the histogram before this line has a negative sum but no negative bucket bounds";
    refused(&of("a_gcount 1\na_gsum -1\n"), 5, negative);
    let value = "in a family of type gaugehistogram";
    refused(&of("a_gsum NaN\n"), 3, &format!("the value must not be NaN {value}"));
    refused(&of("a_gcount 0.5\n"), 3, &format!("a count must be an integer {value}"));
    refused(&of("a_gcount{le=\"1\"} 1\n"), 3, "a sample `_gcount` must not have the label `le`");
    refused(
        "# TYPE a gaugehistogram\n# HELP a b\na_bucket{le=\"1\"} 1\n",
        4,
        "the histogram before this line has no bucket `+Inf`",
    );
    refused(
        "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} -1\n",
        2,
        &format!("the value must not be negative {value}"),
    );
}

#[test]
fn exemplars_are_allowed_only_on_totals_and_buckets_and_lie_within_the_bucket() {
    accepted(&histogram(&[("1", "1 # {} 1"), ("+Inf", "1 # {t=\"\"} 5 -1")], ""));
    accepted("# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1 # {} 1\n");
    let only = "only counter totals and buckets may have exemplars";
    refused("a 1 # {} 1\n", 1, only);
    refused("# TYPE a counter\na_created 1 # {} 1\n", 2, only);
    refused(&histogram(&[("+Inf", "1")], "a_count 1 # {} 1\n"), 3, only);
    let within = "the value of the exemplar is outside its bucket";
    refused(&histogram(&[("1", "1 # {} 1.5")], ""), 2, within);
    refused(&histogram(&[("1", "1 # {} NaN")], ""), 2, within);
}

#[test]
fn exemplars_follow_the_grammar() {
    for (exemplar, column) in [
        (" #", 12),
        ("# {} 1", 9),
        (" #{} 1", 12),
        (" # {}1", 15),
        (" # 1", 13),
        (" # {} ", 16),
        (" # {} 1 ", 18),
        (" # {} 1 1 ", 19),
        (" # {} 1 NaN", 18),
        (" # {} x", 16),
        (" 1  # {} 1", 13),
        (" # {} 1 # {} 1", 18),
        (" # {t=\"1\",} 1", 20),
    ] {
        let page = format!("# TYPE a counter\na_total 1{exemplar}\n# EOF\n");
        let error = openmetrics(&page).expect_err(&page);
        assert_eq!((error.line(), error.column()), (2, column), "{page}{error}");
    }
}

#[test]
fn the_labels_of_an_exemplar_have_at_most_128_characters() {
    let of = |len: usize| {
        let value = "\u{e9}".repeat(len - 3);
        format!("# TYPE a counter\na_total 1 # {{abc=\"{value}\"}} 1\n")
    };
    accepted(&of(128));
    refused(&of(129), 2, "the exemplar's labels have 129 characters, the limit is 128");
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
