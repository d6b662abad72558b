//! Where the values of a process live: words on the heap, or in series files of a directory.
//!
//! A [`Store`] opens the cells of a series. It never fails: what cannot be put into a file lives on
//! the heap, is counted by reason and logged once, and is moved into a file when that is possible. [`fork`] tells
//! cells of this process from those of its parent, and has the few structures that a child finds whole whatever its
//! parent was doing.

#[cfg(target_os = "linux")]
mod directory;
mod dropped;
pub(crate) mod fork;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
mod gate;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
mod keys;
#[cfg(target_os = "linux")]
mod naming;
mod options;
mod owners;
mod series;
pub(crate) mod set_once;
mod split;
mod sync;
pub(crate) mod thread;
#[cfg(target_os = "linux")]
mod waiting;

use std::fmt;
use std::path::Path;

use crate::error::Result;
pub(crate) use crate::file::environment::multiprocess_dir as environment_dir;
use crate::file::name::FileKind;
pub(crate) use crate::file::{Cell, SampleCells};
use crate::model::DirectoryId;

pub(crate) use dropped::{
    dropped_series, ignored_recordings, lost_files, recording_ignored, recovered_series,
};
pub(crate) use gate::Gate;
pub(crate) use keys::Keys;
pub use options::DirectoryOptions;
pub use series::{Opened, SeriesOpener};
pub(crate) use split::{Claimed, Split};

/// A series that looks for its cells again when it is told to.
pub(crate) trait Rebind: Sync {
    /// Forgets the cells; the next recording opens new ones. Called under the slow path's lock.
    fn unbind(&self);
}

/// Where cells come from. A copy is another name of the same store.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Heap,
    #[cfg(target_os = "linux")]
    Directory(&'static directory::DirectoryStore),
}

impl Store {
    /// A store in the series files of a directory, which must exist.
    #[cfg(target_os = "linux")]
    pub(crate) fn directory(path: &Path, options: DirectoryOptions) -> Result<Store> {
        directory::DirectoryStore::open(path, options).map(Store::Directory)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn directory(path: &Path, options: DirectoryOptions) -> Result<Store> {
        options.check()?;
        let cause = "the directory backend needs Linux";
        Err(crate::error::Error::at(crate::error::ErrorKind::Unsupported, path, cause))
    }

    /// A store in a directory that cannot be used yet: series wait until it can.
    #[cfg(target_os = "linux")]
    pub(crate) fn directory_later(path: &Path, options: DirectoryOptions) -> Store {
        Store::Directory(directory::DirectoryStore::open_later(path, options))
    }

    /// Returns the error of a directory that was never usable.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Store::Heap => Ok(()),
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.check(),
        }
    }

    /// Calls the function of the program that names this process, if need be. Called before a series is opened, under no
    /// lock.
    #[inline]
    pub(crate) fn prepare(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.prepare(),
        }
    }

    /// Detects lost files, and retries waiting series if the time has come. Called before a series is opened, under the
    /// slow path's lock.
    pub(crate) fn refresh(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.refresh(),
        }
    }

    /// Retries waiting series if the time has come. Called by recordings of waiting series, under no lock.
    pub(crate) fn retry(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.retry(),
        }
    }

    /// New cells for samples with these keys. Readers add up all cells of one key, but for gauges: there
    /// the same key gives the same cells.
    ///
    /// `time` is what the time holds until it is set. Called under the slow path's lock.
    pub(crate) fn open(self, kind: FileKind, keys: &Keys, time: f64) -> Opened {
        match self {
            Store::Heap => {
                let _ = kind;
                let cells = (0..keys.len()).map(|_| SampleCells::on_heap(time)).collect();
                Opened { cells, gate: None }
            }
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.open_cells(kind, keys, time),
        }
    }

    /// Notes that a series has cells in this store, or is about to.
    pub(crate) fn bound(self, series: &'static dyn Rebind) {
        match self {
            Store::Heap => _ = series,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.bound(series),
        }
    }

    /// Lets go of what this process has open. Called under the slow path's lock.
    pub(crate) fn close(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.close(),
        }
    }

    /// A number that changes when values begin at 0 again: in a forked child, and when files are closed.
    pub(crate) fn generation(self) -> u64 {
        match self {
            Store::Heap => 0,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.generation(),
        }
    }

    /// Whether both are the same store.
    pub(crate) fn is_same(self, other: Store) -> bool {
        match (self, other) {
            (Store::Heap, Store::Heap) => true,
            #[cfg(target_os = "linux")]
            (Store::Directory(store), Store::Directory(other)) => std::ptr::eq(store, other),
            #[cfg(target_os = "linux")]
            _ => false,
        }
    }

    /// The path of the directory.
    pub(crate) fn path(self) -> Option<&'static Path> {
        match self {
            Store::Heap => None,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => Some(store.path()),
        }
    }

    /// The identity of the directory, if there is one now.
    pub(crate) fn directory_id(self) -> Option<DirectoryId> {
        DirectoryId::of(self.path()?).ok()
    }

    /// Whether a forked child goes on with the values of its parent: on the heap it does.
    pub(crate) fn is_inherited(self) -> bool {
        matches!(self, Store::Heap)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Heap => f.write_str("heap"),
            #[cfg(target_os = "linux")]
            Store::Directory(store) => write!(f, "directory `{}`", store.path().display()),
        }
    }
}
