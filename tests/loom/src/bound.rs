//! Addresses that are published, and are valid in one process.
//!
//! Mirrors `StaticRef` in `fork_safe` and `Bound` in `store/fork`. An address is an index into values that are stored
//! relaxed, which orders as little as stores to plain memory.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use crate::model;

/// An initialized value.
const INITIALIZED: u64 = 7;
/// The null address.
const NULL: usize = 0;

/// The memory that addresses point into.
struct Values(Vec<AtomicU64>);

impl Values {
    fn new(len: usize) -> Values {
        Values((0..len).map(|_| AtomicU64::new(0)).collect())
    }

    /// Initializes a value; returns its address.
    fn init(&self, at: usize) -> usize {
        self.0[at - 1].store(INITIALIZED, Ordering::Relaxed);
        at
    }

    fn check(&self, address: usize) {
        assert_eq!(
            self.0[address - 1].load(Ordering::Relaxed),
            INITIALIZED,
            "a value is incomplete"
        );
    }
}

/// `StaticRef`.
struct StaticRef(AtomicUsize);

impl StaticRef {
    fn empty() -> StaticRef {
        StaticRef(AtomicUsize::new(NULL))
    }

    fn get(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Acquire)).filter(|&address| address != NULL)
    }

    fn set(&self, address: usize) {
        self.0.store(address, Ordering::Release);
    }

    /// `set_once`, with these orderings.
    fn set_once_with(&self, address: usize, success: Ordering, failure: Ordering) -> usize {
        match self.0.compare_exchange(NULL, address, success, failure) {
            Ok(_) => address,
            Err(other) => other,
        }
    }
}

/// `Bound` in the child, with the epoch of the process that has set it.
struct Bound {
    epoch: AtomicU64,
    value: StaticRef,
}

const PARENT: u64 = 1;
const CHILD: u64 = 2;

impl Bound {
    /// The state in the child, with the value of its parent.
    fn inherited(address: usize) -> Bound {
        let bound = Bound { epoch: AtomicU64::new(PARENT), value: StaticRef::empty() };
        bound.value.set(address);
        bound
    }

    fn get_in(&self, epoch: u64) -> Option<usize> {
        if self.epoch.load(Ordering::Acquire) == epoch { self.value.get() } else { None }
    }

    fn set(&self, address: usize) {
        self.value.set(address);
        self.epoch.store(CHILD, Ordering::Release);
    }

    /// Like `set`, in the wrong order.
    fn set_epoch_first(&self, address: usize) {
        self.epoch.store(CHILD, Ordering::Release);
        self.value.set(address);
    }
}

fn set_once_in_two_threads(success: Ordering, failure: Ordering) {
    model(move || {
        let shared = Arc::new((Values::new(2), StaticRef::empty()));
        let set = move |(values, published): &(Values, StaticRef), at| {
            let address = published.set_once_with(values.init(at), success, failure);
            values.check(address);
            address
        };
        let threads: Vec<_> = (1..=2)
            .map(|at| {
                let shared = shared.clone();
                thread::spawn(move || set(&shared, at))
            })
            .collect();
        let (values, published) = &*shared;
        let seen = published.get();
        seen.inspect(|&address| values.check(address));
        let held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(held[0], held[1], "both threads hold the first address");
        assert_eq!(published.get(), Some(held[0]));
        assert!(seen.is_none_or(|address| address == held[0]), "the address does not change");
    });
}

fn bind_and_read(set: fn(&Bound, usize)) {
    model(move || {
        let values = Values::new(2);
        let bound = Bound::inherited(values.init(1));
        let shared = Arc::new((values, bound));
        let own = shared.clone();
        let writer = thread::spawn(move || set(&own.1, own.0.init(2)));
        let (values, bound) = &*shared;
        for _ in 0..2 {
            if let Some(address) = bound.get_in(CHILD) {
                assert_eq!(address, 2, "the value of the parent counts in the child");
                values.check(address);
            }
        }
        writer.join().unwrap();
        assert_eq!(bound.get_in(CHILD), Some(2));
    });
}

#[test]
fn all_threads_see_the_same_address_and_a_complete_value() {
    set_once_in_two_threads(Ordering::AcqRel, Ordering::Acquire);
}

#[test]
#[should_panic(expected = "a value is incomplete")]
fn setting_an_address_without_release_shows_an_incomplete_value() {
    set_once_in_two_threads(Ordering::Acquire, Ordering::Acquire);
}

#[test]
#[should_panic(expected = "a value is incomplete")]
fn losing_the_race_without_acquire_shows_an_incomplete_value() {
    set_once_in_two_threads(Ordering::AcqRel, Ordering::Relaxed);
}

#[test]
fn the_value_of_the_parent_never_counts_in_the_child() {
    bind_and_read(Bound::set);
}

#[test]
#[should_panic(expected = "the value of the parent counts in the child")]
fn storing_the_epoch_before_the_value_counts_the_value_of_the_parent() {
    bind_and_read(Bound::set_epoch_first);
}
