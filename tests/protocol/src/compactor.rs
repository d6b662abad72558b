//! The compactor, which moves the files of ended processes into one archive.

use crate::reader::Phase as Reading;
use crate::search::Process;
use crate::state::{Archive, Broken, Config, Location, Mistake, PID, Set, State, Steps, Total};
use crate::worker::{Own, Python};

/// The next action of a compactor.
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
    /// Proves that the writer of a file is dead, or checks the grace period of a retired file.
    Examine,
    /// Proves that the writer of the retired file is dead.
    ProveAgain,
    /// Reads the files that it absorbs.
    Absorb,
    Verify,
    Commit,
    /// Unlinks the absorbed files.
    Unlink,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Compactor {
    phase: Phase,
    /// The lock file that it has locked.
    lock: u8,
    /// Names that this phase still has to process, the lowest first.
    todo: Set,
    /// Listed sources that still exist.
    kept: Set,
    /// Names of the files that it absorbs.
    chosen: Set,
    total: Total,
}

impl Compactor {
    pub(crate) fn is_idle(self) -> bool {
        self.phase == Phase::Idle
    }

    pub(crate) fn holds(self, lock: u8) -> bool {
        !self.is_idle() && self.lock == lock
    }

    /// Whether it has verified the lock file and commits next.
    pub(crate) fn has_verified(self) -> bool {
        self.phase == Phase::Commit
    }
}

pub(crate) fn steps(number: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Compactor(number);
    Run { number, state: *state, config, steps }.run();
}

struct Run<'a, 'b> {
    number: u8,
    state: State,
    config: &'a Config,
    steps: &'a mut Steps<'b>,
}

impl Run<'_, '_> {
    /// The first step is the one without failure.
    fn run(mut self) {
        let before = self.state;
        match self.compactor().phase {
            Phase::Idle => return self.idle(),
            Phase::Read => self.read(),
            Phase::Pending => self.pending(),
            Phase::Prove => self.prove(),
            Phase::Retire => self.retire(),
            Phase::List => self.list(),
            Phase::Examine => self.examine(),
            Phase::ProveAgain => self.prove_again(),
            Phase::Absorb => self.absorb(),
            Phase::Verify => self.verify(),
            Phase::Commit => self.commit(),
            Phase::Unlink => self.unlink(),
        }
        self.state = before;
        *self.compactor() = Compactor::default();
        self.push("is killed", None);
    }

    fn compactor(&mut self) -> &mut Compactor {
        &mut self.state.compactors[usize::from(self.number)]
    }

    fn go(&mut self, phase: Phase) {
        self.compactor().phase = phase;
    }

    fn push(&mut self, does: &'static str, name: Option<u8>) {
        self.steps.push(does, name, self.state);
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.config.makes(mistake)
    }

    /// Takes the lock without waiting. Idle compactors have no state, so only the first one starts.
    fn idle(mut self) {
        let state = &self.state;
        let lock = state.lock_file;
        let taken = state.compactors.iter().any(|compactor| compactor.holds(lock))
            || state.readers.iter().any(|reader| reader.has_locked(lock));
        let first = (0..self.number).all(|number| !state.compactors[usize::from(number)].is_idle());
        if first && (!taken || self.makes(Mistake::NoCompactorLock)) {
            *self.compactor() = Compactor { phase: Phase::Read, lock, ..Compactor::default() };
            self.push("takes the lock", None);
        }
    }

    fn read(&mut self) {
        let Archive { total, sources } = self.state.archive;
        let dropped = self.makes(Mistake::PendingDropped);
        let compactor = self.compactor();
        compactor.total = total;
        if !dropped {
            compactor.todo = sources;
        }
        compactor.phase = Phase::Pending;
        self.after_pending();
        self.push("reads the archive", None);
    }

    fn pending(&mut self) {
        let Some(name) = self.compactor().todo.first() else { return };
        self.compactor().todo.remove(name);
        let failed = self.state;
        self.state.unlink(name, self.config);
        self.after_pending();
        self.push("unlinks, as the archive lists it,", Some(name));
        if self.config.may_fail && self.state != failed {
            self.state = failed;
            if !self.makes(Mistake::FailedUnlinkDropped) {
                self.compactor().kept.insert(name);
            }
            self.after_pending();
            self.push("cannot unlink", Some(name));
        }
    }

    fn after_pending(&mut self) {
        if self.compactor().todo.is_empty() {
            let no_python = self.config.pythons == 0 || self.makes(Mistake::ReusableName);
            self.go(if no_python { Phase::List } else { Phase::Prove });
        }
    }

    fn prove(&mut self) {
        let dead = self.state.pid_file(self.config);
        let dead = dead.filter(|&inode| self.state.is_dead(inode, self.config));
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
        let kept = self.compactor().kept;
        let mut names = self.state.main_names(self.config);
        if !self.makes(Mistake::ReusableName) {
            names.remove(PID);
        }
        names = names.union(self.state.retired_names()).without(kept);
        self.compactor().todo = names;
        self.go(Phase::Examine);
        self.after_examine();
        self.push("lists the directory", None);
    }

    fn examine(&mut self) {
        let Some(name) = self.compactor().todo.first() else { return };
        let before = self.state;
        if name < self.config.own || name == PID {
            let inode = if name == PID { self.state.pid_file(self.config) } else { Some(name) };
            if inode.is_some_and(|inode| self.state.is_dead(inode, self.config)) {
                self.choose(name);
                self.push("proves dead", Some(name));
            } else {
                self.skip(name);
                self.push("cannot prove dead", Some(name));
            }
        } else if self.waits(name) {
            self.skip(name);
            self.push("finds too young", Some(name));
        } else {
            self.go(Phase::ProveAgain);
            self.push("finds old enough", Some(name));
        }
        if self.config.may_fail {
            self.state = before;
            self.skip(name);
            self.push("leaves out", Some(name));
        }
    }

    /// Whether the first of the two checks keeps a retired file. The grace period is over when no process that has found
    /// the old name is between the two steps of its open.
    fn waits(&self, inode: u8) -> bool {
        if self.makes(Mistake::ProofBeforeGrace) {
            !self.state.is_dead(inode, self.config)
        } else {
            !self.makes(Mistake::NoGracePeriod) && self.state.python.is_opening(inode)
        }
    }

    fn prove_again(&mut self) {
        let Some(name) = self.compactor().todo.first() else { return };
        let dead = if self.makes(Mistake::ProofBeforeGrace) {
            !self.state.python.is_opening(name)
        } else {
            self.makes(Mistake::NoSecondProof) || self.state.is_dead(name, self.config)
        };
        if dead {
            self.choose(name);
            self.push("proves dead", Some(name));
        } else {
            self.skip(name);
            self.push("cannot prove dead", Some(name));
        }
    }

    fn choose(&mut self, name: u8) {
        self.compactor().chosen.insert(name);
        self.skip(name);
    }

    fn skip(&mut self, name: u8) {
        self.compactor().todo.remove(name);
        self.go(Phase::Examine);
        self.after_examine();
    }

    fn after_examine(&mut self) {
        let compactor = self.compactor();
        if compactor.todo.is_empty() {
            compactor.todo = compactor.chosen;
            let empty = compactor.chosen.is_empty();
            compactor.phase = if empty { Phase::Verify } else { Phase::Absorb };
        }
    }

    fn absorb(&mut self) {
        let Some(name) = self.compactor().todo.first() else { return };
        let inode = if name == PID { self.state.pid_file(self.config) } else { Some(name) };
        let Some(inode) = inode else { return };
        let counted = self.state.counted.of(inode);
        let first = self.makes(Mistake::UnlinkBeforePublish);
        let compactor = self.compactor();
        compactor.total.add(inode, counted);
        compactor.todo.remove(name);
        if compactor.todo.is_empty() {
            compactor.phase = if first { Phase::Unlink } else { Phase::Verify };
            compactor.todo = if first { compactor.chosen } else { Set::default() };
        }
        self.push("reads", Some(name));
    }

    fn verify(&mut self) {
        let same = self.compactor().lock == self.state.lock_file;
        if same || self.makes(Mistake::LockNotVerified) {
            self.go(Phase::Commit);
            self.push("verifies the lock file", None);
        } else {
            *self.compactor() = Compactor::default();
            self.push("has locked another lock file and gives up", None);
        }
    }

    fn commit(&mut self) {
        let listed = !self.makes(Mistake::SourcesNotListed);
        let published_last = self.makes(Mistake::UnlinkBeforePublish);
        let not_held = self.makes(Mistake::ArchiveNotHeld);
        let compactor = *self.compactor();
        let mut sources = compactor.kept;
        if listed {
            sources = sources.union(compactor.chosen);
        }
        self.state.archive = Archive { total: compactor.total, sources };
        for reader in &mut self.state.readers {
            if reader.phase != Reading::Idle {
                // The inode number of the previous archive is free, and the next archive reuses it.
                reader.moved = !(reader.moved && not_held);
            }
        }
        if published_last || compactor.chosen.is_empty() {
            *self.compactor() = Compactor::default();
        } else {
            self.compactor().todo = compactor.chosen;
            self.go(Phase::Unlink);
        }
        self.push("renames the new archive over the old one", None);
    }

    fn unlink(&mut self) {
        let Some(name) = self.compactor().todo.first() else { return };
        let publish = self.makes(Mistake::UnlinkBeforePublish);
        self.compactor().todo.remove(name);
        if self.compactor().todo.is_empty() {
            if publish {
                self.go(Phase::Verify);
            } else {
                *self.compactor() = Compactor::default();
            }
        }
        let failed = self.state;
        self.state.unlink(name, self.config);
        self.push("unlinks", Some(name));
        if self.config.may_fail {
            self.state = failed;
            self.push("cannot unlink", Some(name));
        }
    }
}

/// The property that is violated after one more compaction when all workers have ended: the archive must have everything,
/// and no file may be left.
pub(crate) fn broken_at_the_end(state: &State, config: &Config) -> Option<Broken> {
    let own = &state.own[..usize::from(config.own)];
    let quiet = own.iter().all(|own| *own == Own::Dead)
        && matches!(state.python, Python::None { to_come: 0 })
        && state.compactors.iter().all(|compactor| compactor.is_idle())
        && state.readers.iter().all(|reader| reader.phase == Reading::Idle);
    if !quiet {
        return None;
    }
    let (mut last, mut next) = (*state, Vec::new());
    loop {
        steps(0, &last, config, &mut Steps { process: Process::Compactor(0), into: &mut next });
        last = next.first()?.state;
        next.clear();
        if last.compactors[0].is_idle() {
            break;
        }
    }
    let emptied = last.locations.iter().all(|location| *location == Location::Nowhere);
    last.broken(config).or_else(|| (!emptied).then_some(Broken::NotEmptied))
}
