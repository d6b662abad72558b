//! What is computed for the files of one directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::slots::Slots;
#[cfg(target_os = "linux")]
use crate::file::forks::{ForkWait, NoFork};
use crate::panics::{Panicked, caught};
use crate::store::fork::{self, SlowPath};

/// Forks do not wait for a value that took longer the last time.
const MAX_FORK_DELAY: Duration = Duration::from_millis(50);

/// Records what was computed. Called under the lock of the slow path.
pub(crate) type Record<'a> = Box<dyn FnOnce(&SlowPath) + 'a>;

/// Something that computes values.
pub(crate) trait Computed: Send + Sync {
    /// Computes the values, under no lock. Returns how they are recorded; `None` if there is nothing to record. Called by one
    /// thread at a time.
    fn compute(&self) -> Option<Record<'_>>;

    /// Whether it computes no values any more, and is removed from its group.
    fn is_over(&self) -> bool;

    /// Counts and logs a panic of the program's code.
    fn note_panic(&self);
}

struct Member {
    computed: Arc<dyn Computed>,
    /// Whether it took longer than [`MAX_FORK_DELAY`] the last time.
    is_slow: AtomicBool,
}

/// What is computed for the files of one directory. Each process refreshes it for its own files.
pub(crate) struct RefreshGroup {
    interval: Duration,
    members: Slots<Member>,
    /// The epoch of a process, and the [`State`] of the group there. For another process the group is idle.
    state: AtomicU64,
    /// Whether a thread that leaves the slow path asks for a refresh.
    pub(super) is_wanted: AtomicBool,
}

/// Whether a process refreshes a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not recorded yet.
    Idle,
    Active,
    /// It has closed its files.
    Closed,
}

impl RefreshGroup {
    pub(crate) const fn new(interval: Duration) -> RefreshGroup {
        let (state, is_wanted) = (AtomicU64::new(0), AtomicBool::new(false));
        RefreshGroup { interval, members: Slots::new(), state, is_wanted }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn state(&self) -> State {
        let state = self.state.load(Ordering::Relaxed);
        match (state >> 2 == fork::seen_epoch(), state & 3) {
            (true, 1) => State::Active,
            (true, 2) => State::Closed,
            _ => State::Idle,
        }
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(fork::epoch() << 2 | state as u64, Ordering::Relaxed);
    }

    /// Whether nothing was ever computed for this directory.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.members.is_unused()
    }

    pub(super) fn add(&self, computed: Arc<dyn Computed>, lock: &SlowPath) {
        let member = Member { computed, is_slow: AtomicBool::new(false) };
        self.members.add(Arc::new(member), lock);
    }

    /// Removes what is over. The caller still owns functions of the program, which must not be dropped under the lock.
    pub(crate) fn remove_over(&self, lock: &SlowPath) {
        drop(self.members.remove(|member| member.computed.is_over(), lock));
    }

    /// Computes and records all values. Called by one thread at a time, under no lock.
    #[cfg(target_os = "linux")]
    pub(super) fn run(&self) {
        let Some(members) = fork::lock().map(|lock| self.members.all(&lock)) else {
            return;
        };
        for member in members {
            // The member may be dropped here, with what the program has moved into it.
            let _ = caught(|| self.run_one(&member));
            let _ = caught(|| drop(member));
        }
    }

    #[cfg(target_os = "linux")]
    fn run_one(&self, member: &Member) {
        let Member { computed, is_slow } = member;
        let is_quick = !is_slow.load(Ordering::Relaxed);
        let no_fork = is_quick.then(|| NoFork::begin(ForkWait::Long));
        let start = Instant::now();
        let record = caught(|| computed.compute());
        is_slow.store(start.elapsed() > MAX_FORK_DELAY, Ordering::Relaxed);
        match record {
            Ok(Some(record)) => {
                if let Some(lock) = fork::lock()
                    && self.state() == State::Active
                {
                    record(&lock);
                }
            }
            Ok(None) => {}
            Err(Panicked) => computed.note_panic(),
        }
        drop(no_fork);
        if computed.is_over()
            && let Some(lock) = fork::lock()
        {
            self.remove_over(&lock);
        }
    }
}
