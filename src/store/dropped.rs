//! Counts the series, recordings and files that are missing in a directory. Series are logged once per reason.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::logging::log_line;
use crate::model::own_metrics::{
    DROPPED_SERIES, FAILED_REFRESHES, IGNORED_VALUES, OwnCounters, RECOVERED_SERIES,
};

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

/// Why a value is not recorded: the values of the label of [`IGNORED_VALUES`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum IgnoredValue {
    /// A negative increment.
    Negative,
    /// An increment that is NaN or infinite.
    NotFinite,
    /// An observation of NaN.
    Nan,
    /// A label of an info that is malformed, reserved or given twice.
    Label,
}

impl fmt::Display for IgnoredValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IgnoredValue::Negative => "the increment is negative, and a counter never decreases",
            IgnoredValue::NotFinite => "the increment is not finite",
            IgnoredValue::Nan => "the observation is not a number",
            IgnoredValue::Label => "the label is malformed, reserved or given twice",
        })
    }
}

type IgnoredValues = OwnCounters<{ IGNORED_VALUES.values().len() }>;

static IGNORED: IgnoredValues = IgnoredValues::new();
/// The ignored values that are counted in a file.
static WRITTEN_IGNORED: IgnoredValues = IgnoredValues::new();

/// Counts a value that is not recorded. Returns whether it is the first one of this process for its reason; a forked child
/// continues the count of its parent.
pub(super) fn count_ignored_value(reason: IgnoredValue) -> bool {
    IGNORED.add(reason as usize, 1) == 0
}

/// Returns the reasons for which values were ignored since the last call, with their counts. Called under the lock of the
/// slow path.
pub(super) fn take_ignored_values() -> impl Iterator<Item = (&'static str, u64)> {
    take(&IGNORED, &WRITTEN_IGNORED, IGNORED_VALUES.values())
}

/// Adds the counts that are not in a file to those that are, and returns them with their label values.
fn take<const N: usize>(
    all: &'static OwnCounters<N>,
    written: &'static OwnCounters<N>,
    values: &'static [&'static str],
) -> impl Iterator<Item = (&'static str, u64)> {
    let counts = all.counts().zip(written.counts()).enumerate();
    counts.zip(values).filter_map(|((at, (all, in_file)), value)| {
        let count = all - in_file;
        written.add(at, count);
        (count > 0).then_some((*value, count))
    })
}

/// Returns, by reason, how many values of this process were ignored.
pub(crate) fn ignored_values() -> impl Iterator<Item = u64> {
    IGNORED.counts()
}

/// Why values that a process computes were not recorded: the values of the label of [`FAILED_REFRESHES`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum FailedRefresh {
    /// The function or collector has panicked.
    Panic,
    /// The collector has reported an error.
    Error,
    /// The collector has returned a family or a sample that cannot be written to a file.
    Sample,
}

type FailedRefreshes = OwnCounters<{ FAILED_REFRESHES.values().len() }>;

static FAILED: FailedRefreshes = FailedRefreshes::new();
/// The failures that are counted in a file.
static WRITTEN_FAILED: FailedRefreshes = FailedRefreshes::new();

/// Counts values that were computed and not recorded.
pub(super) fn count_failed_refresh(reason: FailedRefresh) {
    FAILED.add(reason as usize, 1);
}

/// Returns the reasons for which refreshes failed since the last call, with their counts. Called under the lock of the slow
/// path.
pub(super) fn take_failed_refreshes() -> impl Iterator<Item = (&'static str, u64)> {
    take(&FAILED, &WRITTEN_FAILED, FAILED_REFRESHES.values())
}

/// Returns, by reason, how many refreshes of this process failed.
pub(crate) fn failed_refreshes() -> impl Iterator<Item = u64> {
    FAILED.counts()
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
