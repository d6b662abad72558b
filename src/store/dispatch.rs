//! The store of a backend: the heap, or the series files of a directory.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::contention::Budget;
#[cfg(target_os = "linux")]
use super::directory;
use super::dropped::{FailedRefresh, IgnoredValue, count_failed_refresh, count_ignored_value};
use super::fork::{self, Home, PerProcess, SlowPath};
use super::keys::Keys;
use super::options::DirectoryOptions;
use super::owners::MAX_OWNERS;
#[cfg(target_os = "linux")]
use super::refresher;
use super::refresher::RefreshGroup;
use super::series::{AttributeKind, Opened, Rebind};
use crate::error::Result;
use crate::file::SampleCells;
use crate::file::name::FileKind;
use crate::logging::log_line;
use crate::model::DirectoryId;

/// Whether this process or an ancestor has removed a series from its files.
static ANY_REMOVED: AtomicBool = AtomicBool::new(false);

/// Whether a series that is created now may be one that was removed from the files of this process.
pub(crate) fn any_removed() -> bool {
    // ORDERING: relaxed. Removals and creations of series hold the lock of the slow path.
    ANY_REMOVED.load(Ordering::Relaxed)
}

/// Opens the cells of series. A copy refers to the same store.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Heap,
    #[cfg(target_os = "linux")]
    Directory(&'static directory::DirectoryStore),
}

impl Store {
    /// Creates a store in the series files of a directory, which must exist.
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

    /// Creates a store in a directory that cannot be used yet: series wait until it can.
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

    /// Calls the function of [`DirectoryOptions::process_id`] if necessary. Called before a series is opened, under no
    /// lock.
    #[inline]
    pub(crate) fn prepare(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.prepare(),
        }
    }

    /// Detects lost files, and retries waiting series if a retry is due. Called before a series is opened, under the lock
    /// of the slow path.
    pub(crate) fn refresh(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.refresh(),
        }
    }

    /// Retries waiting series if a retry is due. Called by recordings of waiting series, under no lock.
    pub(crate) fn retry(self) {
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.retry(),
        }
    }

    /// Counts a value that is not recorded. Logs the message if it is the first one of this process for its reason.
    pub(crate) fn count_ignored_value(self, reason: IgnoredValue, message: &dyn fmt::Display) {
        let is_first = count_ignored_value(reason);
        if self.count_in_file() && is_first {
            log_line(message);
        }
    }

    /// Counts values that were computed and not recorded. Logs the message unless `is_logged`, which is set then.
    pub(crate) fn count_failed_refresh(
        self,
        reason: FailedRefresh,
        is_logged: &AtomicBool,
        message: &dyn fmt::Display,
    ) {
        count_failed_refresh(reason);
        self.count_in_file();
        if !is_logged.swap(true, Ordering::Relaxed) {
            log_line(&format_args!(
                "{message}; further failures are counted in `multiprom_failed_refreshes_total`"
            ));
        }
    }

    /// Adds what is counted in memory to the counters in a file. Returns `false` under the lock of the slow path, where it
    /// does nothing: the counts get into the file later.
    fn count_in_file(self) -> bool {
        let Some(_lock) = fork::lock() else {
            return false;
        };
        match self {
            Store::Heap => {}
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.count_ignored(),
        }
        true
    }

    /// Opens new cells for `count` samples with these keys; readers add up all cells of one key. A gauge that has cells gets the
    /// same ones again. `keys` is called only if they are written, and appends them.
    ///
    /// `time` is the value of the times until they are set, and `home` is where cells in memory are placed. Called under the lock of the slow path.
    pub(crate) fn open(
        self,
        kind: FileKind,
        count: usize,
        keys: impl FnOnce(&mut Keys),
        time: f64,
        home: Home,
    ) -> Opened {
        match self {
            Store::Heap => {
                let _ = (kind, keys);
                Opened { cells: SampleCells::all_in(home, count, time), gate: None }
            }
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.open_cells(kind, keys, time),
        }
    }

    /// As [`open`](Store::open) for a thread that gets cells of its own. Returns `None` if they cannot be written: the thread
    /// then goes on sharing cells.
    pub(crate) fn open_more(
        self,
        kind: FileKind,
        count: usize,
        keys: impl FnOnce(&mut Keys),
        time: f64,
        home: Home,
    ) -> Option<Vec<SampleCells>> {
        match self {
            Store::Heap => {
                let _ = (kind, keys);
                Some(SampleCells::all_in(home, count, time))
            }
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.open_more(kind, keys, time),
        }
    }

    /// The most sets of cells of a series that threads own.
    pub(crate) fn max_owned(self) -> usize {
        match self {
            Store::Heap => MAX_OWNERS,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.max_owned(),
        }
    }

    /// The entries for threads that record often.
    pub(crate) fn budget(self) -> &'static Budget {
        static IN_MEMORY: PerProcess<Budget> = PerProcess::new();
        match self {
            Store::Heap => IN_MEMORY.get_or_create(Budget::new),
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.budget(),
        }
    }

    /// Writes the unit or the type of a family where other processes can read it, once. A failure is not reported: other
    /// processes then export the family without its unit, or as gauges. Called under the lock of the slow path.
    pub(crate) fn write_attribute(
        self,
        attribute: AttributeKind,
        family: &str,
        text: &'static str,
    ) {
        match self {
            Store::Heap => _ = (attribute, family, text),
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.write_attribute(attribute, family, text),
        }
    }

    /// Registers a series that has cells in this store or is about to get them.
    pub(crate) fn bound(self, series: &'static dyn Rebind) {
        match self {
            Store::Heap => _ = series,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.bound(series),
        }
    }

    /// Removes a series, whose lead sample has the key that `key` returns, from the exposition. Its values stay in the totals
    /// of other processes: see `docs/design.md`. Called under the lock of the slow path.
    pub(crate) fn remove(self, kind: FileKind, key: impl FnOnce() -> Vec<u8>) {
        match self {
            Store::Heap => _ = (kind, key),
            #[cfg(target_os = "linux")]
            Store::Directory(store) => {
                ANY_REMOVED.store(true, Ordering::Relaxed);
                store.remove(kind, &key());
            }
        }
    }

    /// Exports a series again that was removed: a total continues, and a gauge begins at 0. Called under the lock of the
    /// slow path.
    pub(crate) fn restore(self, kind: FileKind, key: impl FnOnce() -> Vec<u8>) {
        match self {
            Store::Heap => _ = (kind, key),
            #[cfg(target_os = "linux")]
            Store::Directory(store) => store.restore(kind, &key()),
        }
    }

    /// Closes the files of this process. Computed values are not refreshed any more. Called under the lock of the slow path.
    pub(crate) fn close(self, lock: &SlowPath) {
        match self {
            Store::Heap => _ = lock,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => {
                refresher::close(store.refreshed(), lock);
                store.close();
            }
        }
    }

    /// What each process computes for its files; `None` on the heap, where values are computed when they are gathered.
    pub(crate) fn refreshed(self) -> Option<&'static RefreshGroup> {
        match self {
            Store::Heap => None,
            #[cfg(target_os = "linux")]
            Store::Directory(store) => Some(store.refreshed()),
        }
    }

    /// Returns a number that changes when values start from 0 again: in a forked child, and when files are closed.
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

    /// Whether a forked child continues with the values of its parent, as it does on the heap.
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
