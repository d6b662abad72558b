//! Whether the writer of a series file lives.

use std::fmt;
use std::time::Instant;

use crate::file::name::IdKind;

/// Whether the writer of a series file lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// Its lock is held, or the file is open for writing.
    Alive,
    /// Neither is the case. To a reader that the kernel grants no lease, which is one that neither owns the
    /// file nor has CAP_LEASE, a free lock is enough once it has seen the lock of another writer in the
    /// directory held.
    Dead,
    /// The kernel does not say. The file is neither compacted nor removed, and counts as that of a living
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

/// What proves the death of a file's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A free lock and a read lease; the lock alone where no lease can be obtained. For files of multiprom, which
    /// are locked before they have their name.
    LockAndLease,
    /// A read lease, and nothing less: for files of the Python client, which takes no lock.
    Lease,
}

impl Proof {
    /// For a file whose id is of this kind, under the name that its writer gave it or under that of a retired file.
    pub(super) fn of(id: IdKind, is_retired: bool) -> Proof {
        match id {
            IdKind::Unique if !is_retired => Proof::LockAndLease,
            _ => Proof::Lease,
        }
    }
}

/// What a [`Prober`](super::prober::Prober) found out about the writer of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    /// Proven by a lease.
    Dead,
    /// No lease can be obtained; the lock is free, in a directory where other locks are seen. Since when this
    /// reader has seen the lock free and the file unchanged.
    Released(Instant),
    /// No lease can be obtained; the lock is free, in a directory where no lock was ever seen.
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
            Verdict::Alive => Liveness::Alive,
            Verdict::Dead | Verdict::Released(_) => Liveness::Dead,
            Verdict::Unlocked | Verdict::Unknown => Liveness::Unknown,
        }
    }
}
