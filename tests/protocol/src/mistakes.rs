//! The protocol with one mistake: a violated property, and the shortest sequence of steps to it.

use crate::search;
use crate::state::{BASE, Broken, Config, Mistake};

/// Asserts that `mistake` violates the property `broken`; prints the steps.
#[track_caller]
fn breaks(mistake: Mistake, config: &Config, broken: Broken) {
    search::breaks(mistake, &Config { mistake: Some(mistake), ..*config }, broken);
}

/// One own file.
const OWN: Config = BASE;

/// Two processes with one pid.
const PYTHON: Config = Config { own: 0, pythons: 2, ..BASE };

#[test]
fn unlinking_before_publishing_loses_counts() {
    breaks(Mistake::UnlinkBeforePublish, &OWN, Broken::Lost);
}

#[test]
fn listing_a_source_by_a_reused_name_loses_counts() {
    breaks(Mistake::ReusableName, &PYTHON, Broken::Lost);
}

#[test]
fn a_reader_that_does_not_retry_misses_counts() {
    breaks(Mistake::NoSecondLook, &OWN, Broken::Missed);
}

#[test]
fn a_reader_that_reads_the_archive_once_after_the_files_counts_twice() {
    breaks(Mistake::ArchiveLast, &OWN, Broken::Exceeded);
}

#[test]
fn a_reader_that_does_not_hold_the_archive_open_misses_counts() {
    breaks(Mistake::ArchiveNotHeld, &OWN, Broken::Missed);
}

#[test]
fn a_reader_that_gives_up_without_the_lock_misses_counts() {
    breaks(Mistake::NoLockAtLast, &OWN, Broken::Missed);
}

#[test]
fn compactors_without_a_lock_lose_counts() {
    let config = Config { own: 2, compactors: 2, readers: 0, ..OWN };
    breaks(Mistake::NoCompactorLock, &config, Broken::Lost);
}

#[test]
fn a_retired_file_without_a_grace_period_loses_counts() {
    breaks(Mistake::NoGracePeriod, &PYTHON, Broken::Lost);
}

#[test]
fn a_retired_file_without_a_grace_period_is_unlinked_under_its_worker() {
    let config = Config { python_increments: 0, ..PYTHON };
    breaks(Mistake::NoGracePeriod, &config, Broken::Unlinked);
}

#[test]
fn a_retired_file_without_a_second_proof_loses_counts() {
    breaks(Mistake::NoSecondProof, &PYTHON, Broken::Lost);
}

#[test]
fn a_second_proof_before_the_end_of_the_grace_period_loses_counts() {
    breaks(Mistake::ProofBeforeGrace, &PYTHON, Broken::Lost);
}

#[test]
fn a_reader_that_lists_retired_files_first_misses_counts() {
    breaks(Mistake::RetiredFirst, &PYTHON, Broken::Missed);
}

#[test]
fn a_reader_that_counts_each_name_of_an_inode_counts_twice() {
    breaks(Mistake::NoCountingOnce, &PYTHON, Broken::Exceeded);
}

#[test]
fn a_reader_that_opens_a_name_as_often_as_it_is_listed_counts_twice() {
    let config = Config { slow_listing: true, ..PYTHON };
    breaks(Mistake::NamesTwice, &config, Broken::Exceeded);
}

#[test]
fn an_archive_that_does_not_list_its_sources_counts_twice() {
    breaks(Mistake::SourcesNotListed, &OWN, Broken::Twice);
}

#[test]
fn dropping_sources_that_are_still_to_be_unlinked_counts_twice() {
    breaks(Mistake::PendingDropped, &OWN, Broken::Twice);
}

#[test]
fn dropping_sources_that_could_not_be_unlinked_counts_twice() {
    breaks(Mistake::FailedUnlinkDropped, &Config { may_fail: true, ..OWN }, Broken::Twice);
}

#[test]
fn a_lock_file_that_is_not_verified_loses_counts() {
    let config = Config { own: 2, compactors: 2, readers: 0, lock_removed: true, ..OWN };
    breaks(Mistake::LockNotVerified, &config, Broken::Lost);
}

/// A limit of a protocol with a lock file: no system call verifies the lock file and commits in one step.
#[test]
fn a_lock_file_removed_just_before_the_commit_loses_counts() {
    let config = Config { own: 2, compactors: 2, readers: 0, lock_removed: true, ..OWN };
    breaks(Mistake::LockRemovedAfterVerification, &config, Broken::Lost);
}
