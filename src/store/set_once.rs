//! A value in a static that is set once.
//!
//! `OnceLock` is not usable here: a child that is forked while another thread of its parent initializes one waits for
//! that thread forever. A child that is forked in the middle of [`SetOnce::set`] finds no value.
#![expect(unsafe_code, reason = "a value that is published between threads")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fork::SlowPath;

/// A value that is set at most once and never changes after that. Read by any thread, set under the lock of the slow path.
// The value comes first: a reference to the struct is one to the value, which saves an instruction.
#[repr(C)]
pub(crate) struct SetOnce<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    /// Written after the value.
    is_set: AtomicBool,
}

impl<T: Copy> SetOnce<T> {
    /// Creates it without a value.
    pub(crate) const fn empty() -> SetOnce<T> {
        SetOnce { value: UnsafeCell::new(MaybeUninit::uninit()), is_set: AtomicBool::new(false) }
    }

    /// Returns the value, if it is set.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // ORDERING: acquire, to see the value that was written before the flag.
        if self.is_set.load(Ordering::Acquire) {
            let value = self.value.get().cast::<T>();
            // SAFETY: the flag was stored after the value, which is never written again. `MaybeUninit<T>` has the
            // layout of `T`.
            Some(unsafe { &*value })
        } else {
            None
        }
    }

    /// Sets the value unless one is set. Returns the one that is set.
    pub(crate) fn set(&self, value: T, _lock: &SlowPath) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let slot = self.value.get();
        // SAFETY: the flag is not set, so no thread reads the value, and the lock excludes other writers.
        let value = unsafe { (*slot).write(value) };
        // ORDERING: release, after the value.
        self.is_set.store(true, Ordering::Release);
        value
    }
}

// SAFETY: lends `&T` to any thread, and takes the value from any thread.
unsafe impl<T: Send + Sync> Sync for SetOnce<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork;

    #[test]
    fn the_first_value_stays() {
        let place = SetOnce::empty();
        assert_eq!(place.get(), None);
        assert_eq!(place.set(1, &fork::lock().unwrap()), &1);
        assert_eq!(place.set(2, &fork::lock().unwrap()), &1);
        assert_eq!(place.get(), Some(&1));
    }
}
