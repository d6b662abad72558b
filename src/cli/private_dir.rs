//! Private multiprocess directories, on a tmpfs if possible.
//!
//! A private directory is removed when it is dropped. The directory of a killed process is removed by a later
//! process, which recognizes it by the mark in the lock file: see [`remove_abandoned`].

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::log;
use super::new_dir::{NewDir, open_directory};
use super::owner;
use super::run_lock::{self, LOCK_NAME, RunLock};
use crate::error::{Error, ErrorKind, Result};
use crate::file::environment::{DIR_VARIABLE, OLD_DIR_VARIABLE};
use crate::file::sys::{self, random_u32};
use crate::multiproc::has_only_dead_writers;

/// A tmpfs that all users may write to.
const SHARED_MEMORY: &str = "/dev/shm";

const PREFIX: &str = "multiprom-";
/// Hex digits after the process id.
const SUFFIX_LEN: usize = 8;

/// The minimum age of a directory that counts as abandoned.
const MIN_AGE: Duration = Duration::from_secs(60);

/// A private multiprocess directory, removed when it is dropped.
pub(super) struct PrivateDir {
    path: PathBuf,
    /// Held until the directory is removed. `None` if the kernel does not support the lock: the directory is then
    /// not marked, and no other process removes it.
    _lock: Option<RunLock>,
}

impl PrivateDir {
    /// The value of the label `directory`, as the path differs at each start.
    pub(super) const LABEL: &str = "private";

    /// Creates a private directory. The error is the reason why it is not in memory.
    pub(super) fn create(new_dir: &NewDir) -> Result<(PrivateDir, Option<Error>)> {
        match PrivateDir::create_in(Path::new(SHARED_MEMORY), new_dir) {
            Ok(dir) => Ok((dir, None)),
            Err(error) => Ok((PrivateDir::create_in(&std::env::temp_dir(), new_dir)?, Some(error))),
        }
    }

    fn create_in(parent: &Path, new_dir: &NewDir) -> Result<PrivateDir> {
        let random = random_u32().map_err(|error| Error::new(ErrorKind::Io, error))?;
        let path = parent.join(format!("{PREFIX}{}-{random:08x}", std::process::id()));
        new_dir.create(&path)?;
        match lock_and_mark(&path, new_dir) {
            Ok(lock) => Ok(PrivateDir { path, _lock: Some(lock) }),
            Err(error) if run_lock::is_unsupported(&error) => Ok(PrivateDir { path, _lock: None }),
            // A full file system has no space for metrics either, so the error is returned.
            Err(error) => {
                remove(&path);
                Err(Error::at(ErrorKind::Directory, path, error))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn lock_and_mark(dir: &Path, new_dir: &NewDir) -> io::Result<RunLock> {
    let lock = RunLock::try_exclusive(dir)?.ok_or(io::ErrorKind::ResourceBusy)?;
    lock.mark_private(new_dir.owner.as_ref().map_or(sys::effective_user(), |owner| owner.user))?;
    lock.downgrade()
}

/// Removes a private directory. The mark is removed last, so that a later process can complete an interrupted
/// removal.
///
/// The directory may belong to another user, who may replace it by a link at any time. Neither step follows
/// links.
fn remove(dir: &Path) {
    if let (Ok(handle), Ok(entries)) = (open_directory(dir), fs::read_dir(dir)) {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names.filter(|name| name != LOCK_NAME) {
            // OK because everything that is not a file is removed below.
            let _ = sys::unlink_at(handle.as_fd(), &name);
        }
    }
    // OK because a later process retries.
    let _ = fs::remove_dir_all(dir);
}

/// Removes the private directories of processes that were killed, and logs each.
pub(super) fn remove_abandoned() {
    for parent in [PathBuf::from(SHARED_MEMORY), std::env::temp_dir()] {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for path in paths.filter(|path| has_private_name(path)) {
            // After an error the directory stays.
            if let Ok(Some(_lock)) = claim(&path) {
                remove(&path);
                let path = path.display();
                log::info(&format_args!(
                    "removed `{path}`, which a killed process had left behind"
                ));
            }
        }
    }
}

/// Takes the lock of a private directory that no process uses; `None` if a process may use it.
///
/// The age is checked first, so that a directory that is being created is not locked.
fn claim(dir: &Path) -> io::Result<Option<RunLock>> {
    let handle = open_directory(dir)?;
    let directory = handle.metadata()?;
    if !is_old(directory.modified()?) {
        return Ok(None);
    }
    let Some(lock) = RunLock::try_existing(&handle)? else {
        return Ok(None);
    };
    let (mark, own) = (lock.metadata()?, sys::effective_user());
    let is_ours = mark.uid() == own
        && mark.nlink() == 1
        && lock.private_owner().is_some_and(|owner| [own, owner].contains(&directory.uid()));
    let is_abandoned = is_ours
        && is_old(mark.modified()?)
        && has_only_dead_writers(dir, &mut owner::prober())?
        && !is_named_by_a_process(dir)?;
    Ok(is_abandoned.then_some(lock))
}

fn has_private_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let ids = name.and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
    ids.is_some_and(|(pid, random)| {
        pid.parse::<u32>().is_ok()
            && random.len() == SUFFIX_LEN
            && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether a time is at least [`MIN_AGE`] ago.
fn is_old(time: SystemTime) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|age| age >= MIN_AGE)
}

/// Whether a living process was started with this multiprocess directory in its environment. It may start
/// to record later, or start workers.
///
/// See: proc(5), /proc/pid/environ.
fn is_named_by_a_process(dir: &Path) -> io::Result<bool> {
    let variable = |name: &str| [name.as_bytes(), b"=", dir.as_os_str().as_bytes()].concat();
    let variables = [DIR_VARIABLE, OLD_DIR_VARIABLE].map(variable);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if !name.as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // OK because a process whose environment cannot be read belongs to another user, who does not use
        // this directory.
        let environment =
            fs::read(Path::new("/proc").join(name).join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|it| variables.iter().any(|known| known == it))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
