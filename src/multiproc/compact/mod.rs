//! Compaction: merges the files of dead writers into one archive per directory.
//!
//! The commit is one rename. The archive lists the files that it holds by names that are never reused, so a crash at
//! any instruction leaves either the old archive and all files, or the new archive and files that readers skip. Names
//! of the Python client are reused, so its files are first renamed to a unique name: they are *retired*. A new process
//! may have opened such a file just before; it continues to write there, and readers see it. So a retired file is
//! compacted only after a grace period, and if it is proven dead again.

mod burial;
mod compaction;
mod compactor;
mod companion_fold;
mod fold;
mod folded_section;
mod locked_dir;
mod pass;
#[cfg(test)]
mod removed_series;
mod reset;
mod series;

pub use compaction::{CompactFiles, Compaction};
pub use compactor::{Compactor, CompactorBuilder, CompactorThread};
pub use reset::clear_directory;
#[cfg(feature = "cli")]
pub(crate) use reset::clear_directory_by;
