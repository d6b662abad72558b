//! Workers: each increments its file, and can end at any moment.

use crate::search::Process;
use crate::state::{Config, Location, State, Steps};

/// A writer of multiprom. Its file is created with its name, locked and open, in one step; lock and descriptor are
/// released together at its end. The field is the number of remaining increments.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Own {
    #[default]
    NotStarted,
    Alive(u8),
    Dead,
}

impl Own {
    pub(crate) fn lives(self) -> bool {
        matches!(self, Self::Alive(_))
    }
}

/// The process with the pid, and the number of processes that follow it. It resumes the file whose name is the pid, or
/// creates it. Opening takes two steps: the name is found, then the inode is open for writing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Python {
    None {
        to_come: u8,
    },
    /// No other process can observe this yet.
    Found {
        inode: u8,
        to_come: u8,
    },
    Open {
        inode: u8,
        to_come: u8,
        left: u8,
    },
}

impl Default for Python {
    fn default() -> Self {
        Self::None { to_come: 0 }
    }
}

impl Python {
    pub(crate) fn is_opening(self, inode: u8) -> bool {
        matches!(self, Self::Found { inode: found, .. } if found == inode)
    }

    pub(crate) fn has_open(self, inode: u8) -> bool {
        matches!(self, Self::Open { inode: open, .. } if open == inode)
    }
}

pub(crate) fn own_steps(number: u8, state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Own(number);
    let mut next = *state;
    let own = &mut next.own[usize::from(number)];
    match *own {
        Own::NotStarted => {
            *own = Own::Alive(config.own_increments);
            next.put(number, Location::Main);
            steps.push("creates", Some(number), next);
        }
        Own::Alive(left) => {
            *own = Own::Dead;
            steps.push("ends", None, next);
            if left > 0 {
                next.own[usize::from(number)] = Own::Alive(left - 1);
                next.counted.add(number, 1);
                steps.push("counts in", Some(number), next);
            }
        }
        Own::Dead => (),
    }
}

pub(crate) fn python_steps(state: &State, config: &Config, steps: &mut Steps<'_>) {
    steps.process = Process::Python;
    let mut next = *state;
    match state.python {
        Python::None { to_come: 0 } => (),
        Python::None { to_come } => {
            let (inode, does) = match state.pid_file(config) {
                Some(inode) => (inode, "starts and finds its name at inode"),
                // Each process creates at most one file, so this number is new.
                None => (config.own + to_come - 1, "starts and creates its name at inode"),
            };
            next.put(inode, Location::Main);
            next.python = Python::Found { inode, to_come: to_come - 1 };
            steps.push(does, Some(inode), next);
        }
        Python::Found { inode, to_come } => {
            next.python = Python::Open { inode, to_come, left: config.python_increments };
            steps.push("has open for writing inode", Some(inode), next);
            next.python = Python::None { to_come };
            steps.push("ends", None, next);
        }
        Python::Open { inode, to_come, left } => {
            next.python = Python::None { to_come };
            steps.push("ends", None, next);
            if left > 0 {
                next.python = Python::Open { inode, to_come, left: left - 1 };
                next.counted.add(inode, 1);
                steps.push("counts in inode", Some(inode), next);
            }
        }
    }
}
