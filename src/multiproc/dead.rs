//! Marks processes as dead: their live gauges leave the merge.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use super::directory::{retired_names, series_names};
use super::liveness::Liveness;
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::RETIRED_DIR;
use crate::file::lock::{self, LockState, WriteState};
use crate::file::name::FileName;
use crate::file::reader;
use crate::model::GaugeMode;

/// Removes the live gauges of a process that has ended, as the Python client's function does.
///
/// Acts on the files of this pid and no other, and on no file whose writer lives: a new process with the
/// same pid is not harmed. Calling it again, or from two places at once, is no error. Nobody has to call it
/// for this crate's collector, which sees the end of a process by itself; the Python client's does not.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) where the directory cannot be listed, and
/// [`SeriesFile`](ErrorKind::SeriesFile) where a file cannot be removed; the other files are removed all
/// the same.
pub fn mark_process_dead(dir: impl AsRef<Path>, pid: u32) -> Result<()> {
    let pid = pid.to_string();
    remove_live_gauges(dir.as_ref(), |path, name, has_lock| {
        name.process() == pid && !is_alive(path, has_lock)
    })
}

/// Removes the live gauges of every process that is proven dead: for a supervisor that is told of no
/// pid.
///
/// # Errors
///
/// As [`mark_process_dead`].
pub fn mark_dead_processes(dir: impl AsRef<Path>) -> Result<()> {
    remove_live_gauges(dir.as_ref(), |path, _, has_lock| is_dead(path, has_lock))
}

/// Whether the writer of a file is known to live: by its lock, or by its lease where there is no lock. Of a
/// file that cannot be asked for the supervisor's word holds.
fn is_alive(path: &Path, has_lock: bool) -> bool {
    reader::open(path).is_ok_and(|file| {
        if has_lock {
            !lock::probe(&file).is_ok_and(|state| state == LockState::Free)
        } else {
            lock::writers(&file) == WriteState::Written
        }
    })
}

fn is_dead(path: &Path, has_lock: bool) -> bool {
    reader::open(path).is_ok_and(|file| Liveness::of(&file, has_lock) == Liveness::Dead)
}

/// Whether the writer of every series file of a directory is proven dead.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn has_only_dead_writers(dir: &Path) -> io::Result<bool> {
    let retired = dir.join(RETIRED_DIR);
    let are_dead = |dir: &Path, names: &[OsString], is_retired: bool| {
        names.iter().all(|name| {
            let parsed = name.to_str().and_then(FileName::parse);
            let has_lock = !is_retired && parsed.is_some_and(|name| name.is_own());
            is_dead(&dir.join(name), has_lock)
        })
    };
    let names = series_names(dir)?;
    Ok(are_dead(dir, &names, false) && are_dead(&retired, &retired_names(&retired)?, true))
}

/// Counts files of processes of the Python client that are proven dead, up to a limit.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
pub(crate) fn count_dead_python_files(dir: &Path, limit: usize) -> usize {
    let is_foreign = |name: &OsString| {
        let name = name.to_str().and_then(FileName::parse);
        name.is_some_and(|name| !name.is_own())
    };
    // A directory that cannot be listed is reported by each scrape.
    let names = series_names(dir).unwrap_or_default();
    let foreign = names.iter().filter(|name| is_foreign(name));
    foreign.filter(|name| is_dead(&dir.join(name), false)).take(limit).count()
}

/// Removes the files of live gauges for which `is_due` holds of their path, their name and whether they have
/// a lock; tells the first failure after all were tried.
fn remove_live_gauges(
    dir: &Path,
    is_due: impl Fn(&Path, FileName<'_>, bool) -> bool,
) -> Result<()> {
    let names = series_names(dir).map_err(|error| Error::at(ErrorKind::Directory, dir, error))?;
    let mut result = Ok(());
    let mut remove = |dir: &Path, names: &[OsString], is_retired: bool| {
        for name in names {
            let path = dir.join(name);
            let Some(name) = name.to_str().and_then(FileName::parse) else {
                continue;
            };
            let is_live_gauge = name.kind.mode().is_some_and(GaugeMode::is_live);
            if !is_live_gauge || !is_due(&path, name, name.is_own() && !is_retired) {
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
    remove(dir, &names, false);
    // A process may have taken up its file while it was retired.
    let retired = dir.join(RETIRED_DIR);
    remove(&retired, &retired_names(&retired).unwrap_or_default(), true);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::name::FileKind;
    use crate::file::writer::{Access, SeriesWriter, draw_id};

    #[test]
    fn only_live_gauges_of_that_pid_go_and_none_whose_writer_lives() {
        let dir = std::env::temp_dir().join(format!("multiprom-dead-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let python = ["gauge_livesum_7.db", "gauge_liveall_7.db", "gauge_all_7.db", "counter_7.db"];
        let others = ["gauge_livesum_77.db", "gauge_livesum_7-00000001.db"];
        for name in python.iter().chain(&others) {
            fs::write(dir.join(name), [8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        }
        let kind = FileKind::Gauge(GaugeMode::LiveMax);
        let mut id = draw_id("7").unwrap();
        let _writer = SeriesWriter::create(&dir, kind, &mut id, Access::Owner).unwrap();
        for _ in 0..2 {
            mark_process_dead(&dir, 7).unwrap();
            let names = series_names(&dir).unwrap();
            let kept =
                ["counter_7.db", "gauge_all_7.db", "gauge_livemax_7-", "gauge_livesum_77.db"];
            assert_eq!(names.len(), kept.len(), "{names:?}");
            assert!(
                names.iter().zip(kept).all(|(name, kept)| name.to_str().unwrap().starts_with(kept)),
                "{names:?}"
            );
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
