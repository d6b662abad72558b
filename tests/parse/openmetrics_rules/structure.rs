//! Metadata, and the order of families, metrics and points.

use multiprom::collector::MetricType;

use super::{accepted, refused};
use crate::parse::openmetrics;

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
