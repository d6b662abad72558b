//! What a compactor compacts, and the result of a pass.

/// Whose files are compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompactFiles {
    /// Only files of this crate. The Python client's collector cannot read the archive, and still sees all files of the
    /// Python client.
    #[default]
    Own,
    /// Also files of the Python client.
    All,
}

/// The result of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// Files that were merged into archives and removed.
    pub files: u64,
    /// Files of the Python client that were retired, to be compacted later.
    pub retired: u64,
    /// Files that are not due yet, or retired files that a new process has resumed.
    pub waiting: u64,
    /// Files of dead writers that cannot be read whole or have entries of kinds that this release does not know, and sections
    /// of the archive with such entries. They are left as they are.
    pub damaged: u64,
    /// Files that stay because the liveness of their writer is unknown; see [`Liveness`](crate::inspect::Liveness).
    pub unknown: u64,
    /// Directories that another compactor has locked.
    pub busy: u64,
}

impl Compaction {
    /// Adds the result of a pass over another directory.
    pub(super) fn add(&mut self, other: &Compaction) {
        self.files += other.files;
        self.retired += other.retired;
        self.waiting += other.waiting;
        self.damaged += other.damaged;
        self.unknown += other.unknown;
        self.busy += other.busy;
    }
}
