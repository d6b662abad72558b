//! The protocols where acquire is relaxed.
#![expect(clippy::duplicate_mod, reason = "the same source with other orderings")]

#[path = "../../../src/store/gate.rs"]
pub(crate) mod gate;
#[path = "../../../src/store/owners.rs"]
pub(crate) mod owners;

mod sync {
    pub(super) use loom::sync::atomic::AtomicU64;

    /// Stands in for the enum: its names, with other meanings.
    #[expect(non_snake_case, non_upper_case_globals, reason = "named as in the enum")]
    pub(super) mod Ordering {
        use loom::sync::atomic::Ordering as Real;

        pub(crate) const Relaxed: Real = Real::Relaxed;
        pub(crate) const Acquire: Real = Real::Relaxed;
        pub(crate) const Release: Real = Real::Release;
    }
}
