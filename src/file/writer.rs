//! Writes one series file: creates it, reserves space for it and appends entries.
//!
//! A file gets its name only when its space is reserved, it has its header and it is locked (see `create`): no reader
//! ever sees an empty or unlocked file. Bytes are reserved before they are accessed, so a full disk is an
//! error here and raises no signal. An entry is first written beyond `used` and then made visible by one store
//! of `used`; a writer that is killed in between leaves nothing that a reader sees.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::cell::SampleCells;
use super::create::{self, Created, INITIAL_CAPACITY};
use super::entry_kind;
use super::forks::{ForkWait, NoFork};
use super::inherited;
use super::layout::{
    self, EntryKind, HEADER_LEN, MAX_FILE_LEN, MAX_KEY_LEN, WORD_LEN, entry_len, value_offset,
};
use super::lock;
use super::name::{FileKind, WriterId};
use super::place;
use super::sys::{self, Identity};
use super::write_error::{Refused, WriteError};
use super::write_map::WriteMap;

pub(crate) use super::create::{FileAccess, is_staging_name};

/// The capacity doubles up to this size, and then grows by this many bytes at a time.
const GROWTH_STEP: u64 = 1024 * 1024;
/// Bytes that ordinary entries leave free for the counters of series that do not fit.
const RESERVE_LEN: u64 = 1024;
/// How often a creation is tried if a name is taken or the process forks.
const MAX_TRIES: usize = 64;
/// How often a creation waits for the end of a fork (see `forks` for how long). A fork that itself waits for this
/// thread never ends.
const MAX_WAITS: usize = 8;

/// Which of the reserved bytes an entry may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// All but the last [`RESERVE_LEN`].
    Ordinary,
    /// All.
    Last,
}

/// An entry that is about to be written.
pub(crate) struct NewEntry<'a> {
    pub(crate) kind: EntryKind,
    /// Its length is a multiple of 8.
    pub(crate) key: &'a [u8],
    pub(crate) value: f64,
    pub(crate) time: f64,
}

impl<'a> NewEntry<'a> {
    /// An entry with the value of a sample.
    pub(crate) fn value(key: &'a [u8], value: f64, time: f64) -> NewEntry<'a> {
        NewEntry { kind: EntryKind::Value, key, value, time }
    }
}

/// An entry of a file, with the current content of its cells.
pub(crate) struct WrittenEntry {
    pub(crate) kind: EntryKind,
    pub(crate) key: Vec<u8>,
    pub(crate) value: f64,
    pub(crate) time: f64,
}

/// A series file of this process.
pub(crate) struct SeriesWriter {
    name: String,
    file: File,
    identity: Identity,
    map: WriteMap,
    /// Committed bytes, including the header.
    used: u64,
    /// Reserved bytes.
    capacity: u64,
    /// The last failure to reserve space.
    refused: Refused,
    /// The buffer in which entries are encoded.
    scratch: Vec<u8>,
}

impl SeriesWriter {
    /// As [`create_beside_forks`](SeriesWriter::create_beside_forks) with [`ForkWait::Long`].
    #[cfg(test)]
    pub(crate) fn create(
        dir: &Path,
        kind: FileKind,
        id: &mut WriterId,
        access: FileAccess,
    ) -> Result<SeriesWriter, WriteError> {
        SeriesWriter::create_beside_forks(dir, kind, id, access, ForkWait::Long)
    }

    /// Creates the next file of a kind for a writer. If the name is taken, `id` becomes a new one.
    pub(crate) fn create_beside_forks(
        dir: &Path,
        kind: FileKind,
        id: &mut WriterId,
        access: FileAccess,
        wait: ForkWait,
    ) -> Result<SeriesWriter, WriteError> {
        let dir = place::open(dir).map_err(WriteError::Directory)?;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        let mut waits = 0;
        for _ in 0..MAX_TRIES {
            let Some(no_fork) = NoFork::begin(wait) else {
                waits += 1;
                if waits == MAX_WAITS || wait == ForkWait::None {
                    return Err(WriteError::Forked);
                }
                continue;
            };
            let name = id.next_name(kind);
            match SeriesWriter::create_named(&dir, &name, access, &no_fork) {
                Err(WriteError::Create(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                    last = error;
                    *id = draw_id(id.process())?;
                }
                Err(WriteError::Forked) => {}
                Ok(writer) => {
                    id.note_named(kind);
                    return Ok(writer);
                }
                Err(error) => return Err(error),
            }
        }
        Err(WriteError::Create(last))
    }

    fn create_named(
        dir: &File,
        name: &str,
        access: FileAccess,
        no_fork: &NoFork,
    ) -> Result<SeriesWriter, WriteError> {
        let Created { file, identity, map } = create::create(dir, name, access, no_fork)?;
        Ok(SeriesWriter {
            name: name.to_owned(),
            file,
            identity,
            map,
            used: HEADER_LEN as u64,
            capacity: INITIAL_CAPACITY,
            refused: Refused::default(),
            scratch: Vec::new(),
        })
    }

    /// Appends an entry and makes it visible. The length of `key` is a multiple of 8.
    #[cfg(test)]
    pub(crate) fn append(
        &mut self,
        key: &[u8],
        value: f64,
        time: f64,
        room: Room,
    ) -> Result<SampleCells, WriteError> {
        self.append_all(&[NewEntry::value(key, value, time)], room).map(|cells| cells[0])
    }

    /// Appends entries, all or none, and makes them visible at once.
    pub(crate) fn append_all(
        &mut self,
        entries: &[NewEntry<'_>],
        room: Room,
    ) -> Result<Vec<SampleCells>, WriteError> {
        SeriesWriter::check_keys(entries)?;
        let new = entries.iter().map(|entry| entry_len(entry.key.len()) as u64);
        let end = self.used + new.sum::<u64>();
        self.reserve(match room {
            Room::Ordinary => end + RESERVE_LEN,
            Room::Last => end,
        })?;
        let mut at = self.used;
        let cells = entries.iter().map(|entry| {
            let NewEntry { kind, key, value, time } = *entry;
            layout::encode_entry(&mut self.scratch, kind, key, value, time);
            self.map.write(at, &self.scratch);
            let value = at + value_offset(entry.key.len()) as u64;
            at += entry_len(entry.key.len()) as u64;
            SampleCells {
                value: self.map.cell(value),
                time: self.map.cell(value + WORD_LEN as u64),
            }
        });
        let cells = cells.collect();
        self.map.publish(end as u32);
        self.used = end;
        Ok(cells)
    }

    /// Checks that no key is longer than the format allows.
    pub(crate) fn check_keys(entries: &[NewEntry<'_>]) -> Result<(), WriteError> {
        match entries.iter().map(|entry| entry.key.len()).find(|len| *len > MAX_KEY_LEN) {
            Some(len) => Err(WriteError::KeyTooLong { len }),
            None => Ok(()),
        }
    }

    /// Whether the file is no longer in its directory. Looks it up by name, as the host may have closed the
    /// descriptor.
    pub(crate) fn is_removed_from(&self, dir: &Path) -> bool {
        match place::find(&dir.join(&self.name)) {
            Ok(found) => found != Some(self.identity),
            // The file may still exist, and its values would be counted twice.
            Err(_) => false,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the file has an entry with this key.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        self.entries().iter().any(|entry| entry.key == key)
    }

    /// Ends the pause after a failure: the next entry tries to reserve space again.
    pub(crate) fn end_pause(&mut self) {
        self.refused.clear();
    }

    /// Called when the file gets no more entries, because its descriptor is lost or it is full.
    pub(crate) fn retire(&self) {
        if sys::identity(self.file.as_raw_fd()) != Some(self.identity) {
            inherited::forget(self.file.as_raw_fd(), self.identity);
        }
    }

    /// Returns all entries.
    pub(crate) fn entries(&self) -> Vec<WrittenEntry> {
        let mut entries = Vec::new();
        let mut at = HEADER_LEN as u64;
        while at < self.used {
            let key_len = self.map.read_u32(at) as usize;
            let key = self.map.read(at + layout::KEY_LEN_LEN as u64, key_len);
            let value = at + value_offset(key_len) as u64;
            let check = self.map.read_u32(value - entry_kind::CHECKSUM_LEN as u64);
            let kind = entry_kind::find(&key, check.to_le_bytes()).unwrap_or(EntryKind::Value);
            let word = |offset| self.map.cell(offset).get();
            let (value, time) = (word(value), word(value + WORD_LEN as u64));
            entries.push(WrittenEntry { kind, key, value, time });
            at += entry_len(key_len) as u64;
        }
        entries
    }

    /// Closes files: their writer is dead for readers from now on. Cells keep their addresses and values.
    ///
    /// Forks wait for the end of this: a child that is forked meanwhile would keep the files open for writing.
    pub(crate) fn close_all(writers: impl IntoIterator<Item = SeriesWriter>) {
        // A child of a fork that does not end in time may keep the files open.
        let _no_fork = NoFork::begin(ForkWait::Long);
        writers.into_iter().for_each(SeriesWriter::close_one);
    }

    /// As [`close_all`](SeriesWriter::close_all) with one file.
    #[cfg(test)]
    pub(crate) fn close(self) {
        SeriesWriter::close_all([self]);
    }

    fn close_one(self) {
        let SeriesWriter { file, identity, map, used, .. } = self;
        // The mapping alone would keep the lock, and the file open for writing.
        let is_detached = map.detach(used);
        let fd = file.as_raw_fd();
        let is_ours = sys::identity(fd) == Some(identity);
        if is_ours && is_detached {
            lock::release(&file);
            drop(file);
        } else {
            // Either the number belongs to another file of the host now, or cells still write to this file, which then stays
            // open and locked.
            std::mem::forget(file);
        }
        if !is_ours || is_detached {
            inherited::forget(fd, identity);
        }
    }

    /// Makes sure that the bytes up to `end` are reserved and mapped.
    fn reserve(&mut self, end: u64) -> Result<(), WriteError> {
        let mut capacity = self.capacity;
        while capacity < end {
            capacity += capacity.min(GROWTH_STEP);
        }
        if capacity == self.capacity {
            return Ok(());
        }
        if capacity > MAX_FILE_LEN {
            return Err(WriteError::FileFull);
        }
        if sys::identity(self.file.as_raw_fd()) != Some(self.identity) {
            return Err(WriteError::DescriptorLost);
        }
        self.refused.check()?;
        sys::reserve(&self.file, self.capacity, capacity)
            .map_err(WriteError::Reserve)
            .and_then(|()| self.map.cover(&self.file, capacity).map_err(WriteError::Map))
            .map_err(|error| self.refused.note(error))?;
        self.capacity = capacity;
        Ok(())
    }
}

/// Draws a new id for a process.
pub(crate) fn draw_id(process: &str) -> Result<WriterId, WriteError> {
    let random = sys::random_u32().map_err(WriteError::Create)?;
    Ok(WriterId::new(process, random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::layout::Layout;
    use crate::file::name::FileName;
    use crate::file::reader::{self, Reader};
    use crate::model::GaugeMode;
    use crate::test_dir::TestDir;

    fn create(dir: &Path, kind: FileKind, process: &str) -> Result<SeriesWriter, WriteError> {
        SeriesWriter::create(dir, kind, &mut draw_id(process)?, FileAccess::Owner)
    }

    fn only_file(dir: &Path) -> std::path::PathBuf {
        let mut files: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    fn key(text: &str, len: usize) -> Vec<u8> {
        let mut key = Vec::new();
        let filler = "x".repeat(len);
        crate::file::key::encode(&mut key, text, text, std::iter::empty(), &filler);
        key
    }

    #[test]
    fn appended_entries_are_read_while_the_file_grows_over_segments() {
        let dir = TestDir::new();
        let mut writer = create(&dir, FileKind::Gauge(GaugeMode::Min), "42").unwrap();
        let path = only_file(&dir);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("gauge_min_42-") && FileName::parse(name).unwrap().has_unique_form()
        );

        let mut cells = Vec::new();
        for at in 0..400u32 {
            let text = format!("m{at}");
            cells.push(
                writer.append(&key(&text, 50_000), f64::from(at), 1.0, Room::Ordinary).unwrap(),
            );
        }
        assert!(writer.used > 17 * 1024 * 1024, "the file spans two segments");
        cells[3].value.set(-3.0);
        cells[399].time.set(7.0);

        let mut reader = Reader::default();
        let file = reader::open(&path).unwrap();
        let snapshot = reader.read(&file).unwrap();
        assert_eq!(
            (u64::from(snapshot.used), snapshot.entries().unwrap().layout()),
            (writer.used, Layout::Own)
        );
        let read: Vec<_> = snapshot.entries().unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(read.len(), 400);
        assert_eq!((read[3].value, read[3].time), (-3.0, Some(1.0)));
        assert_eq!((read[399].value, read[399].time), (399.0, Some(7.0)));
    }

    #[test]
    fn a_new_file_is_reserved_private_and_locked() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = TestDir::new();
        let _writer = create(&dir, FileKind::Counter, "7").unwrap();
        let path = only_file(&dir);
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.len(), INITIAL_CAPACITY);
        assert!(metadata.blocks() * 512 >= INITIAL_CAPACITY, "the bytes are reserved");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        let file = reader::open(&path).unwrap();
        assert_eq!(lock::probe(&file).unwrap(), lock::LockState::Held);
    }

    #[test]
    fn keys_that_are_too_long_are_refused_and_take_no_space() {
        let dir = TestDir::new();
        let mut writer = create(&dir, FileKind::Counter, "7").unwrap();
        let error = writer.append(&key("m", MAX_KEY_LEN), 0.0, 0.0, Room::Ordinary).unwrap_err();
        assert_eq!(error.reason(), "key_too_long");
        assert_eq!(writer.used, HEADER_LEN as u64);
    }

    #[test]
    fn a_writer_whose_name_is_taken_gets_another_id() {
        let dir = TestDir::new();
        let mut first = draw_id("7").unwrap();
        let mut id = first.clone();
        let _one =
            SeriesWriter::create(&dir, FileKind::Counter, &mut first, FileAccess::Owner).unwrap();
        let _other =
            SeriesWriter::create(&dir, FileKind::Counter, &mut id, FileAccess::Owner).unwrap();
        assert_ne!(id.as_str(), first.as_str());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    }

    #[test]
    fn a_missing_directory_is_the_reason_of_the_error() {
        let missing = Path::new("/nonexistent/multiprom");
        let error = create(missing, FileKind::Counter, "7").err().unwrap();
        assert_eq!(error.reason(), "directory");
    }
}
