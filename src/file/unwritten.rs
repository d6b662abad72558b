//! Series of this process that are in no file of their directory, for the collectors of this process.
//!
//! They are passed as the bytes of series files, so that a collector reads them as it reads files.

use std::cell::Cell;
use std::sync::RwLockReadGuard;

use super::entries::push_entry;
use super::layout::{HEADER_LEN, Header, WORD_LEN};
use super::process;
use super::sys::Identity;
use super::writer::NewEntry;
use crate::fork_safe::AppendList;

/// A writer in this process that can have series which are in no file.
pub(crate) trait Unwritten: Send + Sync {
    /// The directory, if it exists.
    fn directory(&self) -> Option<Identity>;

    /// Refreshes the values that this process computes, before a scrape reads them. Called under no lock.
    fn refresh(&self);

    /// Keeps series from being written to files until the guard is dropped. Recording does not wait for it.
    fn hold(&self) -> RwLockReadGuard<'static, ()>;

    /// The series that are in no file now.
    fn unwritten_files(&self) -> Vec<UnwrittenFile>;

    /// The units and types of families that are in no file now, as companion entries.
    fn unwritten_attributes(&self) -> Vec<u8>;
}

/// A series file that is not on the disk.
#[derive(Debug)]
pub(crate) struct UnwrittenFile {
    pub(crate) name: String,
    pub(crate) words: Vec<u64>,
}

impl UnwrittenFile {
    pub(crate) fn new<'a>(
        name: String,
        entries: impl IntoIterator<Item = NewEntry<'a>>,
    ) -> UnwrittenFile {
        let mut bytes = vec![0; HEADER_LEN];
        for NewEntry { kind, key, value, time } in entries {
            push_entry(&mut bytes, kind, key, value, time);
        }
        let header = Header::new(bytes.len() as u32).encode();
        bytes[..HEADER_LEN].copy_from_slice(&header);
        let (words, _) = bytes.as_chunks::<WORD_LEN>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        UnwrittenFile { name, words }
    }
}

thread_local! {
    /// The process in which this thread refreshes computed values; else 0.
    static REFRESHES_IN: Cell<u64> = const { Cell::new(0) };
}

/// Says whether this thread refreshes computed values from now on.
pub(crate) fn set_refreshing(is_refreshing: bool) {
    REFRESHES_IN.set(if is_refreshing { process::instance_id() } else { 0 });
}

/// Whether this thread refreshes computed values. What it reads from files must not be written to them again.
pub(crate) fn is_refreshing() -> bool {
    let process = REFRESHES_IN.get();
    process != 0 && process == process::instance_id()
}

static WRITERS: AppendList<&'static dyn Unwritten> = AppendList::new();

/// Adds a writer, which lives as long as the process.
pub(crate) fn add_writer(writer: &'static dyn Unwritten) {
    WRITERS.push(writer);
}

/// Whether this process has writers.
pub(crate) fn has_writers() -> bool {
    WRITERS.iter().next().is_some()
}

/// The writers of this process in a directory.
pub(crate) fn writers(directory: Identity) -> impl Iterator<Item = &'static dyn Unwritten> {
    WRITERS.iter().copied().filter(move |writer| writer.directory() == Some(directory))
}
