//! The protocols between threads, run by loom in every execution that the memory model allows.
//!
//! `store/owners.rs`, `store/fork/ownership.rs`, `store/gate.rs`, and `slot.rs` and `publish.rs` of `file/companion` are the files of the library
//! itself, compiled with loom's atomics. Code with addresses or mapped memory is modelled with indexes instead: the same
//! steps in the same order with the same orderings. Each model names the source that it mirrors, and changes together with
//! it.
//!
//! A test with `should_panic` runs a protocol with one mistake. It shows that the test of the correct protocol would find
//! that mistake.
#![cfg(test)]
#![deny(unsafe_code)]

mod bound;
mod claims;
mod counter;
mod gates;
mod hand_over;
mod indexes;
mod list;
mod native;
mod publish;
mod removal;
mod slots;
mod without_acquire;
mod without_release;

#[path = "../../../src/store/gate.rs"]
mod gate;
#[path = "../../../src/file/companion/publish.rs"]
mod native_publish;
#[path = "../../../src/store/owners.rs"]
mod owners;
#[path = "../../../src/store/fork/ownership.rs"]
mod ownership;
#[path = "../../../src/file/companion/slot.rs"]
mod slot;

/// The module that these files import.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

/// Runs `check` in all executions.
fn model(check: impl Fn() + Send + Sync + 'static) {
    run(None, check);
}

/// Runs `check` in all executions with up to `preemptions` switches away from a runnable thread.
fn model_bounded(preemptions: usize, check: impl Fn() + Send + Sync + 'static) {
    run(Some(preemptions), check);
}

fn run(preemptions: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(check);
}
