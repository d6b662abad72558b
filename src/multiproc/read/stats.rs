//! Facts about a directory that a scrape exports besides samples.

use crate::multiproc::liveness::Liveness;

/// What a scrape has found in a directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectoryStats {
    /// How many files have a writer that is alive, dead or unknown.
    pub(crate) alive: u64,
    pub(crate) dead: u64,
    pub(crate) unknown: u64,
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
    pub(super) fn count(&mut self, liveness: Liveness) {
        match liveness {
            Liveness::Alive => self.alive += 1,
            Liveness::Dead => self.dead += 1,
            Liveness::Unknown => self.unknown += 1,
        }
    }
}
