//! Marks processes as dead: removes their live gauges.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

#[cfg(feature = "cli")]
use super::listing::{FileNames, file_names};
use super::listing::{ListedIn, retired_names, series_names};
use super::liveness::{Liveness, Proof};
use super::prober::{Freshness, Prober};
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::RETIRED_DIR;
use crate::file::lock::{self, LockState, WriteState};
#[cfg(feature = "cli")]
use crate::file::name::CompanionName;
use crate::file::name::{FileName, IdKind};
use crate::file::place;
use crate::file::reader;
use crate::model::GaugeMode;

/// Removes the live gauges of a process that has ended, as the Python client's function does.
///
/// Removes files of this pid only, and none whose writer lives: a new process with the same pid is not affected.
/// Calling it again, or from two places at once, is no error. This crate's collector does not need the call, because it
/// detects the end of a process itself; that of the Python client does.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) if the directory cannot be listed, and of kind
/// [`SeriesFile`](ErrorKind::SeriesFile) if a file cannot be removed. The other files are removed nevertheless.
pub fn mark_process_dead(dir: impl AsRef<Path>, pid: u32) -> Result<()> {
    mark_process_dead_by(dir.as_ref(), pid, &mut Prober::default())
}

/// The same with a given prober, which may take leases in ways of its own.
pub(crate) fn mark_process_dead_by(dir: &Path, pid: u32, prober: &mut Prober) -> Result<()> {
    let pid = pid.to_string();
    remove_live_gauges(dir, |path, process, proof| process == pid && !is_alive(path, proof, prober))
}

/// Removes the live gauges of every process that is proven dead: for a supervisor that does not learn the pids of
/// ended processes.
///
/// # Errors
///
/// As [`mark_process_dead`].
pub fn mark_dead_processes(dir: impl AsRef<Path>) -> Result<()> {
    let (dir, mut prober) = (dir.as_ref(), Prober::default());
    let handle = place::open(dir).map_err(|error| Error::at(ErrorKind::Directory, dir, error))?;
    prober.enter(dir, &handle);
    remove_live_gauges(dir, |path, _, proof| is_dead(path, proof, &mut prober))
}

/// Whether the kernel shows that the writer of a file lives: by its lock, or for files without locks by a lease. If the
/// kernel shows nothing, the caller's statement that the process is dead counts.
fn is_alive(path: &Path, proof: Proof, prober: &Prober) -> bool {
    reader::open(path).is_ok_and(|file| match proof {
        Proof::LockAndLease => !lock::probe(&file).is_ok_and(|state| state == LockState::Free),
        Proof::Lease => prober.writers(&file) == WriteState::Written,
    })
}

fn is_dead(path: &Path, proof: Proof, prober: &mut Prober) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    reader::open(path).is_ok_and(|file| {
        prober.probe(name, &file, proof, Freshness::Now).liveness() == Liveness::Dead
    })
}

/// Whether the writer of every series file and companion of a directory is proven dead.
#[cfg(feature = "cli")]
pub(crate) fn has_only_dead_writers(dir: &Path, prober: &mut Prober) -> io::Result<bool> {
    let retired = dir.join(RETIRED_DIR);
    prober.enter(dir, &place::open(dir)?);
    let mut are_dead = |dir: &Path, names: &[OsString], listed_in: ListedIn| {
        names.iter().all(|name| {
            let path = dir.join(name);
            let name = name.to_str().unwrap_or_default();
            let id = match FileName::parse(name) {
                Some(name) => id_kind(&path, name),
                None if CompanionName::of_file(name).is_some() => IdKind::Unique,
                None => IdKind::Chosen,
            };
            is_dead(&path, Proof::of(id, listed_in), prober)
        })
    };
    let FileNames { series, companions } = file_names(dir)?;
    Ok(are_dead(dir, &series, ListedIn::Main)
        && are_dead(dir, &companions, ListedIn::Main)
        && are_dead(&retired, &retired_names(&retired)?, ListedIn::Retired))
}

/// Counts the files of dead processes of the Python client, up to a limit.
#[cfg(feature = "cli")]
pub(crate) fn count_dead_python_files(dir: &Path, limit: usize, prober: &mut Prober) -> usize {
    let Ok(handle) = place::open(dir) else {
        return 0;
    };
    prober.enter(dir, &handle);
    // A directory that cannot be listed is reported by each scrape.
    let names = series_names(dir).unwrap_or_default();
    let paths = names.iter().filter_map(|name| {
        let (path, name) = (dir.join(name), name.to_str().and_then(FileName::parse)?);
        (id_kind(&path, name) == IdKind::Chosen).then_some(path)
    });
    paths.filter(|path| is_dead(path, Proof::Lease, prober)).take(limit).count()
}

/// Whether this crate has drawn the id of a file. If the file cannot be read, the form of the id decides.
fn id_kind(path: &Path, name: FileName<'_>) -> IdKind {
    match reader::open(path) {
        Ok(file) => reader::id_kind(name, &file),
        Err(_) if name.has_unique_form() => IdKind::Unique,
        Err(_) => IdKind::Chosen,
    }
}

/// Removes the files of live gauges for which `is_due` returns `true`; it gets the path, the process and the proof of
/// death that the file needs. Returns the first failure after all files were tried.
fn remove_live_gauges(
    dir: &Path,
    mut is_due: impl FnMut(&Path, &str, Proof) -> bool,
) -> Result<()> {
    let names = series_names(dir).map_err(|error| Error::at(ErrorKind::Directory, dir, error))?;
    let mut result = Ok(());
    let mut remove = |dir: &Path, names: &[OsString], listed_in: ListedIn| {
        for name in names {
            let path = dir.join(name);
            let Some(name) = name.to_str().and_then(FileName::parse) else {
                continue;
            };
            let is_live_gauge = name.kind.mode().is_some_and(GaugeMode::is_live);
            if !is_live_gauge {
                continue;
            }
            let id = match listed_in {
                ListedIn::Main => id_kind(&path, name),
                ListedIn::Retired => IdKind::Unique,
            };
            if !is_due(&path, name.process(id), Proof::of(id, listed_in)) {
                continue;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && result.is_ok() => {
                    result = Err(Error::at(ErrorKind::SeriesFile, path, error));
                }
                _ => {}
            }
        }
    };
    remove(dir, &names, ListedIn::Main);
    // A process may have resumed its file just when it was retired.
    let retired = dir.join(RETIRED_DIR);
    remove(&retired, &retired_names(&retired).unwrap_or_default(), ListedIn::Retired);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::layout::{HEADER_LEN, Header};
    use crate::file::name::FileKind;
    use crate::file::writer::{FileAccess, SeriesWriter, draw_id};
    use crate::test_dir::TestDir;

    #[test]
    fn only_live_gauges_of_that_pid_are_removed_and_none_whose_writer_lives() {
        let dir = TestDir::new();
        let python = ["gauge_livesum_7.db", "gauge_liveall_7.db", "gauge_all_7.db", "counter_7.db"];
        let others = ["gauge_livesum_77.db", "gauge_livesum_7-deadbeef.db"];
        for name in python.iter().chain(&others) {
            fs::write(dir.join(name), [8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        }
        let own = Header::new(HEADER_LEN as u32).encode();
        fs::write(dir.join("gauge_livesum_7-00000001.db"), own).unwrap();
        let kind = FileKind::Gauge(GaugeMode::LiveMax);
        let mut id = draw_id("7").unwrap();
        let _writer = SeriesWriter::create(&dir, kind, &mut id, FileAccess::Owner).unwrap();
        for _ in 0..2 {
            mark_process_dead(&dir, 7).unwrap();
            let names = series_names(&dir).unwrap();
            let kept = [
                "counter_7.db",
                "gauge_all_7.db",
                "gauge_livemax_7-",
                // The file of a Python process that has chosen the id `7-deadbeef`.
                "gauge_livesum_7-deadbeef.db",
                "gauge_livesum_77.db",
            ];
            assert_eq!(names.len(), kept.len(), "{names:?}");
            assert!(
                names.iter().zip(kept).all(|(name, kept)| name.to_str().unwrap().starts_with(kept)),
                "{names:?}"
            );
        }
    }
}
