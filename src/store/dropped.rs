//! Counts the series, recordings and files that are missing in a directory. Series are logged once per reason.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::logging::log_line;
use crate::model::own_metrics::{DROPPED_SERIES, OwnCounters, RECOVERED_SERIES};

static DROPPED: OwnCounters<{ DROPPED_SERIES.values().len() }> = OwnCounters::new();

/// The dropped series that were written later.
static RECOVERED: OwnCounters<{ RECOVERED_SERIES.values().len() }> = OwnCounters::new();

fn position(reason: &str) -> usize {
    let reasons = DROPPED_SERIES.values();
    reasons.iter().position(|&other| other == reason).unwrap_or(reasons.len() - 1)
}

/// What happens to a series that could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waits,
    StaysInMemory,
}

/// Counts a series that stays on the heap.
pub(super) fn count(reason: &'static str, fate: Fate, message: &dyn fmt::Display) {
    if DROPPED.add(position(reason), 1) > 0 {
        return;
    }
    match fate {
        Fate::Waits => {
            log_line(&format_args!(
                "{message}; new series stay in memory until they can be written"
            ));
        }
        Fate::StaysInMemory => {
            log_line(&format_args!(
                "{message}; the series stays in memory, and no other process can export it"
            ));
        }
    }
}

/// Counts a dropped series that was written later.
pub(super) fn count_recovered(reason: &'static str) {
    RECOVERED.add(position(reason), 1);
}

static IGNORED_RECORDINGS: AtomicU64 = AtomicU64::new(0);
/// The ignored recordings that are counted in a file.
static WRITTEN_RECORDINGS: AtomicU64 = AtomicU64::new(0);

/// Counts a recording that was ignored because its thread is already in the slow path.
pub(crate) fn recording_ignored() {
    IGNORED_RECORDINGS.fetch_add(1, Ordering::Relaxed);
}

/// Returns how many recordings were ignored since the last call.
pub(super) fn take_ignored_recordings() -> u64 {
    let ignored = ignored_recordings();
    ignored - WRITTEN_RECORDINGS.swap(ignored, Ordering::Relaxed).min(ignored)
}

/// Returns how many recordings of this process were ignored.
pub(crate) fn ignored_recordings() -> u64 {
    IGNORED_RECORDINGS.load(Ordering::Relaxed)
}

static LOST_FILES: AtomicU64 = AtomicU64::new(0);

/// Counts files that were removed while this process was recording.
pub(super) fn count_lost_files(count: u64, dir: &Path) {
    if LOST_FILES.fetch_add(count, Ordering::Relaxed) == 0 {
        let dir = dir.display();
        log_line(&format_args!(
            "directory `{dir}`: series files were removed; their values are written to new files"
        ));
    }
}

/// Returns how many files were removed while this process was recording.
pub(crate) fn lost_files() -> u64 {
    LOST_FILES.load(Ordering::Relaxed)
}

/// Returns, by reason, how many series of this process could not be written when they were first recorded.
pub(crate) fn dropped_series() -> impl Iterator<Item = u64> {
    DROPPED.counts()
}

/// Returns, by reason, how many of those were written later.
pub(crate) fn recovered_series() -> impl Iterator<Item = u64> {
    RECOVERED.counts()
}
