//! The series files of this process in one directory.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::fork::PerProcess;
use super::{SampleCells, dropped};
use crate::error::{Error, ErrorKind, Result};
use crate::file::name::{FileKind, WriterId};
use crate::file::writer::{EntryCells, SeriesWriter, WriteError, draw_id};

/// A directory that this process, and each child of it for itself, writes series files into.
pub(crate) struct DirectoryStore {
    path: PathBuf,
    files: PerProcess<Mutex<Files>>,
}

/// What one process has written.
#[derive(Default)]
struct Files {
    /// Drawn with the first file.
    id: Option<WriterId>,
    writers: HashMap<FileKind, SeriesWriter>,
    /// The cells of every gauge, which has one entry for a key.
    gauges: HashMap<(FileKind, Box<[u8]>), SampleCells, foldhash::fast::RandomState>,
}

impl DirectoryStore {
    /// Checks that the directory is there; files are created later, with the first sample of a type.
    pub(crate) fn open(path: &Path) -> Result<&'static DirectoryStore> {
        let absolute =
            fs::canonicalize(path).map_err(|error| Error::at(ErrorKind::Directory, path, error))?;
        if !absolute.is_dir() {
            return Err(Error::at(ErrorKind::Directory, path, "not a directory"));
        }
        Ok(Box::leak(Box::new(DirectoryStore { path: absolute, files: PerProcess::new() })))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn open_cells(&self, kind: FileKind, key: &[u8], time: f64) -> SampleCells {
        let files = self.files.get_or_create(|| Mutex::new(Files::default()));
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gauge = kind.mode().is_some();
        if is_gauge && let Some(cells) = files.gauges.get(&(kind, key.into())) {
            return *cells;
        }
        let cells = match files.append(&self.path, kind, key, time) {
            Ok(cells) => cells,
            Err(error) => {
                let named = Error::at(ErrorKind::Directory, &self.path, error.to_string());
                dropped::count(error.reason(), &named);
                SampleCells::on_heap(time)
            }
        };
        if is_gauge {
            files.gauges.insert((kind, key.into()), cells);
        }
        cells
    }
}

impl Files {
    fn append(
        &mut self,
        dir: &Path,
        kind: FileKind,
        key: &[u8],
        time: f64,
    ) -> Result<SampleCells, WriteError> {
        if let Some(writer) = self.writers.get_mut(&kind) {
            match writer.append(key, 0.0, time) {
                // The old file keeps its series, whose cells stay mapped; new ones go to a new file.
                Err(WriteError::DescriptorLost | WriteError::FileFull) => {}
                result => return result.map(cells_of),
            }
        }
        let id = match &mut self.id {
            Some(id) => id,
            none => none.insert(draw_id(std::process::id())?),
        };
        let mut writer = SeriesWriter::create(dir, kind, id)?;
        let cells = writer.append(key, 0.0, time).map(cells_of);
        if let Some(old) = self.writers.insert(kind, writer) {
            // The lock shows that the series in it are alive, and its number may be somebody else's.
            std::mem::forget(old);
        }
        cells
    }
}

fn cells_of(cells: EntryCells) -> SampleCells {
    SampleCells { value: cells.value, time: cells.time }
}
