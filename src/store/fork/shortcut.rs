//! A value that threads of one process use without a lock and without looking at anything else.

use std::sync::atomic::{AtomicU64, Ordering};

use super::bound::NO_EPOCH;
use super::epoch::{epoch, seen_epoch};
use super::slow_path::SlowPath;
use crate::fork_safe::AlwaysRef;

/// An address, and the process in which it may be used.
///
/// Set and cleared under the lock of the slow path; read by all threads. A thread that has found the shortcut open may still
/// use the value after it is closed.
pub(crate) struct Shortcut<T: 'static> {
    /// The epoch of the process in which the shortcut is open, else [`NO_EPOCH`].
    epoch: AtomicU64,
    value: AlwaysRef<T>,
}

impl<T: Sync> Shortcut<T> {
    /// Creates a closed shortcut. Its value is not used for anything.
    pub(crate) const fn closed(value: &'static T) -> Shortcut<T> {
        Shortcut { epoch: AtomicU64::new(NO_EPOCH), value: AlwaysRef::new(value) }
    }

    /// Whether this process may use the value. One comparison shows that the shortcut is open and that the process is not
    /// a child of the one that opened it.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        // ORDERING: acquire, so that the value is at least as new as its epoch.
        self.epoch.load(Ordering::Acquire) == seen_epoch()
    }

    /// The value. The caller has found the shortcut open.
    #[inline]
    pub(crate) fn value(&self) -> &'static T {
        self.value.get()
    }

    /// Opens the shortcut for this process.
    pub(crate) fn open(&self, value: &'static T, _lock: &SlowPath) {
        self.value.set(value);
        // ORDERING: release, after the value.
        self.epoch.store(epoch(), Ordering::Release);
    }

    /// Closes the shortcut. Called under the lock of the slow path.
    pub(crate) fn close(&self) {
        self.epoch.store(NO_EPOCH, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork::lock;
    use std::ptr;

    #[test]
    fn a_shortcut_is_open_from_its_opening_until_it_is_closed() {
        static NOTHING: AtomicU64 = AtomicU64::new(0);
        static WORD: AtomicU64 = AtomicU64::new(5);
        let shortcut = Shortcut::closed(&NOTHING);
        assert!(!shortcut.is_open());
        shortcut.open(&WORD, &lock().unwrap());
        assert!(shortcut.is_open() && ptr::eq(shortcut.value(), &raw const WORD));
        shortcut.close();
        assert!(!shortcut.is_open());
    }
}
