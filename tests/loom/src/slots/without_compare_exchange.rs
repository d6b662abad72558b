//! A slot whose writer loads the sequence and stores the odd one, in two steps.
#![expect(clippy::duplicate_mod, reason = "the same source with another atomic")]

#[path = "../../../../src/file/companion/slot.rs"]
pub(crate) mod slot;

pub(crate) mod sync {
    pub(super) use loom::sync::atomic::{Ordering, fence};

    pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(word: u64) -> AtomicU64 {
            AtomicU64(loom::sync::atomic::AtomicU64::new(word))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, word: u64, ordering: Ordering) {
            self.0.store(word, ordering);
        }

        pub(crate) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            let word = self.load(failure);
            if word != current {
                return Err(word);
            }
            self.load(success);
            self.store(new, Ordering::Relaxed);
            Ok(word)
        }
    }
}
