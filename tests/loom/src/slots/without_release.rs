//! Slots and native records whose last store is relaxed. The release fence of a slot stays.
#![expect(clippy::duplicate_mod, reason = "the same source with other orderings")]

#[path = "../../../../src/file/companion/publish.rs"]
pub(crate) mod publish;
#[path = "../../../../src/file/companion/slot.rs"]
pub(crate) mod slot;

mod sync {
    pub(super) use loom::sync::atomic::AtomicU64;

    pub(super) fn fence(ordering: loom::sync::atomic::Ordering) {
        let is_weakened = ordering == loom::sync::atomic::Ordering::Relaxed;
        let release = loom::sync::atomic::Ordering::Release;
        loom::sync::atomic::fence(if is_weakened { release } else { ordering });
    }

    /// Replaces the enum: the same names with other orderings.
    #[expect(non_snake_case, non_upper_case_globals, reason = "named as in the enum")]
    pub(super) mod Ordering {
        use loom::sync::atomic::Ordering as Real;

        pub(crate) const Relaxed: Real = Real::Relaxed;
        pub(crate) const Acquire: Real = Real::Acquire;
        pub(crate) const Release: Real = Real::Relaxed;
    }
}
