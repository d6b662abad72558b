//! The bytes of the archive of a directory.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::skipped::SkipCause;
use crate::file::archive::{ARCHIVE_NAME, Archive, ArchiveError, MAX_ARCHIVE_LEN};
use crate::file::place;
use crate::file::reader::{self, ReadError};
use crate::file::sys::Identity;

/// An archive that was read whole. The file stays open, so that its inode is not reused for another file.
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

    /// Reads the archive of a directory; `None` if there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<ArchiveFile>, SkipCause> {
        ArchiveFile::read(reader::open(&ArchiveFile::path(dir)))
    }

    /// The same for a directory that is open.
    pub(super) fn open_at(dir: &File) -> Result<Option<ArchiveFile>, SkipCause> {
        ArchiveFile::read(reader::open_at(dir, ARCHIVE_NAME))
    }

    fn read(file: Result<File, ReadError>) -> Result<Option<ArchiveFile>, SkipCause> {
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.is_vanished() => return Ok(None),
            Err(error) => return Err(SkipCause::Read(error)),
        };
        let failed = |error| SkipCause::Read(ReadError::Read(error));
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(SkipCause::Read(ReadError::NotRegular));
        }
        let len = metadata.len();
        if len > MAX_ARCHIVE_LEN {
            return Err(SkipCause::Archive(ArchiveError::TooLong { len }));
        }
        let identity = place::identity_of(&file).map_err(failed)?;
        let mut bytes = Vec::new();
        (&mut file).take(len).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(ArchiveFile { _file: file, identity, mode: metadata.mode(), bytes }))
    }

    pub(super) fn decode(&self) -> Result<Archive<'_>, ArchiveError> {
        Archive::decode(&self.bytes)
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The bytes of a section that [`decode`](ArchiveFile::decode) has found.
    pub(super) fn section(&self, body: Range<usize>) -> &[u8] {
        &self.bytes[body]
    }

    /// The permissions.
    pub(super) fn mode(&self) -> u32 {
        self.mode
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}
