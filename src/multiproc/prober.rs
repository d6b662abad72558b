//! Asks the kernel whether writers live, and stores the findings that one query cannot provide.
//!
//! A writer is dead if its lock is free and a read lease is granted. The kernel grants leases only to the owner of a
//! file and to CAP_LEASE. A process that is neither has two other ways:
//!
//! - The command takes the lease under the owner's user id, if it may change to that ([`OwnerLease`]).
//! - For a file of multiprom the lock alone shows that the writer is dead. But to a reader that cannot see locks at all
//!   every lock looks free: the writer writes through an overlay whose upper directory is read, or in another kernel. So a
//!   free lock hides live gauges, which is undone if it was wrong, but a file is compacted or removed only if the
//!   lock of another writer in the directory was seen held. A file that changes although its lock is free shows that
//!   locks prove nothing in its directory.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listing::series_names;
use super::liveness::{Proof, Verdict};
use crate::file::companion::layout as companion;
use crate::file::layout::{Header, MAGIC, WORD_LEN};
use crate::file::lock::{self, LockState, WriteState};
use crate::file::name::FileName;
use crate::file::place;
use crate::file::reader::{self, Reader};
use crate::file::sys::{self, Identity};
use crate::file::words::bytes_of;

/// How long a finding is reused if nothing irreversible depends on it.
pub(super) const VALIDITY: Duration = Duration::from_secs(5);

/// How long the findings about a file are kept after the last query.
const RETENTION: Duration = Duration::from_secs(600);

/// How many bytes of a file are compared with its former content.
const COMPARED_LEN: u32 = 4096;

/// The user id that the kernel shows for an owner that the user namespace lacks, by default.
const OVERFLOW_USER: u32 = 65534;

/// Takes leases under the user id of the owner of a file, if this process cannot take them as itself.
pub(crate) trait OwnerLease: Debug + Send + Sync {
    /// Whether a process has a regular file open for writing.
    fn writers(&self, file: &File, owner: u32) -> WriteState;
}

/// How old a finding may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// At most [`VALIDITY`].
    Recent,
    /// New, because files are removed if it says that the writer is dead.
    Now,
}

/// Asks the kernel whether writers live. Each collector and compactor has its own prober.
#[derive(Default)]
pub(crate) struct Prober {
    owner_lease: Option<Arc<dyn OwnerLease>>,
    dirs: Vec<ProbedDirectory>,
    /// The index of the directory whose files are probed.
    current: usize,
    reader: Reader,
}

/// Whether a free lock in a directory proves anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LockVisibility {
    /// No held lock was seen: there may be no living writer, or locks cannot be seen.
    Unseen,
    /// A held lock was seen.
    Seen,
    /// A file changed although its lock was free. This is final.
    Contradicted,
}

struct ProbedDirectory {
    path: PathBuf,
    identity: Option<Identity>,
    locks: LockVisibility,
    /// When all files were last searched for a held lock.
    searched: Option<Instant>,
    /// Findings about files on which no lease could be obtained, by name.
    findings: HashMap<Box<str>, Finding>,
    pruned: Instant,
    /// Owners of files whose writers' liveness is unknown.
    unknown: BTreeMap<u32, UnknownWriters>,
    /// The file that has changed although its lock was free, until it is reported.
    contradiction: Option<Box<str>>,
}

/// A finding about a file on which this process itself could not obtain a lease.
#[derive(Clone, Copy)]
struct Finding {
    at: Instant,
    /// The result of a lease under the owner's user id.
    writers: WriteState,
    /// Set for files of multiprom whose lock is free.
    released: Option<ReleasedLock>,
}

#[derive(Clone, Copy)]
struct ReleasedLock {
    since: Instant,
    /// The checksum of the first bytes of the file.
    content: u32,
}

/// Why the liveness of an owner's writers is unknown.
struct UnknownWriters {
    writers: WriteState,
    is_reported: bool,
}

impl Prober {
    /// Also takes leases under the user ids of the owners of files.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn set_owner_lease(&mut self, lease: Arc<dyn OwnerLease>) {
        self.owner_lease = Some(lease);
    }

    /// Selects the directory whose files are probed next.
    pub(super) fn enter(&mut self, path: &Path, handle: &File) {
        let identity = sys::identity(handle.as_raw_fd());
        let found = self.dirs.iter().position(|dir| *dir.path == *path);
        self.current = found.unwrap_or(self.dirs.len());
        match self.dirs.get_mut(self.current) {
            Some(dir) if dir.identity == identity => dir.prune(),
            Some(replaced) => *replaced = ProbedDirectory::new(path, identity),
            None => self.dirs.push(ProbedDirectory::new(path, identity)),
        }
    }

    /// Asks whether the writer of an open file in the directory lives. `name` is the file name; a name of multiprom is
    /// never reused. The query delays only a writer that opens the file in the same microsecond.
    pub(super) fn probe(
        &mut self,
        name: &str,
        file: &File,
        proof: Proof,
        freshness: Freshness,
    ) -> Verdict {
        if proof == Proof::LockAndLease {
            match lock::probe(file) {
                Ok(LockState::Held) => {
                    self.see_lock();
                    return Verdict::Locked;
                }
                Ok(LockState::Free) => {}
                Err(_) => return self.unknown(file, WriteState::Unknown),
            }
        }
        match lock::writers(file) {
            WriteState::Written => Verdict::Alive,
            WriteState::Unwritten => Verdict::Dead,
            refusal => self.probe_without_lease(name, file, proof, freshness, refusal),
        }
    }

    /// Compares all files whose lock was free with their former content. Without this, a file could be removed before
    /// another one is found to have changed.
    pub(super) fn compare_released(&mut self, handle: &File) {
        let Some(dir) = self.dirs.get(self.current) else {
            return;
        };
        let released = dir.findings.iter().filter_map(|(name, finding)| {
            finding.released.map(|released| (name.clone(), released.content))
        });
        for (name, before) in released.collect::<Vec<_>>() {
            let file = reader::open_at(handle, &name).ok();
            let content = file.and_then(|file| self.content(&file));
            if content.is_some_and(|content| content != before)
                && let Some(dir) = self.dirs.get_mut(self.current)
            {
                dir.contradict(&name);
            }
        }
    }

    /// The lines to log: for each owner in each directory once, whose liveness is unknown and why.
    pub(crate) fn unreported(&mut self) -> Vec<String> {
        self.dirs.iter_mut().flat_map(ProbedDirectory::unreported).collect()
    }

    /// Whether a process has a file open for writing, as far as leases show it.
    pub(super) fn writers(&self, file: &File) -> WriteState {
        match lock::writers(file) {
            WriteState::Refused => self.writers_by_owner(file),
            state => state,
        }
    }

    fn writers_by_owner(&self, file: &File) -> WriteState {
        match (&self.owner_lease, sys::stat(file)) {
            (Some(lease), Ok(stat)) if stat.is_file() => lease.writers(file, stat.owner),
            _ => WriteState::Refused,
        }
    }

    fn see_lock(&mut self) {
        if let Some(dir) = self.dirs.get_mut(self.current)
            && dir.locks == LockVisibility::Unseen
        {
            dir.locks = LockVisibility::Seen;
        }
    }

    /// Decides by the other ways if this process cannot obtain a lease.
    #[cold]
    fn probe_without_lease(
        &mut self,
        name: &str,
        file: &File,
        proof: Proof,
        freshness: Freshness,
        refusal: WriteState,
    ) -> Verdict {
        let now = Instant::now();
        let Some(dir) = self.dirs.get(self.current) else {
            return Verdict::Unknown;
        };
        let before = dir.findings.get(name).copied();
        let is_valid = |finding: &Finding| {
            // A file of multiprom is never opened for writing again.
            let is_final = proof == Proof::LockAndLease && finding.writers == WriteState::Unwritten;
            let is_recent = now.duration_since(finding.at) < VALIDITY;
            freshness == Freshness::Recent && (is_recent || is_final)
        };
        let finding = match before.filter(is_valid) {
            Some(recent) => recent,
            None => {
                let finding = self.investigate(file, proof, refusal, now);
                self.store(name, finding, before)
            }
        };
        match (finding.writers, finding.released) {
            (WriteState::Written, _) => Verdict::Alive,
            (WriteState::Unwritten, _) => Verdict::Dead,
            (_, Some(released)) => match self.locks(now) {
                LockVisibility::Seen => Verdict::Released(released.since),
                LockVisibility::Unseen => {
                    self.unknown(file, finding.writers);
                    Verdict::Unlocked
                }
                LockVisibility::Contradicted => self.unknown(file, finding.writers),
            },
            (writers, None) => self.unknown(file, writers),
        }
    }

    fn investigate(
        &mut self,
        file: &File,
        proof: Proof,
        refusal: WriteState,
        now: Instant,
    ) -> Finding {
        let writers = match refusal {
            WriteState::Refused => self.writers_by_owner(file),
            other => other,
        };
        let is_decided = matches!(writers, WriteState::Written | WriteState::Unwritten);
        let released = match proof {
            Proof::LockAndLease if !is_decided => self.content(file),
            _ => None,
        };
        let released = released.map(|content| ReleasedLock { since: now, content });
        Finding { at: now, writers, released }
    }

    /// The checksum of the first bytes of a file of multiprom. `None` for other files: a process of the Python client,
    /// which takes no lock, may have chosen a name of the same form.
    fn content(&mut self, file: &File) -> Option<u32> {
        let words = self.reader.read_words(file, 0..COMPARED_LEN / WORD_LEN as u32).ok()?;
        let is_own = words.first().is_some_and(|word| {
            let magic = Header::decode(*word).magic;
            magic == MAGIC || magic == companion::MAGIC
        });
        is_own.then(|| crc32fast::hash(bytes_of(words)))
    }

    /// Stores a finding, and compares it with the one before.
    fn store(&mut self, name: &str, mut finding: Finding, before: Option<Finding>) -> Finding {
        let Some(dir) = self.dirs.get_mut(self.current) else {
            return finding;
        };
        if let (Some(now), Some(before)) =
            (&mut finding.released, before.and_then(|before| before.released))
        {
            if now.content == before.content {
                now.since = before.since;
            } else {
                dir.contradict(name);
            }
        }
        dir.findings.insert(name.into(), finding);
        finding
    }

    /// Whether a free lock proves anything in the directory. Until a held lock was seen, all files are searched for
    /// one.
    fn locks(&mut self, now: Instant) -> LockVisibility {
        let Some(dir) = self.dirs.get_mut(self.current) else {
            return LockVisibility::Unseen;
        };
        let is_due = dir.searched.is_none_or(|at| now.duration_since(at) >= VALIDITY);
        if dir.locks == LockVisibility::Unseen && is_due {
            dir.searched = Some(now);
            if dir.has_held_lock() {
                dir.locks = LockVisibility::Seen;
            }
        }
        dir.locks
    }

    #[cold]
    fn unknown(&mut self, file: &File, writers: WriteState) -> Verdict {
        // A directory or a device with the name of a series file is reported elsewhere.
        if let (Some(dir), Ok(stat)) = (self.dirs.get_mut(self.current), sys::stat(file))
            && stat.is_file()
        {
            dir.unknown.entry(stat.owner).or_insert(UnknownWriters { writers, is_reported: false });
        }
        Verdict::Unknown
    }
}

impl ProbedDirectory {
    fn new(path: &Path, identity: Option<Identity>) -> ProbedDirectory {
        ProbedDirectory {
            path: path.to_owned(),
            identity,
            locks: LockVisibility::Unseen,
            searched: None,
            findings: HashMap::new(),
            pruned: Instant::now(),
            unknown: BTreeMap::new(),
            contradiction: None,
        }
    }

    fn prune(&mut self) {
        if !self.findings.is_empty() && self.pruned.elapsed() >= RETENTION {
            self.findings.retain(|_, finding| finding.at >= self.pruned);
            self.pruned = Instant::now();
        }
    }

    fn contradict(&mut self, name: &str) {
        if self.locks != LockVisibility::Contradicted {
            self.locks = LockVisibility::Contradicted;
            self.contradiction = Some(name.into());
        }
    }

    /// Whether any file of multiprom has a held lock.
    fn has_held_lock(&self) -> bool {
        let (Ok(dir), Ok(names)) = (place::open(&self.path), series_names(&self.path)) else {
            return false;
        };
        let names = names.iter().filter_map(|name| name.to_str());
        let mut own =
            names.filter(|name| FileName::parse(name).is_some_and(|it| it.has_unique_form()));
        own.any(|name| {
            reader::open_at(&dir, name)
                .is_ok_and(|file| lock::probe(&file).is_ok_and(|state| state == LockState::Held))
        })
    }

    fn unreported(&mut self) -> Vec<String> {
        let dir = self.path.display();
        let mut lines = Vec::new();
        if let Some(name) = self.contradiction.take() {
            lines.push(format!(
                "directory `{dir}`: `{name}` changes although its lock is free: its writer uses another mount or \
                 another kernel, whose locks are not visible here"
            ));
        }
        for (owner, unknown) in &mut self.unknown {
            if std::mem::replace(&mut unknown.is_reported, true) {
                continue;
            }
            let (reason, remedy) = match unknown.writers {
                WriteState::Refused => (
                    "this process is neither their owner nor has it CAP_LEASE",
                    format!(
                        "run as uid {owner}, or with CAP_LEASE, or the command as root with CAP_SETUID"
                    ),
                ),
                _ => (
                    "the kernel grants no lease on them",
                    "use a directory on tmpfs, ext4, xfs, btrfs or overlayfs".to_owned(),
                ),
            };
            let note = match *owner {
                OVERFLOW_USER => " (nobody, or a user that this user namespace lacks)",
                _ => "",
            };
            lines.push(format!(
                "directory `{dir}`: cannot tell whether the writers of files of uid {owner}{note} live: {reason}; such \
                 files are not compacted, and gauges of dead processes may stay. Remedy: {remedy}"
            ));
        }
        lines
    }
}
