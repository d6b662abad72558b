//! Reads the files of a directory at a scrape, and caches what it has parsed for the next one.

pub(super) mod cached_archive;
pub(super) mod cached_file;
pub(super) mod dir_scan;
pub(super) mod named_files;
