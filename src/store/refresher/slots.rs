//! A list from which values can be removed, and which a forked child can use.

use std::sync::{Arc, Mutex};

use crate::store::fork::{AppendList, SlowPath};

/// Values that are added and removed under the lock of the slow path.
///
/// No thread waits for the lock of a slot: all accesses are under the lock of the slow path, which a forked child creates
/// anew. A slot whose lock a child finds taken was being changed when the child was forked; the child never uses it.
pub(crate) struct Slots<T: ?Sized>(AppendList<Mutex<Option<Arc<T>>>>);

impl<T: ?Sized + Send + Sync> Slots<T> {
    pub(crate) const fn new() -> Slots<T> {
        Slots(AppendList::new())
    }

    /// Whether no value was ever added. Needs no lock.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.0.iter().next().is_none()
    }

    /// Adds a value, in a slot that is free if there is one.
    pub(crate) fn add(&self, value: Arc<T>, _lock: &SlowPath) {
        let mut slots = self.0.iter().filter_map(|slot| slot.try_lock().ok());
        match slots.find(|slot| slot.is_none()) {
            Some(mut slot) => *slot = Some(value),
            None => _ = self.0.push(Mutex::new(Some(value))),
        }
    }

    /// Returns all values.
    pub(crate) fn all(&self, _lock: &SlowPath) -> Vec<Arc<T>> {
        self.0.iter().filter_map(|slot| slot.try_lock().ok()?.clone()).collect()
    }

    /// Removes and returns the values for which `is_removed` returns `true`. The caller drops them after it has released
    /// the lock.
    pub(crate) fn remove(&self, is_removed: impl Fn(&T) -> bool, _lock: &SlowPath) -> Vec<Arc<T>> {
        let take =
            |slot: &Mutex<Option<Arc<T>>>| slot.try_lock().ok()?.take_if(|value| is_removed(value));
        self.0.iter().filter_map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork;

    #[test]
    fn the_slot_of_a_removed_value_is_used_again() {
        let slots = Slots::new();
        let lock = fork::lock().unwrap();
        assert!(slots.is_unused());
        for value in 0..3 {
            slots.add(Arc::new(value), &lock);
        }
        assert_eq!(slots.remove(|value| *value == 1, &lock), [Arc::new(1)]);
        slots.add(Arc::new(7), &lock);
        assert_eq!(slots.all(&lock), [0, 7, 2].map(Arc::new));
        assert_eq!(slots.0.iter().count(), 3);
    }
}
