//! Reset: removes what dead processes have recorded.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::compaction::{CompactFiles, Compaction};
use super::pass::{Pass, PassState, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::logging;
use crate::multiproc::prober::Prober;

/// How long a reset waits for a compactor.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Removes everything that dead processes have recorded, in one step: for a launcher, before it starts the processes.
/// Files of living writers stay, and so does everything else in the directory.
///
/// To a server that scrapes, all totals restart at once. If writers live, their share stays: a total then falls to it,
/// and the server takes it for a total that has restarted and reached that value since. Files whose writers may live
/// stay too; [`Compaction::unknown`] counts them.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) if the directory cannot be listed or written, and of kind
/// [`SeriesFile`](ErrorKind::SeriesFile) if a file cannot be removed; the others are removed nevertheless. Of kind
/// [`Unsupported`](ErrorKind::Unsupported) if a newer release wrote the archive: then nothing is removed.
pub fn clear_directory(dir: impl AsRef<Path>) -> Result<Compaction> {
    clear_directory_by(dir.as_ref(), Prober::default()).map(|(done, _)| done)
}

/// The same with a given prober, which may take leases in ways of its own. Also returns log lines that say why the
/// liveness of writers is unknown.
pub(crate) fn clear_directory_by(dir: &Path, prober: Prober) -> Result<(Compaction, Vec<String>)> {
    let (purpose, files) = (Purpose::Reset, CompactFiles::All);
    let pass = Pass { purpose, dir, files, keep_dead: None };
    let mut state = PassState { prober, ..PassState::default() };
    let deadline = Instant::now() + MAX_WAIT;
    let _lines = logging::Deferred::begin();
    loop {
        let outcome = pass.run(&mut state)?;
        if outcome.compaction.busy == 0 {
            let done = (outcome.compaction, state.prober.unreported());
            return outcome.problem.map_or(Ok(done), Err);
        }
        if Instant::now() >= deadline {
            return Err(Error::at(ErrorKind::Directory, dir, "a compactor holds its lock"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}
