//! Creates series files that are complete before they get their name.
//!
//! A new file is unnamed (`O_TMPFILE`). It is reserved, mapped and locked, gets its header, and is then linked to its
//! name. Where a kernel, file system or container lacks unnamed files, or denies the link, the file has a hidden
//! staging name until it is renamed. A failed creation leaves neither a file nor a mapping.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use super::forks::NoFork;
use super::layout::{HEADER_LEN, Header};
use super::map::Map;
use super::name::FileName;
use super::sys::{self, Identity};
use super::writer::WriteError;
use super::{inherited, lock};

/// Bytes that a new file reserves.
pub(super) const INITIAL_CAPACITY: u64 = 16 * 1024;

/// Who may read a new file, before the umask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Owner,
    Group,
}

impl Access {
    const fn mode(self) -> libc::mode_t {
        match self {
            Access::Owner => 0o600,
            Access::Group => 0o640,
        }
    }
}

/// The hidden name of a file until it is complete.
fn staging_name(name: &str) -> String {
    format!(".{name}.new")
}

/// Whether a file that is not complete may have this name.
pub(crate) fn is_staging_name(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
    name.is_some_and(|name| FileName::parse(name).is_some_and(|name| name.has_unique_form()))
}

/// A complete file under its name.
pub(super) struct Created {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) map: Map,
}

/// Creates a file with an empty series table under `name`. A name that is taken is `AlreadyExists`.
pub(super) fn create(
    dir: &File,
    name: &str,
    access: Access,
    no_fork: &NoFork,
) -> Result<Created, WriteError> {
    if let Some(draft) = Draft::unnamed(dir, access)? {
        match draft.complete(name, no_fork) {
            // A seccomp filter, AppArmor or SELinux may deny links and allow renames.
            Err(CreateError::Link(_)) => {}
            result => return Ok(result?),
        }
    }
    Ok(Draft::staged(dir, name, access)?.complete(name, no_fork)?)
}

/// A file that no reader sees yet.
struct Draft<'a> {
    dir: &'a File,
    file: File,
    map: Map,
    /// `None` if the file is unnamed.
    staging: Option<String>,
}

impl<'a> Draft<'a> {
    fn new(dir: &'a File, file: File, staging: Option<String>) -> Draft<'a> {
        sys::write_in_place(&file);
        Draft { dir, file, map: Map::new(), staging }
    }

    /// Creates an unnamed file; `None` if unnamed files are not supported, or cannot be linked for lack of `/proc`.
    fn unnamed(dir: &'a File, access: Access) -> Result<Option<Draft<'a>>, WriteError> {
        let flags = libc::O_TMPFILE | libc::O_RDWR;
        match sys::open_at(dir.as_fd(), ".", flags, access.mode()) {
            Ok(file) if Path::new("/proc/self/fd").exists() => {
                Ok(Some(Draft::new(dir, file, None)))
            }
            Err(error) if !lacks_unnamed_files(&error) => Err(WriteError::Create(error)),
            _ => Ok(None),
        }
    }

    /// Creates a file with a staging name.
    fn staged(dir: &'a File, name: &str, access: Access) -> Result<Draft<'a>, WriteError> {
        let staging = staging_name(name);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NOFOLLOW;
        let file = sys::open_at(dir.as_fd(), &staging, flags, access.mode());
        Ok(Draft::new(dir, file.map_err(WriteError::Create)?, Some(staging)))
    }

    /// Completes the file and names it, or removes it.
    fn complete(mut self, name: &str, no_fork: &NoFork) -> Result<Created, CreateError> {
        let prepared = self.prepare(no_fork).map_err(CreateError::Other);
        match prepared.and_then(|identity| self.give_name(name).map(|()| identity)) {
            Ok(identity) => Ok(Created { file: self.file, identity, map: self.map }),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Reserves, maps and locks the file, and writes its header.
    fn prepare(&mut self, no_fork: &NoFork) -> Result<Identity, WriteError> {
        let file = &self.file;
        sys::reserve(file, 0, INITIAL_CAPACITY).map_err(WriteError::Reserve)?;
        self.map.cover(file, INITIAL_CAPACITY).map_err(WriteError::Map)?;
        self.map.write(0, &Header::new(HEADER_LEN as u32).encode());
        // A file system without locks has files whose liveness is unknown.
        let _ = lock::hold_for_life(file);
        if !no_fork.holds() {
            return Err(WriteError::Forked);
        }
        sys::identity(file.as_raw_fd()).ok_or(WriteError::DescriptorLost)
    }

    fn give_name(&self, name: &str) -> Result<(), CreateError> {
        let dir = self.dir.as_fd();
        match &self.staging {
            None => sys::link_at(&self.file, dir, name).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => CreateError::Other(WriteError::Create(error)),
                _ => CreateError::Link(error),
            }),
            Some(staging) => sys::rename_at((dir, staging), (dir, name), sys::Taken::Kept)
                .map_err(|error| CreateError::Other(WriteError::Create(error))),
        }
    }

    /// Removes the file and its mapping.
    fn discard(self) {
        if let Some(identity) = sys::identity(self.file.as_raw_fd()) {
            inherited::forget(self.file.as_raw_fd(), identity);
        }
        self.map.unmap();
        if let Some(staging) = &self.staging {
            // OK because readers take no staging name for a series file, and compactors remove it.
            let _ = sys::unlink_at(self.dir.as_fd(), staging);
        }
    }
}

/// Why a file was not created.
enum CreateError {
    /// An unnamed file cannot be linked to a name that is free.
    Link(io::Error),
    Other(WriteError),
}

impl From<CreateError> for WriteError {
    fn from(error: CreateError) -> WriteError {
        match error {
            CreateError::Link(error) => WriteError::Create(error),
            CreateError::Other(error) => error,
        }
    }
}

/// NOTE: a kernel or file system without O_TMPFILE fails with EOPNOTSUPP, EISDIR or EINVAL. See: open(2).
fn lacks_unnamed_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}
