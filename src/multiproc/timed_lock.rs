//! A lock that serializes scrapes and passes. Waiting is limited, and a forked child never waits.

use std::ops::{Deref, DerefMut};
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a thread waits for the lock.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A value that one thread at a time uses.
///
/// If the process forks while the value is locked, it stays locked in the child, because the thread that would release
/// it does not exist there.
pub(super) struct TimedLock<T> {
    value: Mutex<T>,
    /// Held briefly, by threads that begin to wait and by the thread that wakes them.
    waiters: Mutex<()>,
    released: Condvar,
    /// The process that has created the lock.
    process: u32,
}

impl<T: Default> Default for TimedLock<T> {
    fn default() -> TimedLock<T> {
        let (value, waiters, released) = (Mutex::default(), Mutex::default(), Condvar::new());
        TimedLock { value, waiters, released, process: process::id() }
    }
}

/// Which process uses a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Creator,
    ForkedChild,
}

impl<T: Default> TimedLock<T> {
    /// Waits for the lock. `None` if another thread does not release it in time, or if it is locked in a forked child.
    pub(super) fn acquire(&self) -> Option<TimedGuard<'_, T>> {
        let is_creator = process::id() == self.process;
        let user = if is_creator { User::Creator } else { User::ForkedChild };
        if let Some(guard) = self.try_acquire(user) {
            return Some(guard);
        }
        if user == User::ForkedChild {
            return None;
        }
        let begin = Instant::now();
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // OK because the thread that releases the value locks `waiters` before it wakes others.
            if let Some(guard) = self.try_acquire(user) {
                return Some(guard);
            }
            let left = MAX_WAIT.checked_sub(begin.elapsed())?;
            let waited = self.released.wait_timeout(waiters, left);
            waiters = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn try_acquire(&self, user: User) -> Option<TimedGuard<'_, T>> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(poisoned)) => {
                // A panic may have left the value in any state.
                let mut value = poisoned.into_inner();
                *value = T::default();
                self.value.clear_poison();
                value
            }
        };
        let wakeup = || Wakeup { waiters: &self.waiters, released: &self.released };
        Some(TimedGuard { value, _wakeup: (user == User::Creator).then(wakeup) })
    }
}

/// The locked value.
pub(super) struct TimedGuard<'t, T> {
    value: MutexGuard<'t, T>,
    // Dropped after the value, in the order of the fields.
    _wakeup: Option<Wakeup<'t>>,
}

impl<T> Deref for TimedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for TimedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Wakes the next thread when it is dropped.
struct Wakeup<'t> {
    waiters: &'t Mutex<()>,
    released: &'t Condvar,
}

impl Drop for Wakeup<'_> {
    fn drop(&mut self) {
        drop(self.waiters.lock());
        self.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    #[test]
    fn one_thread_at_a_time_has_the_lock() {
        let lock = TimedLock::<u64>::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mut guard = lock.acquire().unwrap();
                        let before = *guard;
                        thread::yield_now();
                        *guard = before + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.acquire().unwrap(), 1600);
    }

    #[test]
    fn a_forked_child_does_not_wait() {
        let lock = TimedLock::<u64> { process: process::id() + 1, ..TimedLock::default() };
        let guard = lock.acquire().unwrap();
        let waiters = lock.waiters.lock().unwrap();
        assert!(lock.acquire().is_none());
        drop(guard);
        assert!(lock.acquire().is_some());
        drop(waiters);
    }

    #[test]
    fn a_panic_resets_the_value() {
        let lock = TimedLock::<u64>::default();
        let panicking = || {
            let mut guard = lock.acquire().unwrap();
            *guard = 7;
            panic!("a sink fails with {}", *guard);
        };
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        assert_eq!(*lock.acquire().unwrap(), 0);
    }
}
