//! Marks processes as dead: their live gauges leave the merge.

use std::fs;
use std::io;
use std::path::Path;

use super::directory::series_names;
use super::liveness::Liveness;
use crate::error::{Error, ErrorKind, Result};
use crate::file::lock::{self, LockState};
use crate::file::name::FileName;
use crate::file::reader;
use crate::model::GaugeMode;

/// Removes the live gauges of a process that has ended, as the Python client's function does.
///
/// Acts on the files of this pid and no other, and on no file of ours whose writer lives: a new process
/// with the same pid is not harmed. Calling it again, or from two places at once, is no error.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) where the directory cannot be listed, and
/// [`SeriesFile`](ErrorKind::SeriesFile) where a file cannot be removed; the other files are removed all
/// the same.
pub fn mark_process_dead(dir: impl AsRef<Path>, pid: u32) -> Result<()> {
    let pid = pid.to_string();
    remove_files(dir.as_ref(), |path, name| {
        let is_live_gauge = name.kind.mode().is_some_and(GaugeMode::is_live);
        is_live_gauge && name.process() == pid && !(name.is_own() && is_locked(path))
    })
}

/// Removes the live gauges of every process that is proven dead: for a supervisor that is told of no
/// pid.
///
/// # Errors
///
/// As [`mark_process_dead`].
pub fn mark_dead_processes(dir: impl AsRef<Path>) -> Result<()> {
    remove_files(dir.as_ref(), |path, name| {
        let is_live_gauge = name.kind.mode().is_some_and(GaugeMode::is_live);
        is_live_gauge && is_dead(path, name)
    })
}

/// Removes every series file whose writer is proven dead, and nothing else: for a launcher, before it
/// starts the processes.
///
/// # Errors
///
/// As [`mark_process_dead`].
pub fn clear_directory(dir: impl AsRef<Path>) -> Result<()> {
    remove_files(dir.as_ref(), is_dead)
}

fn is_locked(path: &Path) -> bool {
    reader::open(path)
        .is_ok_and(|file| !lock::probe(&file).is_ok_and(|state| state == LockState::Free))
}

fn is_dead(path: &Path, name: FileName<'_>) -> bool {
    reader::open(path).is_ok_and(|file| Liveness::of(&file, name.is_own()) == Liveness::Dead)
}

/// Removes the files for which `is_due` holds; tells the first failure after all were tried.
fn remove_files(dir: &Path, is_due: impl Fn(&Path, FileName<'_>) -> bool) -> Result<()> {
    let names = series_names(dir).map_err(|error| Error::at(ErrorKind::Directory, dir, error))?;
    let mut result = Ok(());
    for name in &names {
        let path = dir.join(name);
        let Some(name) = name.to_str().and_then(FileName::parse) else {
            continue;
        };
        if !is_due(&path, name) {
            continue;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && result.is_ok() => {
                result = Err(Error::at(ErrorKind::SeriesFile, path, error));
            }
            _ => {}
        }
    }
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
