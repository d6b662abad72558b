//! Where the values of a process are: words on the heap, or in series files of a directory.
//!
//! A [`Store`] opens the cells of a series. It never fails: a series that cannot be written to a file stays on
//! the heap, is counted by reason and logged once, and is moved to a file when that becomes possible. [`fork`]
//! distinguishes cells of this process from those of its parent.

#[cfg(target_os = "linux")]
mod check_pace;
#[cfg(target_os = "linux")]
mod companion;
pub(crate) mod contention;
#[cfg(target_os = "linux")]
mod directory;
mod dispatch;
mod dropped;
pub(crate) mod fork;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
mod gate;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
mod keys;
#[cfg(target_os = "linux")]
mod naming;
mod opener;
mod options;
#[cfg(target_os = "linux")]
mod own_counters;
mod owners;
#[cfg(target_os = "linux")]
mod place_check;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
pub(crate) mod refresher;
#[cfg(target_os = "linux")]
mod removals;
mod series;
pub(crate) mod set_once;
mod split;
mod sync;
pub(crate) mod thread;
#[cfg(target_os = "linux")]
mod unwritten;
#[cfg(target_os = "linux")]
mod waiting;

pub(crate) use crate::file::environment::multiprocess_dir as environment_dir;
pub(crate) use crate::file::{Cell, SampleCells, release_words};

pub(crate) use dispatch::{Store, any_removed};
pub(crate) use dropped::{
    FailedRefresh, IgnoredValue, dropped_series, failed_refreshes, ignored_recordings,
    ignored_values, lost_files, recording_ignored, recovered_series,
};
pub(crate) use gate::Gate;
pub use opener::SeriesOpener;
pub use options::DirectoryOptions;
pub use series::Opened;
pub(crate) use series::Rebind;
pub use split::Split;
pub(crate) use split::{Claimed, OpenCells, Shared, Wish};
