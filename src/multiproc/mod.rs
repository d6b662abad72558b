//! The reading half: merges the series files of a multiprocess directory.
//!
//! [`MultiProcessCollector`] lists the directory at each scrape, reads every file in the order of
//! names and adds up what belongs together, by the rules of the Python client with the differences that
//! `docs/design.md` lists. Whatever a file holds costs at most that file.

mod archive;
mod collector;
mod compact;
mod conflicts;
mod dead;
mod directory;
mod emit;
mod figures;
mod gauge;
#[cfg(test)]
mod histories;
mod index;
mod known;
mod liveness;
mod lock;
mod merge;
mod named;
mod plans;
mod prober;
mod problem;
mod problem_log;
mod processes;
mod scan;
mod slots;
mod sum;
mod tables;
mod targets;
mod turns;

pub use archive::{ArchiveInfo, inspect_archive};
pub use collector::{MultiProcessCollector, MultiProcessCollectorBuilder};
#[cfg(feature = "cli")]
pub(crate) use compact::clear_directory_by;
pub use compact::{
    CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, clear_directory,
};
#[cfg(feature = "cli")]
pub(crate) use dead::{count_dead_python_files, has_only_dead_writers, mark_process_dead_by};
pub use dead::{mark_dead_processes, mark_process_dead};
#[cfg(feature = "cli")]
pub(crate) use directory::list_files_by;
pub use directory::{FileInfo, inspect_file, list_files};
pub use liveness::Liveness;
#[cfg(feature = "cli")]
pub(crate) use prober::{OwnerLease, Prober};
#[cfg(feature = "cli")]
pub(crate) use problem_log::ProblemLog;
