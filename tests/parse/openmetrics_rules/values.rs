//! The values of counters, infos, state sets and summaries.

use super::{accepted, refused};

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
