//! Writes one series file: appends entries to an [`AppendFile`].

use std::path::Path;

use super::append_file::AppendFile;
use super::cell::{Cell, SampleCells};
use super::entries::Entries;
use super::entry_kind;
use super::forks::ForkWait;
use super::layout::{
    self, EntryKind, HEADER_LEN, MAGIC, MAX_KEY_LEN, WORD_LEN, entry_len, value_offset,
};
use super::name::{FileContent, FileKind, WriterId};
use super::sys::Identity;
use super::write_error::WriteError;

pub(crate) use super::append_file::draw_id;
pub(crate) use super::create::{FileAccess, is_staging_name};

/// Bytes that ordinary entries leave free for the counters of series that do not fit.
const RESERVE_LEN: u64 = 1024;
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

/// Encodes entries.
pub(crate) fn encoded(list: &[NewEntry<'_>]) -> Entries {
    let mut entries = Entries::default();
    for NewEntry { kind, key, value, time } in list {
        entries.push(*kind, key, *value, *time);
    }
    entries
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
    file: AppendFile,
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
        let file = AppendFile::create(dir, FileContent::Series(kind), MAGIC, id, access, wait)?;
        Ok(SeriesWriter { file })
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
        self.append_entries(&encoded(entries), room)
    }

    /// As [`append_all`](SeriesWriter::append_all) with encoded entries.
    pub(crate) fn append_entries(
        &mut self,
        entries: &Entries,
        room: Room,
    ) -> Result<Vec<SampleCells>, WriteError> {
        SeriesWriter::check_keys(entries)?;
        let begin = self.file.used();
        let end = begin + entries.bytes().len() as u64;
        self.file.reserve(match room {
            Room::Ordinary => end + RESERVE_LEN,
            Room::Last => end,
        })?;
        let map = self.file.map();
        map.write(begin, entries.bytes());
        let mut cells = Vec::with_capacity(entries.len());
        match map.words(begin, entries.bytes().len()) {
            Some(words) => cells.extend(entries.value_offsets().map(|value| {
                let [value, time] = [0, WORD_LEN].map(|word| &words[(value + word) / WORD_LEN]);
                SampleCells { value: Cell::new(value), time: Cell::new(time) }
            })),
            None => cells.extend(entries.value_offsets().map(|value| {
                let value = begin + value as u64;
                SampleCells { value: map.cell(value), time: map.cell(value + WORD_LEN as u64) }
            })),
        }
        self.file.publish(end);
        Ok(cells)
    }

    /// Checks that no key is longer than the format allows.
    pub(crate) fn check_keys(entries: &Entries) -> Result<(), WriteError> {
        match entries.key_lens().iter().find(|len| **len > MAX_KEY_LEN) {
            Some(&len) => Err(WriteError::KeyTooLong { len }),
            None => Ok(()),
        }
    }

    /// See [`AppendFile::is_removed_from`].
    pub(crate) fn is_removed_from(&self, dir: &Path) -> bool {
        self.file.is_removed_from(dir)
    }

    /// See [`AppendFile::identity`].
    pub(crate) fn identity(&self) -> Identity {
        self.file.identity()
    }

    /// Whether the file has an entry with this key.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        self.entries().iter().any(|entry| entry.key == key)
    }

    /// See [`AppendFile::end_pause`].
    pub(crate) fn end_pause(&mut self) {
        self.file.end_pause();
    }

    /// See [`AppendFile::retire`].
    pub(crate) fn retire(&self) {
        self.file.retire();
    }

    /// Returns all entries.
    pub(crate) fn entries(&self) -> Vec<WrittenEntry> {
        let mut entries = Vec::new();
        let (map, mut at) = (self.file.map(), HEADER_LEN as u64);
        while at < self.file.used() {
            let key_len = map.read_u32(at) as usize;
            let key = map.read(at + layout::KEY_LEN_LEN as u64, key_len);
            let value = at + value_offset(key_len) as u64;
            let check = map.read_u32(value - entry_kind::CHECKSUM_LEN as u64);
            let kind = entry_kind::find(&key, check.to_le_bytes()).unwrap_or(EntryKind::Value);
            let word = |offset| map.cell(offset).get();
            let (value, time) = (word(value), word(value + WORD_LEN as u64));
            entries.push(WrittenEntry { kind, key, value, time });
            at += entry_len(key_len) as u64;
        }
        entries
    }

    /// See [`AppendFile::close_all`].
    pub(crate) fn close_all(writers: impl IntoIterator<Item = SeriesWriter>) {
        AppendFile::close_all(writers.into_iter().map(|writer| writer.file));
    }

    /// As [`close_all`](SeriesWriter::close_all) with one file.
    #[cfg(test)]
    pub(crate) fn close(self) {
        SeriesWriter::close_all([self]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::create::INITIAL_CAPACITY;
    use crate::file::layout::Layout;
    use crate::file::lock;
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
        assert!(writer.file.used() > 17 * 1024 * 1024, "the file spans two segments");
        cells[3].value.set(-3.0);
        cells[399].time.set(7.0);

        let mut reader = Reader::default();
        let file = reader::open(&path).unwrap();
        let snapshot = reader.read(&file).unwrap();
        assert_eq!(
            (u64::from(snapshot.used), snapshot.entries().unwrap().layout()),
            (writer.file.used(), Layout::Own)
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
        assert_eq!(writer.file.used(), HEADER_LEN as u64);
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
