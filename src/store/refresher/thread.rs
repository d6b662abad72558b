//! The thread of a process that refreshes what it computes.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::group::{Computed, RefreshGroup, State};
use crate::background::Thread;
use crate::file::forks;
use crate::file::unwritten;
use crate::logging::log_line;
use crate::panics::caught;
use crate::store::fork::{self, AppendList, PerProcess, SlowPath};

/// How long a scrape of this process waits for values that are computed.
const MAX_SCRAPE_WAIT: Duration = Duration::from_secs(1);

/// How long a flush waits.
const MAX_FLUSH_WAIT: Duration = Duration::from_secs(10);

/// How long the closing of files waits.
const MAX_CLOSE_WAIT: Duration = Duration::from_secs(2);

thread_local! {
    /// While this thread holds or waits for the state of the refresher of a process: the epoch of that process. A signal
    /// handler that scrapes must not wait for its own thread.
    static BUSY_IN: Cell<u64> = const { Cell::new(0) };
}

/// All groups of this process and its ancestors.
static GROUPS: AppendList<&'static RefreshGroup> = AppendList::new();

/// The refresher of one process.
struct Refresher {
    jobs: Mutex<Jobs>,
    /// A refresh was asked for, or has ended.
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    list: Vec<Job>,
    thread: Option<Thread>,
    /// Whether a failure to start the thread is logged.
    is_logged: bool,
}

/// The refreshes of one group.
struct Job {
    group: &'static RefreshGroup,
    /// How many refreshes were asked for.
    asked: u64,
    /// How many of these have ended: those that were asked for before the last refresh began.
    done: u64,
    /// When the current refresh began.
    running: Option<Instant>,
    /// When the next refresh begins if none is asked for.
    due: Instant,
}

impl Job {
    fn is_due(&self, now: Instant) -> bool {
        self.group.state() == State::Active && (self.asked > self.done || self.due <= now)
    }
}

impl Jobs {
    fn of(&mut self, group: &'static RefreshGroup) -> &mut Job {
        let at = self.list.iter().position(|job| std::ptr::eq(job.group, group));
        let at = at.unwrap_or_else(|| {
            let due = Instant::now();
            self.list.push(Job { group, asked: 0, done: 0, running: None, due });
            self.list.len() - 1
        });
        &mut self.list[at]
    }

    /// Begins a refresh that is due. Returns the group, and which refreshes are done when this one ends.
    fn begin(&mut self) -> Option<(&'static RefreshGroup, u64)> {
        let now = Instant::now();
        let job = self.list.iter_mut().find(|job| job.running.is_none() && job.is_due(now))?;
        job.running = Some(now);
        Some((job.group, job.asked))
    }

    fn end(&mut self, group: &'static RefreshGroup, done: u64) {
        let job = self.of(group);
        job.running = None;
        job.done = job.done.max(done);
        job.due = Instant::now() + group.interval();
    }

    /// The time until the next refresh. The end of a refresh that runs in another thread wakes this one.
    fn pause(&self) -> Option<Duration> {
        let can_begin = |job: &&Job| job.running.is_none() && job.group.state() == State::Active;
        let waiting = self.list.iter().filter(can_begin);
        waiting.map(|job| job.due.saturating_duration_since(Instant::now())).min()
    }
}

/// While it exists, this thread may wait for the refresher.
struct Busy(());

impl Busy {
    /// Returns `None` in a thread that must not start or wait for the refresher: the refresher itself, a thread in the slow
    /// path, one that runs fork handlers, and a signal handler that interrupted a thread which waits already.
    fn begin() -> Option<Busy> {
        let epoch = fork::epoch();
        if BUSY_IN.get() == epoch
            || unwritten::is_refreshing()
            || fork::is_inside()
            || forks::is_in_handler()
        {
            return None;
        }
        BUSY_IN.set(epoch);
        Some(Busy(()))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY_IN.set(0);
    }
}

impl Refresher {
    fn here() -> &'static Refresher {
        static REFRESHER: PerProcess<Refresher> = PerProcess::new();
        let new = || Refresher { jobs: Mutex::default(), changed: Condvar::new() };
        REFRESHER.get_or_create(new)
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, unless it runs or cannot be started. Returns whether it runs.
    fn start(&'static self, jobs: &mut Jobs) -> bool {
        if jobs.thread.is_some() {
            return true;
        }
        match Thread::spawn("multiprom-refresh", move || self.run()) {
            Ok(thread) => jobs.thread = Some(thread),
            Err(error) if !jobs.is_logged => {
                jobs.is_logged = true;
                log_line(&format_args!(
                    "the thread that refreshes computed values cannot be started: {error}; scrapes of this process and \
                     `Registry::flush` refresh them"
                ));
            }
            Err(_) => {}
        }
        jobs.thread.is_some()
    }

    /// The thread. It never ends.
    fn run(&self) {
        unwritten::set_refreshing(true);
        loop {
            // OK because a panic of the program's code is counted where it is called.
            let _ = caught(|| self.run_next());
        }
    }

    /// Waits until a refresh is due and runs it.
    fn run_next(&self) {
        let mut jobs = self.lock();
        let Some((group, done)) = jobs.begin() else {
            let pause = jobs.pause().unwrap_or(Duration::from_secs(3600));
            drop(self.changed.wait_timeout(jobs, pause));
            return;
        };
        drop(jobs);
        let _ = caught(|| group.run());
        self.lock().end(group, done);
        self.changed.notify_all();
    }

    /// Runs a refresh in this thread, because the process cannot start another one.
    fn run_here(&self, mut jobs: MutexGuard<'_, Jobs>, group: &'static RefreshGroup) {
        let job = jobs.of(group);
        if job.running.is_some() {
            return;
        }
        job.running = Some(Instant::now());
        let done = job.asked;
        drop(jobs);
        unwritten::set_refreshing(true);
        let _ = caught(|| group.run());
        unwritten::set_refreshing(false);
        self.lock().end(group, done);
        self.changed.notify_all();
    }

    /// Asks for a refresh, and waits until it has ended or the limit is reached. Does not wait for a refresh that has run for
    /// longer than the limit already.
    fn refresh(&'static self, group: &'static RefreshGroup, limit: Duration) {
        let mut jobs = self.lock();
        let job = jobs.of(group);
        job.asked += 1;
        let (asked, running) = (job.asked, job.running);
        if !self.start(&mut jobs) {
            return self.run_here(jobs, group);
        }
        self.changed.notify_all();
        let deadline = Instant::now() + limit;
        if running.is_some_and(|start| start.elapsed() >= limit) {
            return;
        }
        while jobs.of(group).done < asked {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(jobs, left);
            jobs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Starts what was asked for under the lock of the slow path.
fn start_wanted() {
    let Some(_busy) = Busy::begin() else {
        // The next thread that leaves the slow path does it.
        fork::call_afterwards(&START_WANTED);
        return;
    };
    for group in GROUPS.iter() {
        if group.is_wanted.swap(false, Ordering::Relaxed) && group.state() == State::Active {
            let refresher = Refresher::here();
            let mut jobs = refresher.lock();
            jobs.of(group).asked += 1;
            refresher.start(&mut jobs);
            refresher.changed.notify_all();
        }
    }
}

static START_WANTED: fork::Call = fork::Call(start_wanted);

fn want(group: &'static RefreshGroup) {
    group.set_state(State::Active);
    group.is_wanted.store(true, Ordering::Relaxed);
    fork::call_afterwards(&START_WANTED);
}

/// Adds something that computes values. This process refreshes the group from now on.
pub(crate) fn add(group: &'static RefreshGroup, computed: Arc<dyn Computed>, lock: &SlowPath) {
    if !GROUPS.iter().any(|other| std::ptr::eq(*other, group)) {
        GROUPS.push(group);
    }
    group.add(computed, lock);
    want(group);
}

/// Called when this process gets cells for a series, under the lock of the slow path.
pub(crate) fn note_recording(group: &'static RefreshGroup) {
    if !group.is_unused() && group.state() == State::Idle {
        want(group);
    }
}

fn wait(group: &'static RefreshGroup, limit: Duration) {
    if !group.is_unused()
        && group.state() == State::Active
        && let Some(_busy) = Busy::begin()
    {
        Refresher::here().refresh(group, limit);
    }
}

/// Refreshes the values for a scrape of this process, which waits for at most a second.
pub(crate) fn refresh(group: &'static RefreshGroup) {
    wait(group, MAX_SCRAPE_WAIT);
}

/// Refreshes the values, from now on at the interval of the group too.
pub(crate) fn flush(group: &'static RefreshGroup) {
    if !group.is_unused() && !fork::is_inside() {
        group.set_state(State::Active);
        wait(group, MAX_FLUSH_WAIT);
    }
}

/// Refreshes the values for the last time before the files are closed. Called under no lock.
pub(crate) fn finish(group: &'static RefreshGroup) {
    wait(group, MAX_CLOSE_WAIT);
}

/// Ends the refreshes of this process. Called under the lock of the slow path, before the files are closed.
pub(crate) fn close(group: &RefreshGroup, _lock: &SlowPath) {
    if !group.is_unused() {
        group.set_state(State::Closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_does_not_wake_for_a_refresh_that_runs_in_another_thread() {
        let group = &*Box::leak(Box::new(RefreshGroup::new(Duration::from_secs(60))));
        let mut jobs = Jobs::default();
        jobs.of(group);
        assert_eq!(jobs.pause(), None, "this process does not refresh the group");
        group.set_state(State::Active);
        assert_eq!(jobs.pause(), Some(Duration::ZERO));
        let (_, done) = jobs.begin().unwrap();
        assert_eq!(jobs.pause(), None);
        jobs.end(group, done);
        assert!(jobs.pause().unwrap() > Duration::from_secs(30));
    }
}
