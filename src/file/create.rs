//! Creates series files that are complete before they get their name.
//!
//! A new file is unnamed (`O_TMPFILE`). Its space is reserved, it is mapped, gets its header and is locked, and is then
//! linked to its name. If the kernel, file system or container lacks unnamed files or denies the link, the file has a
//! hidden staging name until it is renamed. A failed creation leaves neither a file nor a mapping.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use super::forks::NoFork;
use super::layout::{HEADER_LEN, Header};
use super::name::{CompanionName, FileName};
use super::sys::{self, Identity};
use super::write_error::WriteError;
use super::write_map::WriteMap;
use super::{inherited, lock};

/// The bytes that are reserved for a new file.
pub(super) const INITIAL_CAPACITY: u64 = 16 * 1024;

/// Who may read a new file, before the umask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FileAccess {
    #[default]
    Owner,
    Group,
}

impl FileAccess {
    const fn mode(self) -> libc::mode_t {
        match self {
            FileAccess::Owner => 0o600,
            FileAccess::Group => 0o640,
        }
    }
}

/// Returns the hidden name of a file that is not complete.
fn staging_name(name: &str) -> String {
    format!(".{name}.new")
}

/// Whether this may be the name of a file that is not complete.
pub(crate) fn is_staging_name(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
    name.is_some_and(|name| {
        FileName::parse(name).is_some_and(|name| name.has_unique_form())
            || CompanionName::of_file(name).is_some()
    })
}

/// A complete file under its name.
pub(super) struct Created {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) map: WriteMap,
}

/// Creates a file without entries under `name`. The error for a taken name is `AlreadyExists`.
pub(super) fn create(
    dir: &File,
    name: &str,
    magic: [u8; 4],
    access: FileAccess,
    no_fork: &NoFork,
) -> Result<Created, WriteError> {
    if let Some(draft) = Draft::unnamed(dir, access)? {
        match draft.complete(name, magic, no_fork) {
            // A seccomp filter, AppArmor or SELinux may deny links and allow renames.
            Err(CreateError::Link(_)) => {}
            result => return Ok(result?),
        }
    }
    Ok(Draft::staged(dir, name, access)?.complete(name, magic, no_fork)?)
}

/// A file that no reader sees yet.
struct Draft<'a> {
    dir: &'a File,
    file: File,
    map: WriteMap,
    /// The staging name; `None` for an unnamed file.
    staging: Option<String>,
}

impl<'a> Draft<'a> {
    fn new(dir: &'a File, file: File, staging: Option<String>) -> Draft<'a> {
        sys::write_in_place(&file);
        Draft { dir, file, map: WriteMap::new(), staging }
    }

    /// Creates an unnamed file. Returns `None` if unnamed files are not supported, or cannot be linked because `/proc` is
    /// missing.
    fn unnamed(dir: &'a File, access: FileAccess) -> Result<Option<Draft<'a>>, WriteError> {
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
    fn staged(dir: &'a File, name: &str, access: FileAccess) -> Result<Draft<'a>, WriteError> {
        let staging = staging_name(name);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NOFOLLOW;
        let file = sys::open_at(dir.as_fd(), &staging, flags, access.mode());
        Ok(Draft::new(dir, file.map_err(WriteError::Create)?, Some(staging)))
    }

    /// Completes the file and names it. Removes it on failure.
    fn complete(
        mut self,
        name: &str,
        magic: [u8; 4],
        no_fork: &NoFork,
    ) -> Result<Created, CreateError> {
        let prepared = self.prepare(magic, no_fork).map_err(CreateError::Other);
        match prepared.and_then(|identity| self.publish(name).map(|()| identity)) {
            Ok(identity) => Ok(Created { file: self.file, identity, map: self.map }),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Reserves, maps and locks the file, and writes its header.
    fn prepare(&mut self, magic: [u8; 4], no_fork: &NoFork) -> Result<Identity, WriteError> {
        let file = &self.file;
        sys::reserve(file, 0, INITIAL_CAPACITY).map_err(WriteError::Reserve)?;
        self.map.cover(file, INITIAL_CAPACITY).map_err(WriteError::Map)?;
        self.map.write(0, &Header { used: HEADER_LEN as u32, magic }.encode());
        // OK because without a lock the liveness of the file is unknown, which readers handle.
        let _ = lock::hold_for_life(file);
        if !no_fork.holds() {
            return Err(WriteError::Forked);
        }
        sys::identity(file.as_raw_fd()).ok_or(WriteError::DescriptorLost)
    }

    fn publish(&self, name: &str) -> Result<(), CreateError> {
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
            // OK because readers ignore staging names, and compactors remove such files.
            let _ = sys::unlink_at(self.dir.as_fd(), staging);
        }
    }
}

/// Why a file was not created.
enum CreateError {
    /// An unnamed file cannot be linked, although the name is free.
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

/// NOTE: without O_TMPFILE a kernel or file system returns EOPNOTSUPP, EISDIR or EINVAL. See: open(2).
fn lacks_unnamed_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}
