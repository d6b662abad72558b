//! The directory of `run`: its path, its reset at the start, and its lock against a reset by another `run`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::args::CompactMode;
use super::compact;
use super::log;
use super::new_dir::NewDir;
use super::private_dir::{self, PrivateDir};
use super::run_args::RunArguments;
use super::run_lock::{self, LOCK_NAME, Others, RunLock};
use crate::error::{Error, ErrorKind, Result};
use crate::file::environment::multiprocess_dir;
use crate::file::place;

/// How the directory was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirOrigin {
    Flag,
    Environment,
    Private,
}

impl DirOrigin {
    /// Adds to an error that the directory comes from the environment, as the command line does not contain it.
    fn name_in(self, error: Error) -> Error {
        match self {
            DirOrigin::Environment => {
                let message = format!(
                    "{error:#}: it comes from $PROMETHEUS_MULTIPROC_DIR, set --dir to use another one"
                );
                Error::new(error.kind(), message)
            }
            _ => error,
        }
    }
}

/// Whether the values of ended processes are kept at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndedValues {
    Kept,
    Removed,
}

/// A directory that is ready for a command.
pub(super) struct RunDir {
    path: PathBuf,
    label: String,
    origin: DirOrigin,
    earlier: EndedValues,
    /// Why a private directory is not in memory.
    not_in_memory: Option<Error>,
    /// Removed on drop. It has its own lock.
    _private: Option<PrivateDir>,
    /// Held until this is dropped; an error is the reason why it is not held.
    lock: Option<io::Result<(RunLock, Others)>>,
}

impl RunDir {
    /// Selects the directory, and creates it if it does not exist.
    ///
    /// The directory of `--dir` is reset unless `--keep-files` is set. The directory of the environment, which
    /// other programs may use too, is reset only with `--reset`.
    pub(super) fn open(arguments: &RunArguments) -> Result<RunDir> {
        private_dir::remove_abandoned();
        let new_dir = arguments.new_dir.to_create();
        let (dir, origin) = match (&arguments.dir, multiprocess_dir()) {
            (Some(dir), _) => (dir.clone(), DirOrigin::Flag),
            (None, Some(dir)) => (PathBuf::from(dir), DirOrigin::Environment),
            (None, None) => return RunDir::private(&new_dir),
        };
        let earlier = match origin {
            DirOrigin::Flag if !arguments.keep_files => EndedValues::Removed,
            _ if arguments.reset => EndedValues::Removed,
            _ => EndedValues::Kept,
        };
        new_dir.create(&dir).map_err(|error| origin.name_in(error))?;
        let lock = match earlier {
            EndedValues::Removed => reset(&dir, origin)?,
            EndedValues::Kept => match RunLock::lock_shared(&dir) {
                // Another `run` has removed it as abandoned in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    new_dir.create(&dir)?;
                    RunLock::lock_shared(&dir)
                }
                lock => lock,
            },
        };
        // Whether it is the private directory of a `run` whose command started this one.
        let is_private = lock.as_ref().is_ok_and(|(lock, _)| lock.private_owner().is_some());
        let label =
            if is_private { PrivateDir::LABEL.to_owned() } else { dir.display().to_string() };
        let (path, lock) = (absolute(&dir)?, Some(lock));
        Ok(RunDir { path, label, origin, earlier, lock, not_in_memory: None, _private: None })
    }

    fn private(new_dir: &NewDir) -> Result<RunDir> {
        let (private, not_in_memory) = PrivateDir::create(new_dir)?;
        let path = absolute(private.path())?;
        let (label, origin) = (PrivateDir::LABEL.to_owned(), DirOrigin::Private);
        let (earlier, private) = (EndedValues::Removed, Some(private));
        Ok(RunDir { path, label, origin, earlier, lock: None, not_in_memory, _private: private })
    }

    /// The absolute path without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The value of the label `directory`. It is the same after a restart.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The default of `--compact`: all files, but only those of multiprom in a directory of the environment,
    /// which the Python client's own collector may read too.
    pub(super) fn usual_compaction(&self) -> CompactMode {
        match self.origin {
            DirOrigin::Flag | DirOrigin::Private => CompactMode::All,
            DirOrigin::Environment => CompactMode::Own,
        }
    }

    /// Logs the directory, and whether it was reset.
    pub(super) fn report(&self) {
        let origin = match self.origin {
            DirOrigin::Flag => "from --dir",
            DirOrigin::Environment => "from $PROMETHEUS_MULTIPROC_DIR",
            DirOrigin::Private => "private",
        };
        let earlier = match (self.origin, self.earlier) {
            (DirOrigin::Private, _) => "",
            (DirOrigin::Flag, EndedValues::Removed) => {
                ", reset (--keep-files keeps the values of ended processes)"
            }
            (DirOrigin::Environment, EndedValues::Removed) => ", reset",
            (DirOrigin::Flag, EndedValues::Kept) => ", not reset",
            (DirOrigin::Environment, EndedValues::Kept) => {
                ", not reset (--reset removes the values of ended processes)"
            }
        };
        let (dir, medium) = (self.path.display(), Medium::of(&self.path));
        let shared = match &self.lock {
            Some(Ok((_, Others::Some))) => ", shared with another `multiprom run`",
            _ => "",
        };
        let line = format!("directory `{dir}`: {origin}, {medium}{earlier}{shared}");
        match self.not_in_memory.as_ref().filter(|_| medium != Medium::Memory) {
            None => log::info(&line),
            Some(error) => {
                log::info(&format_args!("{line}, because memory cannot be used: {error:#}"));
            }
        }
        if let Some(Err(error)) = &self.lock {
            log::warn(&format_args!(
                "directory `{dir}`: `{LOCK_NAME}` cannot be locked, so that another `multiprom run` in the \
                 same directory is not detected: {error}"
            ));
        }
    }
}

/// Resets a directory that no other `run` uses, and then holds its shared lock.
fn reset(dir: &Path, origin: DirOrigin) -> Result<io::Result<(RunLock, Others)>> {
    let failed = |error: io::Error| {
        let message = format!("`{LOCK_NAME}` cannot be locked: {error}");
        Error::at(ErrorKind::Directory, dir, message)
    };
    match RunLock::try_exclusive(dir) {
        Ok(Some(lock)) => {
            compact::reset(dir)?;
            Ok(Ok((lock.downgrade().map_err(failed)?, Others::None)))
        }
        Ok(None) => {
            let remedy = match origin {
                DirOrigin::Environment => "or omit --reset",
                _ => "set another --dir, or share this one with --keep-files",
            };
            let message = format!(
                "another `multiprom run` uses it, and a reset would remove what that one has counted: stop \
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

/// Where a directory is stored.
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

/// The command may change its working directory, so the path must be absolute.
fn absolute(dir: &Path) -> Result<PathBuf> {
    fs::canonicalize(dir).map_err(|error| Error::at(ErrorKind::Directory, dir, error))
}
