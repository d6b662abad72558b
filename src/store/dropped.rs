//! What is missing in the files: series, counted by reason and logged once per reason, and recordings.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::logging::log_line;

/// The label values of `multiprom_dropped_series_total`.
const REASONS: [&str; 8] =
    ["directory", "create", "space", "map", "key_too_long", "file_full", "descriptor", "other"];

static DROPPED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

/// Of those, the ones that got into a file later.
static RECOVERED: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

fn position(reason: &str) -> usize {
    REASONS.iter().position(|&known| known == reason).unwrap_or(REASONS.len() - 1)
}

/// Counts one series that lives on the heap instead.
pub(super) fn count(reason: &'static str, is_transient: bool, message: &dyn fmt::Display) {
    // ORDERING: relaxed, a statistic.
    if DROPPED[position(reason)].fetch_add(1, Ordering::Relaxed) > 0 {
        return;
    }
    if is_transient {
        log_line(&format_args!(
            "{message}; new series stay in memory, and are exported when this is over"
        ));
    } else {
        log_line(&format_args!("{message}; such series stay in memory and are not exported"));
    }
}

/// Counts one of them that got into a file.
pub(super) fn count_recovered(reason: &'static str) {
    RECOVERED[position(reason)].fetch_add(1, Ordering::Relaxed);
}

static IGNORED_RECORDINGS: AtomicU64 = AtomicU64::new(0);
/// Of those, the ones that are in files.
static TOLD_RECORDINGS: AtomicU64 = AtomicU64::new(0);

/// Counts a recording that needs the slow path, from what has interrupted the slow path in the same thread.
pub(crate) fn recording_ignored() {
    IGNORED_RECORDINGS.fetch_add(1, Ordering::Relaxed);
}

/// How many were ignored since this was asked last.
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
pub(crate) fn dropped_series() -> impl Iterator<Item = (&'static str, u64)> {
    REASONS.into_iter().zip(DROPPED.iter().map(|count| count.load(Ordering::Relaxed)))
}

/// How many of those got into a file later.
pub(crate) fn recovered_series() -> impl Iterator<Item = (&'static str, u64)> {
    REASONS.into_iter().zip(RECOVERED.iter().map(|count| count.load(Ordering::Relaxed)))
}
