//! The compactor: repeats passes over its directories, and counts their results.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::compaction::{CompactFiles, Compaction};
use super::pass::{GRACE, Pass, PassOutcome, PassState, Purpose};
use crate::background::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::file::place;
use crate::logging;
use crate::model::own_metrics::{
    ARCHIVES_SET_ASIDE, COMPACTION_SUCCESS_TIME, COMPACTIONS, OwnCounters,
};
use crate::model::{Collector, FamilySink, clock};
use crate::multiproc::directory::{self, FileSystems};
use crate::multiproc::prober::OwnerLease;
use crate::multiproc::problem_log::ProblemLog;
use crate::multiproc::timed_lock::TimedLock;

/// The minimum pause between passes of a thread.
const INTERVAL: Duration = Duration::from_secs(5);

/// The pause of a thread after a pass, as a multiple of the duration of the pass: it takes a twentieth of a processor.
const PAUSE_FACTOR: u32 = 20;

/// The maximum pause. A slow pass mostly waits for a disk.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// How long gauges of mode `all` of ended processes are kept.
const KEEP_DEAD: Duration = Duration::from_secs(3600);

/// Merges the files of dead writers into one archive per directory.
///
/// Readers of this crate, in this or any other process, count every value once: before, during and after its
/// compaction. **The Python client's own collector cannot read an archive**: if it reads the directory too, compact
/// only files of this crate, which is the default.
///
/// A clone is another handle of the same compactor. As a [`Collector`] it exports
/// `multiprom_compactions_total{result}` and when a pass over all directories succeeded last.
///
/// ```
/// use multiprom::compact::Compactor;
/// use multiprom::{Backend, Counter, MultiProcessCollector, Registry};
///
/// # let dir = std::env::temp_dir().join(format!("multiprom-compactor-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// let registry = Registry::builder().backend(Backend::directory(&dir)?).build()?;
/// Counter::builder("jobs_total", "Jobs done.").register(&registry)?.inc();
/// // The worker ends.
/// registry.close();
///
/// let done = Compactor::builder().directory(&dir).build()?.run()?;
/// assert_eq!(done.files, 1);
/// let merged = Registry::new();
/// merged.register(MultiProcessCollector::new(&dir)?)?;
/// assert!(merged.render(None).to_string().contains("\njobs_total 1\n"));
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone)]
pub struct Compactor(Arc<CompactorState>);

struct CompactorState {
    dirs: Vec<PathBuf>,
    files: CompactFiles,
    keep_dead: Option<Duration>,
    owner_lease: Option<Arc<dyn OwnerLease>>,
    pass_state: TimedLock<PassState>,
    results: OwnCounters<{ COMPACTIONS.values().len() }>,
    archives_set_aside: AtomicU64,
    /// When a run that did not fail has ended last, as the bits of Unix seconds; 0 if there was none.
    last_success: AtomicU64,
}

/// The result of a pass, as `multiprom_compactions_total` counts it: the index of a value of its label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PassResult {
    Committed,
    Failed,
    Busy,
}

impl Compactor {
    /// A builder for a compactor.
    pub fn builder() -> CompactorBuilder {
        let keep_dead = Some(KEEP_DEAD);
        let (dirs, files) = (Vec::new(), CompactFiles::default());
        CompactorBuilder { dirs, files, keep_dead, owner_lease: None }
    }

    /// Whether a directory is on a file system on which a living process may look dead: overlayfs, if the process has
    /// closed all of its descriptors. The exporters of this crate do not compact there by default; a compactor that a
    /// program makes does.
    pub fn is_liveness_unreliable(dir: impl AsRef<Path>) -> bool {
        place::file_system_name(dir.as_ref()) == Some("overlayfs")
    }

    /// Makes one pass over all directories.
    ///
    /// A file of the Python client takes two passes at least three seconds apart: see
    /// [`run_to_end`](Compactor::run_to_end).
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](ErrorKind::Directory) if a directory cannot be listed or written, of kind
    /// [`SeriesFile`](ErrorKind::SeriesFile) if an archive cannot be read or written, and of kind
    /// [`Unsupported`](ErrorKind::Unsupported) if a newer release wrote it. No values are lost then, and the other
    /// directories are compacted nevertheless.
    pub fn run(&self) -> Result<Compaction> {
        // Passes log while they hold locks.
        let _lines = logging::Deferred::begin();
        let mut done = Compaction::default();
        let mut result = Ok(());
        for (_, dir) in place::distinct(&self.0.dirs) {
            let pass = Pass {
                purpose: Purpose::Compact,
                dir,
                files: self.0.files,
                keep_dead: self.0.keep_dead,
            };
            // If another thread makes a long pass, or did so when this process was forked, the pass begins without the
            // state of earlier ones.
            let (mut guard, mut fresh) = (self.0.pass_state.acquire(), PassState::default());
            let state = guard.as_deref_mut().unwrap_or(&mut fresh);
            if let Some(lease) = &self.0.owner_lease {
                state.prober.set_owner_lease(Arc::clone(lease));
            }
            let passed = pass.run(state).and_then(|outcome| {
                self.count(&mut done, &outcome);
                outcome.problem.map_or(Ok(()), Err)
            });
            if let Err(error) = passed {
                self.0.results.add(PassResult::Failed as usize, 1);
                result = result.and(Err(error));
            }
        }
        if result.is_ok() {
            self.0.last_success.store(clock::now().to_bits(), Ordering::Relaxed);
        }
        result.map(|()| done)
    }

    /// Makes passes until all files that are due are compacted: takes up to a few seconds.
    ///
    /// # Errors
    ///
    /// As [`run`](Compactor::run).
    pub fn run_to_end(&self) -> Result<Compaction> {
        let mut sum = self.run()?;
        if sum.retired + sum.waiting > 0 {
            thread::sleep(GRACE);
            let last = self.run()?;
            sum = Compaction { files: sum.files + last.files, retired: sum.retired, ..last };
        }
        Ok(sum)
    }

    /// Starts a thread that makes a pass every five seconds, or less often if a pass takes long. Each failure is logged
    /// once.
    ///
    /// # Errors
    ///
    /// Of kind [`Io`](ErrorKind::Io) if the thread cannot be started.
    pub fn start(&self) -> Result<CompactorThread> {
        let compactor = self.clone();
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = Thread::spawn("multiprom-compact", move || compactor.run_until(&stopped))
            .map_err(|error| Error::new(ErrorKind::Io, error))?;
        Ok(CompactorThread { stop, thread: Some(thread) })
    }

    fn run_until(&self, (stopped, wake): &(Mutex<bool>, Condvar)) {
        let (mut log, mut failed) = (ProblemLog::default(), 0u64);
        let mut pause = Duration::ZERO;
        loop {
            let is_stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = wake.wait_timeout_while(is_stopped, pause, |is_stopped| !*is_stopped);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            let start = Instant::now();
            match self.run() {
                Err(error) => {
                    failed += 1;
                    log.log(&format_args!("cannot compact: {error:#}"));
                }
                Ok(_) if failed > 0 => {
                    logging::log_info(&format_args!(
                        "compacting succeeds again after {failed} failed passes"
                    ));
                    // A problem that returns is logged again.
                    (log, failed) = (ProblemLog::default(), 0);
                }
                Ok(_) => {}
            }
            pause = INTERVAL.max(MAX_PAUSE.min(start.elapsed() * PAUSE_FACTOR));
        }
    }

    /// The lines to log: why the liveness of writers is unknown, each once.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn unreported(&self) -> Vec<String> {
        let guard = self.0.pass_state.acquire();
        guard.map(|mut state| state.prober.unreported()).unwrap_or_default()
    }

    fn count(&self, done: &mut Compaction, outcome: &PassOutcome) {
        let PassOutcome { compaction, has_committed, set_aside, .. } = outcome;
        done.add(compaction);
        self.0.results.add(PassResult::Committed as usize, u64::from(*has_committed));
        self.0.results.add(PassResult::Busy as usize, compaction.busy);
        self.0.archives_set_aside.fetch_add(u64::from(*set_aside), Ordering::Relaxed);
    }
}

impl Compactor {
    fn write(&self, out: &mut dyn FamilySink, last_success: Option<f64>) {
        COMPACTIONS.write_all(out, self.0.results.counts());
        let set_aside = self.0.archives_set_aside.load(Ordering::Relaxed);
        ARCHIVES_SET_ASIDE.write(out, set_aside as f64);
        if let Some(time) = last_success {
            COMPACTION_SUCCESS_TIME.write(out, time);
        }
    }
}

impl Collector for Compactor {
    fn collect(&self, out: &mut dyn FamilySink) {
        let last_success = f64::from_bits(self.0.last_success.load(Ordering::Relaxed));
        self.write(out, (last_success > 0.0).then_some(last_success));
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.write(out, Some(0.0));
    }

    fn is_merged(&self) -> bool {
        false
    }
}

impl fmt::Debug for Compactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compactor")
            .field("dirs", &self.0.dirs)
            .field("files", &self.0.files)
            .field("keep_dead", &self.0.keep_dead)
            .finish_non_exhaustive()
    }
}

/// A thread that compacts. Dropping this stops it; in a forked child dropping has no effect.
///
/// The thread blocks all signals.
#[derive(Debug)]
pub struct CompactorThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<Thread>,
}

impl Drop for CompactorThread {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take().filter(Thread::is_here) else {
            return;
        };
        let (stopped, wake) = &*self.stop;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        thread.join();
    }
}

/// Configures a [`Compactor`].
#[derive(Debug)]
#[must_use = "`build` makes the compactor"]
pub struct CompactorBuilder {
    dirs: Vec<PathBuf>,
    files: CompactFiles,
    keep_dead: Option<Duration>,
    owner_lease: Option<Arc<dyn OwnerLease>>,
}

impl CompactorBuilder {
    /// Also takes leases under the user ids of the owners of files.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn owner_lease(mut self, lease: Arc<dyn OwnerLease>) -> CompactorBuilder {
        self.owner_lease = Some(lease);
        self
    }

    /// Adds a directory. Each directory has an archive of its own. One that is added twice is compacted once.
    pub fn directory(mut self, dir: impl AsRef<Path>) -> CompactorBuilder {
        self.dirs.push(dir.as_ref().to_owned());
        self
    }

    /// Chooses whose files are compacted; by default only those of this crate.
    pub fn files(mut self, files: CompactFiles) -> CompactorBuilder {
        self.files = files;
        self
    }

    /// Sets how long gauges of mode `all` of ended processes are kept: an hour by default, `None` without a limit.
    pub fn keep_dead(mut self, keep: Option<Duration>) -> CompactorBuilder {
        self.keep_dead = keep;
        self
    }

    /// Makes the compactor.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) without a directory, of kind [`Directory`](ErrorKind::Directory) if one
    /// cannot be opened, and of kind [`Unsupported`](ErrorKind::Unsupported) if it is on a file system on which the
    /// proof of death is not tested.
    pub fn build(self) -> Result<Compactor> {
        logging::note_standard_error();
        if self.dirs.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "no multiprocess directory is given"));
        }
        for dir in &self.dirs {
            directory::check(dir, FileSystems::Supported)?;
        }
        Ok(Compactor(Arc::new(CompactorState {
            dirs: self.dirs,
            files: self.files,
            keep_dead: self.keep_dead,
            owner_lease: self.owner_lease,
            pass_state: TimedLock::default(),
            results: OwnCounters::new(),
            archives_set_aside: AtomicU64::new(0),
            last_success: AtomicU64::new(0),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_the_label_value_of_its_name() {
        let results = [PassResult::Committed, PassResult::Failed, PassResult::Busy];
        let values = results.map(|result| COMPACTIONS.values()[result as usize]);
        assert_eq!(values, ["committed", "failed", "busy"]);
        assert_eq!(COMPACTIONS.values().len(), results.len());
    }
}
