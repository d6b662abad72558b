//! Finds the processes of writers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::shown_files::shown_files;
use crate::file::sys::Identity;
use crate::process::procfs::{Stat, all_pids};

/// A process until the next boot: its pid may be reused, by a process that starts later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// In clock ticks since the boot.
    pub(super) start: u64,
}

/// A writer whose process is sought.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    /// The process part of its id: its pid, unless the writer has chosen another name.
    pub(super) name: &'a str,
    /// Whether another process cannot have chosen the same id.
    pub(super) is_unique: bool,
    pub(super) files: Vec<Identity>,
}

/// Why a process was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// A process that may be the writer cannot be examined: its directory and the error.
    Unreadable(PathBuf, String),
    /// No process of this mount of procfs shows a file of the writer.
    NotFound,
    /// Its process was found before and has ended. The verdict on its files may be some seconds old.
    Ended,
}

/// Looks for a writer among the processes whose pid is the name of the writer.
pub(super) fn find_by_name(procfs: &Path, writer: &Writer<'_>) -> Result<Process, Absent> {
    let pid = writer.name.parse::<u32>().map_err(|_| Absent::NotFound)?;
    let shown = examine(procfs, pid, &writer.files)?;
    shown.map(|(process, _)| process).ok_or(Absent::NotFound)
}

/// Looks for writers among all processes. A process of another pid namespace is recognized by its pid there. The writers
/// that are left may have chosen any name; if several processes show a file, the first of them is the writer, because a
/// child inherits descriptors.
pub(super) fn find_among_all(
    procfs: &Path,
    writers: &[&Writer<'_>],
) -> Vec<Result<Process, Absent>> {
    let mut found: Vec<Result<Process, Absent>> =
        writers.iter().map(|writer| find_by_name(procfs, writer)).collect();
    let names: Vec<Option<u32>> = writers.iter().map(|writer| writer.name.parse().ok()).collect();
    let pids = all_pids(procfs);
    let has_pids = names.iter().any(Option::is_some);
    for pid in pids.iter().filter(|_| has_pids) {
        let Some(inner) = innermost_pid(&procfs.join(pid.to_string())) else { continue };
        for (at, writer) in writers.iter().enumerate() {
            if found[at].is_ok() || inner == *pid || names[at] != Some(inner) {
                continue;
            }
            match examine(procfs, *pid, &writer.files) {
                Ok(Some((process, _))) => found[at] = Ok(process),
                Ok(None) => {}
                Err(absent) => found[at] = Err(absent),
            }
        }
    }
    let left: Vec<usize> = (0..writers.len()).filter(|at| found[*at].is_err()).collect();
    if left.is_empty() {
        return found;
    }
    let mut files = Vec::new();
    for at in &left {
        files.extend(writers[*at].files.iter().map(|file| (*file, *at)));
    }
    let (files, owners): (Vec<Identity>, Vec<usize>) = files.into_iter().unzip();
    for pid in pids {
        if found.iter().any(|process| process.as_ref().is_ok_and(|it| it.pid == pid)) {
            continue;
        }
        match examine(procfs, pid, &files) {
            Ok(Some((process, shown))) => {
                for at in shown.into_iter().map(|file| owners[file]) {
                    let is_first =
                        found[at].as_ref().map_or(true, |other| process.start < other.start);
                    if is_first {
                        found[at] = Ok(process);
                    }
                }
            }
            Ok(None) => {}
            Err(absent) => {
                for at in &left {
                    if found[*at] == Err(Absent::NotFound) {
                        found[*at] = Err(absent.clone());
                    }
                }
            }
        }
    }
    found
}

/// The files among `wanted` that the process with a pid shows, as indices, with the process. `None` if it shows none, or
/// has ended.
fn examine(
    procfs: &Path,
    pid: u32,
    wanted: &[Identity],
) -> Result<Option<(Process, Vec<usize>)>, Absent> {
    let process = procfs.join(pid.to_string());
    let Some(before) = Stat::read(&process).filter(|stat| !stat.is_zombie) else {
        return Ok(None);
    };
    let shown = match shown_files(&process, wanted) {
        Ok(shown) => shown,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Absent::Unreadable(process, error.to_string()));
        }
        // The process has ended.
        Err(_) => return Ok(None),
    };
    // Another process may have got the pid meanwhile.
    let is_same = Stat::read(&process).is_some_and(|now| now.start == before.start);
    Ok((is_same && !shown.is_empty()).then_some((Process { pid, start: before.start }, shown)))
}

/// The pid of a process in its own pid namespace. See: proc_pid_status(5), `NSpid`.
fn innermost_pid(process: &Path) -> Option<u32> {
    let status = fs::read(process.join("status")).ok()?;
    let mut lines = status.split(|byte| *byte == b'\n');
    let pids = lines.find_map(|line| line.strip_prefix(b"NSpid:"))?;
    str::from_utf8(pids).ok()?.split_ascii_whitespace().next_back()?.parse().ok()
}
