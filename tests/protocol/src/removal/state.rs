//! The state of the directory and of all processes, and the history that the checked properties refer to.

use crate::removal::compactor::{self, Compactor};
use crate::removal::reader::{self, Reader};
use crate::removal::worker::{self, Worker};
use crate::search::{Model, Next, Process};
use crate::state::{Location, MAX_INODES, PID, Set, Total};
use crate::worker::Python;

/// The entry of the series in one file.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Entry {
    #[default]
    None,
    Exported,
    /// The file has a removal record in state removed.
    Removed,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Archive {
    pub(crate) total: Total,
    pub(crate) sources: Set,
    /// Whether it has a removal record of the series.
    pub(crate) mark: bool,
    /// Whether it has a burial record of the series.
    pub(crate) burial: bool,
}

/// What happened before a state. No process of the protocol reads it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct History {
    /// All increments ever recorded.
    pub(crate) recorded: Total,
    /// Increments that were dropped with the series from the archive.
    pub(crate) dropped: Total,
    /// Whether a file with a removal record in state removed was absorbed and its increments are not dropped.
    pub(crate) marked: bool,
    /// Whether the last process that exported the series has gone, and it was removed.
    pub(crate) gone: bool,
    /// The last total that a finished scrape has exported.
    pub(crate) shown: Total,
    /// Whether the series was hidden at some moment since then.
    pub(crate) hidden: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct State {
    /// The value of the entry in each inode, also after its last name was removed.
    pub(crate) values: Total,
    pub(crate) entries: [Entry; MAX_INODES as usize],
    pub(crate) locations: [Location; MAX_INODES as usize],
    pub(crate) archive: Archive,
    pub(crate) workers: [Worker; MAX_INODES as usize],
    pub(crate) python: Python,
    pub(crate) compactor: Compactor,
    pub(crate) readers: [Reader; 2],
    pub(crate) history: History,
}

/// The size of a model, and its mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Whether the archive has at the start what a process recorded that removed the series and has ended.
    pub(crate) archived: bool,
    /// Number of multiprom's workers, each with one file.
    pub(crate) workers: u8,
    pub(crate) increments: u8,
    /// Number of times that each of them removes the series.
    pub(crate) removals: u8,
    /// Number of Python processes with one pid, one after the other. They never remove a series.
    pub(crate) pythons: u8,
    pub(crate) readers: u8,
    /// Whether a reader determines the dead writers before it reads any file, and not with each file.
    pub(crate) early_liveness: bool,
    /// Whether a compactor may omit the check of the other files.
    pub(crate) checks_rarely: bool,
    /// Whether a proof of death or a read of a compactor can fail.
    pub(crate) may_fail: bool,
    pub(crate) mistake: Option<Mistake>,
}

impl Config {
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mistake {
    /// The series is dropped without a burial that was committed before.
    DropAtOnce,
    /// The commit after the burial drops the series by the reads that preceded the burial.
    DropByOldRead,
    /// Files with the entry in state removed do not prevent the drop.
    DropBesideRemoved,
    /// Files of dead processes that were not absorbed do not prevent the drop.
    DropBesideDead,
    /// Files that cannot be read do not prevent the drop.
    DropBesideUnread,
    /// Retired files do not prevent the drop.
    DropBesideRetired,
    /// The check reads the files that were listed before the proofs of death.
    CheckOldListing,
    /// The archive has no marks.
    NoMark,
    /// The mark is removed together with the burial.
    MarkRemovedWithBurial,
    /// The burial stays when a process exports the series again.
    BurialStays,
    /// A reader ignores burials.
    BurialIgnored,
    /// A reader regards only the removal records of living processes.
    RecordsOfLivingOnly,
    /// A reader regards the writers of retired files as dead.
    RetiredAreDead,
    /// A reader leaves the values of removed entries out of the total.
    RemovedNotAdded,
    /// A process that exports the series again starts from zero in the same entry.
    ValueReset,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// A scrape lacks increments that were recorded before it began, or that an earlier scrape had while the series was
    /// not hidden in between.
    Fell,
    /// A scrape after the series was hidden has less than an earlier one, but some of the same increments. A client
    /// takes it for a restart from zero, and counts those increments again.
    CountedAgain,
    /// A scrape has more increments than were recorded.
    Exceeded,
    /// A scrape has the series after its last exporter has gone.
    ShownAgain,
    /// A scrape does not have the series although it is not hidden.
    NotShown,
    /// A process exports the series, but a scrape after two more passes does not have it.
    StaysHidden,
    /// The archive and the files that it does not list lack increments.
    Lost,
    /// The archive and the files that it does not list have an increment twice.
    Twice,
    /// When all processes have ended, further passes do not remove a removed series, or do not leave the exact total of
    /// one that is not removed.
    NotSettled,
}

/// The steps of one process in a state of this model.
pub(crate) type Steps<'a> = crate::search::Steps<'a, State, Broken>;

impl Model for Config {
    type State = State;
    type Broken = Broken;

    fn first(&self) -> State {
        let python = Python::None { to_come: self.pythons };
        let mut state = State { python, ..State::default() };
        if self.archived {
            const INODE: u8 = MAX_INODES - 1;
            let mut total = Total::default();
            total.add(INODE, 1);
            state.values = total;
            state.archive = Archive { total, mark: true, ..Archive::default() };
            state.history =
                History { recorded: total, marked: true, gone: true, ..History::default() };
        }
        state
    }

    fn successors(&self, state: &State, next: &mut Vec<Next<State, Broken>>) {
        let mut steps = Steps { process: Process::Other, into: next };
        for number in 0..self.workers {
            worker::steps(number, state, self, &mut steps);
        }
        worker::python_steps(state, self, &mut steps);
        compactor::steps(state, self, &mut steps);
        for number in 0..self.readers {
            reader::steps(number, state, self, &mut steps);
        }
        next.iter_mut().for_each(|next| next.state.observe(self));
    }

    fn broken(&self, state: &State) -> Option<(Broken, &'static str)> {
        let later = || compactor::broken_later(state, self);
        state.broken(self).map(|broken| (broken, "")).or_else(later)
    }
}

impl State {
    pub(crate) fn location(&self, inode: u8) -> Location {
        self.locations[usize::from(inode)]
    }

    pub(crate) fn put(&mut self, inode: u8, location: Location) {
        self.locations[usize::from(inode)] = location;
    }

    pub(crate) fn entry(&self, inode: u8) -> Entry {
        self.entries[usize::from(inode)]
    }

    /// The inode whose name is the pid.
    pub(crate) fn pid_file(&self, config: &Config) -> Option<u8> {
        (config.workers..MAX_INODES).find(|&inode| self.location(inode) == Location::Main)
    }

    pub(crate) fn inode(&self, name: u8, config: &Config) -> Option<u8> {
        if name == PID { self.pid_file(config) } else { Some(name) }
    }

    pub(crate) fn main_names(&self, config: &Config) -> Set {
        let own = (0..config.workers).filter(|&inode| self.location(inode) == Location::Main);
        own.chain(self.pid_file(config).map(|_| PID)).collect()
    }

    pub(crate) fn retired_names(&self) -> Set {
        (0..MAX_INODES).filter(|&inode| self.location(inode) == Location::Retired).collect()
    }

    pub(crate) fn lives(&self, inode: u8, config: &Config) -> bool {
        if inode < config.workers {
            self.workers[usize::from(inode)].lives()
        } else {
            self.python.has_open(inode)
        }
    }

    /// The files of living processes that export the series.
    pub(crate) fn exporters(&self, config: &Config) -> Set {
        let exports = |inode| self.entry(inode) == Entry::Exported && self.lives(inode, config);
        (0..MAX_INODES).filter(|&inode| exports(inode)).collect()
    }

    /// The inodes that have a name and are not in the archive.
    pub(crate) fn files(&self, config: &Config) -> impl Iterator<Item = u8> {
        (0..MAX_INODES).filter(move |&inode| match self.location(inode) {
            Location::Nowhere => false,
            Location::Main => inode >= config.workers || !self.archive.sources.has(inode),
            Location::Retired => !self.archive.sources.has(inode),
        })
    }

    /// Whether a file or the archive has a removal record in state removed.
    pub(crate) fn has_record(&self, config: &Config) -> bool {
        let removed = |inode| self.entry(inode) == Entry::Removed;
        self.history.marked || self.files(config).any(removed)
    }

    /// Updates the history after each step.
    fn observe(&mut self, config: &Config) {
        let (record, exporters) = (self.has_record(config), self.exporters(config));
        let hidden = record && exporters.is_empty();
        let gone = hidden || self.history.gone && exporters.is_empty();
        self.history.gone = gone;
        self.history.hidden |= hidden && !self.history.shown.is_zero();
        for reader in &mut self.readers {
            reader.observe(record, hidden, gone, exporters);
        }
    }

    fn broken(&self, config: &Config) -> Option<Broken> {
        let mut total = self.archive.total;
        let mut expected = self.values;
        for inode in 0..MAX_INODES {
            expected.subtract(inode, self.history.dropped.of(inode));
        }
        self.files(config).for_each(|inode| total.add(inode, self.values.of(inode)));
        if !total.covers(expected) {
            return Some(Broken::Lost);
        }
        (total != expected).then_some(Broken::Twice)
    }
}
