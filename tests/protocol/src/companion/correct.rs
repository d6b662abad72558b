//! The protocol without mistakes, in several small directories.

use crate::companion::Config;
use crate::search::holds;

/// One writer and one reader that pairs the files.
pub(crate) const BASE: Config =
    Config { writers: 1, increments: 2, readers: 1, pairs: true, may_fail: false, mistake: None };

#[test]
fn both_files_of_a_writer_are_in_one_scrape() {
    holds("main and companion, two writers", &Config { writers: 2, increments: 1, ..BASE });
    holds("main and companion, two readers", &Config { readers: 2, ..BASE });
}

#[test]
fn a_reader_that_does_not_pair_the_files_sees_the_same() {
    let config = Config { writers: 2, increments: 1, pairs: false, ..BASE };
    holds("main and companion, not paired", &config);
}

#[test]
fn files_that_cannot_be_read_or_unlinked_stay_together() {
    holds("main and companion, failures", &Config { may_fail: true, ..BASE });
    let config = Config { writers: 2, readers: 0, may_fail: true, ..BASE };
    holds("main and companion, two writers, failures", &config);
}
