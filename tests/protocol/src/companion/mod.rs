//! A model of writers with two files: a main file and a companion file with more about the same increments.
//!
//! The protocol:
//!
//! - A writer creates its main file first, and the companion file when it needs it. An increment is recorded in the main
//!   file and then in the companion file.
//! - A compactor looks up the companion file after the proof that the writer is dead, because the writer may create it
//!   after the directory was listed. It absorbs both files in one commit, which lists both as sources. If one of them
//!   cannot be read, it absorbs none.
//! - A scrape may pair the files: it then reads a companion file only if it reads the main file.
//!
//! The checked properties (`Broken`): those of compaction for each file (`lib.rs`), and a scrape that has a main file from
//! the archive has the whole content of the companion file.

mod compactor;
mod correct;
mod mistakes;
mod reader;

use crate::companion::compactor::Compactor;
use crate::companion::reader::Reader;
use crate::search::{Model, Next, Process};
use crate::state::{Location, MAX_INODES, Set, Total};

const WRITERS: u8 = 2;

/// The companion file of the writer that has the main file `main`.
fn companion_of(main: u8) -> u8 {
    main + WRITERS
}

/// The main files of a set.
fn mains(names: Set) -> Set {
    names.iter().filter(|&name| name < WRITERS).collect()
}

/// A set of main files and their companion files.
fn with_companions(mains: Set) -> Set {
    mains.iter().flat_map(|main| [main, companion_of(main)]).collect()
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
enum Writer {
    #[default]
    NotStarted,
    Alive {
        left: u8,
        /// Whether the last increment is in the main file only.
        unfinished: bool,
    },
    Dead,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Archive {
    total: Total,
    sources: Set,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct State {
    /// The increments of each inode, also after its name was removed. A companion file follows the main files.
    counted: Total,
    locations: [Location; MAX_INODES as usize],
    archive: Archive,
    writers: [Writer; WRITERS as usize],
    compactor: Compactor,
    readers: [Reader; 2],
}

/// The size of a model, and its mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    writers: u8,
    increments: u8,
    readers: u8,
    pairs: bool,
    /// Whether a read or an unlink of a compactor can fail.
    may_fail: bool,
    mistake: Option<Mistake>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mistake {
    /// Each commit absorbs one file.
    TwoCommits,
    /// The archive lists only the main file as a source.
    OnlyMainListed,
    /// The companion file is absorbed if it was listed before the proof of death.
    CompanionByListing,
    /// A main file is absorbed without a companion file that cannot be read.
    AbsorbedAlone,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// A scrape lacks increments that were recorded before it began.
    Missed,
    /// A scrape has more increments than were recorded.
    Exceeded,
    /// A scrape has a main file from the archive, and not the content of the companion file.
    Unpaired,
    /// The archive and the files that it does not list lack increments.
    Lost,
    /// The archive and the files that it does not list have an increment twice.
    Twice,
    /// A compaction after the end of all writers leaves files.
    NotEmptied,
}

/// The steps of one process in a state of this model.
type Steps<'a> = crate::search::Steps<'a, State, Broken>;

impl Config {
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl Model for Config {
    type State = State;
    type Broken = Broken;

    fn first(&self) -> State {
        State::default()
    }

    fn successors(&self, state: &State, next: &mut Vec<Next<State, Broken>>) {
        let mut steps = Steps { process: Process::Other, into: next };
        for number in 0..self.writers {
            writer_steps(number, state, self, &mut steps);
        }
        compactor::steps(state, self, &mut steps);
        for number in 0..self.readers {
            reader::steps(number, state, self, &mut steps);
        }
    }

    fn broken(&self, state: &State) -> Option<(Broken, &'static str)> {
        let at_end = || {
            let broken = compactor::broken_at_the_end(state, self)?;
            Some((broken, "  one more compaction runs\n"))
        };
        state.broken().map(|broken| (broken, "")).or_else(at_end)
    }
}

impl State {
    fn exists(&self, name: u8) -> bool {
        self.locations[usize::from(name)] == Location::Main
    }

    fn create(&mut self, name: u8) {
        self.locations[usize::from(name)] = Location::Main;
    }

    fn unlink(&mut self, name: u8) {
        self.locations[usize::from(name)] = Location::Nowhere;
    }

    fn names(&self) -> Set {
        (0..MAX_INODES).filter(|&name| self.exists(name)).collect()
    }

    fn broken(&self) -> Option<Broken> {
        let mut total = self.archive.total;
        for name in self.names().without(self.archive.sources).iter() {
            total.add(name, self.counted.of(name));
        }
        if !total.covers(self.counted) {
            return Some(Broken::Lost);
        }
        (total != self.counted).then_some(Broken::Twice)
    }
}

fn writer_steps(main: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Own(main);
    let (at, companion) = (usize::from(main), companion_of(main));
    let mut next = *state;
    match state.writers[at] {
        Writer::NotStarted => {
            next.writers[at] = Writer::Alive { left: config.increments, unfinished: false };
            next.create(main);
            steps.push("creates the main file", Some(main), next);
        }
        Writer::Alive { left, unfinished } => {
            next.writers[at] = Writer::Dead;
            steps.push("ends", None, next);
            next = *state;
            if unfinished && !state.exists(companion) {
                next.create(companion);
                steps.push("creates the companion file", Some(companion), next);
            } else if unfinished {
                next.writers[at] = Writer::Alive { left, unfinished: false };
                next.counted.add(companion, 1);
                steps.push("counts in the companion file", Some(companion), next);
            } else if left > 0 {
                next.writers[at] = Writer::Alive { left: left - 1, unfinished: true };
                next.counted.add(main, 1);
                steps.push("counts in the main file", Some(main), next);
            }
        }
        Writer::Dead => (),
    }
}
