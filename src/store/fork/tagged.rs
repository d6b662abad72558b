//! A value that readers find by the tag of its owner.
#![expect(unsafe_code, reason = "a value that is published between threads")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use super::ownership::Ownership;
use super::slow_path::SlowPath;
use super::tag::Tag;

/// A value that is stored in place once, and the tag of its owner.
// The value comes first: its address is that of the struct, which saves an instruction.
#[repr(C)]
pub(crate) struct Tagged<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    owner: Ownership,
}

impl<T: Sync> Tagged<T> {
    pub(crate) fn empty() -> Tagged<T> {
        let value = UnsafeCell::new(MaybeUninit::uninit());
        Tagged { value, owner: Ownership::new() }
    }

    /// Returns the value if its owner has this tag.
    #[inline]
    pub(crate) fn get(&self, tag: Tag) -> Option<&T> {
        // SAFETY: a tag is the state of a value that was stored.
        self.owner.is(tag.bits()).then(|| unsafe { self.value() })
    }

    /// Returns the value, whoever owns it.
    #[inline]
    pub(crate) fn any(&self) -> Option<&T> {
        // SAFETY: the state says that a value was stored.
        self.owner.is_filled().then(|| unsafe { self.value() })
    }

    /// Returns the value.
    ///
    /// # Safety
    ///
    /// The caller has loaded the state, and it was not the one without a value.
    #[inline]
    unsafe fn value(&self) -> &T {
        let value = self.value.get().cast::<T>();
        // SAFETY: the state is stored after the value, which is never written again. `MaybeUninit<T>` has the layout of `T`.
        unsafe { &*value }
    }

    /// Stores a value if there is none yet, which no thread owns without a tag. Otherwise returns it as the error.
    pub(crate) fn fill(&self, tag: Option<Tag>, value: T, _lock: &SlowPath) -> Result<&T, T> {
        if self.owner.is_filled() {
            return Err(value);
        }
        let slot = self.value.get();
        // SAFETY: no thread reads the value before the state says that there is one, and the lock excludes other writers.
        let value = unsafe { (*slot).write(value) };
        self.owner.fill(tag.map(Tag::bits));
        Ok(value)
    }

    /// Makes the thread with this tag the owner of a value that none owns. Returns the value if it is.
    pub(crate) fn claim(&self, tag: Tag) -> Option<&T> {
        // SAFETY: only the state of a value that was stored is replaced.
        self.owner.claim(tag.bits()).then(|| unsafe { self.value() })
    }

    /// Takes the value from its owner, a thread of the parent process.
    pub(crate) fn disown(&self) {
        self.owner.disown();
    }
}

// SAFETY: lends `&T` only, and takes values from any thread.
unsafe impl<T: Send + Sync> Sync for Tagged<T> {}
