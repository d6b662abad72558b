//! The lock of the slow path, and detection of reentry in the same thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::epoch::epoch;
use super::per_process::PerProcess;
use crate::fork_safe::StaticRef;
use crate::logging::Deferred;

thread_local! {
    /// While this thread is in the slow path: the epoch of its process. Otherwise 0.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
}

/// Proof that this thread has entered the slow path.
///
/// A signal handler or an allocator that records can interrupt the slow path in the same thread. It must not enter, as it
/// would wait for the lock that its own thread holds.
pub struct Inside(());

/// Enters the slow path. Returns `None` if this thread is already in it.
pub(crate) fn enter() -> Option<Inside> {
    let epoch = epoch();
    if INSIDE.get() == epoch {
        return None;
    }
    INSIDE.set(epoch);
    Some(Inside(()))
}

/// Whether this thread is in the slow path.
pub(crate) fn is_inside() -> bool {
    INSIDE.get() == epoch()
}

impl Inside {
    /// Takes the lock of the slow path. A child that is forked while another thread holds the lock finds it free.
    pub(crate) fn lock(self) -> SlowPath {
        static LOCK: PerProcess<Mutex<()>> = PerProcess::new();
        let lock = LOCK.get_or_create(|| Mutex::new(()));
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        SlowPath {
            _guard: guard,
            _inside: self,
            _lines: Deferred::begin(),
            _afterwards: Afterwards,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(0);
    }
}

/// The lock of the slow path, held. Lines that its thread logs meanwhile are passed on after the release.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct SlowPath {
    // Fields are dropped in this order, as a log hook may enter the slow path.
    _guard: MutexGuard<'static, ()>,
    _inside: Inside,
    _lines: Deferred,
    _afterwards: Afterwards,
}

/// A function that is called without the lock of the slow path.
pub(crate) struct Call(pub(crate) fn());

/// What the next thread that leaves the slow path calls.
static AFTERWARDS: StaticRef<Call> = StaticRef::empty();
static IS_CALLED: AtomicBool = AtomicBool::new(false);

/// Lets the next thread that has left the slow path call a function: this one, if it is in the slow path.
pub(crate) fn call_afterwards(call: &'static Call) {
    AFTERWARDS.set(call);
    IS_CALLED.store(true, Ordering::Relaxed);
}

struct Afterwards;

impl Drop for Afterwards {
    fn drop(&mut self) {
        // ORDERING: relaxed, as the function takes locks for what it reads.
        if IS_CALLED.load(Ordering::Relaxed)
            && IS_CALLED.swap(false, Ordering::Relaxed)
            && let Some(call) = AFTERWARDS.get()
        {
            (call.0)();
        }
    }
}

/// Enters the slow path and takes its lock. Returns `None` if this thread is already in it.
pub(crate) fn lock() -> Option<SlowPath> {
    enter().map(Inside::lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_enters_the_slow_path_once_at_a_time() {
        let held = lock();
        assert!(held.is_some() && lock().is_none() && enter().is_none());
        let other = std::thread::spawn(|| lock().is_some());
        drop(held);
        assert!(other.join().unwrap());
        let inside = enter();
        assert!(lock().is_none());
        drop(inside.map(Inside::lock));
        assert!(lock().is_some());
    }
}
