//! The compactor: it moves the files of ended processes into the archive, buries removed series, and drops them.

use crate::removal::reader;
use crate::removal::state::{Archive, Broken, Config, Entry, Mistake, State, Steps};
use crate::removal::worker::Worker;
use crate::search::Process;
use crate::state::{Location, MAX_INODES, PID, Set, Total};
use crate::worker::Python;

/// The next action of the compactor.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Reads the archive.
    Read,
    /// Unlinks the sources of the archive.
    Pending,
    /// Proves that the writer of the Python file in the directory is dead.
    Prove,
    /// Retires the file.
    Retire,
    /// Lists the directory and `retired/`.
    List,
    /// Proves that the writer of a file is dead, and reads it.
    Absorb,
    /// Lists the directory and `retired/` again.
    ListOthers,
    /// Reads a file that it does not absorb.
    Check,
    Commit,
    /// Drops the series in a second commit of the same pass, a mistake.
    Drop,
    /// Unlinks the absorbed files.
    Unlink,
}

/// One compactor at a time: they exclude each other by the lock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Compactor {
    phase: Phase,
    /// Names that this phase still has to process, the lowest first.
    todo: Set,
    /// Names of the files that it absorbs.
    chosen: Set,
    /// Names of the first listing.
    listed: Set,
    total: Total,
    mark: bool,
    /// Whether all other files are read or being read.
    checked: bool,
    /// Whether one of the other files has an entry of the series, or cannot be read.
    elsewhere: bool,
    /// History: the inodes that had an entry when the other files were listed.
    entries: Set,
}

impl Compactor {
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }
}

pub(crate) fn steps(state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Compactor(0);
    Run { state: *state, config, steps }.run();
}

struct Run<'a, 'b> {
    state: State,
    config: &'a Config,
    steps: &'a mut Steps<'b>,
}

impl Run<'_, '_> {
    /// The first step is the one without failure.
    fn run(mut self) {
        let before = self.state;
        match self.state.compactor.phase {
            Phase::Idle => {
                self.go(Phase::Read);
                return self.push("takes the lock", None);
            }
            Phase::Read => self.read(),
            Phase::Pending => self.pending(),
            Phase::Prove => self.prove(),
            Phase::Retire => self.retire(),
            Phase::List => self.list(),
            Phase::Absorb => self.absorb(),
            Phase::ListOthers => self.list_others(),
            Phase::Check => self.check(),
            Phase::Commit => self.commit(),
            Phase::Drop => self.drop_series(),
            Phase::Unlink => self.unlink(),
        }
        self.state = Self::after_the_end(&before);
        self.push("is killed", None);
    }

    fn after_the_end(state: &State) -> State {
        State { compactor: Compactor::default(), ..*state }
    }

    fn go(&mut self, phase: Phase) {
        self.state.compactor.phase = phase;
    }

    fn push(&mut self, does: &'static str, name: Option<u8>) {
        self.steps.push(does, name, self.state);
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.config.makes(mistake)
    }

    fn read(&mut self) {
        let Archive { total, sources, mark, .. } = self.state.archive;
        self.state.compactor = Compactor { total, mark, todo: sources, ..Compactor::default() };
        self.after_pending();
        self.push("reads the archive", None);
    }

    fn pending(&mut self) {
        let name = self.take();
        self.state.put(name, Location::Nowhere);
        self.after_pending();
        self.push("unlinks, as the archive lists it,", Some(name));
    }

    fn after_pending(&mut self) {
        let next = if self.config.pythons > 0 { Phase::Prove } else { Phase::List };
        let done = self.state.compactor.todo.is_empty();
        self.go(if done { next } else { Phase::Pending });
    }

    /// Takes the next name of this phase.
    fn take(&mut self) -> u8 {
        let name = self.state.compactor.todo.first().expect("the phase has a name to process");
        self.state.compactor.todo.remove(name);
        name
    }

    fn prove(&mut self) {
        let dead = self.state.pid_file(self.config);
        let dead = dead.filter(|&inode| !self.state.lives(inode, self.config));
        if dead.is_some() {
            self.go(Phase::Retire);
            self.push("proves dead", Some(PID));
        }
        if dead.is_none() || self.config.may_fail {
            self.go(Phase::List);
            self.push("cannot prove dead", Some(PID));
        }
    }

    fn retire(&mut self) {
        if let Some(inode) = self.state.pid_file(self.config) {
            self.state.put(inode, Location::Retired);
        }
        self.go(Phase::List);
        self.push("retires", Some(PID));
    }

    fn list(&mut self) {
        let names = self.state.main_names(self.config).union(self.state.retired_names());
        self.state.compactor.todo = names;
        if self.makes(Mistake::CheckOldListing) {
            self.state.compactor.listed = names;
        }
        self.push_after_absorb("lists the directory", None);
    }

    /// A retired file is absorbed when no process is between the two steps of its open, and none has it open.
    fn absorb(&mut self) {
        let name = self.take();
        let before = self.state;
        let dead = name != PID
            && !self.state.lives(name, self.config)
            && !self.state.python.is_opening(name);
        if dead {
            let value = self.state.values.of(name);
            let removed = self.state.entry(name) == Entry::Removed;
            let mark = removed && !self.makes(Mistake::NoMark);
            let compactor = &mut self.state.compactor;
            compactor.chosen.insert(name);
            compactor.total.add(name, value);
            compactor.mark |= mark;
            self.push_after_absorb("proves dead and reads", Some(name));
        }
        if !dead || self.config.may_fail {
            self.state = before;
            self.push_after_absorb("does not absorb", Some(name));
        }
    }

    fn push_after_absorb(&mut self, does: &'static str, name: Option<u8>) {
        let before = self.state;
        let compactor = &before.compactor;
        if !compactor.todo.is_empty() {
            self.go(Phase::Absorb);
        } else if compactor.mark {
            self.go(Phase::ListOthers);
        } else {
            self.go(Phase::Commit);
        }
        self.push(does, name);
        if self.state.compactor.phase == Phase::ListOthers && self.config.checks_rarely {
            self.go(Phase::Commit);
            self.push(does, name);
        }
        self.state = before;
    }

    fn list_others(&mut self) {
        let mut names = self.state.main_names(self.config);
        if !self.makes(Mistake::DropBesideRetired) {
            names = names.union(self.state.retired_names());
        }
        if self.makes(Mistake::CheckOldListing) {
            names = self.state.compactor.listed;
        }
        let entries = (0..MAX_INODES).filter(|&inode| self.state.entry(inode) != Entry::None);
        let entries = entries.collect();
        let compactor = &mut self.state.compactor;
        compactor.entries = entries;
        compactor.todo = names.without(compactor.chosen);
        compactor.listed = Set::default();
        compactor.checked = true;
        self.after_check();
        self.push("lists the directory again", None);
    }

    fn check(&mut self) {
        let name = self.take();
        let inode = self.state.inode(name, self.config);
        let before = self.state;
        self.state.compactor.elsewhere |= inode.is_some_and(|inode| self.prevents(inode));
        self.after_check();
        self.push("reads the other file", Some(name));
        if self.config.may_fail {
            self.state = before;
            self.state.compactor.elsewhere |= !self.makes(Mistake::DropBesideUnread);
            self.after_check();
            self.push("cannot read the other file", Some(name));
        }
    }

    /// Whether a file prevents burial and drop.
    fn prevents(&self, inode: u8) -> bool {
        let lives = self.state.lives(inode, self.config);
        match self.state.entry(inode) {
            Entry::None => false,
            _ if !lives && self.makes(Mistake::DropBesideDead) => false,
            Entry::Exported => true,
            Entry::Removed => !self.makes(Mistake::DropBesideRemoved),
        }
    }

    fn after_check(&mut self) {
        let done = self.state.compactor.todo.is_empty();
        self.go(if done { Phase::Commit } else { Phase::Check });
    }

    /// The archive that the compactor commits.
    fn next_archive(&self) -> Archive {
        let compactor = &self.state.compactor;
        let loaded = self.state.archive;
        let total = compactor.total;
        let archive = Archive { total, sources: compactor.chosen, mark: compactor.mark, ..loaded };
        if !compactor.checked {
            archive
        } else if compactor.elsewhere {
            let stays = loaded.burial && self.makes(Mistake::BurialStays);
            let lost = loaded.burial && self.makes(Mistake::MarkRemovedWithBurial);
            Archive { burial: stays, mark: !lost, ..archive }
        } else if loaded.burial || self.makes(Mistake::DropAtOnce) {
            dropped(archive)
        } else {
            Archive { burial: true, ..archive }
        }
    }

    fn commit(&mut self) {
        let loaded = self.state.archive;
        let mut archive = self.next_archive();
        let unchanged = Archive { sources: loaded.sources, ..archive } == loaded;
        if unchanged && archive.sources.is_empty() {
            self.state = Self::after_the_end(&self.state);
            self.push("has nothing to commit", None);
            return;
        }
        if archive.total.is_zero() && !self.state.compactor.total.is_zero() {
            let total = self.state.compactor.total;
            self.forget(total);
        }
        let drops_next = archive.burial && !loaded.burial && self.makes(Mistake::DropByOldRead);
        let entries = self.state.compactor.entries;
        archive.sources = self.state.compactor.chosen;
        self.publish(archive);
        self.push("renames the new archive over the old one", None);
        if drops_next {
            self.state.compactor.entries = entries;
            self.go(Phase::Drop);
            self.push("renames the new archive over the old one", None);
        }
    }

    /// Updates the history for a commit that drops `total`. What was recorded since the check began is a new series.
    fn forget(&mut self, total: Total) {
        let old = self.state.compactor.entries;
        let entry = |inode| self.state.entry(inode) != Entry::None;
        let recorded = (0..MAX_INODES).any(|inode| entry(inode) && !old.has(inode));
        let history = &mut self.state.history;
        history.dropped = history.dropped.plus(total);
        history.marked = false;
        history.gone &= !recorded;
    }

    fn publish(&mut self, archive: Archive) {
        let removed = |name| self.state.entry(name) == Entry::Removed;
        let marks = archive.sources.iter().any(removed) && !archive.total.is_zero();
        self.state.history.marked |= marks;
        self.state.archive = archive;
        for reader in &mut self.state.readers {
            reader.moved = !reader.is_idle();
        }
        let todo = archive.sources;
        self.state.compactor = Compactor { todo, ..Compactor::default() };
        if !todo.is_empty() {
            self.go(Phase::Unlink);
        }
    }

    fn drop_series(&mut self) {
        self.forget(self.state.archive.total);
        self.publish(dropped(self.state.archive));
        self.push("renames an archive without the series over the old one", None);
    }

    fn unlink(&mut self) {
        let name = self.take();
        self.state.put(name, Location::Nowhere);
        if self.state.compactor.todo.is_empty() {
            self.state = Self::after_the_end(&self.state);
        }
        self.push("unlinks", Some(name));
    }
}

/// The archive without the series, its mark and its burial.
fn dropped(archive: Archive) -> Archive {
    Archive { sources: archive.sources, ..Archive::default() }
}

/// The property that is violated after further passes of a compactor, if no other process does anything.
pub(crate) fn broken_later(state: &State, config: &Config) -> Option<(Broken, &'static str)> {
    let quiet = state.compactor.is_idle() && state.readers.iter().all(reader::Reader::is_idle);
    if !quiet {
        return None;
    }
    let mut last = *state;
    if !state.exporters(config).is_empty() {
        (0..2).for_each(|_| pass(&mut last, config));
        let stays = !reader::shows(&last, config);
        return stays.then_some((Broken::StaysHidden, "  two more passes run\n"));
    }
    let ended = |worker: &Worker| *worker == Worker::Dead;
    let ended = state.workers[..usize::from(config.workers)].iter().all(ended);
    if !ended || state.python != (Python::None { to_come: 0 }) {
        return None;
    }
    (0..3).for_each(|_| pass(&mut last, config));
    let emptied = (0..MAX_INODES).all(|inode| last.location(inode) == Location::Nowhere);
    let settled = if state.history.gone {
        dropped(last.archive) == last.archive
    } else {
        last.archive.total.plus(last.history.dropped) == last.values && !last.archive.mark
    };
    (!emptied || !settled).then_some((Broken::NotSettled, "  three more passes run\n"))
}

/// Runs a complete pass without failures.
fn pass(state: &mut State, config: &Config) {
    let mut next = Vec::new();
    loop {
        steps(state, config, &mut Steps { process: Process::Compactor(0), into: &mut next });
        *state = next[0].state;
        next.clear();
        if state.compactor.is_idle() {
            return;
        }
    }
}
