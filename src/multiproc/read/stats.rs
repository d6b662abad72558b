//! Facts about a directory that a scrape exports besides samples.

use crate::multiproc::listing::ListedIn;
use crate::multiproc::liveness::Liveness;

/// What a scrape has found in a directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectoryStats {
    /// How many files have a writer that is alive, dead or unknown. They do not include retired files.
    pub(crate) alive: u64,
    pub(crate) dead: u64,
    pub(crate) unknown: u64,
    /// How many files a compactor has moved to the directory of retired files.
    pub(crate) retired: u64,
    /// The size of the series files, and how many entries of them were read.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) archive: Option<ArchiveStats>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ArchiveStats {
    pub(crate) generation: u64,
    /// Unix seconds.
    pub(crate) written: f64,
    pub(crate) bytes: u64,
    pub(crate) series: u64,
}

impl DirectoryStats {
    pub(super) fn count(&mut self, listed_in: ListedIn, liveness: Liveness) {
        match (listed_in, liveness) {
            (ListedIn::Retired, _) => self.retired += 1,
            (ListedIn::Main, Liveness::Alive) => self.alive += 1,
            (ListedIn::Main, Liveness::Dead) => self.dead += 1,
            (ListedIn::Main, Liveness::Unknown) => self.unknown += 1,
        }
    }
}
