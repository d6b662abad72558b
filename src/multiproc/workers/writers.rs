//! The writers of the files of a directory and their processes, for tools.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::table::WorkerTable;
use crate::file::name::{IdKind, process_of};
use crate::file::sys::Identity;
use crate::model::GaugeMode;
use crate::multiproc::inspect::{FileInfo, FileLayout};
use crate::multiproc::liveness::Liveness;
use crate::multiproc::merge::source::{Source, SourceState};
use crate::process::procfs::{boot_time, command};

/// A writer of files.
#[derive(Clone, Debug)]
pub(crate) struct WriterInfo {
    /// The id of the writer, which all its files share.
    pub(crate) id: String,
    /// The name of its process: its pid, or what it has chosen.
    pub(crate) name: String,
    pub(crate) liveness: Liveness,
    pub(crate) is_retired: bool,
    pub(crate) files: usize,
    pub(crate) entries: usize,
    /// Bytes in use.
    pub(crate) used: u64,
    /// The process, if it lives and was found.
    pub(crate) process: Option<ProcessInfo>,
}

/// A process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessInfo {
    /// The program.
    pub(crate) command: Option<String>,
    /// When it was started, in seconds since the Unix epoch.
    pub(crate) started: Option<f64>,
    pub(crate) resident_bytes: f64,
}

/// Lists the writers of directories.
#[derive(Default)]
pub(crate) struct WriterList {
    processes: WorkerTable,
}

impl WriterList {
    /// Groups the files of a directory by their writers, and finds the processes of those that live.
    pub(crate) fn read(&mut self, procfs: &Path, files: &[FileInfo]) -> Vec<WriterInfo> {
        let mut writers: Vec<WriterInfo> = Vec::new();
        let mut by_id: HashMap<(&str, bool), usize> = HashMap::new();
        let mut sources = Vec::new();
        let mut writer_of_source = Vec::new();
        for file in files.iter().filter(|file| !file.id.is_empty()) {
            let at = *by_id.entry((&file.id, file.is_retired)).or_insert(writers.len());
            if at == writers.len() {
                writers.push(WriterInfo {
                    id: file.id.clone(),
                    name: process_name(file).to_owned(),
                    liveness: file.liveness,
                    is_retired: file.is_retired,
                    files: 0,
                    entries: 0,
                    used: 0,
                    process: None,
                });
            }
            let writer = &mut writers[at];
            writer.files += 1;
            writer.entries += file.entries;
            writer.used += file.used;
            // A process lives if one of its files says so, and has ended if all of them do.
            if file.liveness == Liveness::Alive || writer.liveness == Liveness::Dead {
                writer.liveness = file.liveness;
            }
            if file.liveness != Liveness::Dead && !file.is_retired {
                sources.extend(source(file));
                writer_of_source.resize(sources.len(), at);
            }
        }
        let boot = boot_time(procfs);
        for (source, values) in self.processes.read(procfs, &sources).found {
            let stat = &values.stat;
            writers[writer_of_source[source]].process = Some(ProcessInfo {
                command: command(&procfs.join(values.pid.to_string())),
                started: boot.map(|boot| boot + stat.start_seconds()),
                resident_bytes: stat.resident_bytes(),
            });
        }
        writers
    }
}

/// The name of the process that has written a file.
fn process_name(file: &FileInfo) -> &str {
    let kind = match file.layout {
        Some(FileLayout::Own | FileLayout::Companion) => IdKind::Unique,
        _ => IdKind::Chosen,
    };
    process_of(&file.id, kind)
}

/// The file as a source of values; `None` if it cannot be examined.
fn source(file: &FileInfo) -> Option<Source> {
    let metadata = fs::metadata(&file.path).ok()?;
    Some(Source {
        dir: 0,
        id: file.id.as_str().into(),
        process_len: process_name(file).len(),
        mode: file.mode.unwrap_or(GaugeMode::All),
        is_retired: false,
        is_archived: false,
        identity: Some(Identity { device: metadata.dev(), inode: metadata.ino() }),
        state: SourceState::Live,
    })
}

#[cfg(test)]
mod tests {
    use super::Liveness::{Alive, Dead, Unknown};
    use super::*;

    #[test]
    fn a_writer_has_ended_if_all_its_files_say_so() {
        let file = |liveness| FileInfo {
            path: "/none/counter_7.db".into(),
            is_companion: false,
            metric_type: None,
            mode: None,
            id: "7".to_owned(),
            is_retired: false,
            liveness,
            layout: None,
            entries: 1,
            used: 8,
            len: 8,
            error: None,
        };
        for (files, expected) in [
            (&[Dead, Dead][..], Dead),
            (&[Dead, Unknown], Unknown),
            (&[Unknown, Dead], Unknown),
            (&[Dead, Unknown, Alive, Dead], Alive),
        ] {
            let files: Vec<FileInfo> = files.iter().map(|it| file(*it)).collect();
            let writers = WriterList::default().read(Path::new("/proc"), &files);
            assert_eq!((writers.len(), writers[0].liveness), (1, expected), "{files:?}");
            assert_eq!((writers[0].files, writers[0].entries), (files.len(), files.len()));
        }
    }
}
