//! Makes forks wait while descriptors are opened or closed, and vice versa.
//!
//! See: pthread_atfork(3).
#![expect(unsafe_code, reason = "pthread_atfork")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inherited;
use super::process::{self, ForkPage, fork_page};

thread_local! {
    /// The process in which this thread runs fork handlers, before the fork or in the parent. If such a handler creates a
    /// file, it must not wait for the fork of its own thread.
    static FORKS_IN: Cell<u64> = const { Cell::new(0) };
}

/// How long a fork waits for [`NoFork`] guards, and a guard for forks. Both take a fraction of a millisecond. But if a
/// signal handler forks in a thread that has a guard, that guard is not released meanwhile; and a fork whose handlers wait
/// for a thread that waits for the fork does not end.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// Yields to other threads until a condition holds. Returns `false` after [`MAX_WAIT`].
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

/// Runs before each fork.
///
/// ORDERING: sequentially consistent, here and in `NoFork`: if a fork and a guard begin at the same time, at least one of
/// them sees the other. If both do, the fork waits.
extern "C" fn begin_fork() {
    FORKS_IN.set(process::instance_id());
    let ForkPage { forks, no_forks, forced, .. } = fork_page();
    let is_alone = wait_until(|| {
        if no_forks.load(Ordering::SeqCst) > 0 {
            return false;
        }
        forks.fetch_add(1, Ordering::SeqCst);
        if no_forks.load(Ordering::SeqCst) == 0 {
            return true;
        }
        decrement(forks);
        false
    });
    if !is_alone {
        forks.fetch_add(1, Ordering::SeqCst);
        forced.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs after each fork, in the parent.
extern "C" fn end_fork() {
    decrement(&fork_page().forks);
    FORKS_IN.set(0);
}

/// Runs after each fork, in the child.
extern "C" fn begin_child() {
    process::wipe_unless_mapped();
    inherited::close_all();
}

/// Whether this thread runs fork handlers, before the fork or in the parent.
pub(crate) fn is_in_handler() -> bool {
    FORKS_IN.get() == process::instance_id()
}

/// Decrements a count, but not below 0: a fork or guard may have begun before the page was mapped.
fn decrement(count: &AtomicU64) {
    let fewer = |count: u64| count.checked_sub(1);
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
}

/// Registers the handlers that run at every fork. A fork that began before is not detected: its child may keep the lock of
/// a file that is created meanwhile, whose writer then seems alive for as long as that child lives.
pub(crate) fn watch_forks() {
    // Not a `Once`: a child that is forked while another thread is in it would wait forever.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        process::map_page();
        // SAFETY: the handlers call only async-signal-safe functions and are never unloaded.
        let _ =
            unsafe { libc::pthread_atfork(Some(begin_fork), Some(end_fork), Some(begin_child)) };
    }
}

/// Whether a guard waits for a fork in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkWait {
    /// For [`MAX_WAIT`].
    Long,
    None,
}

/// A guard during which this process does not fork: forks that begin wait for its release, for [`MAX_WAIT`] at most.
///
/// A child that is forked between the opening of a descriptor and [`inherited::close_in_children`] has a copy of the
/// descriptor that its handler does not close, and would keep the lock of the file for as long as it lives.
pub(crate) struct NoFork {
    fork_page: &'static ForkPage,
    forced: u64,
}

impl NoFork {
    /// Waits for forks to end. Returns `None` if one does not end in time, or if this thread itself forks.
    pub(crate) fn begin(wait: ForkWait) -> Option<NoFork> {
        watch_forks();
        if is_in_handler() {
            return None;
        }
        let fork_page = fork_page();
        let forced = fork_page.forced.load(Ordering::SeqCst);
        fork_page.no_forks.fetch_add(1, Ordering::SeqCst);
        let no_fork = NoFork { fork_page, forced };
        let is_alone = || fork_page.forks.load(Ordering::SeqCst) == 0;
        (is_alone() || wait == ForkWait::Long && wait_until(is_alone)).then_some(no_fork)
    }

    /// Whether no fork has stopped waiting and begun nevertheless.
    pub(crate) fn holds(&self) -> bool {
        self.fork_page.forced.load(Ordering::SeqCst) == self.forced
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        decrement(&self.fork_page.no_forks);
    }
}
