//! Reads the files of a directory at a scrape, and caches the result of parsing them for the next one.
//!
//! The path of one file: `dir_scan` lists it, `locate` compares it with the cache, `add_file` adds it:
//! `writer_liveness` decides whether its writer lives, then `cached_file` reads the values at cached positions, or
//! `parse_file` parses the file as a whole. Both add the values to the [merge](super::merge).

mod add_file;
mod cached_archive;
mod cached_file;
mod candidate;
mod companions;
pub(super) mod context;
pub(super) mod dir_scan;
mod locate;
pub(super) mod named_files;
mod parse_file;
pub(super) mod stats;
pub(super) mod unwritten;
mod writer_liveness;
