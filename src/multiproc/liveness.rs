//! Whether the writer of a series file lives, by the kernel's word.

use std::fmt;
use std::fs::File;

use crate::file::lock::{self, LockState, WriteState};

/// Whether the writer of a series file lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Somebody holds its lock or has it open for writing.
    Alive,
    /// Nobody does: proven.
    Dead,
    /// The kernel does not say; such files are treated as alive.
    Unknown,
}

impl Liveness {
    /// Asks for a file that is open read-only. Nobody is delayed by it but a writer that opens the file
    /// in the same microsecond.
    ///
    /// Dead takes two proofs for files of ours, no lock and nobody writing; files of the Python client
    /// have no lock.
    pub(super) fn of(file: &File, is_own: bool) -> Liveness {
        if is_own {
            match lock::probe(file) {
                Ok(LockState::Held) => return Liveness::Alive,
                Ok(LockState::Free) => {}
                Err(_) => return Liveness::Unknown,
            }
        }
        match lock::writers(file) {
            WriteState::Written => Liveness::Alive,
            WriteState::Unwritten => Liveness::Dead,
            WriteState::Unknown => Liveness::Unknown,
        }
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Liveness::Alive => "alive",
            Liveness::Dead => "dead",
            Liveness::Unknown => "unknown",
        })
    }
}
