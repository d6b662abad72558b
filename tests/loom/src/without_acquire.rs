//! The protocols with acquire replaced by relaxed.
#![expect(clippy::duplicate_mod, reason = "the same source with other orderings")]

#[path = "../../../src/store/gate.rs"]
pub(crate) mod gate;
#[path = "../../../src/store/owners.rs"]
pub(crate) mod owners;
#[path = "../../../src/store/fork/ownership.rs"]
pub(crate) mod ownership;

mod sync {
    pub(super) use loom::sync::atomic::AtomicU64;

    /// Replaces the enum: the same names with other orderings.
    #[expect(non_snake_case, non_upper_case_globals, reason = "named as in the enum")]
    pub(super) mod Ordering {
        use loom::sync::atomic::Ordering as Real;

        pub(crate) const Relaxed: Real = Real::Relaxed;
        pub(crate) const Acquire: Real = Real::Relaxed;
        pub(crate) const Release: Real = Real::Release;
    }
}
