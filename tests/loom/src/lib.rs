//! The protocols between threads, run by loom in every order that the memory model allows.
//!
//! `store/owners.rs` and `store/gate.rs` are the files of the library itself, built with loom's atomics. What holds addresses
//! or mapped memory is modelled with indexes in their place: the same steps in the same order with the
//! same orderings. Each model names the source that it mirrors, and changes together with it.
//!
//! A test with `should_panic` runs a protocol with one step made wrong. It shows that the test beside
//! it would see that mistake.
#![cfg(test)]
#![deny(unsafe_code)]

mod bound;
mod counter;
mod gates;
mod hand_over;
mod indexes;
mod list;
mod publish;
mod without_acquire;
mod without_release;

#[path = "../../../src/store/gate.rs"]
mod gate;
#[path = "../../../src/store/owners.rs"]
mod owners;

/// What they import.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

/// Runs `check` in all orders.
fn model(check: impl Fn() + Send + Sync + 'static) {
    run(None, check);
}

/// Runs `check` in all orders with up to `preemptions` switches away from a thread that could go on.
/// A switch at the end of a thread is none of them.
fn model_bounded(preemptions: usize, check: impl Fn() + Send + Sync + 'static) {
    run(Some(preemptions), check);
}

fn run(preemptions: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(check);
}
