//! What a directory tells of itself, as metrics.

use std::path::{Path, PathBuf};

use super::collector::DirectoryLabels;
use super::inspect;
use super::read::dir_scan::{ArchiveFigures, Census};
use crate::file::place;
use crate::model::{FamilySink, clock};

/// Gives the figures of directories, which were read in this order.
pub(super) fn emit(
    dirs: &[PathBuf],
    labels: &DirectoryLabels,
    censuses: &[Census],
    out: &mut dyn FamilySink,
) {
    if dirs.is_empty() {
        return;
    }
    let sum = |of: fn(&Census) -> u64| censuses.iter().map(of).sum::<u64>() as f64;
    let mut files = out.gauge("multiprom_files", "Series files, by whether their writer lives.");
    files.sample(&[("state", "alive")], sum(|census| census.alive));
    files.sample(&[("state", "dead")], sum(|census| census.dead));
    files.sample(&[("state", "unknown")], sum(|census| census.unknown));
    let label = |(dir, name)| labels.get(dir).cloned().unwrap_or(name);
    let names: Vec<String> = dirs.iter().zip(inspect::names(dirs)).map(label).collect();
    let now = clock::now();
    let of_archives = |figure: fn(&ArchiveFigures) -> f64| -> Vec<(&str, f64)> {
        let archives = names.iter().zip(censuses);
        archives
            .filter_map(|(dir, it)| Some((dir.as_str(), figure(it.archive.as_ref()?))))
            .collect()
    };
    let written = of_archives(|archive| archive.written);
    for (name, help, figures) in [
        (
            "multiprom_archive_generation",
            "How often the archive was written.",
            of_archives(|archive| archive.generation as f64),
        ),
        (
            "multiprom_archive_bytes",
            "Size of the archive.",
            of_archives(|archive| archive.bytes as f64),
        ),
        (
            "multiprom_archive_series",
            "Entries of the archive.",
            of_archives(|archive| archive.series as f64),
        ),
        (
            "multiprom_archive_age_seconds",
            "Time since the archive was written.",
            written.iter().map(|(dir, written)| (*dir, (now - written).max(0.0))).collect(),
        ),
    ] {
        if figures.is_empty() {
            continue;
        }
        let mut family = out.gauge(name, help);
        for (dir, figure) in figures {
            family.sample(&[("directory", dir)], figure);
        }
    }
    let places: Vec<Option<Place>> = dirs.iter().map(|dir| Place::of(dir)).collect();
    let help = "Space that is left on the file system of the directory.";
    let mut family = out.gauge("multiprom_directory_free_bytes", help);
    for (dir, place) in names.iter().zip(&places) {
        if let Some(place) = place {
            family.sample(&[("directory", dir)], place.free_bytes as f64);
        }
    }
    let help = "Whether the directory is on a disk, where a snapshot with a full disk, a failing device or a \
                frozen file system can end or stop its writers.";
    let mut family = out.gauge("multiprom_directory_on_disk", help);
    for (dir, place) in names.iter().zip(&places) {
        if let Some(place) = place {
            let labels = [("directory", dir.as_str()), ("file_system", place.file_system)];
            family.sample(&labels, f64::from(u8::from(place.file_system != "tmpfs")));
        }
    }
}

struct Place {
    file_system: &'static str,
    free_bytes: u64,
}

impl Place {
    fn of(dir: &Path) -> Option<Place> {
        let free_bytes = fs2::available_space(dir).ok()?;
        Some(Place { file_system: place::file_system_name(dir)?, free_bytes })
    }
}
