//! The archive of a directory, as a file.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gauge::SourceState;
use super::merge::{Merge, Origin, Place, Words};
use super::plans::Plan;
use super::problem::Cause;
use super::scan::ArchiveFigures;
use crate::error::{Error, ErrorKind};
use crate::file::archive::{ARCHIVE_NAME, Archive, ArchiveError, MAX_ARCHIVE_LEN};
use crate::file::layout::{Entries, HEADER_LEN, WORD_LEN};
use crate::file::name::{FileName, IdKind};
use crate::file::place;
use crate::file::reader::{self, ReadError};
use crate::file::sys::Identity;

/// What is known of the archive of a directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct ArchiveInfo {
    /// The path.
    pub path: PathBuf,
    /// How often it was written.
    pub generation: u64,
    /// When it was written last, in seconds since the Unix epoch.
    pub written: f64,
    /// Entries that can be read.
    pub series: usize,
    /// Processes that ended and whose gauges of mode `all` are kept.
    pub processes: usize,
    /// Files that it holds and that were still there when it was written.
    pub sources: Vec<String>,
    /// Bytes of the file.
    pub len: u64,
    /// Why the archive, or a part of it, cannot be read.
    pub error: Option<Error>,
}

impl ArchiveInfo {
    fn read(&mut self, archive: Archive<'_>) -> Result<(), ArchiveError> {
        self.generation = archive.generation;
        self.written = archive.written;
        self.sources = archive.sources().map(str::to_owned).collect();
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
        Ok(())
    }
}

/// Looks at the archive of a multiprocess directory, and at each entry of it; `None` where there is none.
///
/// # Errors
///
/// Of kind [`SeriesFile`](ErrorKind::SeriesFile) where it cannot be opened. What is wrong with it is told in
/// [`ArchiveInfo::error`].
pub fn inspect_archive(dir: impl AsRef<Path>) -> crate::error::Result<Option<ArchiveInfo>> {
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
            let is_told = match &cause {
                Cause::Archive(_) => true,
                Cause::Read(error) => error.is_no_file(),
                _ => false,
            };
            let error = Error::at(ErrorKind::SeriesFile, &info.path, cause);
            if !is_told {
                return Err(error);
            }
            info.error = Some(error);
        }
    }
    Ok(Some(info))
}

/// An archive as it was read, for as long as it is the one of its directory.
pub(super) struct KnownArchive {
    file: ArchiveFile,
    sources: HashSet<Box<str>>,
    sections: Vec<KnownSection>,
    figures: Option<ArchiveFigures>,
    error: Option<ArchiveError>,
}

/// The entries of a section. Of a series file they would be behind the header, one word long.
struct Body<'a>(&'a [u8]);

impl Words for Body<'_> {
    fn word(&self, at: u32) -> u64 {
        let word = self.0.get((at as usize).saturating_sub(1) * WORD_LEN..);
        let word = word.and_then(|rest| rest.first_chunk::<WORD_LEN>());
        word.map_or(0, |word| u64::from_le_bytes(*word))
    }
}

struct KnownSection {
    name: String,
    /// Unix seconds; 0 where it is of many processes.
    ended: f64,
    body: Range<usize>,
    /// Once it was added.
    plan: Option<Arc<Plan>>,
}

impl KnownArchive {
    /// The archive of a directory: the known one, if it is still that.
    pub(super) fn look(
        dir: &Path,
        known: Option<KnownArchive>,
    ) -> Result<Option<KnownArchive>, Cause> {
        if let Some(known) = known
            && place::identity(&ArchiveFile::path(dir)) == Some(known.file.identity)
        {
            return Ok(Some(known));
        }
        Ok(ArchiveFile::open(dir)?.map(KnownArchive::new))
    }

    fn new(file: ArchiveFile) -> KnownArchive {
        let (mut sources, mut sections) = (HashSet::new(), Vec::new());
        let mut figures = None;
        let decoded = file.decode().and_then(|archive| {
            sources.extend(archive.sources().map(Box::from));
            for section in archive.sections() {
                let section = section?;
                let (ended, body) = (section.ended, section.body);
                let name = section.name.to_string();
                sections.push(KnownSection { name, ended, body, plan: None });
            }
            let (generation, written) = (archive.generation, archive.written);
            figures = Some(ArchiveFigures { generation, written, bytes: file.len(), series: 0 });
            Ok(())
        });
        let error = decoded.err();
        KnownArchive { file, sources, sections, figures, error }
    }

    pub(super) fn identity(&self) -> Identity {
        self.file.identity
    }

    /// The names of the files that it holds.
    pub(super) fn sources(&self) -> &HashSet<Box<str>> {
        &self.sources
    }

    /// Adds what it holds.
    pub(super) fn add(&mut self, merge: &mut Merge, dir: &Path) -> Option<ArchiveFigures> {
        let path = &ArchiveFile::path(dir);
        if let Some(error) = self.error {
            merge.problems.add(path, Cause::Archive(error));
        }
        let mut series = 0;
        for section in &mut self.sections {
            let Some(name) = FileName::parse(&section.name) else {
                continue;
            };
            let state = match name.kind.mode() {
                Some(mode) if section.ended == 0.0 => SourceState::Merged(mode),
                _ => SourceState::Dead,
            };
            let (file, place, identity) = (ARCHIVE_NAME, Place::Archive, None);
            let origin = Origin { dir, file, name, identity, state, place };
            let body = &self.file.bytes[section.body.clone()];
            let (plan, result) = match section.plan.take() {
                Some(plan) => merge.follow(plan, &origin, &Body(body), None),
                None => {
                    let entries = Entries::resume(body, HEADER_LEN);
                    merge.learn(&origin, None, &Body(body), entries)
                }
            };
            if let Err(error) = result {
                merge.problems.add(path, Cause::Entry(error));
            }
            series += plan.entries as u64;
            section.plan = Some(plan);
        }
        self.figures.map(|figures| ArchiveFigures { series, ..figures })
    }
}

/// An archive that is held open, so that no other file gets its identity.
pub(super) struct ArchiveFile {
    _file: File,
    identity: Identity,
    mode: u32,
    bytes: Vec<u8>,
}

impl ArchiveFile {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(ARCHIVE_NAME)
    }

    /// Reads the archive of a directory whole; `None` where there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<ArchiveFile>, Cause> {
        ArchiveFile::read(reader::open(&ArchiveFile::path(dir)))
    }

    /// The same, in a directory that is open.
    pub(super) fn open_at(dir: &File) -> Result<Option<ArchiveFile>, Cause> {
        ArchiveFile::read(reader::open_at(dir, ARCHIVE_NAME))
    }

    fn read(file: Result<File, ReadError>) -> Result<Option<ArchiveFile>, Cause> {
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.is_vanished() => return Ok(None),
            Err(error) => return Err(Cause::Read(error)),
        };
        let failed = |error| Cause::Read(ReadError::Read(error));
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Cause::Read(ReadError::NotRegular));
        }
        let len = metadata.len();
        if len > MAX_ARCHIVE_LEN {
            return Err(Cause::Archive(ArchiveError::TooLong { len }));
        }
        let identity = place::identity_of(&file).map_err(failed)?;
        let mut bytes = Vec::new();
        (&mut file).take(len).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(ArchiveFile { _file: file, identity, mode: metadata.mode(), bytes }))
    }

    pub(super) fn decode(&self) -> Result<Archive<'_>, ArchiveError> {
        Archive::decode(&self.bytes)
    }

    /// The permissions.
    pub(super) fn mode(&self) -> u32 {
        self.mode
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}
