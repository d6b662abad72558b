//! The protocol with one mistake: a violated property, and the shortest sequence of steps to it.

use crate::companion::correct::BASE;
use crate::companion::{Broken, Config, Mistake};
use crate::search;

/// Asserts that `mistake` violates the property `broken`; prints the steps.
#[track_caller]
fn breaks(mistake: Mistake, config: &Config, broken: Broken) {
    search::breaks(mistake, &Config { mistake: Some(mistake), ..*config }, broken);
}

#[test]
fn absorbing_the_files_of_a_writer_in_two_commits_hides_the_companion_file() {
    breaks(Mistake::TwoCommits, &BASE, Broken::Unpaired);
    breaks(Mistake::TwoCommits, &BASE, Broken::Missed);
}

#[test]
fn an_archive_that_lists_only_the_main_file_has_the_companion_file_twice() {
    breaks(Mistake::OnlyMainListed, &BASE, Broken::Twice);
    breaks(Mistake::OnlyMainListed, &Config { pairs: false, ..BASE }, Broken::Exceeded);
}

#[test]
fn looking_for_companion_files_in_an_older_listing_misses_one() {
    breaks(Mistake::CompanionByListing, &BASE, Broken::Unpaired);
    breaks(Mistake::CompanionByListing, &BASE, Broken::Missed);
}

#[test]
fn absorbing_a_main_file_without_an_unreadable_companion_file_hides_the_latter() {
    let config = Config { may_fail: true, ..BASE };
    breaks(Mistake::AbsorbedAlone, &config, Broken::Unpaired);
    breaks(Mistake::AbsorbedAlone, &config, Broken::Missed);
}
