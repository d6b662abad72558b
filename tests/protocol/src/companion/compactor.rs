//! The compactor, which moves both files of an ended writer into the archive.

use crate::companion::reader::Reader;
use crate::companion::{
    Archive, Broken, Config, Mistake, State, Steps, WRITERS, Writer, companion_of, mains,
};
use crate::search::Process;
use crate::state::{Set, Total};

/// The next action of the compactor.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
enum Phase {
    #[default]
    Idle,
    /// Reads the archive.
    Read,
    /// Unlinks the sources of the archive.
    Pending,
    List,
    /// Proves that the writer of a main file is dead.
    Prove,
    /// Reads the files of that writer.
    Absorb,
    Commit,
    /// Unlinks the absorbed files.
    Unlink,
}

/// One compactor at a time: they exclude each other by the lock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Compactor {
    phase: Phase,
    /// Names that this phase still has to process, the lowest first.
    todo: Set,
    /// The names of the listing.
    listed: Set,
    /// Listed sources that still exist.
    kept: Set,
    /// Names of the files that it absorbs.
    chosen: Set,
    total: Total,
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
                self.state.compactor.phase = Phase::Read;
                return self.push("takes the lock", None);
            }
            Phase::Read => self.read(),
            Phase::Pending => self.pending(),
            Phase::List => self.list(),
            Phase::Prove => self.prove(),
            Phase::Absorb => self.absorb(),
            Phase::Commit => self.commit(),
            Phase::Unlink => self.unlink(),
        }
        self.state = State { compactor: Compactor::default(), ..before };
        self.push("is killed", None);
    }

    fn push(&mut self, does: &'static str, name: Option<u8>) {
        self.steps.push(does, name, self.state);
    }

    /// Goes to `next` when the names of this phase are processed, and stays in `phase` until then.
    fn go(&mut self, phase: Phase, next: Phase) {
        let compactor = &mut self.state.compactor;
        compactor.phase = if compactor.todo.is_empty() { next } else { phase };
    }

    fn next_name(&self) -> u8 {
        self.state.compactor.todo.first().expect("the phase has a name to process")
    }

    fn read(&mut self) {
        let Archive { total, sources } = self.state.archive;
        self.state.compactor = Compactor { total, todo: sources, ..Compactor::default() };
        self.go(Phase::Pending, Phase::List);
        self.push("reads the archive", None);
    }

    fn pending(&mut self) {
        let name = self.next_name();
        self.state.compactor.todo.remove(name);
        self.go(Phase::Pending, Phase::List);
        let failed = self.state;
        self.state.unlink(name);
        self.push("unlinks, as the archive lists it,", Some(name));
        if self.config.may_fail && self.state != failed {
            self.state = failed;
            self.state.compactor.kept.insert(name);
            self.push("cannot unlink", Some(name));
        }
    }

    fn list(&mut self) {
        let names = self.state.names().without(self.state.compactor.kept);
        self.state.compactor.todo = mains(names);
        if self.config.makes(Mistake::CompanionByListing) {
            self.state.compactor.listed = names;
        }
        if self.config.makes(Mistake::TwoCommits) {
            // What an earlier commit left of a writer.
            self.state.compactor.todo = names;
        }
        self.go(Phase::Prove, Phase::Commit);
        self.push("lists the directory", None);
    }

    fn prove(&mut self) {
        let name = self.next_name();
        let main = if self.config.makes(Mistake::TwoCommits) { name % WRITERS } else { name };
        if self.state.writers[usize::from(main)] == Writer::Dead {
            self.state.compactor.phase = Phase::Absorb;
            self.push("proves dead", Some(name));
        } else {
            self.state.compactor.todo.remove(name);
            self.go(Phase::Prove, Phase::Commit);
            self.push("cannot prove dead", Some(name));
        }
    }

    /// The files of dead writers do not change, so reading both is one step.
    fn absorb(&mut self) {
        let main = self.next_name();
        self.state.compactor.todo.remove(main);
        let one_file = self.config.makes(Mistake::TwoCommits);
        if one_file {
            self.state.compactor.todo = Set::default();
        }
        self.go(Phase::Prove, Phase::Commit);
        let before = self.state;
        let companion = companion_of(main);
        let found = if self.config.makes(Mistake::CompanionByListing) {
            self.state.compactor.listed.has(companion)
        } else {
            !one_file && self.state.names().without(self.state.compactor.kept).has(companion)
        };
        self.choose(main);
        if found {
            self.choose(companion);
        }
        self.push("reads the files of writer", Some(main));
        if self.config.may_fail {
            self.state = before;
            if self.config.makes(Mistake::AbsorbedAlone) {
                self.choose(main);
            }
            self.push("cannot read a file of writer", Some(main));
        }
    }

    fn choose(&mut self, name: u8) {
        self.state.compactor.chosen.insert(name);
        self.state.compactor.total.add(name, self.state.counted.of(name));
    }

    fn commit(&mut self) {
        let compactor = self.state.compactor;
        if compactor.chosen.is_empty() {
            self.state.compactor = Compactor::default();
            self.push("has nothing to commit", None);
            return;
        }
        let mut listed = compactor.chosen;
        if self.config.makes(Mistake::OnlyMainListed) {
            listed = mains(listed);
        }
        let sources = compactor.kept.union(listed);
        self.state.archive = Archive { total: compactor.total, sources };
        for reader in &mut self.state.readers {
            reader.moved = !reader.is_idle();
        }
        self.state.compactor =
            Compactor { phase: Phase::Unlink, todo: compactor.chosen, ..Compactor::default() };
        self.push("renames the new archive over the old one", None);
    }

    fn unlink(&mut self) {
        let name = self.next_name();
        self.state.compactor.todo.remove(name);
        self.go(Phase::Unlink, Phase::Idle);
        let failed = self.state;
        self.state.unlink(name);
        self.push("unlinks", Some(name));
        if self.config.may_fail {
            self.state = failed;
            self.push("cannot unlink", Some(name));
        }
    }
}

/// The property that is violated after one more compaction when all writers have ended: the archive must have everything,
/// and no file may be left.
pub(crate) fn broken_at_the_end(state: &State, config: &Config) -> Option<Broken> {
    let writers = &state.writers[..usize::from(config.writers)];
    let quiet = writers.iter().all(|writer| *writer == Writer::Dead)
        && state.compactor == Compactor::default()
        && state.readers.iter().all(Reader::is_idle);
    if !quiet {
        return None;
    }
    let (mut last, mut next) = (*state, Vec::new());
    loop {
        steps(&last, config, &mut Steps { process: Process::Compactor(0), into: &mut next });
        last = next.first()?.state;
        next.clear();
        if last.compactor == Compactor::default() {
            break;
        }
    }
    last.broken().or_else(|| (!last.names().is_empty()).then_some(Broken::NotEmptied))
}
