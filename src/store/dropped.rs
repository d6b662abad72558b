//! Counts the series, recordings and files that are missing in a directory. Series are logged once per reason.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::logging::log_line;

/// The label values of `multiprom_dropped_series_total`.
const REASONS: [&str; 8] =
    ["directory", "create", "space", "map", "key_too_long", "file_full", "descriptor", "other"];

static DROPPED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

/// The dropped series that were written later.
static RECOVERED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

fn position(reason: &str) -> usize {
    REASONS.iter().position(|&each| each == reason).unwrap_or(REASONS.len() - 1)
}

/// What happens to a series that could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waits,
    StaysInMemory,
}

/// Counts a series that stays on the heap.
pub(super) fn count(reason: &'static str, fate: Fate, message: &dyn fmt::Display) {
    // ORDERING: relaxed, a statistic.
    if DROPPED[position(reason)].fetch_add(1, Ordering::Relaxed) > 0 {
        return;
    }
    match fate {
        Fate::Waits => {
            log_line(&format_args!(
                "{message}; new series stay in memory until they can be written"
            ));
        }
        Fate::StaysInMemory => {
            log_line(&format_args!("{message}; the series stays in memory and is not exported"));
        }
    }
}

/// Counts a dropped series that was written later.
pub(super) fn count_recovered(reason: &'static str) {
    RECOVERED[position(reason)].fetch_add(1, Ordering::Relaxed);
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
pub(crate) fn dropped_series() -> impl Iterator<Item = (&'static str, u64)> {
    REASONS.into_iter().zip(DROPPED.iter().map(|count| count.load(Ordering::Relaxed)))
}

/// Returns, by reason, how many of those were written later.
pub(crate) fn recovered_series() -> impl Iterator<Item = (&'static str, u64)> {
    REASONS.into_iter().zip(RECOVERED.iter().map(|count| count.load(Ordering::Relaxed)))
}
