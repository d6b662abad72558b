//! A value that can be removed while other threads read it.
#![expect(unsafe_code, reason = "a value that the last reader drops")]

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The value is removed.
const REMOVED: usize = 1;
/// The value was moved out or dropped.
const TAKEN: usize = 2;
/// One reader.
const READER: usize = 4;

/// A value that readers clone without a lock, until it is removed.
///
/// Who removes it does not wait for readers: the last one drops the value. A child that is forked while another thread reads
/// keeps a removed value in memory.
pub(crate) struct Removable<T> {
    state: AtomicUsize,
    value: UnsafeCell<ManuallyDrop<T>>,
}

impl<T: Clone> Removable<T> {
    pub(crate) const fn new(value: T) -> Removable<T> {
        let value = UnsafeCell::new(ManuallyDrop::new(value));
        Removable { state: AtomicUsize::new(0), value }
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & REMOVED != 0
    }

    /// A clone of the value, unless it is removed.
    pub(crate) fn get(&self) -> Option<T> {
        let before = self.state.fetch_add(READER, Ordering::Acquire);
        // SAFETY: the value was not removed when this reader was counted, so nobody takes it before the count falls.
        let value = (before & REMOVED == 0).then(|| unsafe { &*self.value.get() });
        let clone = value.map(|value| T::clone(value));
        // ORDERING: release, after the value was read; acquire, to drop it after the other readers.
        let before = self.state.fetch_sub(READER, Ordering::AcqRel);
        if before == REMOVED + READER {
            drop(self.take());
        }
        clone
    }

    /// Removes the value. Returns it unless a reader is left, which drops it then, or it was removed before.
    pub(crate) fn remove(&self) -> Option<T> {
        let before = self.state.fetch_or(REMOVED, Ordering::AcqRel);
        if before & REMOVED == 0 { self.take() } else { None }
    }

    /// Takes a removed value that nobody reads. One call at most returns it.
    fn take(&self) -> Option<T> {
        let (from, to) = (REMOVED, REMOVED | TAKEN);
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // SAFETY: the exchange succeeds once, without a reader, and later readers see that the value is removed.
        let value = unsafe { &mut *self.value.get() };
        // SAFETY: it is not used again, as `TAKEN` is set.
        Some(unsafe { ManuallyDrop::take(value) })
    }
}

impl<T> Drop for Removable<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() & TAKEN == 0 {
            // SAFETY: it was not taken, and `self` is borrowed exclusively.
            unsafe { ManuallyDrop::drop(self.value.get_mut()) };
        }
    }
}

// SAFETY: it moves and lends its `T`, as a lock without guards does.
unsafe impl<T: Send> Send for Removable<T> {}
// SAFETY: all threads clone the value through `&T`, and one of them takes it.
unsafe impl<T: Send + Sync> Sync for Removable<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_removed_value_is_dropped_once_by_whoever_uses_it_last() {
        for round in 0..200 {
            let value = Arc::new(round);
            let slot = Removable::new(Arc::clone(&value));
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            assert!(slot.get().is_none_or(|read| *read == round));
                        }
                    });
                }
                drop(slot.remove());
                assert!(slot.remove().is_none() && slot.is_removed());
                is_over.store(true, Ordering::Relaxed);
            });
            assert!(slot.get().is_none());
            assert_eq!(Arc::strong_count(&value), 1);
        }
    }

    #[test]
    fn a_child_that_is_forked_during_a_read_can_remove_the_value_and_keeps_it_in_memory() {
        let value = Arc::new(());
        // The child finds the reader counted, and the reader does not exist.
        let slot = Removable::new(Arc::clone(&value));
        slot.state.fetch_add(READER, Ordering::Acquire);
        assert!(slot.get().is_some());
        assert!(slot.remove().is_none() && slot.is_removed());
        assert!(slot.get().is_none());
        assert_eq!(Arc::strong_count(&value), 2);
        drop(slot);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_child_that_is_forked_during_a_removal_finds_the_value_removed() {
        let value = Arc::new(());
        // Between the two steps of `remove`, and after both while the value moves out.
        for state in [REMOVED, REMOVED | TAKEN] {
            let slot = Removable::new(Arc::clone(&value));
            slot.state.store(state, Ordering::Relaxed);
            assert!(slot.is_removed() && slot.remove().is_none() && slot.get().is_none());
        }
    }

    #[test]
    fn a_value_that_was_not_removed_is_dropped_with_its_slot() {
        let value = Arc::new(());
        let slot = Removable::new(Arc::clone(&value));
        assert!(slot.get().is_some());
        assert_eq!(Arc::strong_count(&value), 2);
        drop(slot);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
