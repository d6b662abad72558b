//! The atomics of the protocols here. `tests/loom` compiles these files with those of loom.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
