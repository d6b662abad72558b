//! Writes one companion file: appends entries, writes slots and publishes records.

use std::path::Path;

use super::layout::{CompanionKind, MAGIC, MAX_PAYLOAD_LEN, encode_entry, payload_offset};
use super::payload::{ExemplarSlot, NewNativeRecord, encode_text};
use super::publish;
use super::slot::{self, SlotWords};
use crate::file::Cell;
use crate::file::append_file::AppendFile;
use crate::file::create::FileAccess;
use crate::file::forks::ForkWait;
use crate::file::layout::{MAX_KEY_LEN, WORD_LEN};
use crate::file::name::{FileContent, WriterId};
use crate::file::write_error::WriteError;

/// A companion file of this process.
pub(crate) struct CompanionWriter {
    file: AppendFile,
    /// The buffer in which entries are encoded.
    scratch: Vec<u8>,
}

/// An entry that was appended.
struct Appended {
    offset: u64,
    payload: u64,
}

impl CompanionWriter {
    /// Creates the next companion of a writer. If the name is taken, `id` becomes a new one.
    pub(crate) fn create(
        dir: &Path,
        id: &mut WriterId,
        access: FileAccess,
        wait: ForkWait,
    ) -> Result<CompanionWriter, WriteError> {
        let file = AppendFile::create(dir, FileContent::Companion, MAGIC, id, access, wait)?;
        Ok(CompanionWriter { file, scratch: Vec::new() })
    }

    /// Appends the unit or the type of a family. The length of the key is a multiple of 8.
    pub(crate) fn append_text(
        &mut self,
        kind: CompanionKind,
        key: &[u8],
        text: &str,
    ) -> Result<(), WriteError> {
        let mut payload = Vec::new();
        encode_text(&mut payload, text);
        self.append(kind, key, &payload).map(drop)
    }

    /// Appends a slot for exemplars with labels of up to `labels_len` bytes.
    pub(crate) fn append_exemplar(
        &mut self,
        key: &[u8],
        labels_len: usize,
    ) -> Result<ExemplarCells, WriteError> {
        let payload = vec![0; ExemplarSlot::payload_len(labels_len)];
        let appended = self.append(CompanionKind::Exemplar, key, &payload)?;
        let words = (1..payload.len() / WORD_LEN).map(|at| self.cell(&appended, at));
        let words = words.collect();
        Ok(ExemplarCells { sequence: self.cell(&appended, 0), words })
    }

    /// Appends a native histogram without a record.
    pub(crate) fn append_native(&mut self, key: &[u8]) -> Result<NativeCell, WriteError> {
        let appended = self.append(CompanionKind::Native, key, &[0; WORD_LEN])?;
        Ok(NativeCell(self.cell(&appended, 0)))
    }

    /// Appends a record and makes it the current one. Returns the cells of its words.
    pub(crate) fn replace_record(
        &mut self,
        native: NativeCell,
        record: &NewNativeRecord,
    ) -> Result<Vec<Cell>, WriteError> {
        let mut payload = Vec::new();
        record.encode(&mut payload);
        let appended = self.append(CompanionKind::NativeRecord, b"", &payload)?;
        publish::publish(native.0.word(), appended.offset);
        Ok((0..payload.len() / WORD_LEN).map(|at| self.cell(&appended, at)).collect())
    }

    fn cell(&self, appended: &Appended, word: usize) -> Cell {
        self.file.map().cell(appended.payload + (word * WORD_LEN) as u64)
    }

    /// See [`AppendFile::is_removed_from`].
    pub(crate) fn is_removed_from(&self, dir: &Path) -> bool {
        self.file.is_removed_from(dir)
    }

    /// See [`AppendFile::end_pause`].
    pub(crate) fn end_pause(&mut self) {
        self.file.end_pause();
    }

    /// See [`AppendFile::retire`].
    pub(crate) fn retire(&self) {
        self.file.retire();
    }

    /// See [`AppendFile::close_all`].
    pub(crate) fn close(self) {
        AppendFile::close_all([self.file]);
    }

    /// Appends an entry and makes it visible. The lengths of key and payload are multiples of 8.
    fn append(
        &mut self,
        kind: CompanionKind,
        key: &[u8],
        payload: &[u8],
    ) -> Result<Appended, WriteError> {
        let len = key.len().max(payload.len());
        if key.len() > MAX_KEY_LEN || payload.len() > MAX_PAYLOAD_LEN {
            return Err(WriteError::KeyTooLong { len });
        }
        self.scratch.clear();
        encode_entry(&mut self.scratch, kind, key, payload);
        let offset = self.file.used();
        let end = offset + self.scratch.len() as u64;
        self.file.reserve(end)?;
        self.file.map().write(offset, &self.scratch);
        self.file.publish(end);
        Ok(Appended { offset, payload: offset + payload_offset(key.len()) as u64 })
    }
}

/// The words of an exemplar in a mapped file.
#[derive(Clone, Debug)]
pub(crate) struct ExemplarCells {
    sequence: Cell,
    words: Box<[Cell]>,
}

impl ExemplarCells {
    /// Replaces the exemplar. Returns `false` if its labels do not fit, or if another thread is writing.
    pub(crate) fn write(&self, exemplar: &ExemplarSlot<'_>) -> bool {
        exemplar.words().count() <= self.words.len()
            && slot::write(
                self.sequence.word(),
                self.words.iter().map(|cell| cell.word()),
                exemplar.words(),
            )
    }
}

impl SlotWords for ExemplarCells {
    fn sequence(&self) -> Option<u64> {
        Some(self.sequence.bits())
    }

    fn payload(&self, out: &mut [u64]) -> Option<()> {
        for (word, cell) in out.iter_mut().zip(&self.words) {
            *word = cell.bits();
        }
        Some(())
    }
}

/// The word with the offset of the current record of a native histogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeCell(Cell);

impl NativeCell {
    /// The offset of the current record in the file; 0 if there is none yet.
    pub(crate) fn current(self) -> u64 {
        publish::current(self.0.word())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::file::append_file::draw_id;
    use crate::file::companion::layout::CompanionEntries;
    use crate::file::companion::payload::{current_record, decode_text};
    use crate::file::companion::reader::{self, FileSlot, MappedSlot, exemplar};
    use crate::file::fault_guard::guard_mappings;
    use crate::file::layout::HEADER_LEN;
    use crate::file::lock::{self, LockState};
    use crate::file::name::CompanionName;
    use crate::file::read_map::ReadMap;
    use crate::file::reader::Reader;
    use crate::file::sys;
    use crate::test_dir::TestDir;

    const KEY: &[u8] = b"[\"a_b\", \"a_b\", {}, \"\"]  ";

    fn create(dir: &Path) -> (CompanionWriter, File) {
        let mut id = draw_id("7").unwrap();
        let access = FileAccess::Owner;
        let writer = CompanionWriter::create(dir, &mut id, access, ForkWait::Long).unwrap();
        let [name] = &std::fs::read_dir(dir).unwrap().collect::<Vec<_>>()[..] else {
            panic!("one file")
        };
        let path = name.as_ref().unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(CompanionName::of_file(name).unwrap().id, id.as_str());
        (writer, crate::file::reader::open(&path).unwrap())
    }

    #[test]
    fn a_new_companion_is_locked_and_its_entries_are_read_while_it_grows() {
        let dir = TestDir::new();
        let (mut writer, file) = create(&dir);
        assert_eq!(lock::probe(&file).unwrap(), LockState::Held);
        let units: Vec<String> = (0..2_000).map(|number| format!("unit{number}")).collect();
        for unit in &units {
            writer.append_text(CompanionKind::Unit, KEY, unit).unwrap();
        }
        let native = writer.append_native(KEY).unwrap();
        let mut read = Reader::default();
        let snapshot = reader::read(&mut read, &file, sys::stat(&file).unwrap()).unwrap();
        assert!(u64::from(snapshot.used) == writer.file.used() && snapshot.used > 64 * 1024);
        let entries: Vec<_> = snapshot.entries().map(Result::unwrap).collect();
        let (last, rest) = entries.split_last().unwrap();
        let decoded: Vec<_> = rest.iter().map(|it| decode_text(it.payload).unwrap()).collect();
        assert_eq!(decoded, units);
        assert_eq!(current_record(last, snapshot.body), Ok(None));

        let record = |sum| NewNativeRecord { sum, ..NewNativeRecord::default() };
        writer.replace_record(native, &record(1.0)).unwrap();
        let words = writer.replace_record(native, &record(2.0)).unwrap();
        words[3].set(5.0);
        let snapshot = reader::read(&mut read, &file, sys::stat(&file).unwrap()).unwrap();
        let offset = native_offset(snapshot.entries());
        assert_eq!(offset, 2_000);
        let native = snapshot.entries().nth(offset).unwrap().unwrap();
        assert_eq!(current_record(&native, snapshot.body).unwrap().unwrap().sum, 5.0);
        writer.close();
        assert_eq!(lock::probe(&file).unwrap(), LockState::Free);
    }

    fn native_offset(mut entries: CompanionEntries<'_>) -> usize {
        let is_native = |entry: Result<_, _>| {
            entry.is_ok_and(|entry: super::super::layout::CompanionEntry<'_>| {
                entry.kind == CompanionKind::Native
            })
        };
        entries.position(is_native).unwrap()
    }

    /// The labels of the exemplar with this number, of different lengths.
    fn labels(number: u64) -> &'static str {
        let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        &all[..(number % 60) as usize]
    }

    #[test]
    fn readers_by_each_way_see_whole_exemplars_while_threads_write_them() {
        const WRITES: u64 = 400_000;
        guard_mappings().unwrap();
        let dir = TestDir::new();
        let (mut writer, file) = create(&dir);
        let cells = writer.append_exemplar(KEY, 64).unwrap();
        let len = ExemplarSlot::payload_len(64);
        let offset = HEADER_LEN + payload_offset(KEY.len());
        let map = ReadMap::new(&file, file.metadata().unwrap().len()).unwrap();
        let slots = (
            FileSlot { file: &file, offset: offset as u64 },
            MappedSlot { map: &map, at: (offset / WORD_LEN) as u32 },
        );
        let check = |seen: ExemplarSlot<'_>| {
            assert_eq!((seen.time, seen.labels), (seen.value * 2.0, labels(seen.value as u64)));
        };
        assert!(exemplar(&cells, len, check).is_none(), "nothing was written yet");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers = [
                scope.spawn(|| while_written(&is_over, || exemplar(&slots.0, len, check))),
                scope.spawn(|| while_written(&is_over, || exemplar(&slots.1, len, check))),
                scope.spawn(|| while_written(&is_over, || exemplar(&cells, len, check))),
            ];
            let writers = [0, 1].map(|start| {
                let cells = &cells;
                scope.spawn(move || {
                    let numbers = (start..WRITES).step_by(2);
                    let write = |number: &u64| {
                        let (value, labels) = (*number as f64, labels(*number));
                        cells.write(&ExemplarSlot { value, time: value * 2.0, labels })
                    };
                    numbers.filter(write).count()
                })
            });
            let written: usize = writers.into_iter().map(|it| it.join().unwrap()).sum();
            is_over.store(true, Ordering::Relaxed);
            assert!(written > WRITES as usize / 10, "{written} of {WRITES} writes");
            for reader in readers {
                assert!(reader.join().unwrap() > 0);
            }
        });
        let too_long = "x".repeat(65);
        assert!(!cells.write(&ExemplarSlot { value: 1.0, time: 2.0, labels: &too_long }));
        assert!(exemplar(&slots.0, len, check).is_some());

        // As a writer that is killed in between leaves it.
        cells.sequence.word().fetch_add(1, Ordering::Relaxed);
        assert!(!cells.write(&ExemplarSlot { value: 1.0, time: 2.0, labels: "" }));
        assert!(exemplar(&slots.0, len, check).is_none());
        assert!(exemplar(&slots.1, len, check).is_none());
    }

    /// Reads until the writers have ended, and once more. Returns how many exemplars were seen.
    fn while_written(is_over: &AtomicBool, read: impl Fn() -> Option<()>) -> usize {
        let mut seen = 0;
        while !is_over.load(Ordering::Relaxed) {
            seen += usize::from(read().is_some());
        }
        seen + usize::from(read().is_some())
    }
}
