//! Metrics of the processes that write the files of a directory, read from procfs.
//!
//! `search` finds the process of each writer, `table` keeps it between scrapes and reads its values, `export` writes
//! them. A worker needs no code for this.
//!
//! **Which process.** Pids belong to namespaces and are reused, and a writer may have chosen a name that is no pid. So a
//! process is the writer of a file only if its `maps`, `map_files` or `fd` shows that very file, by device and inode, for
//! writing. Once found, it is identified by pid and start time.
//!
//! **Cost.** A scrape reads `stat` twice, `limits` and `fd` of each worker. The mappings and descriptors of a process are
//! read when a writer is new. All processes are searched only if the name of a writer is not the pid of its process here:
//! at most once in ten seconds, and less often for writers that are not found.

mod export;
mod search;
mod shown_files;
mod table;
#[cfg(feature = "cli")]
mod writers;

pub(super) use export::write_workers;
pub(super) use table::WorkerTable;
#[cfg(feature = "cli")]
pub(crate) use writers::WriterList;
