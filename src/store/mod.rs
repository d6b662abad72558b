//! Where the values of a process live: words on the heap, or in series files of a directory.
//!
//! A [`Store`] opens the cells of a series. It never fails: what cannot be put into a file lives on
//! the heap, is counted by reason and logged once. [`fork`] tells cells of this process from those of
//! its parent, and has the few structures that a child finds whole whatever its parent was doing.

#[cfg(target_os = "linux")]
mod directory;
mod dropped;
pub(crate) mod fork;
mod options;
mod owners;
mod series;
mod split;
mod sync;
pub(crate) mod thread;

use std::fmt;
use std::path::Path;

use crate::error::Result;
pub(crate) use crate::file::environment::multiprocess_dir as environment_dir;
use crate::file::name::FileKind;
pub(crate) use crate::file::{Cell, SampleCells};

pub(crate) use dropped::{dropped_series, ignored_recordings, lost_files, recording_ignored};
pub use options::DirectoryOptions;
pub(crate) use series::SeriesOpener;
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

    /// Notices what was lost, before a series is opened. Called under the slow path's lock.
    pub(crate) fn refresh(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.refresh(),
        }
    }

    /// New cells for the sample with this key. Readers add up all cells of one key, but for gauges: there
    /// the same key gives the same cells.
    ///
    /// `time` is what the time holds until it is set.
    pub(crate) fn open(self, kind: FileKind, key: &[u8], time: f64) -> SampleCells {
        match self {
            Store::Heap => {
                let _ = (kind, key);
                SampleCells::on_heap(time)
            }
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.open_cells(kind, key, time),
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
