//! The directories that may contain series files.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::sys::{self, Identity};

/// File systems on which the guarantees were tested: a store to a reserved byte does not fail, and locks and leases
/// show whether a writer is alive. Types from statfs(2).
const SUPPORTED: [(u64, &str); 5] = [
    (TMPFS, "tmpfs"),
    (EXT, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x794c_7630, "overlayfs"),
];

const TMPFS: u64 = 0x0102_1994;

/// The type of ext4, which ext2 and ext3 share. Those were not tested.
const EXT: u64 = 0xef53;

/// Why a directory cannot be used.
#[derive(Debug)]
pub(crate) enum PlaceError {
    Open(io::Error),
    /// The file system with this name or type is not supported.
    FileSystem(String),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::Open(_) => f.write_str("cannot be opened"),
            PlaceError::FileSystem(kind) => {
                let names = SUPPORTED.map(|(_, name)| name).join(", ");
                write!(f, "file system type {kind} is none of {names}")
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
    if !SUPPORTED.iter().any(|(known, _)| *known == kind) {
        return Err(PlaceError::FileSystem(format!("{kind:#x}")));
    }
    match old_ext(kind, &dir) {
        Some(name) => Err(PlaceError::FileSystem(name.to_owned())),
        None => Ok(dir),
    }
}

/// Returns `ext2` or `ext3` if the directory is on one of these, according to `/proc`.
fn old_ext(kind: u64, dir: &File) -> Option<&'static str> {
    if kind != EXT {
        return None;
    }
    let device = dir.metadata().ok()?.dev();
    // Paths in it may contain any bytes.
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let mounts = String::from_utf8_lossy(&mounts);
    let name = mounted_as(&mounts, &format!("{}:{}", libc::major(device), libc::minor(device)))?;
    ["ext2", "ext3"].into_iter().find(|old| *old == name)
}

/// Returns the type of the file system with this device number. See: proc_pid_mountinfo(5).
fn mounted_as<'a>(mounts: &'a str, device: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    // The type follows a separator after a variable number of fields.
    line.split_once(" - ")?.1.split(' ').next()
}

/// Whether a file is in memory only.
pub(crate) fn is_on_tmpfs(file: &File) -> bool {
    sys::file_system(file).is_ok_and(|kind| kind == TMPFS)
}

/// Returns the name of the file system of a directory: `ext4` also for ext2 and ext3, `other` if it is not supported.
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

/// Returns the directories, each with its index, without those that are an earlier one under another name (a link, a slash
/// at the end, overlapping patterns). The file system is asked at each call, as links may change.
pub(crate) fn distinct(dirs: &[PathBuf]) -> impl Iterator<Item = (usize, &PathBuf)> {
    let mut seen = HashSet::new();
    dirs.iter().enumerate().filter(move |(_, dir)| {
        let found = if dirs.len() > 1 { identity(dir) } else { None };
        found.is_none_or(|found| seen.insert(found))
    })
}

/// Returns the identity of the file at a path; `None` if there is none or it is not accessible.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    find(path).ok().flatten()
}

/// A directory, and when names in it have changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryState {
    pub(crate) identity: Identity,
    /// In nanoseconds since the Unix epoch; `None` if that is so recent that a further change may have the same time.
    changed: Option<i128>,
}

impl DirectoryState {
    /// Returns the state of the directory at a path; `None` if there is none or it is not accessible.
    pub(crate) fn of(path: &Path) -> Option<DirectoryState> {
        let metadata = std::fs::metadata(path).ok()?;
        let identity = of_metadata(&metadata);
        let changed =
            i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        Some(DirectoryState { identity, changed: sys::is_settled(changed).then_some(changed) })
    }

    /// Whether all names in the directory are as they were in an earlier state.
    pub(crate) fn has_same_names(&self, earlier: Option<DirectoryState>) -> bool {
        self.changed.is_some() && Some(*self) == earlier
    }
}

/// Returns the identity of an open file.
pub(crate) fn identity_of(file: &File) -> io::Result<Identity> {
    file.metadata().map(|metadata| of_metadata(&metadata))
}

/// Returns the identity of the file at a path; `None` if there is none.
pub(crate) fn find(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(of_metadata(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn of_metadata(metadata: &Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_mount_is_found_by_its_device() {
        let mounts = "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                      42 27 7:0 / /mnt/a\\040-\\040b rw,relatime shared:1 master:2 - ext3 /dev/loop0 rw\n\
                      43 27 7:10 / /mnt/c rw,relatime - ext4 /dev/loop10 rw\n";
        assert_eq!(mounted_as(mounts, "7:0"), Some("ext3"));
        assert_eq!(mounted_as(mounts, "7:10"), Some("ext4"));
        assert_eq!(mounted_as(mounts, "7:1"), None);
        assert_eq!(mounted_as("7:1", "7:1"), None);
    }
}
