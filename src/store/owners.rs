//! Ownership of indexes: the protocol by which threads take over cells from each other.
//!
//! A thread that owns an index may write the cells of that index with plain loads and stores; no other thread
//! writes them. It takes the index by acquire and releases it by release, so the next owner sees all its stores.

use super::sync::{AtomicU64, Ordering};

/// The most threads that own cells at the same time. Further threads share cells, to which they add atomically.
pub(crate) const MAX_OWNERS: usize = 16;

/// Bitmap of the indexes that are taken.
pub(crate) struct Owners(AtomicU64);

impl Owners {
    pub(crate) fn new() -> Owners {
        Owners(AtomicU64::new(0))
    }

    /// Takes the lowest free index, if any.
    pub(crate) fn take(&self) -> Option<usize> {
        let mut taken = self.0.load(Ordering::Relaxed);
        loop {
            let index = taken.trailing_ones() as usize;
            if index >= MAX_OWNERS {
                return None;
            }
            // ORDERING: acquire, to see the stores of the previous owner.
            let with = taken | 1 << index;
            match self.0.compare_exchange(taken, with, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => taken = now,
            }
        }
    }

    /// Releases an index that the caller owns.
    pub(crate) fn release(&self, index: usize) {
        // ORDERING: release, so that the next owner sees the stores of this one.
        self.0.fetch_and(!(1 << index), Ordering::Release);
    }
}
