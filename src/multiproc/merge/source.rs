//! Where the values of a merge are from.

use std::path::{Path, PathBuf};

use crate::file::name::{FileName, IdKind};
use crate::file::read_map::ReadMap;
use crate::file::sys::Identity;
use crate::model::GaugeMode;
use crate::multiproc::listing::ListedIn;

/// The file, or the section of an archive, whose entries are added.
#[derive(Clone, Copy)]
pub(crate) struct FileOrigin<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) file: &'a str,
    pub(crate) name: FileName<'a>,
    /// Set for a file in a directory that is read as a whole.
    pub(crate) identity: Option<Identity>,
    pub(crate) state: SourceState,
    pub(crate) stored_in: StoredIn,
}

/// What holds entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredIn {
    File(ListedIn),
    Archive,
}

impl FileOrigin<'_> {
    /// The path for reports.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(self.file)
    }

    /// Whether the writer lives, or its liveness is unknown.
    pub(super) fn is_live(&self) -> bool {
        self.state == SourceState::Live
    }

    pub(super) fn is_gauge(&self) -> bool {
        self.name.kind.mode().is_some()
    }
}

/// A file, or a section of an archive, that contributes to gauges in one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The index of the directory.
    pub(crate) dir: u32,
    pub(crate) id: Box<str>,
    /// Length of the process name at the start of the id. The name is the whole id if the writer chose the id.
    pub(crate) process_len: usize,
    /// Of the file.
    pub(crate) mode: GaugeMode,
    /// Whether a compactor has retired the file. Each retired file of a process has an id of its own.
    pub(crate) is_retired: bool,
    /// Whether it is a section of an archive with the gauges of one process.
    pub(crate) is_archived: bool,
    /// Set for a file in a directory that is read as a whole.
    pub(crate) identity: Option<Identity>,
    pub(crate) state: SourceState,
}

impl Source {
    /// The name of the process.
    pub(crate) fn process(&self) -> &str {
        &self.id[..self.process_len]
    }

    /// Whether the id is unique, or chosen by the writer so that others may have it too.
    pub(super) fn id_kind(&self) -> IdKind {
        if self.process_len < self.id.len() { IdKind::Unique } else { IdKind::Chosen }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceState {
    /// The writer lives, or its liveness is unknown.
    Live,
    Dead,
    /// A section of an archive in which the values of many dead processes are merged by this mode. It counts in
    /// no other mode.
    Merged(GaugeMode),
}

/// The 8-byte words of a file, from which a plan reads values.
pub(crate) trait WordSource {
    /// A word, counted from the start of the file; 0 beyond the end.
    fn word(&self, at: u32) -> u64;

    /// Prefetches a word that will be read soon.
    #[inline]
    fn prefetch(&self, at: u32) {
        let _ = at;
    }
}

impl WordSource for &[u64] {
    #[inline]
    fn word(&self, at: u32) -> u64 {
        self.get(at as usize).copied().unwrap_or_default()
    }
}

impl WordSource for ReadMap {
    #[inline]
    fn word(&self, at: u32) -> u64 {
        ReadMap::word(self, at)
    }

    #[inline]
    fn prefetch(&self, at: u32) {
        ReadMap::prefetch(self, at);
    }
}
