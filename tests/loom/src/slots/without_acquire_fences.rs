//! A slot whose reader has no acquire fences.
#![expect(clippy::duplicate_mod, reason = "the same source with other orderings")]

#[path = "../../../../src/file/companion/slot.rs"]
pub(crate) mod slot;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(super) fn fence(ordering: Ordering) {
        if ordering != Ordering::Acquire {
            loom::sync::atomic::fence(ordering);
        }
    }
}
