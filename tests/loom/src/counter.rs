//! The cells of a counter, and their values in readers while threads record.
//!
//! Mirrors `Cell` in `file/cell.rs`, `CounterCells`, `add_claimed` and `total` in
//! `metrics/counter.rs`, and the slots of `Split` in `store/split.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Plain, Ordering::SeqCst};

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::indexes::Indexes;
use crate::owners::{MAX_OWNERS, Owners};
use crate::{model, model_bounded};

/// The message of a total that is too low.
pub(crate) const LOST: &str = "an increment is lost";

/// `Cell`.
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn new() -> Cell {
        Cell(AtomicU64::new(0))
    }

    pub(crate) fn get(&self) -> f64 {
        Cell::read(&self.0)
    }

    fn read(word: &AtomicU64) -> f64 {
        f64::from_bits(word.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn add_owned(&self, amount: f64) {
        self.set(self.get() + amount);
    }

    pub(crate) fn add(&self, amount: f64) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let sum = (f64::from_bits(seen) + amount).to_bits();
            match self.0.compare_exchange_weak(seen, sum, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

/// `CounterCells`.
pub(crate) struct CounterCells {
    total: Cell,
    ones: AtomicU64,
    others: AtomicU64,
}

impl CounterCells {
    pub(crate) fn new() -> CounterCells {
        CounterCells { total: Cell::new(), ones: AtomicU64::new(0), others: AtomicU64::new(0) }
    }

    pub(crate) fn inc(&self) {
        let ones = self.ones.load(Ordering::Relaxed) + 1;
        self.ones.store(ones, Ordering::Relaxed);
        self.total.set(ones as i64 as f64 + Cell::read(&self.others));
    }

    pub(crate) fn add(&self, amount: f64) {
        let others = Cell::read(&self.others) + amount;
        self.others.store(others.to_bits(), Ordering::Relaxed);
        self.total.set(self.ones.load(Ordering::Relaxed) as i64 as f64 + others);
    }

    pub(crate) fn total(&self) -> f64 {
        self.total.get()
    }

    /// What another thread than the owner must not do.
    pub(crate) fn add_shared(&self, amount: f64) {
        self.total.add(amount);
    }

    /// What another thread than the owner must not do.
    pub(crate) fn reset(&self) {
        self.ones.store(0, Ordering::Relaxed);
        self.total.set(0.0);
    }
}

/// One counter of a process whose last `free` indexes can be taken.
struct Counter {
    owners: Arc<Owners>,
    owned: Vec<CounterCells>,
    shared: Cell,
}

impl Counter {
    fn with_free(free: usize) -> Arc<Counter> {
        let owned = (0..free).map(|_| CounterCells::new()).collect();
        Arc::new(Counter { owners: Owners::with_free(free), owned, shared: Cell::new() })
    }

    /// Records 1 as a thread that then ends. Returns whether it had cells of its own.
    fn record(&self) -> bool {
        match self.owners.take() {
            Some(index) => {
                self.owned[index + self.owned.len() - MAX_OWNERS].inc();
                self.owners.release(index);
                true
            }
            None => {
                self.shared.add(1.0);
                false
            }
        }
    }

    fn total(&self) -> f64 {
        let cells = self.owned.iter().map(CounterCells::total).chain([self.shared.get()]);
        cells.fold(0.0, |sum, value| sum + value)
    }
}

#[test]
fn a_reader_never_sees_more_than_was_counted_and_all_of_it_in_the_end() {
    let sharing = Arc::new(Plain::new(0));
    let seen_sharing = sharing.clone();
    model_bounded(2, move || {
        let counter = Counter::with_free(2);
        // Not an atomic of the model: the number of increments that have begun in this execution.
        let begun = Arc::new(Plain::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (counter, begun, sharing) = (counter.clone(), begun.clone(), sharing.clone());
                thread::spawn(move || {
                    begun.fetch_add(1, SeqCst);
                    if !counter.record() {
                        sharing.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        let first = counter.total();
        assert!(first <= begun.load(SeqCst) as f64, "more than was counted");
        let second = counter.total();
        assert!(second <= begun.load(SeqCst) as f64, "more than was counted");
        assert!(first <= second, "a total decreases");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counter.total(), 3.0, "{LOST}");
    });
    assert!(seen_sharing.load(SeqCst) > 0, "in some execution a thread gets no index");
}

#[test]
fn threads_that_share_a_cell_lose_nothing() {
    model(|| {
        let counter = Counter::with_free(0);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let counter = counter.clone();
                thread::spawn(move || assert!(!counter.record()))
            })
            .collect();
        counter.record();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counter.total(), 3.0, "{LOST}");
    });
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn adding_to_the_cell_of_another_thread_by_compare_and_swap_loses_increments() {
    model(|| {
        let cell = Arc::new(Cell::new());
        let owned = cell.clone();
        let owner = thread::spawn(move || owned.add_owned(1.0));
        cell.add(1.0);
        owner.join().unwrap();
        assert_eq!(cell.get(), 2.0, "{LOST}");
    });
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn adding_to_the_count_of_another_thread_atomically_loses_increments() {
    model(|| {
        let cells = Arc::new(CounterCells::new());
        let owned = cells.clone();
        let owner = thread::spawn(move || owned.inc());
        cells.ones.fetch_add(1, Ordering::Relaxed);
        owner.join().unwrap();
        cells.add(0.0);
        assert_eq!(cells.total(), 2.0, "{LOST}");
    });
}
