//! The reading half: merges the series files of a multiprocess directory.
//!
//! [`MultiProcessCollector`] lists the directory at each scrape, reads every file in the order of
//! names and adds up what belongs together, by the rules of the Python client with the differences that
//! `docs/design.md` lists. Whatever a file holds costs at most that file.

mod collector;
mod dead;
mod directory;
mod emit;
mod gauge;
mod liveness;
mod merge;
mod problem;
mod targets;

pub use collector::{CollectorBuilder, MultiProcessCollector};
pub use dead::{clear_directory, mark_dead_processes, mark_process_dead};
pub use directory::{FileInfo, list_files};
pub use liveness::Liveness;
