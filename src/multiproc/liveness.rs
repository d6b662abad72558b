//! Whether the writer of a series file lives.

use std::fmt;
use std::time::Instant;

use super::listing::ListedIn;
use crate::file::name::IdKind;

/// Whether the writer of a series file lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// The lock of the writer is held, or the file is open for writing.
    Alive,
    /// The lock is free and no process has the file open for writing. A reader that neither owns the file nor has
    /// CAP_LEASE cannot check the second condition: for it a free lock is enough once it has seen a held lock in the
    /// directory.
    Dead,
    /// The kernel does not show it. The file is neither compacted nor removed, and counts as that of a living
    /// writer, except that the live gauges of a file of this crate whose lock is free are left out.
    Unknown,
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

/// What proves that the writer of a file is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A free lock and a read lease, or the lock alone if no lease can be obtained: for files of multiprom, which are
    /// locked before they get their name.
    LockAndLease,
    /// A read lease: for files of the Python client, which takes no lock, and for retired files.
    Lease,
}

impl Proof {
    /// The proof for a file with an id of this kind.
    pub(super) fn of(id: IdKind, listed_in: ListedIn) -> Proof {
        match (id, listed_in) {
            (IdKind::Unique, ListedIn::Main) => Proof::LockAndLease,
            _ => Proof::Lease,
        }
    }
}

/// What the kernel shows about the writer of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The writer holds its lock.
    Locked,
    /// A process has the file open for writing. It need not be the writer.
    Alive,
    /// Proven by a lease.
    Dead,
    /// No lease can be obtained. The lock is free, in a directory in which a held lock was seen. The instant says since
    /// when this reader has seen the lock free and the file unchanged.
    Released(Instant),
    /// No lease can be obtained. The lock is free, in a directory in which no held lock was ever seen.
    Unlocked,
    Unknown,
}

impl Verdict {
    /// Whether the live gauges of the file are left out.
    pub(super) fn has_ended(self) -> bool {
        matches!(self, Verdict::Dead | Verdict::Released(_) | Verdict::Unlocked)
    }

    pub(super) fn liveness(self) -> Liveness {
        match self {
            Verdict::Locked | Verdict::Alive => Liveness::Alive,
            Verdict::Dead | Verdict::Released(_) => Liveness::Dead,
            Verdict::Unlocked | Verdict::Unknown => Liveness::Unknown,
        }
    }
}
