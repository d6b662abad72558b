//! What the status page shows of multiprocess directories. The program that serves them provides it.

/// The state of all directories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) directories: Vec<DirectoryStatus>,
    /// What the last scrapes have skipped, and on what processes disagree.
    pub(crate) problems: Vec<String>,
    /// How many further problems there are.
    pub(crate) more_problems: u64,
}

/// Provides the state of the directories.
pub(crate) trait StatusSource: Send + Sync {
    /// Reads the state. It may be some seconds old.
    fn status(&self) -> Status;
}

/// A multiprocess directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectoryStatus {
    pub(crate) path: String,
    /// Why it cannot be listed.
    pub(crate) error: Option<String>,
    pub(crate) processes: Vec<ProcessStatus>,
    /// Series files, companion files and the archive.
    pub(crate) files: usize,
    /// Bytes of all files, and how many of them are reserved and not used yet.
    pub(crate) len: u64,
    pub(crate) reserved: u64,
    /// Free bytes on the file system.
    pub(crate) free: Option<u64>,
    pub(crate) archive: Option<ArchiveStatus>,
    /// What fills the directory, largest first.
    pub(crate) families: Vec<FamilyBytes>,
}

/// A process that has files.
#[derive(Clone, Debug)]
pub(crate) struct ProcessStatus {
    /// The id of the writer in the names of its files: its pid, or the name that it has chosen.
    pub(crate) id: String,
    /// The program, if the process was found.
    pub(crate) command: Option<String>,
    pub(crate) state: ProcessState,
    /// The start of a process that was found; else since when it has been seen in this state. In seconds since the Unix
    /// epoch.
    pub(crate) since: f64,
    pub(crate) files: usize,
    pub(crate) entries: usize,
    /// Bytes in use.
    pub(crate) used: u64,
    /// Bytes of memory, if the process was found.
    pub(crate) resident: Option<f64>,
}

/// Whether a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProcessState {
    Alive,
    Unknown,
    Dead,
    /// A file of the Python client that waits for its compaction.
    Retired,
}

/// The archive of a directory, in which the values of ended processes are merged.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveStatus {
    pub(crate) generation: u64,
    /// In seconds since the Unix epoch.
    pub(crate) written: f64,
    pub(crate) entries: usize,
    pub(crate) len: u64,
}

/// The bytes of a family.
#[derive(Clone, Debug)]
pub(crate) struct FamilyBytes {
    pub(crate) name: String,
    pub(crate) series: usize,
    pub(crate) bytes: u64,
}
