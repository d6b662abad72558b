//! Histograms, gauge histograms and exemplars.

use super::{accepted, refused};
use crate::parse::openmetrics;

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
