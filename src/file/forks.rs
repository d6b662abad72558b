//! Forks and creations of files wait for each other.
//!
//! See: pthread_atfork(3).
#![expect(unsafe_code, reason = "pthread_atfork")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inherited;
use super::process::{self, UnderWay, under_way};

thread_local! {
    /// The process in which this thread runs fork handlers, before the fork or in the parent. A file creation in
    /// such a handler would wait for its own thread.
    static FORKS_IN: Cell<u64> = const { Cell::new(0) };
}

/// How long forks and creations wait for each other. Both take a fraction of a millisecond, but a creation in the
/// very thread that forks in a signal handler never ends, nor does a fork whose handlers wait for us.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// Lets other threads run until a condition holds, for a while at most.
fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let mut deadline = None;
    while !holds() {
        let now = Instant::now();
        if now >= *deadline.get_or_insert(now + MAX_WAIT) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

// ORDERING: sequentially consistent, here and in `NoFork`: of a fork and a creation that begin at once one sees
// the other. If both do, the fork steps back.
extern "C" fn begin_fork() {
    FORKS_IN.set(process::number());
    let UnderWay { forks, creations, forced, .. } = under_way();
    let is_alone = wait_until(|| {
        if creations.load(Ordering::SeqCst) > 0 {
            return false;
        }
        forks.fetch_add(1, Ordering::SeqCst);
        if creations.load(Ordering::SeqCst) == 0 {
            return true;
        }
        one_fewer(forks);
        false
    });
    if !is_alone {
        forks.fetch_add(1, Ordering::SeqCst);
        forced.fetch_add(1, Ordering::SeqCst);
    }
}

extern "C" fn end_fork() {
    one_fewer(&under_way().forks);
    FORKS_IN.set(0);
}

extern "C" fn begin_child() {
    process::wipe_unless_mapped();
    inherited::close_all();
}

/// Counts down, and not below 0: a fork or creation may have begun before the page was mapped.
fn one_fewer(count: &AtomicU64) {
    let fewer = |count: u64| count.checked_sub(1);
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
}

/// Registers the handlers that run at every fork. A fork that has begun before is not seen: a child of it may
/// keep the lock of a file that is created meanwhile, which then looks alive for as long as that child lives.
pub(crate) fn watch_forks() {
    // No `Once`: a child that is forked while another thread is in it would wait for ever.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        process::map_page();
        // SAFETY: the handlers call only async-signal-safe functions and are never unloaded.
        let _ =
            unsafe { libc::pthread_atfork(Some(begin_fork), Some(end_fork), Some(begin_child)) };
    }
}

/// Whether a creation waits for a fork in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkWait {
    Long,
    None,
}

/// A time in which this process does not fork: forks that begin wait for its end, but not for long.
///
/// A child that is forked between the creation of a file and the note that children close it has a copy
/// of the descriptor that no handler knows of, and would keep the lock for as long as it lives.
pub(crate) struct NoFork {
    under_way: &'static UnderWay,
    forced: u64,
}

impl NoFork {
    /// Waits for forks to end; `None` if one does not, or if this thread itself forks.
    pub(crate) fn begin(wait: ForkWait) -> Option<NoFork> {
        watch_forks();
        if FORKS_IN.get() == process::number() {
            return None;
        }
        let under_way = under_way();
        let forced = under_way.forced.load(Ordering::SeqCst);
        under_way.creations.fetch_add(1, Ordering::SeqCst);
        let no_fork = NoFork { under_way, forced };
        let is_alone = || under_way.forks.load(Ordering::SeqCst) == 0;
        (is_alone() || wait == ForkWait::Long && wait_until(is_alone)).then_some(no_fork)
    }

    /// Whether no fork has begun all the same.
    pub(crate) fn holds(&self) -> bool {
        self.under_way.forced.load(Ordering::SeqCst) == self.forced
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        one_fewer(&self.under_way.creations);
    }
}
