//! Counts of what is missing in the files: series by reason, which are logged once per reason, and recordings.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::logging::log_line;
use crate::model::own_metrics::{DROPPED_SERIES, OwnCounters, RECOVERED_SERIES};

static DROPPED: OwnCounters<{ DROPPED_SERIES.values().len() }> = OwnCounters::new();

/// Those of them that were written later.
static RECOVERED: OwnCounters<{ RECOVERED_SERIES.values().len() }> = OwnCounters::new();

fn position(reason: &str) -> usize {
    let reasons = DROPPED_SERIES.values();
    reasons.iter().position(|&other| other == reason).unwrap_or(reasons.len() - 1)
}

/// Counts one series that lives on the heap instead.
pub(super) fn count(reason: &'static str, is_transient: bool, message: &dyn fmt::Display) {
    if DROPPED.add(position(reason), 1) > 0 {
        return;
    }
    if is_transient {
        log_line(&format_args!("{message}; new series stay in memory until they can be written"));
    } else {
        log_line(&format_args!("{message}; the series stays in memory and is not exported"));
    }
}

/// Counts a dropped series that was written later.
pub(super) fn count_recovered(reason: &'static str) {
    RECOVERED.add(position(reason), 1);
}

static IGNORED_RECORDINGS: AtomicU64 = AtomicU64::new(0);
/// Those of them that are counted in a file.
static TOLD_RECORDINGS: AtomicU64 = AtomicU64::new(0);

/// Counts a recording that would have to enter the slow path of its own thread again.
pub(crate) fn recording_ignored() {
    IGNORED_RECORDINGS.fetch_add(1, Ordering::Relaxed);
}

/// How many recordings were ignored since the last call.
pub(super) fn take_ignored_recordings() -> u64 {
    let ignored = ignored_recordings();
    ignored - TOLD_RECORDINGS.swap(ignored, Ordering::Relaxed).min(ignored)
}

/// How many recordings of this process were ignored.
pub(crate) fn ignored_recordings() -> u64 {
    IGNORED_RECORDINGS.load(Ordering::Relaxed)
}

static LOST_FILES: AtomicU64 = AtomicU64::new(0);

/// Counts files that were removed under this process.
pub(super) fn count_lost_files(count: u64, dir: &Path) {
    if LOST_FILES.fetch_add(count, Ordering::Relaxed) == 0 {
        let dir = dir.display();
        log_line(&format_args!(
            "directory `{dir}`: series files were removed, and are written anew"
        ));
    }
}

/// How many files were removed under this process.
pub(crate) fn lost_files() -> u64 {
    LOST_FILES.load(Ordering::Relaxed)
}

/// How many series of this process did not get into a file when they were first recorded, by reason.
pub(crate) fn dropped_series() -> impl Iterator<Item = u64> {
    DROPPED.counts()
}

/// How many of those were written later, by reason.
pub(crate) fn recovered_series() -> impl Iterator<Item = u64> {
    RECOVERED.counts()
}
