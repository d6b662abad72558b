//! The rules of the text parser: the input that it accepts, as Prometheus does, and the errors.

use multiprom::collector::MetricType;
use multiprom::parse::{OwnedFamily, ParseErrorKind, Parser};

use super::{small, text};

/// Renders one line for each family and sample.
fn render(families: &[OwnedFamily]) -> Vec<String> {
    let mut lines = Vec::new();
    for family in families {
        lines.push(format!("{} {} {:?}", family.metric_type, family.name, family.help));
        for sample in &family.samples {
            let time = sample.timestamp.map(|time| format!(" @{time}")).unwrap_or_default();
            let (kind, labels) = (sample.kind, &sample.labels);
            lines.push(format!("  {kind:?} {labels:?} {}{time}", sample.value));
        }
    }
    lines
}

fn assert_parsed(page: &str, lines: &[&str]) {
    assert_eq!(render(&text(page).unwrap()), lines, "{page}");
}

fn error(page: &str) -> String {
    text(page).expect_err(page).to_string()
}

#[test]
fn every_type_is_parsed() {
    assert_parsed(
        "# HELP c_total A \"count\\\\er\".\\nTwo.\n# TYPE c_total counter\nc_total{a=\"b\"} 3 1500\n\
         # TYPE g gauge\ng -Inf\n# TYPE u untyped\nu NaN\n\
         # TYPE h histogram\nh_bucket{le=\"1\",x=\"y\"} 1\nh_bucket{x=\"y\",le=\"+Inf\"} 2\n\
         h_sum{x=\"y\"} 5\nh_count{x=\"y\"} 2\n\
         # TYPE s summary\ns{quantile=\"0.5\"} 1e3\ns_sum 4\ns_count 3\n",
        &[
            "counter c \"A \\\"count\\\\er\\\".\\nTwo.\"",
            "  Total [(\"a\", \"b\")] 3 @1.5",
            "gauge g \"\"",
            "  Value [] -inf",
            "unknown u \"\"",
            "  Value [] NaN",
            "histogram h \"\"",
            "  Bucket(1.0) [(\"x\", \"y\")] 1",
            "  Bucket(inf) [(\"x\", \"y\")] 2",
            "  Sum [(\"x\", \"y\")] 5",
            "  Count [(\"x\", \"y\")] 2",
            "summary s \"\"",
            "  Quantile(0.5) [] 1000",
            "  Sum [] 4",
            "  Count [] 3",
        ],
    );
}

#[test]
fn blanks_comments_and_a_missing_last_line_feed_are_accepted() {
    assert_parsed(
        "\n  \t\n# a comment\n#HELP a no help\n# HELP\n# TYPE a\n#\n \ta \t{ x = \"1\" ,\ty=\"2\", } \t5 \t-7 \t\n\
         b{}6\nc+7",
        &[
            "unknown a \"\"",
            "  Value [(\"x\", \"1\"), (\"y\", \"2\")] 5 @-0.007",
            "unknown b \"\"",
            "  Value [] 6",
            "unknown c \"\"",
            "  Value [] 7",
        ],
    );
}

#[test]
fn metadata_may_be_late_or_repeated_and_families_may_be_interleaved() {
    assert_parsed(
        "a_total 1\n# TYPE a_total counter\n# HELP a_total Late.\na_total 2\n# HELP a_total Again.\n\
         b 3\na_total 4\n# HELP d Only help.\n# TYPE e gauge\n",
        &[
            "unknown a_total \"\"",
            "  Value [] 1",
            "counter a \"Late.\"",
            "  Total [] 2",
            "unknown b \"\"",
            "  Value [] 3",
            "counter a \"\"",
            "  Total [] 4",
            "unknown d \"Only help.\"",
            "gauge e \"\"",
        ],
    );
}

#[test]
fn the_type_of_a_family_applies_to_samples_after_other_families() {
    assert_parsed(
        "# HELP a A.\n# HELP h H.\n# TYPE a gauge\n# TYPE h histogram\na{x=\"1\"} 1\nh_sum 2\n\
         a{x=\"2\"} 3\nh_count 4\nh_bucket{le=\"1\"} 5\n",
        &[
            "unknown a \"A.\"",
            "unknown h \"H.\"",
            "gauge a \"\"",
            "histogram h \"\"",
            "gauge a \"\"",
            "  Value [(\"x\", \"1\")] 1",
            "histogram h \"\"",
            "  Sum [] 2",
            "gauge a \"\"",
            "  Value [(\"x\", \"2\")] 3",
            "histogram h \"\"",
            "  Count [] 4",
            "  Bucket(1.0) [] 5",
        ],
    );
}

#[test]
fn samples_that_do_not_fit_their_type_become_families_of_unknown_type() {
    assert_parsed(
        "# TYPE h histogram\nh_bucket 1\n# TYPE i histogram\ni_bucket{le=\"x\"} 2\n\
         i_sum 6\n# TYPE s summary\ns 3\n# TYPE t summary\nt{quantile=\"NaN\"} 4\nt_created 5\n",
        &[
            "histogram h \"\"",
            "unknown h_bucket \"\"",
            "  Value [] 1",
            "histogram i \"\"",
            "unknown i_bucket \"\"",
            "  Value [(\"le\", \"x\")] 2",
            "histogram i \"\"",
            "  Sum [] 6",
            "summary s \"\"",
            "unknown s \"\"",
            "  Value [] 3",
            "summary t \"\"",
            "unknown t \"\"",
            "  Value [(\"quantile\", \"NaN\")] 4",
            "unknown t_created \"\"",
            "  Value [] 5",
        ],
    );
}

#[test]
fn quoted_names_and_escapes_are_resolved() {
    assert_parsed(
        "# TYPE \"my.\\\"metric\\\\\" gauge\n{\"my.\\\"metric\\\\\",\"l x\"=\"\\n\\q\\\\\"} 1\n\
         { \"\u{e9}\" } 2\nplain{\"\u{1f600}\"=\"\u{1f600}\"} 3\n",
        &[
            "gauge my.\"metric\\ \"\"",
            "  Value [(\"l x\", \"\\n\\\\q\\\\\")] 1",
            "unknown \u{e9} \"\"",
            "  Value [] 2",
            "unknown plain \"\"",
            "  Value [(\"\u{1f600}\", \"\u{1f600}\")] 3",
        ],
    );
}

#[test]
fn an_error_names_line_and_column() {
    for (page, message) in [
        ("a 1\nb c\n", "line 2, column 3: expected a number, got `c`"),
        ("a\n", "line 1, column 2: expected a number, got ``"),
        ("9a 1\n", "line 1, column 1: expected a metric name"),
        ("a-b 1\n", "line 1, column 2: expected a number, got `-b`"),
        ("a 1 2.5\n", "line 1, column 5: expected a timestamp in milliseconds, got `2.5`"),
        ("a 1 2 3\n", "line 1, column 7: expected the end of the line"),
        ("a 1 # {} 1\n", "line 1, column 5: expected a timestamp in milliseconds, got `#`"),
        ("a{\u{e9}=\"1\"} 1", "line 1, column 3: expected a label name"),
        ("a{x=\"\u{e9}\",,} 1", "line 1, column 9: expected a label name"),
        ("a{,} 1", "line 1, column 3: expected a label name"),
        ("a{x\"1\"} 1", "line 1, column 4: expected `=` after the label name"),
        ("a{x=1} 1", "line 1, column 5: expected a label value in quotes"),
        ("a{x=\"1\" y=\"2\"} 1", "line 1, column 9: expected a comma or the closing brace"),
        ("a{x=\"1} 1\n", "line 1, column 5: expected the closing quote"),
        ("a{x=\"1\\\"} 1\n", "line 1, column 5: expected the closing quote"),
        ("a{x=\"1\",x=\"2\"} 1", "line 1, column 9: label name `x` is given twice"),
        ("a{__name__=\"b\"} 1", "line 1, column 1: label name `__name__` is reserved"),
        ("{a} 1", "line 1, column 2: expected a metric name in quotes"),
        ("{\"\"} 1", "line 1, column 2: expected a metric name"),
        ("a{\"\"=\"1\"} 1", "line 1, column 3: expected a label name"),
        ("# TYPE a thing\n", "line 1, column 10: `thing` is not a metric type"),
        ("# TYPE a gauge \n", "line 1, column 10: `gauge ` is not a metric type"),
        ("# HELP 9 x\n", "line 1, column 8: expected a metric name"),
        ("# HELP a- x\n", "line 1, column 9: expected a blank after the metric name"),
        ("a 1\r\n", "line 1, column 3: expected a number, got `1\r`"),
        ("a 0x10\n", "line 1, column 3: expected a number, got `0x10`"),
        ("a 1_0\n", "line 1, column 3: expected a number, got `1_0`"),
        ("a 1e999\n", "line 1, column 3: expected a number, got `1e999`"),
    ] {
        assert_eq!(error(page), message, "{page:?}");
    }
    let bytes = &b"a 1\nb{x=\"\xc3\xa9\xff\"} 1\n"[..];
    let error = Parser::text(bytes).last().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 7: the bytes are not UTF-8");
    assert_eq!((error.line(), error.column(), error.kind()), (2, 7, ParseErrorKind::Syntax));
}

#[test]
fn types_are_case_insensitive_and_others_are_refused() {
    for (word, metric_type) in [
        ("counter", MetricType::Counter),
        ("GAUGE", MetricType::Gauge),
        ("Histogram", MetricType::Histogram),
        ("summary", MetricType::Summary),
        ("untyped", MetricType::Unknown),
    ] {
        assert_eq!(text(&format!("# TYPE a {word}\n")).unwrap()[0].metric_type, metric_type);
    }
    for word in ["unknown", "info", "stateset", "gaugehistogram", "counters"] {
        assert!(text(&format!("# TYPE a {word}\n")).is_err(), "{word}");
    }
}

#[test]
fn the_error_of_the_input_is_the_source_of_the_parse_error() {
    use std::error::Error as _;
    use std::io::{self, BufReader, Read};

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no route to host"))
        }
    }

    let error = Parser::text(BufReader::new(Broken)).last().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 1: the source cannot be read");
    assert_eq!(error.source().unwrap().to_string(), "no route to host");
    let error = multiprom::Error::from(error);
    assert_eq!(error.kind(), multiprom::ErrorKind::Io);
    assert_eq!(
        format!("{error:#}"),
        "line 1, column 1: the source cannot be read: no route to host"
    );
    let error = multiprom::Error::from(text("# TYPE a b\n").unwrap_err());
    assert_eq!(error.kind(), multiprom::ErrorKind::Exposition);
}

#[test]
fn exceeding_any_limit_is_an_error() {
    let limited = |page: &str| {
        let parser = Parser::text(page.as_bytes()).with_limits(small());
        let error = parser.last().unwrap().unwrap_err();
        assert_eq!(error.kind(), ParseErrorKind::Limit);
        error.to_string()
    };
    assert_eq!(
        limited(&format!("a 1\n# {}\n", "x".repeat(60))),
        "line 2, column 1: the length of a line is above the limit of 60"
    );
    assert_eq!(
        limited("a{b=\"\",c=\"\",d=\"\"} 1\n"),
        "line 1, column 13: the number of labels is above the limit of 2"
    );
    assert_eq!(
        limited(&"a 1000000000\n".repeat(10)),
        "line 9, column 1: the length of a family is above the limit of 100"
    );
}

#[test]
fn an_endless_line_is_refused_at_the_limit() {
    let source = std::io::BufReader::new(std::io::repeat(b'#'));
    let error = Parser::text(source).last().unwrap().unwrap_err();
    assert_eq!(error.kind(), ParseErrorKind::Limit);
}

#[test]
fn an_iterator_ends_after_the_first_error() {
    let mut parser = Parser::text(&b"a 1\nb 1\nc\nd 1\n"[..]);
    assert_eq!(parser.next().unwrap().unwrap().name, "a");
    assert!(parser.next().unwrap().is_err());
    assert!(parser.next().is_none());
    assert!(parser.next().is_none());
}
