//! One pass of a compactor over one directory. `docs/design.md` lists the steps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::burial::{BurialCheck, BurialSchedule};
use super::compaction::{CompactFiles, Compaction};
use super::fold::{Fold, KeptSections};
use super::locked_dir::{LockedDir, set_owner_of};
use crate::error::{Chain, Error, ErrorKind, Result};
use crate::file::archive::{
    ARCHIVE_NAME, Archive, ArchiveError, MAX_ARCHIVE_LEN, RETIRED_DIR, is_source,
};
use crate::file::companion::reader as companion;
use crate::file::lock::{self, LockState, WriteState};
use crate::file::name::{CompanionName, FileName, IdKind, WriterId};
use crate::file::reader::{self, ReadError, Reader};
use crate::file::sys::{self, Taken};
use crate::file::writer::is_staging_name;
use crate::logging::log_line;
use crate::model::{GaugeMode, clock};
use crate::multiproc::archive_file::ArchiveFile;
use crate::multiproc::dir_lock::CompactorLock;
use crate::multiproc::listing::{ListedIn, file_names, retired_names, retired_source};
use crate::multiproc::liveness::{Proof, Verdict};
use crate::multiproc::prober::{Freshness, Prober};
use crate::multiproc::skipped::SkipCause;

/// How long a file of the Python client stays retired at least: longer than a process takes to open a file.
pub(super) const GRACE: Duration = Duration::from_secs(3);

const READ_AND_WRITE: u32 = 0o666;
const OWNER: u32 = 0o600;

/// Prefix and suffix of the names of incomplete archives. The next pass removes those that a crash has left.
const STAGING_PREFIX: &str = ".archive.";
const STAGING_SUFFIX: &str = ".new";

/// Prefix of the name of a damaged archive, followed by the time of its renaming.
const BAD_PREFIX: &str = "archive.bad.";

/// How many removed files an archive may list if nothing else changes. Every reader reads all names.
const MAX_REMOVED_SOURCES: usize = 1_000;

/// What a pass does with the values of dead writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Merges them into the archive, except live gauges.
    Compact,
    /// Removes all of them in one step.
    Reset,
}

pub(super) struct Pass<'a> {
    pub(super) purpose: Purpose,
    /// The path that is listed and that errors name. Everything else is relative to the locked directory.
    pub(super) dir: &'a Path,
    pub(super) files: CompactFiles,
    pub(super) keep_dead: Option<Duration>,
}

/// What a compactor keeps from one pass to the next.
#[derive(Default)]
pub(super) struct PassState {
    /// When each retired file was seen for the first time.
    pub(super) retired: HashMap<PathBuf, Instant>,
    pub(super) prober: Prober,
    pub(super) burials: BurialSchedule,
}

/// The result of a pass.
#[derive(Debug, Default)]
pub(super) struct PassOutcome {
    pub(super) compaction: Compaction,
    pub(super) has_committed: bool,
    /// Whether the archive was damaged, and renamed.
    pub(super) set_aside: bool,
    /// The first error with a single file. The pass continues with the others.
    pub(super) problem: Option<Error>,
}

/// What the next archive will hold.
#[derive(Default)]
struct NextArchive {
    fold: Fold,
    generation: u64,
    /// The files whose content is new in it, as names relative to the directory.
    sources: Vec<String>,
    /// The files whose content is in the old archive already, and which cannot be removed.
    pending: Vec<String>,
    /// How many files that the old archive lists do not exist any more. Their names can be left out.
    removed: usize,
    /// Whether a part of the old archive is left out.
    has_expired: bool,
    /// Whether removed series are buried, dropped or in use again.
    has_changed_marks: bool,
    /// The permissions that the old archive and all sources have in common.
    mode: u32,
}

/// A file of a dead writer.
struct DeadFile {
    file: File,
    /// Relative to the directory.
    source: String,
}

/// Why a pass leaves a file as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptReason {
    /// Its writer lives.
    InUse,
    /// It has disappeared, or is not a file.
    Gone,
    /// It may not be opened.
    Forbidden,
    /// It cannot be opened now.
    Failed,
    /// The grace period is not over: it was retired recently, or only the lock shows that its writer is dead.
    NotDue,
    /// The liveness of its writer is unknown.
    Unknown,
}

impl Pass<'_> {
    pub(super) fn run(&self, state: &mut PassState) -> Result<PassOutcome> {
        let Some(lock) = CompactorLock::try_take(self.dir).map_err(|error| self.failed(error))?
        else {
            let compaction = Compaction { busy: 1, ..Compaction::default() };
            return Ok(PassOutcome { compaction, ..PassOutcome::default() });
        };
        let now = clock::now();
        let dirs = LockedDir::new(lock);
        let PassState { retired, prober, burials } = state;
        prober.enter(self.dir, dirs.handle());
        prober.compare_released(dirs.handle());
        let mut running = RunningPass {
            pass: self,
            dirs: &dirs,
            prober,
            next: NextArchive { mode: READ_AND_WRITE, ..NextArchive::default() },
            outcome: PassOutcome::default(),
            reader: Reader::default(),
            now,
        };
        running.load_archive()?;
        self.remove_staging(&dirs, running.prober);
        running.absorb_files()?;
        running.absorb_retired(retired);
        running.check_burials(burials);
        let RunningPass { next, mut outcome, .. } = running;
        let is_short = next.removed <= MAX_REMOVED_SOURCES;
        let is_changed = next.has_expired || next.has_changed_marks;
        if next.sources.is_empty() && !is_changed && is_short {
            return Ok(outcome);
        }
        self.commit(&next, &dirs, now)?;
        outcome.has_committed = true;
        let mut all_removed = next.pending.is_empty();
        for source in &next.sources {
            // The archive lists a file that cannot be removed: readers skip it, and the next pass tries again.
            all_removed &= dirs.remove(source).is_ok();
            outcome.compaction.files += 1;
        }
        if self.purpose == Purpose::Reset && all_removed {
            // The archive is empty, and no file that it lists exists.
            dirs.remove(ARCHIVE_NAME).map_err(|error| self.failed(error))?;
            dirs.remove_retired();
        }
        Ok(outcome)
    }

    /// Removes incomplete archives of crashed passes: the lock is held, so no other compactor is writing one. Also
    /// removes incomplete series files of writers that ended during the creation.
    fn remove_staging(&self, dirs: &LockedDir, prober: &Prober) {
        let Ok(entries) = fs::read_dir(self.dir) else {
            return;
        };
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            let is_archive = name.starts_with(STAGING_PREFIX) && name.ends_with(STAGING_SUFFIX);
            // A file that is being created is open for writing before it is locked.
            let is_dead_creation = || {
                let file = is_staging_name(&name).then(|| reader::open_at(dirs.handle(), &name));
                file.is_some_and(|file| {
                    file.is_ok_and(|file| prober.writers(&file) == WriteState::Unwritten)
                })
            };
            if is_archive || is_dead_creation() {
                // OK because no process reads it, and the next pass tries again.
                let _ = dirs.remove(&name);
            }
        }
    }

    /// Writes the next archive and renames it over the old one.
    fn commit(&self, next: &NextArchive, dirs: &LockedDir, now: f64) -> Result<()> {
        let path = ArchiveFile::path(self.dir);
        let failed = |error: io::Error| self.error(&path, error);
        let sources = next.sources.iter().chain(&next.pending).map(String::as_str);
        let bytes = next.fold.encode(next.generation + 1, now, sources);
        let len = bytes.len() as u64;
        if len > MAX_ARCHIVE_LEN {
            return Err(self.error(&path, ArchiveError::TooLong { len }));
        }
        let random = sys::random_u32().map_err(failed)?;
        let staging = format!("{STAGING_PREFIX}{random:08x}{STAGING_SUFFIX}");
        let dir = dirs.as_fd();
        let written = write(dirs.handle(), &staging, &bytes, next.mode);
        let written = written
            .and_then(|()| sys::rename_at((dir, &staging), (dir, ARCHIVE_NAME), Taken::Replaced));
        if let Err(error) = written {
            // OK because the next pass removes it too.
            let _ = sys::unlink_at(dir, &staging);
            return Err(failed(error));
        }
        // The sources are removed next: after a power failure the archive must exist if they do not.
        let _ = dirs.handle().sync_all();
        Ok(())
    }

    /// The names of the files of writers, except those that are not UTF-8.
    fn names(&self) -> Result<impl Iterator<Item = String> + use<>> {
        let names = file_names(self.dir).map_err(|error| self.failed(error))?;
        let names = names.series.into_iter().chain(names.companions);
        Ok(names.filter_map(|name| name.into_string().ok()))
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

/// Writes and syncs a new file.
fn write(dir: &File, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_NOFOLLOW;
    let mut file = sys::open_at(dir.as_fd(), name, flags, OWNER)?;
    sys::reserve(&file, 0, bytes.len() as u64)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode & READ_AND_WRITE | OWNER))?;
    set_owner_of(dir, &file)?;
    file.sync_data()
}

/// A pass in progress.
struct RunningPass<'a> {
    pass: &'a Pass<'a>,
    dirs: &'a LockedDir,
    prober: &'a mut Prober,
    next: NextArchive,
    outcome: PassOutcome,
    reader: Reader,
    /// Unix seconds.
    now: f64,
}

impl RunningPass<'_> {
    /// Reads the archive and removes the files that it lists. A damaged archive is set aside, as is anything with its
    /// name that is not a file. An archive of another version is left unchanged and ends the pass.
    fn load_archive(&mut self) -> Result<()> {
        let path = ArchiveFile::path(self.pass.dir);
        let archive = match ArchiveFile::open_at(self.dirs.handle()) {
            Ok(Some(archive)) => archive,
            Ok(None) => return Ok(()),
            Err(SkipCause::Archive(error)) => return self.set_aside(&error),
            Err(SkipCause::Read(error)) if error.is_not_a_file() => {
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
            Purpose::Reset => self.next.has_expired = true,
            Purpose::Compact => {
                if let Err(error) = self.keep(decoded) {
                    return self.set_aside(&error);
                }
            }
        }
        self.next.generation = decoded.generation;
        self.next.mode &= archive.mode();
        for source in decoded.sources() {
            match self.dirs.remove(source) {
                Ok(()) => self.next.removed += 1,
                Err(_) => self.next.pending.push(source.to_owned()),
            }
        }
        Ok(())
    }

    /// Adds the sections of the old archive to the next one.
    fn keep(&mut self, archive: Archive<'_>) -> std::result::Result<(), ArchiveError> {
        let oldest = self.pass.keep_dead.map(|keep| self.now - keep.as_secs_f64());
        let mut fold = Fold::default();
        let is_kept = |ended: f64| oldest.is_none_or(|oldest| ended > oldest);
        self.next.has_expired = fold.add_archive(archive, is_kept)? == KeptSections::Some;
        self.outcome.compaction.damaged += fold.opaque().len() as u64;
        self.next.fold = fold;
        Ok(())
    }

    fn set_aside(&mut self, error: &dyn Display) -> Result<()> {
        let path = ArchiveFile::path(self.pass.dir);
        let name = format!("{BAD_PREFIX}{:.6}", self.now);
        let dir = self.dirs.as_fd();
        sys::rename_at((dir, ARCHIVE_NAME), (dir, &name), Taken::Kept)
            .map_err(|error| self.pass.error(&path, error))?;
        log_line(&format_args!("archive `{}`: {error}; renamed to `{name}`", path.display()));
        self.outcome.set_aside = true;
        Ok(())
    }

    /// Absorbs files of multiprom, those of a writer together, and retires files of the Python client.
    fn absorb_files(&mut self) -> Result<()> {
        // Sorted by id: so the files of one kind come in the order of their names.
        let mut writers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.pass.names()? {
            // A pending file was absorbed before. A file that the archive cannot list would be counted twice.
            if self.next.pending.contains(&name) || !is_source(&name) {
                continue;
            }
            if let Some(id) = writer_of(&name) {
                let id = id.to_owned();
                writers.entry(id).or_default().push(name);
            } else if self.pass.files == CompactFiles::All {
                match self.open_dead(name, Proof::of(IdKind::Chosen, ListedIn::Main)) {
                    Ok(dead) => self.retire_dead(&dead),
                    Err(reason) => self.count(reason),
                }
            }
        }
        for (id, names) in writers {
            self.absorb_writer(&id, names);
        }
        Ok(())
    }

    /// Absorbs the files of a writer: all that can be read, or none if it still holds one of them.
    fn absorb_writer(&mut self, id: &str, names: Vec<String>) {
        let (mut files, mut has_ended) = (Vec::new(), true);
        let companions = names.iter().filter(|name| CompanionName::of_file(name).is_some()).count();
        let mut keep = |running: &mut Self, reason: KeptReason| {
            has_ended &= !reason.keeps_others();
            running.count(reason);
        };
        for name in names {
            match self.open_dead(name, Proof::of(IdKind::Unique, ListedIn::Main)) {
                Ok(dead) if is_own(&dead) => files.push(dead),
                // A process of the Python client may have chosen a name of this form, and may choose it again.
                Ok(dead) if self.pass.files == CompactFiles::All => self.retire_dead(&dead),
                Ok(_) => {}
                Err(reason) => keep(self, reason),
            }
        }
        // Its companion may have been created after the listing.
        if companions == 0 && !files.is_empty() {
            let name = CompanionName::first(id).to_string();
            match self.open_dead(name, Proof::of(IdKind::Unique, ListedIn::Main)) {
                Ok(dead) if !self.next.pending.contains(&dead.source) => files.push(dead),
                Ok(_) => {}
                Err(reason) => keep(self, reason),
            }
        }
        let is_compacted = self.pass.purpose == Purpose::Compact;
        let holds =
            || files.iter().all(|it| matches!(lock::hold_to_read(&it.file), Ok(LockState::Free)));
        if !has_ended {
            self.outcome.compaction.waiting += files.len() as u64;
        } else if !is_compacted || holds() {
            for dead in &files {
                self.absorb(dead);
            }
        }
    }

    /// Retires the file of a dead Python process. Leaves a file that neither client has written.
    fn retire_dead(&mut self, dead: &DeadFile) {
        let Some(parsed) = FileName::parse(&dead.source) else {
            return;
        };
        if reader::has_unknown_magic(&dead.file) {
            self.outcome.compaction.damaged += 1;
        } else if let Err(error) = self.retire(&dead.source, parsed) {
            self.outcome.compaction.damaged += 1;
            self.outcome.problem.get_or_insert(error);
        }
    }

    /// Renames a file of a dead Python process to a name that is never reused.
    fn retire(&mut self, name: &str, parsed: FileName<'_>) -> Result<()> {
        let retired = self.dirs.retired().map_err(|error| self.pass.failed(error))?;
        let random = sys::random_u32().map_err(|error| self.pass.failed(error))?;
        let id = WriterId::new(parsed.id, random);
        let unique = FileName { kind: parsed.kind, id: id.as_str() }.to_string();
        match sys::rename_at((self.dirs.as_fd(), name), (retired.as_fd(), &unique), Taken::Kept) {
            Ok(()) => self.outcome.compaction.retired += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.pass.error(&self.pass.dir.join(name), error)),
        }
        Ok(())
    }

    /// Absorbs retired files whose grace period is over.
    fn absorb_retired(&mut self, first_seen: &mut HashMap<PathBuf, Instant>) {
        let dir = self.pass.dir.join(RETIRED_DIR);
        // OK because files that cannot be listed stay where they are.
        let names = retired_names(&dir).unwrap_or_default();
        let names: Vec<String> = names.into_iter().filter_map(|it| it.into_string().ok()).collect();
        let seen = Instant::now();
        let paths: HashSet<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        first_seen.retain(|path, _| path.parent() != Some(&dir) || paths.contains(path));
        for name in &names {
            let source = retired_source(name);
            if self.next.pending.contains(&source) || !is_source(&source) {
                continue;
            }
            let first = *first_seen.entry(dir.join(name)).or_insert(seen);
            let is_due = seen.duration_since(first) >= GRACE || self.pass.purpose == Purpose::Reset;
            let dead = if is_due {
                self.open_dead(source, Proof::of(IdKind::Unique, ListedIn::Retired))
            } else {
                Err(KeptReason::NotDue)
            };
            match dead {
                Ok(dead) => self.absorb(&dead),
                // A new process has resumed the file.
                Err(KeptReason::InUse) => self.count(KeptReason::NotDue),
                Err(reason) => self.count(reason),
            }
        }
    }

    /// Opens a file whose writer is dead.
    fn open_dead(
        &mut self,
        source: String,
        proof: Proof,
    ) -> std::result::Result<DeadFile, KeptReason> {
        let (dir, name) = self.dirs.resolve(&source).map_err(|_| KeptReason::Gone)?;
        let file = reader::open_at(dir, name).map_err(|error| {
            if error.is_vanished() || error.is_not_a_file() {
                return KeptReason::Gone;
            }
            match error {
                ReadError::Open(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    KeptReason::Forbidden
                }
                _ => KeptReason::Failed,
            }
        })?;
        match self.prober.probe(name, &file, proof, Freshness::Now) {
            Verdict::Dead => Ok(DeadFile { file, source }),
            Verdict::Released(since)
                if since.elapsed() >= GRACE || self.pass.purpose == Purpose::Reset =>
            {
                Ok(DeadFile { file, source })
            }
            Verdict::Released(_) => Err(KeptReason::NotDue),
            Verdict::Locked | Verdict::Alive => Err(KeptReason::InUse),
            Verdict::Unlocked | Verdict::Unknown => Err(KeptReason::Unknown),
        }
    }

    /// Decides which removed series the next archive keeps.
    fn check_burials(&mut self, schedule: &mut BurialSchedule) {
        let NextArchive { fold, sources, pending, has_changed_marks, .. } = &mut self.next;
        if fold.marks().next().is_none() {
            return;
        }
        let absorbed: HashSet<&str> = sources.iter().chain(&*pending).map(String::as_str).collect();
        let check = BurialCheck { dir: self.pass.dir, dirs: self.dirs, reader: &mut self.reader };
        *has_changed_marks =
            check.run(schedule, fold, self.now, |source| absorbed.contains(source));
    }

    fn count(&mut self, reason: KeptReason) {
        let compaction = &mut self.outcome.compaction;
        match reason {
            KeptReason::InUse | KeptReason::Gone | KeptReason::Failed => {}
            KeptReason::NotDue => compaction.waiting += 1,
            KeptReason::Unknown | KeptReason::Forbidden => compaction.unknown += 1,
        }
    }

    /// Whether the archive keeps gauges of a mode.
    fn is_kept(&self, mode: GaugeMode) -> bool {
        !mode.is_live() && (mode != GaugeMode::All || self.pass.keep_dead != Some(Duration::ZERO))
    }

    fn absorb(&mut self, dead: &DeadFile) {
        if self.pass.purpose == Purpose::Reset {
            return self.next.sources.push(dead.source.clone());
        }
        let name = FileName::parse(dead.source.rsplit('/').next().unwrap_or_default());
        if name.and_then(|name| name.kind.mode()).is_some_and(|mode| !self.is_kept(mode)) {
            // No reader counts it.
            if self.dirs.remove(&dead.source).is_ok() {
                self.outcome.compaction.files += 1;
            }
            return;
        }
        let is_absorbed = match name {
            Some(name) => self.fold_series(&dead.file, name),
            None => self.fold_companion(&dead.file),
        };
        lock::release(&dead.file);
        match dead.file.metadata() {
            Ok(metadata) if is_absorbed => {
                self.next.mode &= metadata.mode();
                self.next.sources.push(dead.source.clone());
            }
            _ => self.outcome.compaction.damaged += 1,
        }
    }

    /// Adds a series file to the next archive. Returns `false` if it cannot be read whole.
    fn fold_series(&mut self, file: &File, name: FileName<'_>) -> bool {
        match self.reader.read(file).and_then(|read| read.entries()) {
            Ok(entries) => self.next.fold.add_file(name, entries, self.now).is_ok(),
            // The process ended before its first sample.
            Err(ReadError::Empty) => true,
            Err(_) => false,
        }
    }

    /// Adds a companion file to the next archive. Returns `false` if it cannot be read whole, or if a later release has
    /// written some of its entries.
    fn fold_companion(&mut self, file: &File) -> bool {
        let read = sys::stat(file).map_err(ReadError::Read);
        let read = read.and_then(|stat| companion::read(&mut self.reader, file, stat));
        read.is_ok_and(|read| self.next.fold.companion.add_file(read.body).is_ok())
    }
}

impl KeptReason {
    /// Whether the other files of the writer wait for this one: the writer may still hold it, or it can be read later.
    fn keeps_others(self) -> bool {
        !matches!(self, KeptReason::Gone | KeptReason::Forbidden)
    }
}

/// The id in the name of a file that this crate may have written.
fn writer_of(name: &str) -> Option<&str> {
    match FileName::parse(name) {
        Some(name) => name.has_unique_form().then(|| name.writer(IdKind::Unique)),
        None => CompanionName::of_file(name).map(|name| name.id),
    }
}

/// Whether this crate has written a file.
fn is_own(dead: &DeadFile) -> bool {
    let name = FileName::parse(&dead.source);
    name.is_none_or(|name| reader::id_kind(name, &dead.file) == IdKind::Unique)
}
