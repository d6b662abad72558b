//! One pass of a compactor over one directory: the steps, in their order.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::compactor::{CompactFiles, Compaction, GRACE};
use super::fold::{Fold, Kept};
use super::locked_dir::{Dirs, give_to_owner_of};
use crate::error::{Chain, Error, ErrorKind, Result};
use crate::file::archive::{
    ARCHIVE_NAME, Archive, ArchiveError, MAX_ARCHIVE_LEN, RETIRED_DIR, is_source,
};
use crate::file::lock::{self, LockState, WriteState};
use crate::file::name::{FileName, IdKind, WriterId};
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys::{self, Taken};
use crate::file::writer::is_staging_name;
use crate::logging::log_line;
use crate::model::{GaugeMode, clock};
use crate::multiproc::dir_lock::CompactorLock;
use crate::multiproc::inspect::{retired_names, series_names};
use crate::multiproc::liveness::{Proof, Verdict};
use crate::multiproc::prober::{Freshness, Prober};
use crate::multiproc::read::cached_archive::ArchiveFile;
use crate::multiproc::read::dir_scan::retired_name;
use crate::multiproc::skipped::Cause;

const READ_AND_WRITE: u32 = 0o666;
const OWNER: u32 = 0o600;

/// What new archives are called until they are whole; another pass removes what a crash leaves.
const STAGING_PREFIX: &str = ".archive.";
const STAGING_SUFFIX: &str = ".new";

/// What a damaged archive is renamed to, with its time behind.
const BAD_PREFIX: &str = "archive.bad.";

/// How many names of files that are gone an archive may list while nothing else changes. Readers read them all.
const MAX_GONE_SOURCES: usize = 1_000;

/// What becomes of the values of dead writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They are kept, as far as their kind is.
    Compact,
    /// They are forgotten, all in one step.
    Reset,
}

pub(super) struct Pass<'a> {
    pub(super) purpose: Purpose,
    /// Named in errors, and listed. Everything else is done in the directory that is locked.
    pub(super) dir: &'a Path,
    pub(super) files: CompactFiles,
    pub(super) keep_dead: Option<Duration>,
}

/// What passes of one compactor remember.
#[derive(Default)]
pub(super) struct Memory {
    /// Since when retired files were seen.
    pub(super) retired: HashMap<PathBuf, Instant>,
    pub(super) prober: Prober,
}

/// What became of a pass.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) compaction: Compaction,
    pub(super) has_committed: bool,
    /// The archive was damaged.
    pub(super) set_aside: bool,
    /// The first thing that went wrong with one file, while the others were gone on with.
    pub(super) problem: Option<Error>,
}

/// What goes into the next archive.
#[derive(Default)]
struct Draft {
    fold: Fold,
    generation: u64,
    /// Names relative to the directory, of files whose content is new in it.
    sources: Vec<String>,
    /// Names of files whose content was in it before, and which cannot be removed.
    pending: Vec<String>,
    /// How many files that the old archive lists are gone, so that their names can be left out.
    gone: usize,
    /// Whether something of the old archive is left out.
    has_expired: bool,
    /// The permissions that all sources had, and the old archive.
    mode: u32,
}

/// A file of a dead writer.
struct Dead {
    file: File,
    /// Relative to the directory.
    source: String,
    proof: Proof,
}

/// Why a file stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    /// Its writer lives, or it is not there any more.
    InUse,
    /// Only the lock shows that its writer has ended, and not for long.
    NotDue,
    /// Nothing shows whether its writer lives.
    Unknown,
}

impl Pass<'_> {
    pub(super) fn run(&self, memory: &mut Memory) -> Result<Outcome> {
        let Some(lock) = CompactorLock::try_take(self.dir).map_err(|error| self.failed(error))?
        else {
            let compaction = Compaction { busy: 1, ..Compaction::default() };
            return Ok(Outcome { compaction, ..Outcome::default() });
        };
        let now = clock::now();
        let dirs = Dirs::new(lock);
        let Memory { retired, prober } = memory;
        prober.enter(self.dir, dirs.locked());
        prober.compare_released(dirs.locked());
        let mut work = Work {
            pass: self,
            dirs: &dirs,
            prober,
            draft: Draft { mode: READ_AND_WRITE, ..Draft::default() },
            outcome: Outcome::default(),
            reader: Reader::default(),
            now,
        };
        work.take_over_archive()?;
        self.remove_staging(&dirs, work.prober);
        work.absorb_files()?;
        work.absorb_retired(retired);
        let Work { draft, mut outcome, .. } = work;
        let is_short = draft.gone <= MAX_GONE_SOURCES;
        if draft.sources.is_empty() && !draft.has_expired && is_short {
            return Ok(outcome);
        }
        self.commit(&draft, &dirs, now)?;
        outcome.has_committed = true;
        let mut all_removed = draft.pending.is_empty();
        for source in &draft.sources {
            // One that cannot be removed now is in the archive's list: readers skip it, and the next pass tries
            // again.
            all_removed &= dirs.remove(source).is_ok();
            outcome.compaction.files += 1;
        }
        if self.purpose == Purpose::Reset && all_removed {
            // Nothing is in it, and nothing that it lists is there.
            dirs.remove(ARCHIVE_NAME).map_err(|error| self.failed(error))?;
            dirs.remove_retired();
        }
        Ok(outcome)
    }

    /// Removes new archives that crashed passes left: the lock is held, so nobody is writing one. And new series
    /// files of writers that ended before their files had a name.
    fn remove_staging(&self, dirs: &Dirs, prober: &Prober) {
        let Ok(entries) = fs::read_dir(self.dir) else {
            return;
        };
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            let is_archive = name.starts_with(STAGING_PREFIX) && name.ends_with(STAGING_SUFFIX);
            // A file that is born is open for writing before it is locked.
            let is_dead_birth = || {
                let file = is_staging_name(&name).then(|| reader::open_at(dirs.locked(), &name));
                file.is_some_and(|file| {
                    file.is_ok_and(|file| prober.writers(&file) == WriteState::Unwritten)
                })
            };
            if is_archive || is_dead_birth() {
                // OK because it is tried again, and nobody reads it.
                let _ = dirs.remove(&name);
            }
        }
    }

    /// Writes the next archive and puts it in the place of the last one, in one step.
    fn commit(&self, draft: &Draft, dirs: &Dirs, now: f64) -> Result<()> {
        let path = ArchiveFile::path(self.dir);
        let failed = |error: io::Error| self.error(&path, error);
        let sources = draft.sources.iter().chain(&draft.pending).map(String::as_str);
        let bytes = draft.fold.encode(draft.generation + 1, now, sources);
        let len = bytes.len() as u64;
        if len > MAX_ARCHIVE_LEN {
            return Err(self.error(&path, ArchiveError::TooLong { len }));
        }
        let random = sys::random_u32().map_err(failed)?;
        let staging = format!("{STAGING_PREFIX}{random:08x}{STAGING_SUFFIX}");
        let dir = dirs.main();
        let written = write(dirs.locked(), &staging, &bytes, draft.mode);
        let written = written
            .and_then(|()| sys::rename_at((dir, &staging), (dir, ARCHIVE_NAME), Taken::Replaced));
        if let Err(error) = written {
            // OK because the next pass removes it too.
            let _ = sys::unlink_at(dir, &staging);
            return Err(failed(error));
        }
        // Sources are removed next, and the archive must not be lost with the power after them.
        let _ = dirs.locked().sync_all();
        Ok(())
    }

    /// The names of series files, as far as they can be read.
    fn names(&self, dir: &Path) -> Result<Vec<String>> {
        let names = series_names(dir).map_err(|error| self.error(dir, error))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn unsupported(&self, error: ArchiveError) -> Error {
        Error::at(ErrorKind::Unsupported, ArchiveFile::path(self.dir), error)
    }

    fn failed(&self, error: io::Error) -> Error {
        self.error(self.dir, error)
    }

    fn error(
        &self,
        path: &Path,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let kind = if path == self.dir { ErrorKind::Directory } else { ErrorKind::SeriesFile };
        Error::at(kind, path, cause)
    }
}

/// Writes a new file whole.
fn write(dir: &File, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NOFOLLOW;
    let mut file = sys::open_at(dir.as_fd(), name, flags, OWNER)?;
    sys::reserve(&file, 0, bytes.len() as u64)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode & READ_AND_WRITE | OWNER))?;
    give_to_owner_of(dir, &file)?;
    file.sync_data()
}

/// A pass in progress.
struct Work<'a> {
    pass: &'a Pass<'a>,
    dirs: &'a Dirs,
    prober: &'a mut Prober,
    draft: Draft,
    outcome: Outcome,
    reader: Reader,
    /// Unix seconds.
    now: f64,
}

impl Work<'_> {
    /// Reads the archive, and removes the files that it holds already. One that is damaged is set aside, and so is
    /// what has its name and is no file. One of another version is left alone and ends the pass.
    fn take_over_archive(&mut self) -> Result<()> {
        let path = ArchiveFile::path(self.pass.dir);
        let archive = match ArchiveFile::open_at(self.dirs.locked()) {
            Ok(Some(archive)) => archive,
            Ok(None) => return Ok(()),
            Err(Cause::Archive(error)) => return self.set_aside(&error),
            Err(Cause::Read(error)) if error.is_not_a_file() => {
                return self.set_aside(&Chain(&error));
            }
            Err(cause) => return Err(self.pass.error(&path, cause)),
        };
        let decoded = match archive.decode() {
            Ok(decoded) => decoded,
            Err(error @ ArchiveError::VersionUnknown { .. }) => {
                return Err(self.pass.unsupported(error));
            }
            Err(error) => return self.set_aside(&error),
        };
        match self.pass.purpose {
            Purpose::Reset => self.draft.has_expired = true,
            Purpose::Compact => {
                if let Err(error) = self.keep(decoded) {
                    return self.set_aside(&error);
                }
            }
        }
        self.draft.generation = decoded.generation;
        self.draft.mode &= archive.mode();
        for source in decoded.sources() {
            match self.dirs.remove(source) {
                Ok(()) => self.draft.gone += 1,
                Err(_) => self.draft.pending.push(source.to_owned()),
            }
        }
        Ok(())
    }

    /// Takes over what an archive holds.
    fn keep(&mut self, archive: Archive<'_>) -> std::result::Result<(), ArchiveError> {
        let oldest = self.pass.keep_dead.map(|keep| self.now - keep.as_secs_f64());
        let mut fold = Fold::default();
        let is_kept = |ended: f64| oldest.is_none_or(|oldest| ended > oldest);
        self.draft.has_expired = fold.add_archive(archive, is_kept)? == Kept::Some;
        self.draft.fold = fold;
        Ok(())
    }

    fn set_aside(&mut self, error: &dyn Display) -> Result<()> {
        let path = ArchiveFile::path(self.pass.dir);
        let name = format!("{BAD_PREFIX}{:.6}", self.now);
        let dir = self.dirs.main();
        sys::rename_at((dir, ARCHIVE_NAME), (dir, &name), Taken::Kept)
            .map_err(|error| self.pass.error(&path, error))?;
        log_line(&format_args!("archive `{}`: {error}; renamed to `{name}`", path.display()));
        self.outcome.set_aside = true;
        Ok(())
    }

    /// Absorbs files of ours, and retires those of the Python client.
    fn absorb_files(&mut self) -> Result<()> {
        for name in self.pass.names(self.pass.dir)? {
            let Some(parsed) = FileName::parse(&name) else {
                continue;
            };
            // What cannot be removed was absorbed before; what cannot be listed would be counted twice.
            if self.draft.pending.contains(&name) || !is_source(&name) {
                continue;
            }
            let has_lock = parsed.has_unique_form();
            if !has_lock && self.pass.files == CompactFiles::Own {
                continue;
            }
            let proof = if has_lock { Proof::LockAndLease } else { Proof::Lease };
            let dead = match self.open_dead(name.clone(), proof) {
                Ok(dead) => dead,
                Err(reason) => {
                    self.count(reason);
                    continue;
                }
            };
            // The name alone may be one that a process chose, and chooses again.
            if reader::id_kind(parsed, &dead.file) == IdKind::Unique {
                self.absorb(&dead, parsed);
            } else if self.pass.files == CompactFiles::All
                && let Err(error) = self.retire(&name, parsed)
            {
                self.outcome.compaction.damaged += 1;
                self.outcome.problem.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// Gives a file of a dead Python process a name that is never used again.
    fn retire(&mut self, name: &str, parsed: FileName<'_>) -> Result<()> {
        let retired = self.dirs.retired().map_err(|error| self.pass.failed(error))?;
        let random = sys::random_u32().map_err(|error| self.pass.failed(error))?;
        let id = WriterId::new(parsed.id, random);
        let unique = FileName { kind: parsed.kind, id: id.as_str() }.to_string();
        match sys::rename_at((self.dirs.main(), name), (retired.as_fd(), &unique), Taken::Kept) {
            Ok(()) => self.outcome.compaction.retired += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.pass.error(&self.pass.dir.join(name), error)),
        }
        Ok(())
    }

    /// Absorbs retired files that have been so for long enough.
    fn absorb_retired(&mut self, since: &mut HashMap<PathBuf, Instant>) {
        let dir = self.pass.dir.join(RETIRED_DIR);
        // OK because files that cannot be listed stay where they are.
        let names = retired_names(&dir).unwrap_or_default();
        let names: Vec<String> = names.into_iter().filter_map(|it| it.into_string().ok()).collect();
        let seen = Instant::now();
        let paths: HashSet<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        since.retain(|path, _| path.parent() != Some(&dir) || paths.contains(path));
        for name in &names {
            let source = retired_name(name);
            if self.draft.pending.contains(&source) || !is_source(&source) {
                continue;
            }
            let Some(parsed) = FileName::parse(name) else {
                continue;
            };
            let first = *since.entry(dir.join(name)).or_insert(seen);
            let is_due = seen.duration_since(first) >= GRACE || self.pass.purpose == Purpose::Reset;
            let dead =
                if is_due { self.open_dead(source, Proof::Lease) } else { Err(Stays::NotDue) };
            match dead {
                Ok(dead) => self.absorb(&dead, parsed),
                // A new process has taken it up.
                Err(Stays::InUse) => self.count(Stays::NotDue),
                Err(reason) => self.count(reason),
            }
        }
    }

    /// Opens a file whose writer is dead.
    fn open_dead(&mut self, source: String, proof: Proof) -> std::result::Result<Dead, Stays> {
        let (dir, name) = self.dirs.place(&source).map_err(|_| Stays::InUse)?;
        let file = reader::open_at(dir, name).map_err(|error| match error {
            ReadError::Open(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Stays::Unknown
            }
            _ => Stays::InUse,
        })?;
        match self.prober.ask(name, &file, proof, Freshness::Now) {
            Verdict::Dead => Ok(Dead { file, source, proof }),
            Verdict::Released(since)
                if since.elapsed() >= GRACE || self.pass.purpose == Purpose::Reset =>
            {
                Ok(Dead { file, source, proof })
            }
            Verdict::Released(_) => Err(Stays::NotDue),
            Verdict::Alive => Err(Stays::InUse),
            Verdict::Unlocked | Verdict::Unknown => Err(Stays::Unknown),
        }
    }

    fn count(&mut self, reason: Stays) {
        let compaction = &mut self.outcome.compaction;
        match reason {
            Stays::InUse => {}
            Stays::NotDue => compaction.waiting += 1,
            Stays::Unknown => compaction.unknown += 1,
        }
    }

    /// Whether anything of a gauge is kept when its process has ended.
    fn is_kept(&self, mode: GaugeMode) -> bool {
        !mode.is_live() && (mode != GaugeMode::All || self.pass.keep_dead != Some(Duration::ZERO))
    }

    fn absorb(&mut self, dead: &Dead, name: FileName<'_>) {
        if self.pass.purpose == Purpose::Reset {
            return self.draft.sources.push(dead.source.clone());
        }
        if name.kind.mode().is_some_and(|mode| !self.is_kept(mode)) {
            // Nothing of it counts any more.
            if self.dirs.remove(&dead.source).is_ok() {
                self.outcome.compaction.files += 1;
            }
            return;
        }
        if dead.proof == Proof::LockAndLease
            && !lock::hold_to_read(&dead.file).is_ok_and(|it| it == LockState::Free)
        {
            return;
        }
        let is_absorbed = match self.reader.read(&dead.file).and_then(|read| read.entries()) {
            Ok(entries) => self.draft.fold.add_file(name, entries, self.now).is_ok(),
            // A process that ended before its first sample.
            Err(ReadError::Empty) => true,
            Err(_) => false,
        };
        lock::release(&dead.file);
        match dead.file.metadata() {
            Ok(metadata) if is_absorbed => {
                self.draft.mode &= metadata.mode();
                self.draft.sources.push(dead.source.clone());
            }
            _ => self.outcome.compaction.damaged += 1,
        }
    }
}
