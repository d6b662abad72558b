//! The metrics that a collector exports about itself and its directories.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::directory::{self, DirectoryLabels};
use super::merge::conflict::ConflictReason;
use super::read::stats::{ArchiveStats, DirectoryStats};
use super::skipped::SkipReason;
use crate::file::place;
use crate::model::own_metrics::{
    ARCHIVE_AGE, ARCHIVE_BYTES, ARCHIVE_GENERATION, ARCHIVE_SERIES, BUCKET_CONFLICTS,
    DIRECTORY_FREE_BYTES, DIRECTORY_ON_DISK, DurationSum, FILE_ERRORS, FILES, FILES_BYTES,
    FILES_ENTRIES, MERGE_CONFLICTS, OwnCounters, OwnMetric, SCRAPE_DURATION,
};
use crate::model::{FamilySink, clock};

/// What a collector counts over its life, at each scrape.
#[derive(Debug)]
pub(super) struct ScrapeCounters {
    skipped: OwnCounters<{ FILE_ERRORS.values().len() }>,
    /// Histogram families whose processes had different bounds.
    bucket_conflicts: AtomicU64,
    conflicts: OwnCounters<{ MERGE_CONFLICTS.values().len() }>,
    /// The times to read and to write.
    times: [DurationSum; SCRAPE_DURATION.values().len()],
}

impl ScrapeCounters {
    pub(super) fn new() -> ScrapeCounters {
        ScrapeCounters {
            skipped: OwnCounters::new(),
            bucket_conflicts: AtomicU64::new(0),
            conflicts: OwnCounters::new(),
            times: [const { DurationSum::new() }; SCRAPE_DURATION.values().len()],
        }
    }

    pub(super) fn count_skipped(&self, reason: SkipReason) {
        self.skipped.add(reason as usize, 1);
    }

    pub(super) fn count_bucket_conflicts(&self, families: u64) {
        self.bucket_conflicts.fetch_add(families, Ordering::Relaxed);
    }

    pub(super) fn count_conflict(&self, reason: ConflictReason) {
        self.conflicts.add(reason as usize, 1);
    }

    /// Counts one scrape.
    pub(super) fn count_times(&self, read: Duration, write: Duration) {
        for (sum, duration) in self.times.iter().zip([read, write]) {
            sum.add(duration);
        }
    }

    pub(super) fn write(&self, out: &mut dyn FamilySink) {
        SCRAPE_DURATION.write_summaries(out, &self.times);
        FILE_ERRORS.write_first_and_nonzero(out, 1, self.skipped.counts());
        BUCKET_CONFLICTS.write(out, self.bucket_conflicts.load(Ordering::Relaxed) as f64);
        MERGE_CONFLICTS.write_all(out, self.conflicts.counts());
    }
}

/// The distinct values of the label `directory`, in the order of the directories: their paths, unless they have another
/// label.
pub(super) fn directory_labels(dirs: &[PathBuf], labels: &DirectoryLabels) -> Vec<String> {
    let label = |(dir, name)| labels.get(dir).cloned().unwrap_or(name);
    dirs.iter().zip(directory::names(dirs)).map(label).collect()
}

/// Writes the metrics of directories, with their labels and stats in the same order.
pub(super) fn write_directories(
    dirs: &[PathBuf],
    names: &[String],
    stats: &[DirectoryStats],
    out: &mut dyn FamilySink,
) {
    if dirs.is_empty() {
        return;
    }
    let sum = |files: fn(&DirectoryStats) -> u64| stats.iter().map(files).sum::<u64>();
    let states =
        [sum(|it| it.alive), sum(|it| it.dead), sum(|it| it.unknown), sum(|it| it.retired)];
    FILES.write_all(out, states.into_iter());
    let mut write_files = |metric: &OwnMetric, value: fn(&DirectoryStats) -> u64| {
        let mut family = metric.begin(out);
        for (name, stats) in names.iter().zip(stats) {
            family.sample(&[("directory", name)], value(stats) as f64);
        }
    };
    write_files(&FILES_BYTES, |stats| stats.bytes);
    write_files(&FILES_ENTRIES, |stats| stats.entries);
    let archives: Vec<(&str, ArchiveStats)> = names
        .iter()
        .zip(stats)
        .filter_map(|(name, stats)| Some((name.as_str(), stats.archive?)))
        .collect();
    let now = clock::now();
    let mut write_archives = |metric: &OwnMetric, value: &dyn Fn(&ArchiveStats) -> f64| {
        let mut family = metric.begin(out);
        for (name, archive) in &archives {
            family.sample(&[("directory", name)], value(archive));
        }
    };
    if !archives.is_empty() {
        write_archives(&ARCHIVE_GENERATION, &|archive| archive.generation as f64);
        write_archives(&ARCHIVE_BYTES, &|archive| archive.bytes as f64);
        write_archives(&ARCHIVE_SERIES, &|archive| archive.series as f64);
        write_archives(&ARCHIVE_AGE, &|archive| (now - archive.written).max(0.0));
    }
    let disks = dirs.iter().map(|dir| DiskInfo::read(dir));
    let disks: Vec<(&str, DiskInfo)> =
        names.iter().zip(disks).filter_map(|(name, disk)| Some((name.as_str(), disk?))).collect();
    let mut family = DIRECTORY_FREE_BYTES.begin(out);
    for (name, disk) in &disks {
        family.sample(&[("directory", name)], disk.free_bytes as f64);
    }
    let mut family = DIRECTORY_ON_DISK.begin(out);
    for (name, disk) in &disks {
        let labels = [("directory", *name), ("file_system", disk.file_system)];
        family.sample(&labels, f64::from(u8::from(disk.file_system != "tmpfs")));
    }
}

/// The file system of a directory.
struct DiskInfo {
    file_system: &'static str,
    free_bytes: u64,
}

impl DiskInfo {
    fn read(dir: &Path) -> Option<DiskInfo> {
        let free_bytes = fs2::available_space(dir).ok()?;
        Some(DiskInfo { file_system: place::file_system_name(dir)?, free_bytes })
    }
}
