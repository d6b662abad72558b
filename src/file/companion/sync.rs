//! The atomics of this folder. `tests/loom` replaces them by those of the model checker.

pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
