//! The protocol with one mistake: a violated property, and the shortest sequence of steps to it.

use crate::removal::correct::BASE;
use crate::removal::state::{Broken, Config, Mistake};
use crate::search;

/// Asserts that `mistake` violates the property `broken`; prints the steps.
#[track_caller]
fn breaks(mistake: Mistake, config: &Config, broken: Broken) {
    search::breaks(mistake, &Config { mistake: Some(mistake), ..*config }, broken);
}

/// A third process removed the series and has ended.
const ARCHIVED: Config = Config { archived: true, ..BASE };

/// One worker of multiprom and one Python process.
const PYTHON: Config = Config { workers: 1, pythons: 1, ..BASE };

#[test]
fn dropping_a_series_without_an_earlier_burial_lowers_its_total() {
    breaks(Mistake::DropAtOnce, &BASE, Broken::Fell);
    breaks(Mistake::DropAtOnce, &BASE, Broken::CountedAgain);
}

#[test]
fn dropping_a_series_by_reads_that_preceded_its_burial_lowers_its_total() {
    breaks(Mistake::DropByOldRead, &BASE, Broken::Fell);
    breaks(Mistake::DropByOldRead, &BASE, Broken::CountedAgain);
}

#[test]
fn a_reader_that_ignores_burials_exports_a_total_that_falls() {
    breaks(Mistake::BurialIgnored, &BASE, Broken::Fell);
}

/// Worker 0 exports the series until worker 1 does, which the check has read already. Then it finds worker 0's entry
/// removed.
#[test]
fn dropping_a_series_beside_removed_entries_lowers_its_total() {
    breaks(Mistake::DropBesideRemoved, &ARCHIVED, Broken::Fell);
}

/// The archive's share of the total is dropped, and the share of the living process is exported again.
#[test]
fn dropping_a_series_beside_removed_entries_counts_increments_again() {
    breaks(Mistake::DropBesideRemoved, &BASE, Broken::CountedAgain);
}

#[test]
fn dropping_a_series_beside_files_of_dead_processes_shows_it_again() {
    breaks(Mistake::DropBesideDead, &BASE, Broken::ShownAgain);
    breaks(Mistake::DropBesideDead, &BASE, Broken::NotSettled);
}

#[test]
fn dropping_a_series_beside_retired_files_lowers_its_total_or_shows_it_again() {
    breaks(Mistake::DropBesideRetired, &PYTHON, Broken::Fell);
    breaks(Mistake::DropBesideRetired, &PYTHON, Broken::ShownAgain);
}

#[test]
fn dropping_a_series_beside_files_that_cannot_be_read_lowers_its_total_or_shows_it_again() {
    let config = Config { may_fail: true, ..BASE };
    breaks(Mistake::DropBesideUnread, &config, Broken::Fell);
    breaks(Mistake::DropBesideUnread, &config, Broken::ShownAgain);
}

#[test]
fn checking_files_that_were_listed_before_the_proofs_of_death_lowers_a_total() {
    breaks(Mistake::CheckOldListing, &ARCHIVED, Broken::Fell);
    breaks(Mistake::CheckOldListing, &ARCHIVED, Broken::ShownAgain);
}

#[test]
fn an_archive_without_marks_shows_a_removed_series_again() {
    breaks(Mistake::NoMark, &BASE, Broken::ShownAgain);
    breaks(Mistake::NoMark, &BASE, Broken::NotSettled);
}

#[test]
fn removing_the_mark_with_the_burial_shows_a_removed_series_again() {
    breaks(Mistake::MarkRemovedWithBurial, &BASE, Broken::ShownAgain);
    breaks(Mistake::MarkRemovedWithBurial, &BASE, Broken::NotSettled);
}

#[test]
fn a_burial_that_stays_hides_the_series_of_a_living_process() {
    breaks(Mistake::BurialStays, &BASE, Broken::StaysHidden);
}

#[test]
fn a_reader_that_regards_removal_records_of_living_processes_only_shows_a_series_again() {
    breaks(Mistake::RecordsOfLivingOnly, &BASE, Broken::ShownAgain);
}

#[test]
fn a_reader_that_regards_writers_of_retired_files_as_dead_hides_a_series() {
    breaks(Mistake::RetiredAreDead, &PYTHON, Broken::NotShown);
    breaks(Mistake::RetiredAreDead, &PYTHON, Broken::StaysHidden);
}

#[test]
fn a_reader_that_leaves_removed_values_out_lowers_the_total() {
    breaks(Mistake::RemovedNotAdded, &BASE, Broken::Fell);
}

#[test]
fn starting_again_from_zero_in_the_same_entry_lowers_the_total() {
    breaks(Mistake::ValueReset, &BASE, Broken::Fell);
}
