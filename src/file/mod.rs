//! Series files: their bytes, and the system calls to write and read them.
//!
//! A series file holds the series of one process and one metric type (of gauges: one mode) as
//! entries of key and value behind a header. Its writer maps it and stores values in place; readers
//! use `pread`. [`layout`] has the byte table, [`key`] the text of keys, [`name`] the file names.
//! A [`companion`] file has what series files cannot hold.
//! `docs/design.md` has definitions, invariants and the guarantees on each file system.

#[cfg(target_os = "linux")]
mod append_file;
#[cfg(target_os = "linux")]
pub(crate) mod archive;
mod cell;
#[cfg(target_os = "linux")]
pub(crate) mod companion;
#[cfg(target_os = "linux")]
mod create;
#[cfg(target_os = "linux")]
pub(crate) mod descriptor;
pub(crate) mod entries;
mod entry_kind;
mod entry_template;
pub(crate) mod environment;
#[cfg(target_os = "linux")]
pub(crate) mod fault_guard;
#[cfg(target_os = "linux")]
pub(crate) mod forks;
#[cfg(target_os = "linux")]
pub(crate) mod inherited;
pub(crate) mod key;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
pub(crate) mod layout;
#[cfg(target_os = "linux")]
pub(crate) mod lock;
pub(crate) mod name;
#[cfg(target_os = "linux")]
pub(crate) mod place;
#[cfg(target_os = "linux")]
pub(crate) mod process;
#[cfg(target_os = "linux")]
pub(crate) mod read_map;
#[cfg(target_os = "linux")]
pub(crate) mod reader;
#[cfg(target_os = "linux")]
pub(crate) mod sys;
#[cfg(target_os = "linux")]
pub(crate) mod unwritten;
#[cfg(target_os = "linux")]
pub(crate) mod words;
#[cfg(target_os = "linux")]
pub(crate) mod write_error;
#[cfg(target_os = "linux")]
mod write_map;
#[cfg(target_os = "linux")]
pub(crate) mod writer;

pub(crate) use cell::{Cell, SampleCells, release_words};
pub(crate) use entries::Entries;
pub(crate) use entry_template::EntryTemplate;
