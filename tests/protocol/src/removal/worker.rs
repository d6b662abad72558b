//! Workers: each records the series in its file, and can end at any moment.

use crate::removal::state::{Config, Entry, Mistake, State, Steps};
use crate::search::Process;
use crate::state::Location;
use crate::worker::Python;

/// A worker of multiprom. Its file is created with its name, locked and open, in one step; lock and descriptor are
/// released together at its end.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Worker {
    #[default]
    NotStarted,
    Alive {
        increments: u8,
        removals: u8,
    },
    Dead,
}

impl Worker {
    pub(crate) fn lives(self) -> bool {
        matches!(self, Self::Alive { .. })
    }
}

impl State {
    fn record(&mut self, inode: u8) {
        self.values.add(inode, 1);
        self.history.recorded.add(inode, 1);
        self.entries[usize::from(inode)] = Entry::Exported;
    }
}

pub(crate) fn steps(number: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Own(number);
    let at = usize::from(number);
    let mut next = *state;
    match state.workers[at] {
        Worker::NotStarted => {
            let (increments, removals) = (config.increments, config.removals);
            next.workers[at] = Worker::Alive { increments, removals };
            next.put(number, Location::Main);
            steps.push("creates", Some(number), next);
        }
        Worker::Alive { increments, removals } => {
            next.workers[at] = Worker::Dead;
            steps.push("ends", None, next);
            next = *state;
            match state.entries[at] {
                Entry::None | Entry::Exported if increments > 0 => {
                    next.workers[at] = Worker::Alive { increments: increments - 1, removals };
                    next.record(number);
                    steps.push("records in", Some(number), next);
                }
                Entry::Removed => {
                    next.entries[at] = Entry::Exported;
                    if config.makes(Mistake::ValueReset) {
                        next.values.clear(number);
                    }
                    steps.push("exports the series again in", Some(number), next);
                }
                _ => (),
            }
            next = *state;
            if state.entries[at] == Entry::Exported && removals > 0 {
                next.workers[at] = Worker::Alive { increments, removals: removals - 1 };
                next.entries[at] = Entry::Removed;
                steps.push("removes the series in", Some(number), next);
            }
        }
        Worker::Dead => (),
    }
}

/// The processes of the Python client, which resume the file whose name is the pid, or create it. Opening takes two
/// steps.
pub(crate) fn python_steps(state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Python;
    let mut next = *state;
    match state.python {
        Python::None { to_come: 0 } => (),
        Python::None { to_come } => {
            let (inode, does) = match state.pid_file(config) {
                Some(inode) => (inode, "starts and finds its name at inode"),
                // Each process creates at most one file, so this number is new.
                None => (config.workers + to_come - 1, "starts and creates its name at inode"),
            };
            next.put(inode, Location::Main);
            next.python = Python::Found { inode, to_come: to_come - 1 };
            steps.push(does, Some(inode), next);
        }
        Python::Found { inode, to_come } => {
            next.python = Python::Open { inode, to_come, left: config.increments };
            steps.push("has open for writing inode", Some(inode), next);
            next.python = Python::None { to_come };
            steps.push("ends", None, next);
        }
        Python::Open { inode, to_come, left } => {
            next.python = Python::None { to_come };
            steps.push("ends", None, next);
            if left > 0 {
                next.python = Python::Open { inode, to_come, left: left - 1 };
                next.record(inode);
                steps.push("records in inode", Some(inode), next);
            }
        }
    }
}
