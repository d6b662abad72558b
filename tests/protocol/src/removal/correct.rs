//! The protocol without mistakes, in several small directories.

use crate::removal::state::Config;
use crate::search::holds;

/// Two workers of multiprom and one reader.
pub(crate) const BASE: Config = Config {
    archived: false,
    workers: 2,
    increments: 1,
    removals: 1,
    pythons: 0,
    readers: 1,
    early_liveness: false,
    checks_rarely: false,
    may_fail: false,
    mistake: None,
};

#[test]
fn a_removed_series_disappears_for_good_when_its_last_exporter_has_gone() {
    holds("two workers", &Config { removals: 2, ..BASE });
}

#[test]
fn totals_of_a_series_that_is_removed_and_exported_again_do_not_decrease() {
    holds("archived, two workers", &Config { archived: true, ..BASE });
}

#[test]
fn a_check_that_is_omitted_or_fails_only_delays_the_removal() {
    holds("omitted checks, failures", &Config { checks_rarely: true, may_fail: true, ..BASE });
}

#[test]
fn liveness_that_was_determined_before_a_file_is_read_is_recent_enough() {
    let config = Config { workers: 1, pythons: 1, early_liveness: true, ..BASE };
    holds("early liveness, Python", &config);
}

#[test]
fn scrapes_that_overlap_agree() {
    let config = Config { archived: true, workers: 1, readers: 2, ..BASE };
    holds("archived, two readers", &config);
}

#[test]
fn a_python_process_brings_a_removed_series_back() {
    holds("one worker, Python", &Config { workers: 1, pythons: 1, ..BASE });
    let config = Config { archived: true, workers: 0, pythons: 2, ..BASE };
    holds("archived, a pid twice", &config);
}

#[test]
fn nothing_is_hidden_or_dropped_without_a_removal() {
    holds("no removal", &Config { removals: 0, increments: 2, ..BASE });
    holds("no removal, Python", &Config { removals: 0, workers: 1, pythons: 1, ..BASE });
}
