//! Compaction: the files of dead writers become one archive.

mod compactor;
mod fold;
mod locked_dir;
mod pass;

#[cfg(feature = "cli")]
pub(crate) use compactor::clear_directory_by;
pub use compactor::{
    CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, clear_directory,
};
