//! Recordings through a gate are moved exactly once: `store/gate.rs`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::gate::Gate;
use crate::{model_bounded, without_acquire, without_release};

/// The protocol, with its own orderings or with weaker ones.
trait Gated: Send + Sync + 'static {
    fn new() -> Self;
    fn pass(&self, record: impl FnOnce()) -> bool;
    fn close(&self);
    fn is_closed(&self) -> bool;
    fn is_empty(&self) -> bool;
    fn open(&self);
}

macro_rules! gates {
    ($($gate:ty),*) => {$(
        impl Gated for $gate {
            fn new() -> Self {
                <$gate>::new()
            }

            fn pass(&self, record: impl FnOnce()) -> bool {
                self.pass(record)
            }

            fn close(&self) {
                self.close();
            }

            fn is_closed(&self) -> bool {
                self.is_closed()
            }

            fn is_empty(&self) -> bool {
                self.is_empty()
            }

            fn open(&self) {
                self.open();
            }
        }
    )*};
}

gates!(Gate, without_acquire::gate::Gate, without_release::gate::Gate);

/// Whether the thread that moves the cell checks for recordings in progress.
#[derive(Clone, Copy, PartialEq)]
enum Mover {
    Checks,
    Ignores,
}

/// Two threads record, one of them twice, while a third one moves the value of the cell, as `Files::place_waiting` does.
fn record_and_move<G: Gated>(mover: Mover) {
    model_bounded(3, move || {
        // The gate, the waiting value, and the value in the file.
        let shared = Arc::new((G::new(), AtomicU64::new(0), AtomicU64::new(0)));
        let threads: Vec<_> = (1..=2)
            .map(|times| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (gate, waiting, placed) = &*shared;
                    for _ in 0..times {
                        let add = |cell: &AtomicU64| _ = cell.fetch_add(1, Ordering::Relaxed);
                        if !gate.pass(|| add(waiting)) {
                            add(placed);
                        }
                    }
                })
            })
            .collect();
        let (gate, waiting, placed) = &*shared;
        gate.close();
        let is_moved = mover == Mover::Ignores || gate.is_empty();
        if is_moved {
            placed.fetch_add(waiting.load(Ordering::Relaxed), Ordering::Relaxed);
        } else {
            gate.open();
        }
        assert_eq!(gate.is_closed(), is_moved);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let left = if is_moved { 0 } else { waiting.load(Ordering::Relaxed) };
        assert_eq!(placed.load(Ordering::Relaxed) + left, 3, "a value is lost");
    });
}

#[test]
fn recordings_through_a_gate_are_moved_exactly_once() {
    record_and_move::<Gate>(Mover::Checks);
}

#[test]
#[should_panic(expected = "a value is lost")]
fn a_mover_that_ignores_recordings_in_progress_loses_values() {
    record_and_move::<Gate>(Mover::Ignores);
}

#[test]
#[should_panic(expected = "a value is lost")]
fn leaving_a_gate_without_release_loses_values() {
    record_and_move::<without_release::gate::Gate>(Mover::Checks);
}

#[test]
#[should_panic(expected = "a value is lost")]
fn reading_the_count_of_a_gate_without_acquire_loses_values() {
    record_and_move::<without_acquire::gate::Gate>(Mover::Checks);
}
