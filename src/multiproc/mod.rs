//! The reading half: merges the series files of a multiprocess directory.
//!
//! [`MultiProcessCollector`] lists the directory at each scrape, reads every file in the order of names and merges
//! equal series by the rules of the Python client; `docs/design.md` lists the differences. A damaged or invalid file is
//! skipped and reported, and everything else is exported.

mod archive_file;
mod builder;
#[cfg(test)]
mod cache_equivalence;
mod collector;
#[cfg(test)]
mod common_keys;
mod compact;
mod dir_lock;
mod directory;
mod fast_map;
mod inspect;
mod listing;
mod liveness;
mod mark_dead;
mod merge;
mod prober;
mod problem_log;
mod read;
mod scrape_stats;
mod self_metrics;
mod skipped;
mod timed_lock;
mod usage;
mod workers;

pub use builder::MultiProcessCollectorBuilder;
pub use collector::MultiProcessCollector;
#[cfg(feature = "cli")]
pub(crate) use compact::clear_directory_by;
pub use compact::{
    CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, clear_directory,
};
#[cfg(feature = "cli")]
pub(crate) use inspect::list_files_by;
pub use inspect::{ArchiveInfo, FileInfo, FileLayout, inspect_archive, inspect_file, list_files};
pub use liveness::Liveness;
#[cfg(feature = "cli")]
pub(crate) use mark_dead::{count_dead_python_files, has_only_dead_writers, mark_process_dead_by};
pub use mark_dead::{mark_dead_processes, mark_process_dead};
#[cfg(feature = "cli")]
pub(crate) use prober::{OwnerLease, Prober};
#[cfg(feature = "cli")]
pub(crate) use scrape_stats::{CONFLICT, MAX_PROBLEMS, ScrapeProblem, ScrapeStats};
pub use usage::{DirectoryUsage, FamilyUsage, family_usage};
#[cfg(feature = "cli")]
pub(crate) use workers::WriterList;
