//! Asks the kernel whether writers live, and remembers what a single question cannot show.
//!
//! Two proofs show a death: the lock of the writer is free, and a read lease is granted. The kernel grants
//! leases to the owner of a file and to CAP_LEASE only. A process that is neither has two other ways:
//!
//! - The command takes the lease under the owner's user id, where it may change to that ([`OwnerLease`]).
//! - Of a file of multiprom the lock alone shows the death. But a free lock is also what a reader sees of every
//!   writer whose locks it cannot see at all: one that writes through an overlay whose upper directory is read,
//!   or in another kernel. So a free lock hides live gauges, which come back if it was wrong, and permits to
//!   compact or remove a file only where the lock of another writer of the directory was seen held. A file that
//!   changes although its lock is free shows that locks prove nothing in its directory.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inspect::series_names;
use super::liveness::{Proof, Verdict};
use crate::file::layout::{Header, MAGIC, WORD_LEN};
use crate::file::lock::{self, LockState, WriteState};
use crate::file::name::FileName;
use crate::file::place;
use crate::file::reader::{self, Reader};
use crate::file::sys::{self, Identity};
use crate::file::words::bytes_of;

/// How long a finding is used again where nothing irreversible depends on it.
pub(super) const VALIDITY: Duration = Duration::from_secs(5);

/// How long findings about files are kept that nobody asks about any more.
const KEPT: Duration = Duration::from_secs(600);

/// How much of a file is compared with what it was.
const COMPARED_LEN: u32 = 4096;

/// What the kernel shows in place of an owner that the user namespace lacks, unless it is set up otherwise.
const OVERFLOW_USER: u32 = 65534;

/// Takes a lease in the name of a file's owner, where this process may not in its own.
pub(crate) trait OwnerLease: Debug + Send + Sync {
    /// Asks whether anybody has a regular file open for writing.
    fn writers(&self, file: &File, owner: u32) -> WriteState;
}

/// Whether a finding may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// For [`VALIDITY`].
    Recent,
    /// Files are removed on the strength of it.
    Now,
}

/// Asks whether writers live. Each collector and compactor has one of its own.
#[derive(Default)]
pub(crate) struct Prober {
    owner_lease: Option<Arc<dyn OwnerLease>>,
    dirs: Vec<Directory>,
    /// Which of them is asked about.
    current: usize,
    reader: Reader,
}

/// What a free lock in a directory is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locks {
    /// No lock was seen held: there may be no living writer, or locks cannot be seen.
    Unseen,
    /// A lock was seen held.
    Seen,
    /// A file changed although its lock was free. This is final.
    Contradicted,
}

struct Directory {
    path: PathBuf,
    identity: Option<Identity>,
    locks: Locks,
    /// When all files were last searched for a lock that is held.
    searched: Option<Instant>,
    /// Findings about files of which no lease could be obtained, by name.
    findings: HashMap<Box<str>, Finding>,
    pruned: Instant,
    /// Owners of files whose writers' liveness is unknown.
    unknown: BTreeMap<u32, Unknown>,
    /// The file that changed although its lock was free, until it is reported.
    contradiction: Option<Box<str>>,
}

/// What was found out about a file of which this process itself could not obtain a lease.
#[derive(Clone, Copy)]
struct Finding {
    at: Instant,
    /// By the owner's lease.
    writers: WriteState,
    /// Of files of multiprom whose lock is free.
    released: Option<Released>,
}

#[derive(Clone, Copy)]
struct Released {
    since: Instant,
    /// The checksum of the first bytes of the file.
    content: u32,
}

/// Why the liveness of an owner's writers is unknown.
struct Unknown {
    writers: WriteState,
    is_reported: bool,
}

impl Prober {
    /// Has leases taken in the name of the owners of files too.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of the command"))]
    pub(crate) fn set_owner_lease(&mut self, lease: Arc<dyn OwnerLease>) {
        self.owner_lease = Some(lease);
    }

    /// Says of which directory files are asked about from now on.
    pub(super) fn enter(&mut self, path: &Path, handle: &File) {
        let identity = sys::identity(handle.as_raw_fd());
        let known = self.dirs.iter().position(|dir| *dir.path == *path);
        self.current = known.unwrap_or(self.dirs.len());
        match self.dirs.get_mut(self.current) {
            Some(known) if known.identity == identity => known.prune(),
            Some(other) => *other = Directory::new(path, identity),
            None => self.dirs.push(Directory::new(path, identity)),
        }
    }

    /// Asks about a file of the directory that is open read-only, by its name, which is unique for ever if it is
    /// that of a file of multiprom. Nobody is delayed by it but a writer that opens the file in the same
    /// microsecond.
    pub(super) fn ask(
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
                    return Verdict::Alive;
                }
                Ok(LockState::Free) => {}
                Err(_) => return self.unknown(file, WriteState::Unknown),
            }
        }
        match lock::writers(file) {
            WriteState::Written => Verdict::Alive,
            WriteState::Unwritten => Verdict::Dead,
            refusal => self.ask_otherwise(name, file, proof, freshness, refusal),
        }
    }

    /// Compares all files of the directory whose lock was free with what they were. Otherwise one could be removed
    /// before another is found to have changed.
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

    /// Reports, once for each owner in each directory, what stays unknown and why.
    pub(crate) fn unreported(&mut self) -> Vec<String> {
        self.dirs.iter_mut().flat_map(Directory::unreported).collect()
    }

    /// Whether a file is open for writing: as far as leases show it.
    pub(super) fn writers(&self, file: &File) -> WriteState {
        match lock::writers(file) {
            WriteState::Refused => self.writers_by_owner(file),
            known => known,
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
            && dir.locks == Locks::Unseen
        {
            dir.locks = Locks::Seen;
        }
    }

    /// Goes the other ways, where this process cannot obtain a lease.
    #[cold]
    fn ask_otherwise(
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
            // No process ever opens a file of multiprom for writing again.
            let is_final = proof == Proof::LockAndLease && finding.writers == WriteState::Unwritten;
            let is_recent = now.duration_since(finding.at) < VALIDITY;
            freshness == Freshness::Recent && (is_recent || is_final)
        };
        let finding = match before.filter(is_valid) {
            Some(recent) => recent,
            None => {
                let finding = self.find_out(file, proof, refusal, now);
                self.note(name, finding, before)
            }
        };
        match (finding.writers, finding.released) {
            (WriteState::Written, _) => Verdict::Alive,
            (WriteState::Unwritten, _) => Verdict::Dead,
            (_, Some(released)) => match self.locks(now) {
                Locks::Seen => Verdict::Released(released.since),
                Locks::Unseen => {
                    self.unknown(file, finding.writers);
                    Verdict::Unlocked
                }
                Locks::Contradicted => self.unknown(file, finding.writers),
            },
            (writers, None) => self.unknown(file, writers),
        }
    }

    fn find_out(
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
        let is_answered = matches!(writers, WriteState::Written | WriteState::Unwritten);
        let released = match proof {
            Proof::LockAndLease if !is_answered => self.content(file),
            _ => None,
        };
        let released = released.map(|content| Released { since: now, content });
        Finding { at: now, writers, released }
    }

    /// The checksum of the first bytes of a file of multiprom. The name alone may be one that a process of the
    /// Python client chose, which has no lock.
    fn content(&mut self, file: &File) -> Option<u32> {
        let words = self.reader.read_words(file, 0..COMPARED_LEN / WORD_LEN as u32).ok()?;
        let is_own = words.first().is_some_and(|word| Header::decode(*word).magic == MAGIC);
        is_own.then(|| crc32fast::hash(bytes_of(words)))
    }

    /// Remembers a finding, and compares it with the one before.
    fn note(&mut self, name: &str, mut finding: Finding, before: Option<Finding>) -> Finding {
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

    /// What a free lock is worth in the directory. While no lock was seen held all files are searched for one.
    fn locks(&mut self, now: Instant) -> Locks {
        let Some(dir) = self.dirs.get_mut(self.current) else {
            return Locks::Unseen;
        };
        let is_due = dir.searched.is_none_or(|at| now.duration_since(at) >= VALIDITY);
        if dir.locks == Locks::Unseen && is_due {
            dir.searched = Some(now);
            if dir.has_held_lock() {
                dir.locks = Locks::Seen;
            }
        }
        dir.locks
    }

    #[cold]
    fn unknown(&mut self, file: &File, writers: WriteState) -> Verdict {
        // A directory or a device in the place of a series file is reported as such.
        if let (Some(dir), Ok(stat)) = (self.dirs.get_mut(self.current), sys::stat(file))
            && stat.is_file()
        {
            dir.unknown.entry(stat.owner).or_insert(Unknown { writers, is_reported: false });
        }
        Verdict::Unknown
    }
}

impl Directory {
    fn new(path: &Path, identity: Option<Identity>) -> Directory {
        Directory {
            path: path.to_owned(),
            identity,
            locks: Locks::Unseen,
            searched: None,
            findings: HashMap::new(),
            pruned: Instant::now(),
            unknown: BTreeMap::new(),
            contradiction: None,
        }
    }

    fn prune(&mut self) {
        if !self.findings.is_empty() && self.pruned.elapsed() >= KEPT {
            self.findings.retain(|_, finding| finding.at >= self.pruned);
            self.pruned = Instant::now();
        }
    }

    fn contradict(&mut self, name: &str) {
        if self.locks != Locks::Contradicted {
            self.locks = Locks::Contradicted;
            self.contradiction = Some(name.into());
        }
    }

    /// Whether a lock is seen held on any file of multiprom.
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
                 another kernel, whose locks are not seen here"
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
