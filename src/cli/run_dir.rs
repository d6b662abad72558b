//! The directory of `run`: where it is, what it keeps of earlier processes, and that no other `run` resets it.

use std::error::Error as _;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::args::{CompactMode, RunArguments};
use super::new_dir::NewDir;
use super::private_dir::{self, PrivateDir};
use super::run_lock::{self, LOCK_NAME, Others, RunLock};
use super::{compact, say};
use crate::error::{Error, ErrorKind, Result};
use crate::file::environment::multiprocess_dir;
use crate::file::place;

/// Who chose a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Flag,
    Environment,
    Private,
}

impl Origin {
    /// An error about a directory that this command line does not mention tells where it comes from.
    fn name_in(self, dir: &Path, error: Error) -> Error {
        match (self, error.source()) {
            (Origin::Environment, Some(cause)) => {
                let message = format!(
                    "{cause}: it comes from $PROMETHEUS_MULTIPROC_DIR, name another one by --dir"
                );
                Error::at(error.kind(), dir, message)
            }
            _ => error,
        }
    }
}

/// What becomes of the values of processes that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Earlier {
    Kept,
    Forgotten,
}

/// A directory that is ready for a command.
pub(super) struct RunDir {
    path: PathBuf,
    label: String,
    origin: Origin,
    earlier: Earlier,
    /// Why a private directory is not in memory.
    not_in_memory: Option<Error>,
    /// Removed at the end. It has a lock of its own.
    _private: Option<PrivateDir>,
    /// Held for life; the error tells why it is not.
    lock: Option<io::Result<(RunLock, Others)>>,
}

impl RunDir {
    /// Chooses a directory, and creates it where it is missing.
    ///
    /// A directory of `--dir` is reset unless a flag forbids it. One of the environment, which others may
    /// use too, is reset only by a flag.
    pub(super) fn open(arguments: &RunArguments) -> Result<RunDir> {
        private_dir::remove_abandoned();
        let new_dir = arguments.new_dir.to_create();
        let (dir, origin) = match (&arguments.dir, multiprocess_dir()) {
            (Some(dir), _) => (dir.clone(), Origin::Flag),
            (None, Some(dir)) => (PathBuf::from(dir), Origin::Environment),
            (None, None) => return RunDir::private(&new_dir),
        };
        let earlier = match origin {
            Origin::Flag if !arguments.keep_files => Earlier::Forgotten,
            _ if arguments.reset => Earlier::Forgotten,
            _ => Earlier::Kept,
        };
        new_dir.create(&dir).map_err(|error| origin.name_in(&dir, error))?;
        let lock = match earlier {
            Earlier::Forgotten => reset(&dir, origin)?,
            Earlier::Kept => match RunLock::join(&dir) {
                // Another `run` has just removed it as abandoned.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    new_dir.create(&dir)?;
                    RunLock::join(&dir)
                }
                lock => lock,
            },
        };
        // The private directory of a `run` that this one is started by.
        let is_private = lock.as_ref().is_ok_and(|(lock, _)| lock.private_owner().is_some());
        let label =
            if is_private { PrivateDir::LABEL.to_owned() } else { dir.display().to_string() };
        let (path, lock) = (absolute(&dir)?, Some(lock));
        Ok(RunDir { path, label, origin, earlier, lock, not_in_memory: None, _private: None })
    }

    fn private(new_dir: &NewDir) -> Result<RunDir> {
        let (private, not_in_memory) = PrivateDir::create(new_dir)?;
        let path = absolute(private.path())?;
        let (label, origin) = (PrivateDir::LABEL.to_owned(), Origin::Private);
        let (earlier, private) = (Earlier::Forgotten, Some(private));
        Ok(RunDir { path, label, origin, earlier, lock: None, not_in_memory, _private: private })
    }

    /// Absolute and free of links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What metrics about the directory call it. It is the same after a restart.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Which files are compacted unless a flag says so: all, but in a directory of the environment, which
    /// the Python client's own collector may read too, only those of multiprom.
    pub(super) fn usual_compaction(&self) -> CompactMode {
        match self.origin {
            Origin::Flag | Origin::Private => CompactMode::All,
            Origin::Environment => CompactMode::Own,
        }
    }

    /// Logs which directory it is, and what became of earlier values.
    pub(super) fn report(&self) {
        let origin = match self.origin {
            Origin::Flag => "from --dir",
            Origin::Environment => "from $PROMETHEUS_MULTIPROC_DIR",
            Origin::Private => "private",
        };
        let earlier = match (self.origin, self.earlier) {
            (Origin::Private, _) => "",
            (Origin::Flag, Earlier::Forgotten) => {
                ", reset (--keep-files keeps what ended processes recorded)"
            }
            (Origin::Environment, Earlier::Forgotten) => ", reset",
            (Origin::Flag, Earlier::Kept) => ", not reset",
            (Origin::Environment, Earlier::Kept) => {
                ", not reset (--reset forgets what ended processes recorded)"
            }
        };
        let (dir, medium) = (self.path.display(), Medium::of(&self.path));
        let shared = match &self.lock {
            Some(Ok((_, Others::Some))) => ", shared with another `multiprom run`",
            _ => "",
        };
        let line = format!("directory `{dir}`: {origin}, {medium}{earlier}{shared}");
        match self.not_in_memory.as_ref().filter(|_| medium != Medium::Memory) {
            None => say(&line),
            Some(error) => say(&format_args!("{line}, because memory cannot be used: {error}")),
        }
        if let Some(Err(error)) = &self.lock {
            say(&format_args!(
                "directory `{dir}`: `{LOCK_NAME}` cannot be locked, so that another `multiprom run` in the \
                 same directory is not noticed: {error}"
            ));
        }
    }
}

/// Resets a directory that no other `run` has, and shares its lock then.
fn reset(dir: &Path, origin: Origin) -> Result<io::Result<(RunLock, Others)>> {
    let failed = |error: io::Error| {
        let message = format!("`{LOCK_NAME}` cannot be locked: {error}");
        Error::at(ErrorKind::Directory, dir, message)
    };
    match RunLock::try_alone(dir) {
        Ok(Some(lock)) => {
            compact::reset(dir)?;
            Ok(Ok((lock.share().map_err(failed)?, Others::None)))
        }
        Ok(None) => {
            let remedy = match origin {
                Origin::Environment => "leave out --reset",
                _ => "name another --dir, or share this one with --keep-files",
            };
            let message = format!(
                "another `multiprom run` uses it, and a reset would forget what that one has counted: stop \
                 that one, {remedy}"
            );
            Err(Error::at(ErrorKind::Directory, dir, message))
        }
        Err(error) if run_lock::is_unsupported(&error) => {
            compact::reset(dir)?;
            Ok(Err(error))
        }
        Err(error) => Err(failed(error)),
    }
}

/// What a directory is kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Memory,
    Disk(&'static str),
    Unknown,
}

impl Medium {
    fn of(dir: &Path) -> Medium {
        match place::file_system_name(dir) {
            Some("tmpfs") => Medium::Memory,
            Some("other") | None => Medium::Unknown,
            Some(name) => Medium::Disk(name),
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Medium::Memory => f.write_str("in memory"),
            Medium::Disk(name) => write!(f, "on disk ({name})"),
            Medium::Unknown => f.write_str("on another file system"),
        }
    }
}

/// Commands may change their working directory.
fn absolute(dir: &Path) -> Result<PathBuf> {
    fs::canonicalize(dir).map_err(|error| Error::at(ErrorKind::Directory, dir, error))
}
