//! Who owns which index: the protocol by which threads take cells over from each other.
//!
//! A thread that owns an index may write the cells of that index with plain loads and stores; nobody
//! else writes them. It takes the index by acquire and gives it back by release, so its successor sees
//! every store of it.

use super::sync::{AtomicU64, Ordering};

/// Threads that own cells at the same time; more share cells that all of them add to atomically.
pub(crate) const MAX_OWNERS: usize = 16;

/// The indexes that are taken, as bits.
pub(crate) struct Owners(AtomicU64);

impl Owners {
    pub(crate) fn new() -> Owners {
        Owners(AtomicU64::new(0))
    }

    /// Takes the lowest free index, if there is one.
    pub(crate) fn take(&self) -> Option<usize> {
        let mut taken = self.0.load(Ordering::Relaxed);
        loop {
            let index = taken.trailing_ones() as usize;
            if index >= MAX_OWNERS {
                return None;
            }
            // ORDERING: acquire, to see what the owner before has stored.
            let with = taken | 1 << index;
            match self.0.compare_exchange(taken, with, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => taken = now,
            }
        }
    }

    /// Gives an index back that the caller owns.
    pub(crate) fn give_back(&self, index: usize) {
        // ORDERING: release, so that the next owner sees what this one has stored.
        self.0.fetch_and(!(1 << index), Ordering::Release);
    }
}
