//! The reading half: merges the series files of a multiprocess directory.
//!
//! [`MultiProcessCollector`] lists the directory at each scrape, reads every file in the order of
//! names and adds up what belongs together, by the rules of the Python client with the differences that
//! `docs/design.md` lists. Whatever a file holds costs at most that file.

#[cfg(test)]
mod cache_equivalence;
mod collector;
mod compact;
mod dir_lock;
mod inspect;
mod liveness;
mod mark_dead;
mod merge;
mod prober;
mod problem_log;
mod read;
mod self_metrics;
mod skipped;
mod timed_lock;

pub use collector::{MultiProcessCollector, MultiProcessCollectorBuilder};
#[cfg(feature = "cli")]
pub(crate) use compact::clear_directory_by;
pub use compact::{
    CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, clear_directory,
};
#[cfg(feature = "cli")]
pub(crate) use inspect::list_files_by;
pub use inspect::{FileInfo, inspect_file, list_files};
pub use liveness::Liveness;
#[cfg(feature = "cli")]
pub(crate) use mark_dead::{count_dead_python_files, has_only_dead_writers, mark_process_dead_by};
pub use mark_dead::{mark_dead_processes, mark_process_dead};
#[cfg(feature = "cli")]
pub(crate) use prober::{OwnerLease, Prober};
#[cfg(feature = "cli")]
pub(crate) use problem_log::ProblemLog;
pub use read::cached_archive::{ArchiveInfo, inspect_archive};
