//! The protocol without mistakes, in several small directories.

use crate::search::holds;
use crate::state::{BASE, Config};

#[test]
fn own_files_are_counted_once() {
    holds("two own files", &Config { own: 2, own_increments: 2, ..BASE });
}

#[test]
fn files_are_created_and_removed_while_a_directory_is_listed() {
    let config = Config { own: 0, pythons: 2, slow_listing: true, ..BASE };
    holds("slow listing, Python", &config);
    let config = Config { pythons: 1, slow_listing: true, attempts: 1, ..BASE };
    holds("slow listing, both", &config);
}

#[test]
fn a_pid_is_reused_at_any_moment() {
    let config = Config { own: 0, pythons: 3, ..BASE };
    holds("a pid three times", &config);
}

#[test]
fn a_pid_is_reused_beside_an_own_file() {
    let config = Config { pythons: 2, attempts: 1, ..BASE };
    holds("a pid twice and an own file", &config);
}

#[test]
fn files_that_cannot_be_proven_read_or_unlinked_count_once() {
    holds("failures, own", &Config { own: 2, may_fail: true, ..BASE });
    holds("failures, Python", &Config { own: 0, pythons: 2, may_fail: true, ..BASE });
    let config = Config { pythons: 1, may_fail: true, attempts: 1, ..BASE };
    holds("failures, both", &config);
}

#[test]
fn two_scrapes_run_beside_one_compactor() {
    let config = Config { readers: 2, own_increments: 2, attempts: 1, ..BASE };
    holds("two readers, own", &config);
    let config = Config { own: 0, pythons: 1, readers: 2, attempts: 1, ..BASE };
    holds("two readers, Python", &config);
}

#[test]
fn two_compactors_run_beside_one_scrape() {
    let config = Config { own: 0, pythons: 2, compactors: 2, ..BASE };
    holds("two compactors", &config);
}

#[test]
fn a_compactor_whose_lock_file_was_removed_gives_up() {
    let config = Config { own: 2, compactors: 2, attempts: 1, lock_removed: true, ..BASE };
    holds("lock file removed, own", &config);
    let config =
        Config { own: 0, pythons: 2, compactors: 2, readers: 0, lock_removed: true, ..BASE };
    holds("lock file removed, Python", &config);
}
