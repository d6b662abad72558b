//! Describes the files of a multiprocess directory, for tools.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::archive_file::ArchiveFile;
use super::listing::{ListedIn, file_names, retired_names};
use super::liveness::{Liveness, Proof};
use super::prober::{Freshness, Prober};
use super::skipped::{KeyProblem, SkipCause};
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::{Archive, ArchiveError, RETIRED_DIR, companion_entries};
use crate::file::companion::{payload, reader as companion};
use crate::file::layout::{Entry, EntryKind, Layout};
use crate::file::name::{CompanionName, FileName, IdKind, NameError};
use crate::file::place;
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys;
use crate::model::{GaugeMode, MetricType};

/// A series file or a companion file of a multiprocess directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// The path.
    pub path: PathBuf,
    /// Whether it is a companion file, which has what series files cannot hold, such as units.
    pub is_companion: bool,
    /// The type of the metrics in the file; `None` of a companion, or if the name is not that of a series file.
    pub metric_type: Option<MetricType>,
    /// The mode of the gauges in the file.
    pub mode: Option<GaugeMode>,
    /// The process that wrote the file: its pid, or the name that it has chosen.
    pub id: String,
    /// Whether it is a file of the Python client that waits for its compaction.
    pub is_retired: bool,
    /// Whether that process lives.
    pub liveness: Liveness,
    /// The layout of the entries; `None` if the file cannot be read.
    pub layout: Option<FileLayout>,
    /// How many entries can be read.
    pub entries: usize,
    /// Bytes in use.
    pub used: u64,
    /// Bytes of the file.
    pub len: u64,
    /// Why the file, or the rest of it, cannot be read.
    pub error: Option<Error>,
}

/// The layout of the entries in a series file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileLayout {
    /// The file has no entries yet.
    Empty,
    /// That of the Python client up to 0.3.1.
    L0,
    /// That of the Python client from 0.4.0 to 0.15.0.
    L1,
    /// That of the Python client 0.16.0 and 0.17.
    L2,
    /// That of the Python client since 0.18.0.
    L3,
    /// That of this crate.
    Own,
    /// That of companion files of this crate.
    Companion,
}

impl FileLayout {
    fn new(layout: Layout) -> FileLayout {
        match layout {
            Layout::Empty => FileLayout::Empty,
            Layout::L0 => FileLayout::L0,
            Layout::L1 => FileLayout::L1,
            Layout::L2 => FileLayout::L2,
            Layout::L3 => FileLayout::L3,
            Layout::Own => FileLayout::Own,
        }
    }

    /// `own`, `companion`, `empty`, or `L0` to `L3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            FileLayout::Empty => "empty",
            FileLayout::L0 => "L0",
            FileLayout::L1 => "L1",
            FileLayout::L2 => "L2",
            FileLayout::L3 => "L3",
            FileLayout::Own => "own",
            FileLayout::Companion => "companion",
        }
    }
}

impl fmt::Display for FileLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Describes every series file of a multiprocess directory, in the order of names, then companion files, then retired
/// files.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) if the directory cannot be listed. A file that cannot be read is in the
/// list, with its error.
pub fn list_files(dir: &Path) -> Result<Vec<FileInfo>> {
    list_files_by(dir, &mut Prober::default())
}

/// The same with a given prober, which may take leases in ways of its own.
pub(crate) fn list_files_by(dir: &Path, prober: &mut Prober) -> Result<Vec<FileInfo>> {
    let failed = |dir: &Path, error| Error::at(ErrorKind::Directory, dir, error);
    let mut reader = Reader::default();
    let mut files = Vec::new();
    let names = file_names(dir).map_err(|error| failed(dir, error))?;
    prober.enter(dir, &place::open(dir).map_err(|error| failed(dir, error))?);
    let mut list = |dir: &Path, names: &[OsString], listed_in| {
        let paths = names.iter().map(|name| dir.join(name));
        files.extend(paths.filter_map(|it| inspect(it, listed_in, &mut reader, prober)));
    };
    list(dir, &names.series, ListedIn::Main);
    list(dir, &names.companions, ListedIn::Main);
    let retired = dir.join(RETIRED_DIR);
    let names = retired_names(&retired).map_err(|error| failed(&retired, error))?;
    list(&retired, &names, ListedIn::Retired);
    Ok(files)
}

/// Describes one series file or companion file. Its name determines what it holds.
///
/// # Errors
///
/// Of kind [`SeriesFile`](ErrorKind::SeriesFile) if there is no such file. An invalid file is no error:
/// [`FileInfo::error`] describes the problem.
pub fn inspect_file(path: impl AsRef<Path>) -> Result<FileInfo> {
    let path = path.as_ref();
    let mut prober = Prober::default();
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if let Ok(handle) = place::open(dir) {
        prober.enter(dir, &handle);
    }
    let info = inspect(path.to_owned(), ListedIn::Main, &mut Reader::default(), &mut prober);
    info.ok_or_else(|| {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        Error::at(ErrorKind::SeriesFile, path, missing)
    })
}

/// `None` for a file that was removed in between.
fn inspect(
    path: PathBuf,
    listed_in: ListedIn,
    reader: &mut Reader,
    prober: &mut Prober,
) -> Option<FileInfo> {
    let name = path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let parsed = name.as_deref().and_then(FileName::parse);
    let companion = name.as_deref().and_then(CompanionName::of_file);
    let writer = parsed.map(|name| name.writer(IdKind::Unique));
    let mut info = FileInfo {
        is_companion: companion.is_some(),
        metric_type: parsed.map(|name| name.kind.metric_type()),
        mode: parsed.and_then(|name| name.kind.mode()),
        id: writer.or(companion.map(|name| name.id)).unwrap_or_default().to_owned(),
        is_retired: listed_in == ListedIn::Retired,
        liveness: Liveness::Unknown,
        layout: None,
        entries: 0,
        used: 0,
        len: 0,
        error: None,
        path,
    };
    let file = match reader::open(&info.path) {
        Ok(file) => file,
        Err(error) if error.is_vanished() => return None,
        Err(error) => {
            info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error));
            return Some(info);
        }
    };
    info.len = file.metadata().map_or(0, |metadata| metadata.len());
    if companion.is_some() {
        let result = info.read_companion(&file, reader);
        info.error = result.err().map(|error| Error::at(ErrorKind::SeriesFile, &info.path, error));
        let name = name.as_deref().unwrap_or_default();
        let proof = Proof::of(IdKind::Unique, listed_in);
        info.liveness = prober.probe(name, &file, proof, Freshness::Recent).liveness();
        return Some(info);
    }
    let read = reader.read(&file);
    match read.and_then(|snapshot| Ok((snapshot.used, snapshot.entries()?))) {
        Ok((used, entries)) => {
            info.used = u64::from(used);
            info.layout = Some(FileLayout::new(entries.layout()));
            for entry in entries {
                let problem: Box<dyn std::error::Error + Send + Sync> = match entry {
                    Ok(Entry { kind: EntryKind::Unknown(kind), .. }) => {
                        SkipCause::Key(KeyProblem::UnknownKind { kind: u32::from(kind) }).into()
                    }
                    Ok(_) => {
                        info.entries += 1;
                        continue;
                    }
                    Err(error) => error.into(),
                };
                info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, problem));
            }
            let id = parsed.map_or(IdKind::Chosen, |name| reader::id_kind(name, &file));
            let name = name.as_deref().unwrap_or_default();
            let proof = Proof::of(id, listed_in);
            info.liveness = prober.probe(name, &file, proof, Freshness::Recent).liveness();
        }
        Err(error) => info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error)),
    }
    // What such a file contains is unknown.
    if parsed.is_none() {
        let error = name.as_deref().map_or(NameError::Foreign, NameError::of);
        info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error));
    }
    Some(info)
}

impl FileInfo {
    /// Counts the entries of a companion and checks their payloads. The first error is returned; only the entries after a
    /// truncated one or a wrong checksum are not counted.
    fn read_companion(
        &mut self,
        file: &File,
        reader: &mut Reader,
    ) -> std::result::Result<(), ReadError> {
        let stat = sys::stat(file).map_err(ReadError::Read)?;
        let snapshot = companion::read(reader, file, stat)?;
        self.used = u64::from(snapshot.used);
        self.layout = Some(FileLayout::Companion);
        let mut result = Ok(());
        for entry in snapshot.entries() {
            self.entries += usize::from(entry.is_ok());
            let checked = entry.and_then(|entry| payload::check(&entry, snapshot.body));
            result = result.and(checked.map_err(ReadError::Layout));
        }
        result
    }
}

/// The archive of a multiprocess directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct ArchiveInfo {
    /// The path.
    pub path: PathBuf,
    /// How often the archive was written.
    pub generation: u64,
    /// When it was written last, in seconds since the Unix epoch.
    pub written: f64,
    /// How many entries can be read.
    pub series: usize,
    /// How many ended processes have gauges of mode `all` in it.
    pub processes: usize,
    /// The files whose values it holds and that still existed when it was written.
    pub sources: Vec<String>,
    /// Bytes of the file.
    pub len: u64,
    /// Why the archive, or a part of it, cannot be read.
    pub error: Option<Error>,
}

impl ArchiveInfo {
    fn read(&mut self, archive: Archive<'_>) -> std::result::Result<(), ArchiveError> {
        self.generation = archive.generation;
        self.written = archive.written;
        self.sources = archive.sources().map(str::to_owned).collect();
        let unknown = archive.unknown_sections().next();
        let mut ended = HashSet::new();
        for section in archive.sections() {
            let section = section?;
            if section.ended > 0.0 {
                ended.insert(section.name.process(IdKind::Unique));
            }
            self.processes = ended.len();
            for entry in section.entries {
                entry.map_err(|error| ArchiveError::EntryMalformed { error })?;
                self.series += 1;
            }
        }
        for body in archive.companions() {
            let body = body?;
            for entry in companion_entries(body) {
                let checked = entry.and_then(|entry| payload::check(&entry, body));
                checked.map_err(|error| ArchiveError::EntryMalformed { error })?;
            }
        }
        unknown.map_or(Ok(()), |section| Err(section.error()))
    }
}

/// Describes the archive of a multiprocess directory and checks each of its entries; `None` if there is no archive.
///
/// # Errors
///
/// Of kind [`SeriesFile`](ErrorKind::SeriesFile) if the archive cannot be opened. An invalid archive is no error:
/// [`ArchiveInfo::error`] describes the problem.
pub fn inspect_archive(dir: impl AsRef<Path>) -> Result<Option<ArchiveInfo>> {
    let path = ArchiveFile::path(dir.as_ref());
    let mut info = ArchiveInfo {
        path,
        generation: 0,
        written: 0.0,
        series: 0,
        processes: 0,
        sources: Vec::new(),
        len: 0,
        error: None,
    };
    match ArchiveFile::open(dir.as_ref()) {
        Ok(None) => return Ok(None),
        Ok(Some(archive)) => {
            info.len = archive.len();
            if let Err(error) = archive.decode().and_then(|archive| info.read(archive)) {
                info.error = Some(Error::at(ErrorKind::SeriesFile, &info.path, error));
            }
        }
        Err(cause) => {
            let is_invalid = match &cause {
                SkipCause::Archive(_) => true,
                SkipCause::Read(error) => error.is_not_a_file(),
                _ => false,
            };
            let error = Error::at(ErrorKind::SeriesFile, &info.path, cause);
            if !is_invalid {
                return Err(error);
            }
            info.error = Some(error);
        }
    }
    Ok(Some(info))
}
