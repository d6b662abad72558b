//! Entries of companion files that no metric writes yet, for the programs that test them: no part of the API, and without a
//! promise for any release.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::{Chain, Error, ErrorKind, Result};
use crate::file::Cell;
use crate::file::companion::layout::CompanionKind;
use crate::file::companion::payload::{
    ExemplarSlot, NativeRecord, NewNativeRecord, check, current_record, decode_text,
};
use crate::file::companion::reader::{self, FileSlot, MappedSlot};
use crate::file::companion::writer::{CompanionWriter, ExemplarCells, NativeCell};
use crate::file::fault_guard::guard_mappings;
use crate::file::forks::{self, ForkWait};
use crate::file::key;
use crate::file::layout::WORD_LEN;
use crate::file::read_map::ReadMap;
use crate::file::reader::{ReadError, Reader, open};
use crate::file::sys;
use crate::file::write_error::WriteError;
use crate::file::writer::{FileAccess, draw_id};

/// Words of a native record before the counts.
const RECORD_HEAD: usize = 6;

/// A companion file of this process.
#[expect(missing_debug_implementations, reason = "for test programs")]
pub struct Companion(CompanionWriter);

/// The slot of an exemplar.
#[expect(missing_debug_implementations, reason = "for test programs")]
pub struct Exemplar(ExemplarCells);

/// A native histogram with positive buckets from index 0 on.
#[expect(missing_debug_implementations, reason = "for test programs")]
pub struct Native {
    cell: NativeCell,
    record: Vec<Cell>,
    schema: i32,
}

/// What a companion file contains.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Contents {
    /// Families and their units.
    pub units: Vec<(String, String)>,
    /// Families of gauges and the types with which they are exported.
    pub types: Vec<(String, String)>,
    /// The value, the time and the labels of exemplars that were written.
    pub exemplars: Vec<(f64, f64, String)>,
    /// Slots without an exemplar: nothing was written yet, or the writer was killed.
    pub empty_slots: usize,
    /// The schema and the counts of the current records.
    pub natives: Vec<(i32, Vec<u64>)>,
    /// Entries of unknown kinds.
    pub unknown: usize,
}

fn encode_key(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    key::encode(&mut bytes, name, name, std::iter::empty(), "");
    bytes
}

fn failed(path: &Path, error: &WriteError) -> Error {
    Error::at(ErrorKind::SeriesFile, path, Chain(error).to_string())
}

impl Companion {
    /// Creates a companion with an id of its own.
    ///
    /// # Errors
    ///
    /// Of kind [`SeriesFile`](ErrorKind::SeriesFile).
    pub fn create(dir: &Path) -> Result<Companion> {
        forks::watch_forks();
        let id = draw_id(&std::process::id().to_string());
        let created = id.and_then(|mut id| {
            CompanionWriter::create(dir, &mut id, FileAccess::Owner, ForkWait::Long)
        });
        created.map(Companion).map_err(|error| failed(dir, &error))
    }

    /// Appends a slot for exemplars of a series, with labels of up to `labels_len` bytes.
    ///
    /// # Errors
    ///
    /// Of kind [`SeriesFile`](ErrorKind::SeriesFile).
    pub fn exemplar(&mut self, name: &str, labels_len: usize) -> Result<Exemplar> {
        let appended = self.0.append_exemplar(&encode_key(name), labels_len);
        appended.map(Exemplar).map_err(|error| failed(Path::new(name), &error))
    }

    /// Appends a native histogram with so many empty buckets.
    ///
    /// # Errors
    ///
    /// Of kind [`SeriesFile`](ErrorKind::SeriesFile).
    pub fn native(&mut self, name: &str, schema: i32, buckets: usize) -> Result<Native> {
        let failed = |error| failed(Path::new(name), &error);
        let cell = self.0.append_native(&encode_key(name)).map_err(failed)?;
        let mut native = Native { cell, record: Vec::new(), schema };
        self.replace(&mut native, vec![0; buckets]).map_err(failed)?;
        Ok(native)
    }

    /// Halves the resolution: adds up each two buckets in a new record, which also gets an observation in the first one.
    ///
    /// # Errors
    ///
    /// Of kind [`SeriesFile`](ErrorKind::SeriesFile).
    pub fn halve(&mut self, native: &mut Native) -> Result<()> {
        let counts: Vec<u64> =
            native.record[RECORD_HEAD..].iter().map(|cell| cell.bits()).collect();
        let mut halved: Vec<u64> = counts.chunks(2).map(|pair| pair.iter().sum()).collect();
        halved[0] += 1;
        halved.resize(counts.len(), 0);
        native.schema -= 1;
        self.replace(native, halved).map_err(|error| failed(Path::new("native"), &error))
    }

    fn replace(
        &mut self,
        native: &mut Native,
        counts: Vec<u64>,
    ) -> std::result::Result<(), WriteError> {
        let positive = (0, counts);
        let record =
            NewNativeRecord { schema: native.schema, positive, ..NewNativeRecord::default() };
        native.record = self.0.replace_record(native.cell, &record)?;
        Ok(())
    }
}

impl Exemplar {
    /// Replaces the exemplar. Returns `false` if another thread is writing, or if the labels do not fit.
    pub fn write(&self, value: f64, time: f64, labels: &str) -> bool {
        self.0.write(&ExemplarSlot { value, time, labels })
    }
}

impl Native {
    /// The offset of the current record.
    pub fn current(&self) -> u64 {
        self.cell.current()
    }

    /// Counts an observation in a bucket.
    pub fn observe(&self, bucket: usize) {
        self.record[RECORD_HEAD + bucket].word().fetch_add(1, Ordering::Relaxed);
    }
}

/// How exemplars are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By `pread`.
    Pread,
    /// Through a mapping.
    Mmap,
}

/// Reads a companion, also while it is being written.
///
/// # Errors
///
/// Of kind [`SeriesFile`](ErrorKind::SeriesFile), if any of it is damaged.
pub fn read(path: &Path, method: Method) -> Result<Contents> {
    let file = open(path).map_err(|error| Error::at(ErrorKind::SeriesFile, path, error))?;
    contents(&file, method).map_err(|error| Error::at(ErrorKind::SeriesFile, path, error))
}

fn contents(file: &File, method: Method) -> std::result::Result<Contents, ReadError> {
    let mut contents = Contents::default();
    let mut buffer = Reader::default();
    let stat = sys::stat(file).map_err(ReadError::Read)?;
    let map = match method {
        Method::Pread => None,
        Method::Mmap => {
            guard_mappings().map_err(ReadError::Read)?;
            ReadMap::new(file, stat.len)
        }
    };
    let snapshot = reader::read(&mut buffer, file, stat)?;
    for entry in snapshot.entries() {
        let entry = entry.map_err(ReadError::Layout)?;
        let (offset, len) = (entry.payload_offset(), entry.payload.len());
        match entry.kind {
            CompanionKind::Unit | CompanionKind::Type => {
                let invalid = || ReadError::Layout(entry.payload_invalid());
                let key = key::decode(entry.key).map_err(|_| invalid())?;
                let text = decode_text(entry.payload).ok_or_else(invalid)?;
                let attributes = match entry.kind {
                    CompanionKind::Unit => &mut contents.units,
                    _ => &mut contents.types,
                };
                attributes.push((key.family.into_owned(), text.to_owned()));
            }
            CompanionKind::Exemplar => {
                let take = |it: ExemplarSlot<'_>| (it.value, it.time, it.labels.to_owned());
                let exemplar = match &map {
                    Some(map) => {
                        let slot = MappedSlot { map, at: (offset / WORD_LEN) as u32 };
                        reader::exemplar(&slot, len, take)
                    }
                    None => {
                        let slot = FileSlot { file, offset: offset as u64 };
                        reader::exemplar(&slot, len, take)
                    }
                };
                contents.empty_slots += usize::from(exemplar.is_none());
                contents.exemplars.extend(exemplar);
            }
            CompanionKind::Native => {
                check(&entry, snapshot.body).map_err(ReadError::Layout)?;
                // OK because the record of a valid entry may have been appended since.
                let record = current_record(&entry, snapshot.body).unwrap_or_default();
                let counts =
                    |record: NativeRecord<'_>| (record.schema, record.positive.counts().collect());
                contents.natives.extend(record.map(counts));
            }
            CompanionKind::NativeRecord => {}
            CompanionKind::Unknown(_) => contents.unknown += 1,
        }
    }
    Ok(contents)
}
