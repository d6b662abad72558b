//! The atomics of the ownership protocol. The model checker builds `owners.rs` with its own.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
