//! The publication of the current record of a native histogram: one word with its offset.
//!
//! A histogram that changes its resolution writes a new record and then stores its offset here. A process that is killed
//! before this store leaves the former record current, which lacks the operation in progress at most.

use super::sync::{AtomicU64, Ordering};

/// Makes the record at `offset` the current one. All of its words were stored before.
pub(crate) fn publish(word: &AtomicU64, offset: u64) {
    // ORDERING: release, after the words of the record. Pairs with the acquire load in `current`.
    word.store(offset, Ordering::Release);
}

/// Returns the offset of the current record; 0 if there is none yet.
pub(crate) fn current(word: &AtomicU64) -> u64 {
    // ORDERING: acquire, before the words of the record are read.
    word.load(Ordering::Acquire)
}
