//! Which thread owns the cells of a series, and which threads share them: `store/fork/ownership.rs`, with `Split::claim` and
//! `Split::own` in `store/split.rs` and `Child::record_first` in `metrics/recording.rs`.
//!
//! Cells are created under a lock, and each has a state that says who owns it. A thread finds its cells by its tag. Otherwise
//! it takes those that no thread owns, or adds to the shared ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Plain, Ordering::SeqCst};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use crate::counter::{Cell, CounterCells, LOST};
use crate::ownership::Ownership;
use crate::{model_bounded, without_acquire, without_release};

/// The state of the first or second cells, with its own orderings or with weaker ones.
trait Owner: Send + Sync + 'static {
    fn new() -> Self;
    fn is(&self, tag: u64) -> bool;
    fn is_filled(&self) -> bool;
    fn fill(&self, tag: Option<u64>);
    fn claim(&self, tag: u64) -> bool;
    fn disown(&self);
}

macro_rules! owners {
    ($($owner:ty),*) => {$(
        impl Owner for $owner {
            fn new() -> Self {
                <$owner>::new()
            }

            fn is(&self, tag: u64) -> bool {
                self.is(tag)
            }

            fn is_filled(&self) -> bool {
                self.is_filled()
            }

            fn fill(&self, tag: Option<u64>) {
                self.fill(tag);
            }

            fn claim(&self, tag: u64) -> bool {
                self.claim(tag)
            }

            fn disown(&self) {
                self.disown();
            }
        }
    )*};
}

owners!(Ownership, without_acquire::ownership::Ownership, without_release::ownership::Ownership);

/// Takes cells that no thread owns without a compare-and-swap.
struct ClaimedByStore(Ownership, AtomicU64);

impl Owner for ClaimedByStore {
    fn new() -> Self {
        ClaimedByStore(Ownership::new(), AtomicU64::new(0))
    }

    fn is(&self, tag: u64) -> bool {
        self.1.load(Ordering::Acquire) == tag
    }

    fn is_filled(&self) -> bool {
        self.0.is_filled()
    }

    fn fill(&self, tag: Option<u64>) {
        self.0.fill(None);
        self.1.store(tag.unwrap_or(0), Ordering::Release);
    }

    fn claim(&self, tag: u64) -> bool {
        let is_unowned = self.is_filled() && self.1.load(Ordering::Acquire) == 0;
        if is_unowned {
            self.1.store(tag, Ordering::Release);
        }
        is_unowned
    }

    fn disown(&self) {
        self.1.store(0, Ordering::Release);
    }
}

/// The value that cells have when they are published: the count in a file, which a thread adds to.
const FILLED: f64 = 4.0;

/// The mistakes of a protocol.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The cells are published before they are filled.
    PublishedFirst,
    /// The second thread makes the cells of the first one shared.
    Converted,
    /// A promotion replaces the cells that readers add up, instead of adding to them.
    Replaced,
}

/// One counter. Addresses are 1 beyond an index into cells, and 0 is none.
struct Split<O> {
    lock: Mutex<()>,
    state: O,
    first: CounterCells,
    /// The state of the second cells.
    second_state: O,
    second: CounterCells,
    shared: Cell,
    has_shared: AtomicUsize,
    mistake: Mistake,
}

impl<O: Owner> Split<O> {
    fn new(mistake: Mistake) -> Split<O> {
        Split {
            lock: Mutex::new(()),
            state: O::new(),
            first: CounterCells::new(),
            second_state: O::new(),
            second: CounterCells::new(),
            shared: Cell::new(),
            has_shared: AtomicUsize::new(0),
            mistake,
        }
    }

    /// Writes the first cells: `FILLED` is what the file has.
    fn fill(&self, tag: Option<u64>) {
        if self.mistake == Mistake::PublishedFirst {
            self.state.fill(tag);
            self.first.add(FILLED);
        } else {
            self.first.add(FILLED);
            self.state.fill(tag);
        }
    }

    /// `Split::register`.
    fn register(&self) {
        let _lock = self.lock.lock().unwrap();
        if !self.state.is_filled() {
            self.fill(None);
        }
    }

    /// `Child::record`.
    fn record(&self, tag: u64) {
        if self.state.is(tag) {
            self.first.inc();
        } else if self.second_state.is(tag) {
            self.second.inc();
        } else if self.has_shared.load(Ordering::Acquire) == 1 {
            self.share();
        } else {
            self.record_first(tag);
        }
    }

    fn record_first(&self, tag: u64) {
        if let Some(unowned) = self.claim_unowned(tag) {
            return unowned.inc();
        }
        let lock = self.lock.lock().unwrap();
        if let Some(unowned) = self.claim_unowned(tag) {
            drop(lock);
            return unowned.inc();
        }
        if !self.state.is_filled() {
            self.fill(Some(tag));
            drop(lock);
            return self.first.inc();
        }
        self.has_shared.store(1, Ordering::Release);
        drop(lock);
        self.share();
    }

    /// The part of `Split::owned_or_unowned` that claims cells: `record` has checked those that the thread owns.
    fn claim_unowned(&self, tag: u64) -> Option<&CounterCells> {
        if self.state.claim(tag) {
            return Some(&self.first);
        }
        self.second_state.claim(tag).then_some(&self.second)
    }

    /// `Split::inherit`.
    fn inherit(&self) {
        self.state.disown();
        self.second_state.disown();
    }

    fn share(&self) {
        if self.mistake == Mistake::Converted {
            // By compare-and-swap, which does not help: the owner stores its own sum.
            self.first.add_shared(1.0);
        } else {
            self.shared.add(1.0);
        }
    }

    /// `Child::own`: the second cells, with `FILLED` as the file has it, and one recording by their owner.
    fn promote(&self, tag: u64) {
        let lock = self.lock.lock().unwrap();
        if self.mistake == Mistake::Replaced {
            self.has_shared.store(0, Ordering::Release);
        }
        self.second.add(FILLED);
        self.second_state.fill(Some(tag));
        drop(lock);
        self.record(tag);
    }

    fn total(&self) -> f64 {
        let owned = |state: &O, cells: &CounterCells| {
            if state.is_filled() { cells.total() } else { 0.0 }
        };
        let is_shared = self.has_shared.load(Ordering::Acquire) == 1;
        let shared = if is_shared { self.shared.get() } else { 0.0 };
        owned(&self.state, &self.first) + owned(&self.second_state, &self.second) + shared
    }
}

/// Two threads record twice each, while a third one registers the series. Returns the number of executions in which the
/// thread that registered the series left its cells to another one.
fn register_and_record<O: Owner>(mistake: Mistake) -> u64 {
    let taken = Arc::new(Plain::new(0));
    let count = taken.clone();
    model_bounded(2, move || {
        let split = Arc::new(Split::<O>::new(mistake));
        let threads: Vec<_> = (1..=2)
            .map(|tag| {
                let split = split.clone();
                thread::spawn(move || (0..2).for_each(|_| split.record(tag)))
            })
            .collect();
        split.register();
        let is_unowned = split.state.is_filled() && !split.state.is(1) && !split.state.is(2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(split.total(), FILLED + 4.0, "{LOST}");
        if is_unowned {
            count.fetch_add(1, SeqCst);
        }
    });
    taken.load(SeqCst)
}

/// A thread that shares the cells of another one gets its own, while that one records and a reader adds up.
fn promote<O: Owner>(mistake: Mistake) {
    model_bounded(2, move || {
        let split = Arc::new(Split::<O>::new(mistake));
        split.record(1);
        let owner = {
            let split = split.clone();
            thread::spawn(move || split.record(1))
        };
        let other = {
            let split = split.clone();
            thread::spawn(move || {
                split.record(2);
                split.promote(2);
            })
        };
        let before = split.total();
        let after = split.total();
        assert!(before <= after, "a total decreases");
        owner.join().unwrap();
        other.join().unwrap();
        assert_eq!(split.total(), 2.0 * FILLED + 4.0, "{LOST}");
    });
}

#[test]
fn the_first_thread_that_records_owns_the_cells_that_were_registered() {
    let left = register_and_record::<Ownership>(Mistake::None);
    assert!(left > 0, "in some execution the registered cells are taken");
}

#[test]
fn a_promoted_thread_records_beside_the_owner_and_the_shared_cells() {
    promote::<Ownership>(Mistake::None);
}

/// A forked child on the heap: `Split::inherit`, then two threads record. Only one of them continues with the cells of each
/// of the parent's threads.
fn inherit<O: Owner>(has_second: bool) {
    const PARENT: [u64; 2] = [3, 4];
    model_bounded(2, move || {
        let split = Arc::new(Split::<O>::new(Mistake::None));
        split.record(PARENT[0]);
        let mut total = FILLED + 3.0;
        if has_second {
            split.promote(PARENT[1]);
            total += FILLED + 1.0;
        }
        split.inherit();
        let other = {
            let split = split.clone();
            thread::spawn(move || split.record(2))
        };
        split.record(1);
        other.join().unwrap();
        assert_eq!(split.total(), total, "{LOST}");
        assert!(split.state.is(1) != split.state.is(2), "one thread owns the cells");
        let owns_second = |tag| split.second_state.is(tag);
        assert_eq!(owns_second(1) != owns_second(2), has_second, "the other thread owns these");
    });
}

#[test]
fn the_cells_of_a_thread_of_the_parent_pass_to_one_thread_of_the_child() {
    inherit::<Ownership>(false);
}

#[test]
fn the_cells_of_two_threads_of_the_parent_pass_to_different_threads_of_the_child() {
    inherit::<Ownership>(true);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn two_threads_of_the_child_that_take_the_same_cells_lose_increments() {
    inherit::<ClaimedByStore>(false);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn two_threads_that_take_the_same_cells_lose_increments() {
    register_and_record::<ClaimedByStore>(Mistake::None);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn publishing_cells_before_they_are_filled_loses_what_the_file_has() {
    register_and_record::<Ownership>(Mistake::PublishedFirst);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn filling_cells_without_release_loses_what_the_file_has() {
    register_and_record::<without_release::ownership::Ownership>(Mistake::None);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn taking_cells_without_acquire_loses_what_the_file_has() {
    register_and_record::<without_acquire::ownership::Ownership>(Mistake::None);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn sharing_the_cells_of_an_owner_loses_increments() {
    promote::<Ownership>(Mistake::Converted);
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn a_promotion_that_leaves_out_the_shared_cells_loses_increments() {
    promote::<Ownership>(Mistake::Replaced);
}
