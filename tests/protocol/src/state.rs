//! The state of the directory and of all processes, in few bytes.

use crate::compactor::{self, Compactor};
use crate::reader::{self, Reader};
use crate::search::{Model, Next, Process};
use crate::worker::{self, Own, Python};

/// Number of files, each of which is an inode. The first ones belong to multiprom's writers, the others to the Python
/// client.
pub(crate) const MAX_INODES: u8 = 4;

/// The name of the Python worker's file in the directory, which is its pid. It follows the numbers of unique names.
pub(crate) const PID: u8 = 7;

/// The same name a second time in one listing: the file was removed and another one was created meanwhile.
pub(crate) const PID_AGAIN: u8 = 6;

/// A set of names or inodes. A name other than the pid belongs to one inode only and has its number: for multiprom's
/// files the name in the directory, for Python files the name in `retired/`.
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

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(items: I) -> Self {
        let mut set = Self::default();
        items.into_iter().for_each(|item| set.insert(item));
        set
    }
}

/// A total with the increments of each inode, four bits per inode.
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

    pub(crate) fn subtract(&mut self, inode: u8, count: u16) {
        assert!(self.of(inode) >= count, "no more than there is");
        self.0 -= count << (4 * inode);
    }

    /// The greater number of each inode.
    pub(crate) fn maximum(self, other: Self) -> Self {
        let mut maximum = Self::default();
        (0..MAX_INODES).for_each(|inode| maximum.add(inode, self.of(inode).max(other.of(inode))));
        maximum
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn clear(&mut self, inode: u8) {
        self.0 &= !(0xf << (4 * inode));
    }

    /// Whether each inode has at least as many increments as in `other`.
    pub(crate) fn covers(self, other: Self) -> bool {
        (0..MAX_INODES).all(|inode| self.of(inode) >= other.of(inode))
    }
}

/// The directory that has the name of an inode.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Location {
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
    /// The increments of each inode, also after its last name was removed.
    pub(crate) counted: Total,
    pub(crate) locations: [Location; MAX_INODES as usize],
    pub(crate) archive: Archive,
    /// The inode of the lock file: 1 after the first one was removed.
    pub(crate) lock_file: u8,
    pub(crate) own: [Own; 2],
    pub(crate) python: Python,
    pub(crate) compactors: [Compactor; 2],
    pub(crate) readers: [Reader; 2],
}

/// The size of a model, and its mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) own: u8,
    pub(crate) own_increments: u8,
    /// Number of processes with one pid, one after the other.
    pub(crate) pythons: u8,
    pub(crate) python_increments: u8,
    pub(crate) compactors: u8,
    pub(crate) readers: u8,
    /// Number of attempts of a scrape before it takes the compactors' lock.
    pub(crate) attempts: u8,
    /// Whether files are created and removed while a directory is listed. Otherwise listing is one step.
    pub(crate) slow_listing: bool,
    /// Whether a proof of death, a read or an unlink can fail.
    pub(crate) may_fail: bool,
    /// Whether the lock file is removed.
    pub(crate) lock_removed: bool,
    pub(crate) mistake: Option<Mistake>,
}

/// One file of multiprom, one compactor and one reader.
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
    /// Sources are unlinked before the archive that contains them is published.
    UnlinkBeforePublish,
    /// A Python file is not retired but archived under its pid.
    ReusableName,
    /// A reader does not check whether the archive was replaced.
    NoSecondLook,
    /// A reader reads the archive once, after the files.
    ArchiveLast,
    /// A reader compares inode numbers of archives without holding them open.
    ArchiveNotHeld,
    /// A reader whose attempts are used up accepts its result without the lock.
    NoLockAtLast,
    NoCompactorLock,
    NoGracePeriod,
    /// A retired file is not proven dead again.
    NoSecondProof,
    /// The second proof is taken before the grace period is over.
    ProofBeforeGrace,
    /// A reader lists `retired/` before the directory.
    RetiredFirst,
    /// A reader counts an inode under each of its names.
    NoCountingOnce,
    /// A reader opens a name as often as it is listed.
    NamesTwice,
    SourcesNotListed,
    /// Sources of the previous archive are neither unlinked nor listed again.
    PendingDropped,
    /// Sources that could not be unlinked are not listed again.
    FailedUnlinkDropped,
    LockNotVerified,
    /// The lock file is removed between its verification and the commit.
    LockRemovedAfterVerification,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// A scrape lacks increments that were recorded before it began.
    Missed,
    /// A scrape has more increments than were recorded.
    Exceeded,
    /// The archive and the files that it does not list lack increments.
    Lost,
    /// The archive and the files that it does not list have an increment twice.
    Twice,
    /// A living worker records into a file without a name.
    Unlinked,
    /// A compaction after the end of all workers leaves files.
    NotEmptied,
}

impl Model for Config {
    type State = State;
    type Broken = Broken;

    fn first(&self) -> State {
        State { python: Python::None { to_come: self.pythons }, ..State::default() }
    }

    fn successors(&self, state: &State, next: &mut Vec<Next<State, Broken>>) {
        let mut steps = Steps { process: Process::Other, into: next };
        for number in 0..self.own {
            worker::own_steps(number, state, self, &mut steps);
        }
        worker::python_steps(state, self, &mut steps);
        for number in 0..self.compactors {
            compactor::steps(number, state, self, &mut steps);
        }
        for number in 0..self.readers {
            reader::steps(number, state, self, &mut steps);
        }
        let verified = state.compactors.iter().any(|compactor| compactor.has_verified());
        let may_remove = !verified || self.makes(Mistake::LockRemovedAfterVerification);
        if self.lock_removed && state.lock_file == 0 && may_remove {
            steps.process = Process::Other;
            let state = State { lock_file: 1, ..*state };
            steps.push("replaces the lock file", None, state);
        }
    }

    fn broken(&self, state: &State) -> Option<(Broken, &'static str)> {
        let at_end = || {
            let broken = compactor::broken_at_the_end(state, self)?;
            Some((broken, "  one more compaction runs\n"))
        };
        state.broken(self).map(|broken| (broken, "")).or_else(at_end)
    }
}

/// The steps of one process in a state of this model.
pub(crate) type Steps<'a> = crate::search::Steps<'a, State, Broken>;

impl State {
    pub(crate) fn location(&self, inode: u8) -> Location {
        self.locations[usize::from(inode)]
    }

    pub(crate) fn put(&mut self, inode: u8, location: Location) {
        self.locations[usize::from(inode)] = location;
    }

    /// The inode whose name is the pid.
    pub(crate) fn pid_file(&self, config: &Config) -> Option<u8> {
        (config.own..MAX_INODES).find(|&inode| self.location(inode) == Location::Main)
    }

    pub(crate) fn main_names(&self, config: &Config) -> Set {
        let own = (0..config.own).filter(|&inode| self.location(inode) == Location::Main);
        own.chain(self.pid_file(config).map(|_| PID)).collect()
    }

    pub(crate) fn retired_names(&self) -> Set {
        (0..MAX_INODES).filter(|&inode| self.location(inode) == Location::Retired).collect()
    }

    pub(crate) fn unlink(&mut self, name: u8, config: &Config) {
        let inode = if name == PID { self.pid_file(config) } else { Some(name) };
        if let Some(inode) = inode {
            self.put(inode, Location::Nowhere);
        }
    }

    /// Whether a lease would be granted, as no process has the file open for writing. Multiprom's writers keep their files
    /// open and locked until they end, so for their files this represents both proofs.
    pub(crate) fn is_dead(&self, inode: u8, config: &Config) -> bool {
        if inode < config.own {
            !self.own[usize::from(inode)].lives()
        } else {
            !self.python.has_open(inode)
        }
    }

    /// The property that this state violates.
    pub(crate) fn broken(&self, config: &Config) -> Option<Broken> {
        let mut total = self.archive.total;
        for inode in 0..MAX_INODES {
            let location = self.location(inode);
            if location == Location::Nowhere && !self.is_dead(inode, config) {
                return Some(Broken::Unlinked);
            }
            let name = if inode >= config.own && location == Location::Main { PID } else { inode };
            if location != Location::Nowhere && !self.archive.sources.has(name) {
                total.add(inode, self.counted.of(inode));
            }
        }
        if !total.covers(self.counted) {
            return Some(Broken::Lost);
        }
        (total != self.counted).then_some(Broken::Twice)
    }
}
