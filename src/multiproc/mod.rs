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
mod plans;
mod problem;
mod processes;
mod scan;
mod slots;
mod sum;
mod tables;
mod targets;
mod turns;

pub use archive::{ArchiveInfo, inspect_archive};
pub use collector::{CollectorBuilder, MultiProcessCollector};
pub use compact::{
    CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, clear_directory,
};
pub use dead::{mark_dead_processes, mark_process_dead};
pub use directory::{FileInfo, inspect_file, list_files};
pub use liveness::Liveness;
