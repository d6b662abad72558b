//! The directory and the processes around it, in few bytes.

use std::fmt;

use crate::compactor::Compactor;
use crate::reader::Reader;
use crate::worker::{Own, Python};

/// Files there can be, each an inode. The first are of our writers, the others of the Python
/// client.
pub(crate) const MAX_INODES: u8 = 4;

/// The name of the Python worker's file in the directory: its pid. A bit beyond those of unique
/// names.
pub(crate) const PID: u8 = 7;

/// The same name in one listing again, where a file of that name went and another came meanwhile.
pub(crate) const PID_AGAIN: u8 = 6;

/// A set of names, or of inodes. Names other than the pid belong to one inode for ever and have its
/// number: of ours the name in the directory, of a Python file the one in `retired/`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Set(u8);

impl Set {
    pub(crate) fn has(self, item: u8) -> bool {
        self.0 & 1 << item != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn insert(&mut self, item: u8) {
        self.0 |= 1 << item;
    }

    pub(crate) fn remove(&mut self, item: u8) {
        self.0 &= !(1 << item);
    }

    pub(crate) fn first(self) -> Option<u8> {
        (!self.is_empty()).then(|| self.0.trailing_zeros() as u8)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |&item| self.has(item))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(items: I) -> Self {
        let mut set = Self::default();
        items.into_iter().for_each(|item| set.insert(item));
        set
    }
}

/// A total that tells how much of each inode is in it: four bits each.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Total(u16);

impl Total {
    pub(crate) fn of(self, inode: u8) -> u16 {
        self.0 >> (4 * inode) & 0xf
    }

    pub(crate) fn add(&mut self, inode: u8, count: u16) {
        assert!(self.of(inode) + count <= 0xf, "four bits are enough");
        self.0 += count << (4 * inode);
    }

    pub(crate) fn plus(mut self, other: Self) -> Self {
        (0..MAX_INODES).for_each(|inode| self.add(inode, other.of(inode)));
        self
    }

    pub(crate) fn clear(&mut self, inode: u8) {
        self.0 &= !(0xf << (4 * inode));
    }

    /// Whether each inode has at least as much as in `other`.
    pub(crate) fn covers(self, other: Self) -> bool {
        (0..MAX_INODES).all(|inode| self.of(inode) >= other.of(inode))
    }
}

/// Where the name of an inode is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Place {
    #[default]
    Nowhere,
    Main,
    Retired,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Archive {
    pub(crate) total: Total,
    pub(crate) sources: Set,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct State {
    /// What was counted in each inode, also after its last name is gone.
    pub(crate) counted: Total,
    pub(crate) places: [Place; MAX_INODES as usize],
    pub(crate) archive: Archive,
    /// Which inode has the name of the lock file. 1 once somebody has removed the first one.
    pub(crate) lock_file: u8,
    pub(crate) own: [Own; 2],
    pub(crate) python: Python,
    pub(crate) compactors: [Compactor; 2],
    pub(crate) readers: [Reader; 2],
}

/// How large a model is, and what is wrong in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) own: u8,
    pub(crate) own_increments: u8,
    /// Processes with one pid, one after the other.
    pub(crate) pythons: u8,
    pub(crate) python_increments: u8,
    pub(crate) compactors: u8,
    pub(crate) readers: u8,
    /// Attempts of a scrape before it takes the compactors' lock.
    pub(crate) attempts: u8,
    /// Files come and go while a directory is listed; otherwise listing is one step.
    pub(crate) slow_listing: bool,
    /// A file may be left out, as one that cannot be proven dead or read, or unlinked.
    pub(crate) may_fail: bool,
    /// Somebody removes the lock file.
    pub(crate) lock_removed: bool,
    pub(crate) mistake: Option<Mistake>,
}

/// A file of ours, a compactor and a reader.
pub(crate) const BASE: Config = Config {
    own: 1,
    own_increments: 1,
    pythons: 0,
    python_increments: 1,
    compactors: 1,
    readers: 1,
    attempts: 2,
    slow_listing: false,
    may_fail: false,
    lock_removed: false,
    mistake: None,
};

impl Config {
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mistake {
    /// Sources are unlinked before the archive that has them is published.
    UnlinkBeforePublish,
    /// A Python file is not retired but archived by its pid.
    ReusableName,
    /// A reader does not look whether the archive has moved.
    NoSecondLook,
    /// A reader reads the archive once, after the files.
    ArchiveLast,
    /// A reader compares inode numbers of archives that it does not hold open.
    ArchiveNotHeld,
    /// A reader that gives up retrying accepts what it has.
    NoLockAtLast,
    NoCompactorLock,
    NoGracePeriod,
    /// Nobody asks again whether a retired file is dead.
    NoSecondProof,
    /// The second proof is taken before the grace period is over.
    ProofBeforeGrace,
    /// A reader lists `retired/` before the directory.
    RetiredFirst,
    /// A reader counts an inode under each of its names.
    NoCountingOnce,
    /// A reader opens a name as often as a listing has it.
    NamesTwice,
    SourcesNotListed,
    /// Sources of the archive before are neither unlinked nor listed again.
    PendingDropped,
    /// Sources that could not be unlinked are not listed again.
    FailedUnlinkDropped,
    LockNotVerified,
    /// The lock file is removed between its verification and the commit.
    LockRemovedAfterVerification,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// A scrape lacks what was counted before it began.
    Missed,
    /// A scrape has more than was counted.
    Exceeded,
    /// The archive and the files that it does not list lack increments.
    Lost,
    /// The archive and the files that it does not list have increments twice.
    Twice,
    /// A worker that lives counts in a file without a name.
    Unlinked,
    /// A compaction after the end of all workers leaves files.
    NotEmptied,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Own(u8),
    Python,
    Compactor(u8),
    Reader(u8),
    Somebody,
}

/// One step, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) does: &'static str,
    pub(crate) name: Option<u8>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Own(number) => write!(f, "worker {number} of ours")?,
            Who::Python => write!(f, "Python worker with pid p")?,
            Who::Compactor(number) => write!(f, "compactor {number}")?,
            Who::Reader(number) => write!(f, "reader {number}")?,
            Who::Somebody => write!(f, "somebody")?,
        }
        write!(f, " {}", self.does)?;
        match self.name {
            None => Ok(()),
            Some(PID | PID_AGAIN) => write!(f, " `p`"),
            Some(inode) => write!(f, " `{inode}`"),
        }
    }
}

/// What can come after a state.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) step: Step,
    pub(crate) state: State,
    pub(crate) broken: Option<Broken>,
}

/// Collects what one process can do in a state.
pub(crate) struct Steps<'a> {
    pub(crate) who: Who,
    pub(crate) into: &'a mut Vec<Next>,
}

impl Steps<'_> {
    pub(crate) fn push(&mut self, does: &'static str, name: Option<u8>, state: State) {
        self.push_checked(does, name, state, None);
    }

    pub(crate) fn push_checked(
        &mut self,
        does: &'static str,
        name: Option<u8>,
        state: State,
        broken: Option<Broken>,
    ) {
        self.into.push(Next { step: Step { who: self.who, does, name }, state, broken });
    }
}

impl State {
    pub(crate) fn place(&self, inode: u8) -> Place {
        self.places[usize::from(inode)]
    }

    pub(crate) fn put(&mut self, inode: u8, place: Place) {
        self.places[usize::from(inode)] = place;
    }

    /// The inode that the pid names.
    pub(crate) fn pid_file(&self, config: &Config) -> Option<u8> {
        (config.own..MAX_INODES).find(|&inode| self.place(inode) == Place::Main)
    }

    pub(crate) fn main_names(&self, config: &Config) -> Set {
        let own = (0..config.own).filter(|&inode| self.place(inode) == Place::Main);
        own.chain(self.pid_file(config).map(|_| PID)).collect()
    }

    pub(crate) fn retired_names(&self) -> Set {
        (0..MAX_INODES).filter(|&inode| self.place(inode) == Place::Retired).collect()
    }

    pub(crate) fn unlink(&mut self, name: u8, config: &Config) {
        let inode = if name == PID { self.pid_file(config) } else { Some(name) };
        if let Some(inode) = inode {
            self.put(inode, Place::Nowhere);
        }
    }

    /// Whether a lease would be granted: nobody has the file open for writing. Our writers hold it
    /// open and locked until they end, so for their files this stands for both proofs.
    pub(crate) fn is_dead(&self, inode: u8, config: &Config) -> bool {
        if inode < config.own {
            !self.own[usize::from(inode)].lives()
        } else {
            !self.python.has_open(inode)
        }
    }

    /// What holds in every state.
    pub(crate) fn broken(&self, config: &Config) -> Option<Broken> {
        let mut total = self.archive.total;
        for inode in 0..MAX_INODES {
            let place = self.place(inode);
            if place == Place::Nowhere && !self.is_dead(inode, config) {
                return Some(Broken::Unlinked);
            }
            let name = if inode >= config.own && place == Place::Main { PID } else { inode };
            if place != Place::Nowhere && !self.archive.sources.has(name) {
                total.add(inode, self.counted.of(inode));
            }
        }
        if !total.covers(self.counted) {
            return Some(Broken::Lost);
        }
        (total != self.counted).then_some(Broken::Twice)
    }
}
