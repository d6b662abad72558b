//! A value that readers find by its tag.
#![expect(unsafe_code, reason = "a value that is published between threads")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

use super::slow_path::SlowPath;
use super::tag::Tag;

/// The tag while there is no value. No [`Tag`] has its highest bit.
const NO_TAG: u64 = u64::MAX;

/// A value that is stored in place once, and a tag that is set after it.
pub(crate) struct Tagged<T> {
    tag: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T: Sync> Tagged<T> {
    pub(crate) const fn empty() -> Tagged<T> {
        let value = UnsafeCell::new(MaybeUninit::uninit());
        Tagged { tag: AtomicU64::new(NO_TAG), value }
    }

    /// Returns the value if it has this tag.
    #[inline]
    pub(crate) fn get(&self, tag: Tag) -> Option<&T> {
        // ORDERING: acquire, pairs with the release in `fill`, after the value was written.
        if self.tag.load(Ordering::Acquire) == tag.bits() {
            let value = self.value.get().cast::<T>();
            // SAFETY: the tag is not `NO_TAG`, so it was stored after the value, which is never written again.
            // `MaybeUninit<T>` has the layout of `T`.
            Some(unsafe { &*value })
        } else {
            None
        }
    }

    /// Returns the value, whatever its tag is.
    #[inline]
    pub(crate) fn any(&self) -> Option<&T> {
        match self.tag.load(Ordering::Relaxed) {
            NO_TAG => None,
            tag => self.get(Tag(tag)),
        }
    }

    /// Stores a value if there is none yet. Otherwise returns it as the error.
    pub(crate) fn fill(&self, tag: Tag, value: T, _lock: &SlowPath) -> Result<&T, T> {
        if self.tag.load(Ordering::Relaxed) != NO_TAG {
            return Err(value);
        }
        let slot = self.value.get();
        // SAFETY: no thread reads the value before the tag is set, and the lock excludes other writers.
        let value = unsafe { (*slot).write(value) };
        // ORDERING: release, after the value.
        self.tag.store(tag.bits(), Ordering::Release);
        Ok(value)
    }
}

// SAFETY: lends `&T` only, and takes values from any thread.
unsafe impl<T: Send + Sync> Sync for Tagged<T> {}
