//! An address that is valid in the process that stored it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::epoch::{epoch, seen_epoch};
use super::slow_path::SlowPath;
use crate::fork_safe::StaticRef;

/// An epoch that no process has.
pub(crate) const NO_EPOCH: u64 = u64::MAX;

/// An address that is valid in the process that set it, but not in its children.
///
/// Set under the lock of the slow path; read by all threads.
pub(crate) struct Bound<T: 'static> {
    epoch: AtomicU64,
    value: StaticRef<T>,
    /// The value before the last `clear`.
    former: StaticRef<T>,
}

impl<T: Sync> Bound<T> {
    pub(crate) const fn empty() -> Bound<T> {
        let (value, former) = (StaticRef::empty(), StaticRef::empty());
        Bound { epoch: AtomicU64::new(NO_EPOCH), value, former }
    }

    /// Returns the value that this process has set.
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // ORDERING: acquire, so that the value is at least as new as its epoch.
        if self.epoch.load(Ordering::Acquire) == seen_epoch() { self.value.get() } else { None }
    }

    /// Prefetches the value that was set last.
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.value.prefetch();
    }

    /// Returns the value that was set last, in this process or in an ancestor. Through it the caller accesses mapped memory
    /// only if that bears a token of this process.
    #[inline]
    pub(crate) fn inherited(&self) -> Option<&'static T> {
        self.value.get()
    }

    /// Clears the value. If this process has set it, it becomes the former value. Called under the lock of the slow path.
    pub(crate) fn clear(&self) {
        if let Some(value) = self.get() {
            self.former.set(value);
            // ORDERING: release, after the former value. The complement of an epoch is never an epoch.
            self.epoch.store(!epoch(), Ordering::Release);
        }
        self.value.clear();
    }

    /// Returns the value that this process has cleared, if it has not set another one since.
    pub(crate) fn former(&self) -> Option<&'static T> {
        if self.epoch.load(Ordering::Acquire) == !seen_epoch() { self.former.get() } else { None }
    }

    /// Returns the value before the last `clear`, in whichever process that was.
    pub(crate) fn last_cleared(&self) -> Option<&'static T> {
        self.former.get()
    }

    /// Sets the value for this process.
    pub(crate) fn set(&self, value: &'static T, _lock: &SlowPath) {
        self.value.set(value);
        // ORDERING: release, after the value.
        self.epoch.store(epoch(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork::lock;
    use std::ptr;

    #[test]
    fn a_bound_value_is_valid_once_it_is_set() {
        static WORD: AtomicU64 = AtomicU64::new(5);
        let bound = Bound::empty();
        assert!(bound.get().is_none());
        bound.set(&WORD, &lock().unwrap());
        assert!(ptr::eq(bound.get().unwrap(), &raw const WORD));
    }
}
