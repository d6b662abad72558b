//! Which directories series files may be in.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::sys::{self, Identity};

/// File systems on which what is promised was tried: a reserved byte can be stored to, locks and leases
/// tell the truth. Types from statfs(2).
const SUPPORTED: [(u64, &str); 5] = [
    (0x0102_1994, "tmpfs"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x794c_7630, "overlayfs"),
];

/// Why a directory cannot be used.
#[derive(Debug)]
pub(crate) enum PlaceError {
    Open(io::Error),
    FileSystem(u64),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::Open(error) => error.fmt(f),
            PlaceError::FileSystem(kind) => {
                let names = SUPPORTED.map(|(_, name)| name).join(", ");
                write!(f, "file system type {kind:#x} is none of {names}")
            }
        }
    }
}

impl std::error::Error for PlaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PlaceError::Open(error) => Some(error),
            PlaceError::FileSystem(_) => None,
        }
    }
}

/// Opens a directory, to open files relative to it.
pub(crate) fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)
}

/// Checks that a directory can be opened and is on a supported file system.
pub(crate) fn check(dir: &Path) -> Result<File, PlaceError> {
    let dir = open(dir).map_err(PlaceError::Open)?;
    let kind = sys::file_system(&dir).map_err(PlaceError::Open)?;
    if SUPPORTED.iter().any(|(known, _)| *known == kind) {
        Ok(dir)
    } else {
        Err(PlaceError::FileSystem(kind))
    }
}

/// The name of a directory's file system; `other` for one that is not supported.
pub(crate) fn file_system_name(dir: &Path) -> Option<&'static str> {
    let kind = sys::file_system(&open(dir).ok()?).ok()?;
    let known = SUPPORTED.iter().find(|(known, _)| *known == kind);
    Some(known.map_or("other", |(_, name)| name))
}

/// Whether users other than the owner may create files in a directory.
pub(crate) fn is_open_to_others(dir: &File) -> bool {
    const WRITE_BY_OTHERS: u32 = 0o022;
    dir.metadata().is_ok_and(|metadata| metadata.mode() & WRITE_BY_OTHERS != 0)
}

/// The directories that are not an earlier one under another name (a link, a slash at the end, a pattern that
/// overlaps), each with its index. The file system decides at each call, as links may move.
pub(crate) fn distinct(dirs: &[PathBuf]) -> impl Iterator<Item = (usize, &PathBuf)> {
    let mut seen = HashSet::new();
    dirs.iter().enumerate().filter(move |(_, dir)| {
        let found = if dirs.len() > 1 { identity(dir) } else { None };
        found.is_none_or(|found| seen.insert(found))
    })
}

/// What a path names now; `None` where it names nothing that can be seen.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    find(path).ok().flatten()
}

/// The identity of an open file.
pub(crate) fn identity_of(file: &File) -> io::Result<Identity> {
    file.metadata().map(|metadata| Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// What a path names now; `None` where it is sure to name nothing.
pub(crate) fn find(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Identity { device: metadata.dev(), inode: metadata.ino() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
