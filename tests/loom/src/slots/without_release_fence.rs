//! A slot whose writer has no release fence between the odd sequence and the payload.
#![expect(clippy::duplicate_mod, reason = "the same source with other orderings")]

#[path = "../../../../src/file/companion/slot.rs"]
pub(crate) mod slot;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(super) fn fence(ordering: Ordering) {
        if ordering != Ordering::Release {
            loom::sync::atomic::fence(ordering);
        }
    }
}
