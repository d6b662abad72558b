//! Where the values of a merge are from.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Identifies a cached file. Two scrapes that have the same token have the same source, but for its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceToken(Option<NonZeroU64>);

/// The sources of a scrape, in the order in which they were added. Those of the scrape before stay, and are compared with the new
/// ones: mostly all are the same.
#[derive(Default)]
pub(super) struct Sources {
    all: Vec<Source>,
    /// In the same order.
    tokens: Vec<(SourceToken, SourceState)>,
    /// How many this scrape has added.
    added: usize,
    version: u64,
    last_token: u64,
}

impl Sources {
    pub(super) fn new_token(&mut self) -> SourceToken {
        self.last_token += 1;
        SourceToken(NonZeroU64::new(self.last_token))
    }

    /// Begins a scrape.
    pub(super) fn restart(&mut self) {
        self.added = 0;
    }

    /// Removes all sources. Versions and tokens stay distinct from former ones.
    pub(super) fn clear(self) -> Sources {
        Sources { version: next_version(), last_token: self.last_token, ..Sources::default() }
    }

    /// Adds a source; returns its index.
    pub(super) fn add(
        &mut self,
        token: SourceToken,
        state: SourceState,
        source: impl FnOnce() -> Source,
    ) -> u32 {
        let at = self.added;
        self.added += 1;
        if token != SourceToken::default() && self.tokens.get(at) == Some(&(token, state)) {
            return at as u32;
        }
        let new = source();
        match self.all.get_mut(at) {
            Some(before) => {
                if *before != new {
                    *before = new;
                    self.version = next_version();
                }
                self.tokens[at] = (token, state);
            }
            None => {
                self.all.push(new);
                self.tokens.push((token, state));
                self.version = next_version();
            }
        }
        at as u32
    }

    /// Ends the adding.
    pub(super) fn finish(&mut self) {
        if self.added < self.all.len() {
            self.all.truncate(self.added);
            self.tokens.truncate(self.added);
            self.version = next_version();
        }
    }

    /// Appends sources of values that are no gauges, which must be split off again.
    pub(super) fn append(&mut self, others: &mut Vec<Source>) {
        self.all.append(others);
    }

    pub(super) fn split_off(&mut self, at: usize) -> Vec<Source> {
        self.all.split_off(at)
    }

    /// The sources of this scrape. [`finish`](Self::finish) has removed all others.
    pub(super) fn all(&self) -> &[Source] {
        &self.all
    }

    /// Differs from that of any scrape with other sources.
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

/// Unique in the process: a cache that replaces one after a panic must not repeat its versions.
fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A file, or a section of an archive, that contributes to gauges in one scrape.
#[derive(Clone, Debug, PartialEq)]
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
