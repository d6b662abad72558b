//! The atomics of the ownership protocol and of gates. The model checker replaces this file by its own atomics.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
