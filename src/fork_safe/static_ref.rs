//! Addresses that are published by one atomic store.
#![expect(unsafe_code, reason = "addresses that are published between threads")]

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::prefetch::prefetch;

/// The address of a value that is never freed.
pub(crate) struct StaticRef<T: 'static> {
    pointer: AtomicPtr<T>,
    marker: PhantomData<&'static T>,
}

impl<T: Sync> StaticRef<T> {
    pub(crate) const fn empty() -> StaticRef<T> {
        StaticRef { pointer: AtomicPtr::new(ptr::null_mut()), marker: PhantomData }
    }

    /// Creates one with an address, if there is one.
    pub(crate) fn new(value: Option<&'static T>) -> StaticRef<T> {
        let pointer = value.map_or(ptr::null_mut(), |value| ptr::from_ref(value).cast_mut());
        StaticRef { pointer: AtomicPtr::new(pointer), marker: PhantomData }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // ORDERING: acquire, to see the value that was written before the address was published.
        let pointer = self.pointer.load(Ordering::Acquire);
        // SAFETY: null, or from a `&'static T`, as every store here is.
        unsafe { pointer.as_ref() }
    }

    pub(crate) fn set(&self, value: &'static T) {
        self.pointer.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.pointer.store(ptr::null_mut(), Ordering::Release);
    }

    /// Prefetches the first cache lines of the value.
    #[inline]
    pub(crate) fn prefetch(&self) {
        const LINE: usize = 64;
        const MAX_LINES: usize = 4;
        let start = self.pointer.load(Ordering::Relaxed);
        for line in 0..size_of::<T>().div_ceil(LINE).min(MAX_LINES) {
            prefetch(start.wrapping_byte_add(line * LINE));
        }
    }

    /// Copies the address from `other`, if that has one.
    pub(crate) fn copy(&self, other: &StaticRef<T>) {
        if let Some(value) = other.get() {
            self.set(value);
        }
    }

    /// Sets the address if there is none. Returns the address that is set now.
    pub(crate) fn set_once(&self, value: &'static T) -> &'static T {
        let new = ptr::from_ref(value).cast_mut();
        let empty = ptr::null_mut();
        match self.pointer.compare_exchange(empty, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => value,
            // SAFETY: not null, so from a `&'static T`.
            Err(other) => unsafe { &*other },
        }
    }

    /// Replaces `seen`, which an earlier `get` returned, by `value`. Returns `false` if another address is set now.
    pub(crate) fn replace(&self, seen: Option<&'static T>, value: &'static T) -> bool {
        let before = seen.map_or(ptr::null_mut(), |seen| ptr::from_ref(seen).cast_mut());
        let after = ptr::from_ref(value).cast_mut();
        self.pointer.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
