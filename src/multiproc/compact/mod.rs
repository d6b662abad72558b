//! Compaction: the files of dead writers become one archive, and cost nothing any more.
//!
//! The commit is one rename. The archive lists the files that it holds by names that are never used again, so
//! a crash at any instruction leaves either the old archive and all files, or the new one and files that
//! readers skip. Files of the Python client, whose names are used again, first get such a name: they are
//! *retired*. Should a new process have opened one in that very moment, it writes on there, where readers
//! see it; so a retired file is compacted only after a while, and if it is proven dead again.

mod dirs;
mod fold;
mod pass;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::problem_log::ProblemLog;
use super::turns::Turns;
use crate::background::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::file::place;
use crate::logging;
use crate::model::{Collector, FamilySink};
use crate::multiproc::prober::{OwnerLease, Prober};
use pass::{Memory, Outcome, Pass, Purpose};

/// How long a file of the Python client stays retired: longer than it takes a process to open a file.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// How often a directory is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many times as long as the last pass a thread waits before the next: a twentieth of a processor.
const PAUSE_FACTOR: u32 = 20;

/// The longest pause: most of a slow pass is waiting for a disk.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// How long the values of processes that ended are kept that are exported one by one: gauges of mode `all`.
const KEEP_DEAD: Duration = Duration::from_secs(3600);

/// Whose files are compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompactFiles {
    /// Files of this crate. The Python client's collector, which cannot read the archive, still sees all of
    /// its own.
    #[default]
    Own,
    /// Files of the Python client too.
    All,
}

/// What one pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// Files that went into archives, and were removed.
    pub files: u64,
    /// Files of the Python client that were retired, to be compacted later.
    pub retired: u64,
    /// Files that are not due yet, or retired files that a new process has taken up.
    pub waiting: u64,
    /// Files of dead writers that cannot be read whole, and stay as they are.
    pub damaged: u64,
    /// Files that stay because nothing shows whether their writer lives; see [`Liveness`](crate::Liveness).
    pub unknown: u64,
    /// Directories in which another compactor is at work.
    pub busy: u64,
}

/// Merges the files of dead writers into one archive per directory.
///
/// Readers of this crate, in this or any other process and at the same time, count every value once, before,
/// while and after it is compacted. **The Python client's own collector cannot read an archive**: where it
/// reads the directory too, only files of this crate may be compacted, which is the default.
///
/// A copy is another handle of the same compactor. As a [`Collector`] it gives
/// `multiprom_compactions_total{result}`.
///
/// ```
/// use multiprom::{Backend, Compactor, Counter, MultiProcessCollector, Registry};
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
pub struct Compactor(Arc<Inner>);

struct Inner {
    dirs: Vec<PathBuf>,
    files: CompactFiles,
    keep_dead: Option<Duration>,
    owner_lease: Option<Arc<dyn OwnerLease>>,
    /// What earlier passes have seen.
    memory: Turns<Memory>,
    committed: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
    archives_set_aside: AtomicU64,
}

impl Compactor {
    /// A compactor that is set up step by step.
    pub fn builder() -> CompactorBuilder {
        let keep_dead = Some(KEEP_DEAD);
        let (dirs, files) = (Vec::new(), CompactFiles::default());
        CompactorBuilder { dirs, files, keep_dead, owner_lease: None }
    }

    /// Whether a directory is on a file system on which a living process may look dead: overlayfs, if the
    /// process has closed all of its descriptors. What exporters of this crate do by themselves they do not
    /// do there; a compactor that is made does.
    pub fn is_liveness_unreliable(dir: impl AsRef<Path>) -> bool {
        place::file_system_name(dir.as_ref()) == Some("overlayfs")
    }

    /// Makes one pass over all directories.
    ///
    /// Files of the Python client take two passes, with three seconds in between: see
    /// [`run_to_end`](Compactor::run_to_end).
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](ErrorKind::Directory) where a directory cannot be listed or written, of kind
    /// [`SeriesFile`](ErrorKind::SeriesFile) where an archive cannot be, and of kind
    /// [`Unsupported`](ErrorKind::Unsupported) where a newer release wrote it. Nothing is lost then, and the other
    /// directories are compacted all the same.
    pub fn run(&self) -> Result<Compaction> {
        // Passes log under locks.
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
            // Where another thread makes a pass that takes long, or did so when this process was forked, nothing is
            // remembered of earlier passes.
            let (mut turn, mut fresh) = (self.0.memory.take_turn(), Memory::default());
            let memory = turn.as_deref_mut().unwrap_or(&mut fresh);
            if let Some(lease) = &self.0.owner_lease {
                memory.prober.set_owner_lease(Arc::clone(lease));
            }
            let passed = pass.run(memory).and_then(|outcome| {
                self.count(&mut done, &outcome);
                outcome.problem.map_or(Ok(()), Err)
            });
            if let Err(error) = passed {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
                result = result.and(Err(error));
            }
        }
        result.map(|()| done)
    }

    /// Makes passes until nothing is left to do, or nothing changes any more: up to a few seconds.
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

    /// Starts a thread that looks at the directories every five seconds, and less often where a pass takes
    /// long. Each failure is logged once.
    ///
    /// # Errors
    ///
    /// Of kind [`Io`](ErrorKind::Io) where no thread can be started.
    pub fn start(&self) -> Result<CompactorThread> {
        let compactor = self.clone();
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = Thread::spawn("multiprom-compact", move || compactor.run_until(&stopped))
            .map_err(|error| Error::new(ErrorKind::Io, error))?;
        Ok(CompactorThread { stop, thread: Some(thread) })
    }

    fn run_until(&self, (stopped, wake): &(Mutex<bool>, Condvar)) {
        let mut log = ProblemLog::default();
        let mut pause = Duration::ZERO;
        loop {
            let is_stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = wake.wait_timeout_while(is_stopped, pause, |is_stopped| !*is_stopped);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            let start = Instant::now();
            if let Err(error) = self.run() {
                log.log(&format_args!("cannot compact: {error}"));
            }
            pause = INTERVAL.max(MAX_PAUSE.min(start.elapsed() * PAUSE_FACTOR));
        }
    }

    /// Reports, once, why the liveness of writers is unknown.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of the command"))]
    pub(crate) fn unreported(&self) -> Vec<String> {
        let turn = self.0.memory.take_turn();
        turn.map(|mut memory| memory.prober.unreported()).unwrap_or_default()
    }

    fn count(&self, done: &mut Compaction, outcome: &Outcome) {
        let Outcome { compaction, has_committed, set_aside, .. } = outcome;
        done.files += compaction.files;
        done.retired += compaction.retired;
        done.waiting += compaction.waiting;
        done.damaged += compaction.damaged;
        done.unknown += compaction.unknown;
        done.busy += compaction.busy;
        self.0.committed.fetch_add(u64::from(*has_committed), Ordering::Relaxed);
        self.0.busy.fetch_add(compaction.busy, Ordering::Relaxed);
        self.0.archives_set_aside.fetch_add(u64::from(*set_aside), Ordering::Relaxed);
    }
}

impl Collector for Compactor {
    fn collect(&self, out: &mut dyn FamilySink) {
        let help =
            "Passes over a directory that wrote an archive, failed, or met another compactor.";
        let mut family = out.counter("multiprom_compactions_total", help);
        for (result, count) in
            [("committed", &self.0.committed), ("failed", &self.0.failed), ("busy", &self.0.busy)]
        {
            family.sample(&[("result", result)], count.load(Ordering::Relaxed) as f64);
        }
        let help = "Damaged archives that were renamed to `archive.bad.`.";
        let count = self.0.archives_set_aside.load(Ordering::Relaxed);
        out.counter("multiprom_archives_set_aside_total", help).sample(&[], count as f64);
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

/// A thread that compacts; it ends when this is dropped. A forked child that drops its copy stops nothing.
///
/// All signals are blocked in it.
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

/// Sets up a [`Compactor`].
#[derive(Debug)]
#[must_use = "a compactor is made by `build`"]
pub struct CompactorBuilder {
    dirs: Vec<PathBuf>,
    files: CompactFiles,
    keep_dead: Option<Duration>,
    owner_lease: Option<Arc<dyn OwnerLease>>,
}

impl CompactorBuilder {
    /// Has leases taken in the name of the owners of files too.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of the command"))]
    pub(crate) fn owner_lease(mut self, lease: Arc<dyn OwnerLease>) -> CompactorBuilder {
        self.owner_lease = Some(lease);
        self
    }

    /// Adds a directory; each has an archive of its own, and one that is given twice is compacted once.
    pub fn directory(mut self, dir: impl AsRef<Path>) -> CompactorBuilder {
        self.dirs.push(dir.as_ref().to_owned());
        self
    }

    /// Chooses whose files are compacted; this crate's own by default.
    pub fn files(mut self, files: CompactFiles) -> CompactorBuilder {
        self.files = files;
        self
    }

    /// How long gauges of mode `all` of processes that ended are kept: an hour by default, `None` for ever.
    pub fn keep_dead(mut self, keep: Option<Duration>) -> CompactorBuilder {
        self.keep_dead = keep;
        self
    }

    /// Makes the compactor.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) without a directory, [`Directory`](ErrorKind::Directory) where
    /// one cannot be opened, [`Unsupported`](ErrorKind::Unsupported) where it is on a file system on which
    /// the proof of death was not tried.
    pub fn build(self) -> Result<Compactor> {
        logging::note_standard_error();
        if self.dirs.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "no multiprocess directory is given"));
        }
        for dir in &self.dirs {
            super::directory::check(dir, super::directory::FileSystems::Supported)?;
        }
        Ok(Compactor(Arc::new(Inner {
            dirs: self.dirs,
            files: self.files,
            keep_dead: self.keep_dead,
            owner_lease: self.owner_lease,
            memory: Turns::default(),
            committed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            archives_set_aside: AtomicU64::new(0),
        })))
    }
}

/// How long a reset waits for a compactor.
const PATIENCE: Duration = Duration::from_secs(10);

/// Forgets what processes that are proven dead have recorded, in one step: for a launcher, before it starts
/// the processes. Files of living writers stay, and so does everything else in the directory.
///
/// To a server that scrapes, all totals begin anew at once. Where writers live, their share stays: a total
/// then falls to it and is taken for one that began anew and reached it since. Files whose writers may live stay
/// too; [`Compaction::unknown`] counts them.
///
/// # Errors
///
/// Of kind [`Directory`](ErrorKind::Directory) where the directory cannot be listed or written, and
/// [`SeriesFile`](ErrorKind::SeriesFile) where a file cannot be removed; the others are all the same. Of kind
/// [`Unsupported`](ErrorKind::Unsupported) where a newer release wrote the archive: then nothing is removed.
pub fn clear_directory(dir: impl AsRef<Path>) -> Result<Compaction> {
    clear_directory_by(dir.as_ref(), Prober::default()).map(|(done, _)| done)
}

/// The same, where the prober may have more ways to ask; and why the liveness of writers is unknown.
pub(crate) fn clear_directory_by(dir: &Path, prober: Prober) -> Result<(Compaction, Vec<String>)> {
    let (purpose, files) = (Purpose::Reset, CompactFiles::All);
    let pass = Pass { purpose, dir, files, keep_dead: None };
    let mut memory = Memory { prober, ..Memory::default() };
    let deadline = Instant::now() + PATIENCE;
    let _lines = logging::Deferred::begin();
    loop {
        let outcome = pass.run(&mut memory)?;
        if outcome.compaction.busy == 0 {
            let done = (outcome.compaction, memory.prober.unreported());
            return outcome.problem.map_or(Ok(done), Err);
        }
        if Instant::now() >= deadline {
            return Err(Error::at(ErrorKind::Directory, dir, "a compactor holds its lock"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}
