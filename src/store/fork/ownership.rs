//! Who may write a value that is stored in place: the protocol by which one thread becomes its owner.
//!
//! The value is written once, before its state. From then on it is unowned, or has the tag of its owner, which writes it
//! with plain loads and stores. One thread takes an unowned value, by compare-and-swap.

use super::sync::{AtomicU64, Ordering};

/// There is no value. No tag has its highest bit.
const EMPTY: u64 = u64::MAX;
/// There is a value that no thread owns.
const UNOWNED: u64 = u64::MAX - 1;

/// The state of a value: whether there is one, and the tag of its owner.
pub(crate) struct Ownership(AtomicU64);

impl Ownership {
    /// There is no value.
    pub(crate) fn new() -> Ownership {
        Ownership(AtomicU64::new(EMPTY))
    }

    /// Whether there is a value whose owner has this tag.
    #[inline]
    pub(crate) fn is(&self, tag: u64) -> bool {
        // ORDERING: acquire, pairs with the release in `fill`, after the value was written.
        self.0.load(Ordering::Acquire) == tag
    }

    /// Whether there is a value.
    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        // ORDERING: acquire, as above.
        self.0.load(Ordering::Acquire) != EMPTY
    }

    /// Called after the value was written, by the only thread that may write it. Without a tag it is unowned.
    pub(crate) fn fill(&self, tag: Option<u64>) {
        // ORDERING: release, after the value.
        self.0.store(tag.unwrap_or(UNOWNED), Ordering::Release);
    }

    /// Makes the thread with this tag the owner of an unowned value. Returns whether it is.
    pub(crate) fn claim(&self, tag: u64) -> bool {
        // ORDERING: acquire, to see the value.
        self.0.compare_exchange(UNOWNED, tag, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the value from its owner, which must not write it any more: a thread of the parent process.
    pub(crate) fn disown(&self) {
        if self.is_filled() {
            self.fill(None);
        }
    }
}
