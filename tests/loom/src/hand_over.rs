//! How cells pass from one thread to another: `store/owners.rs` with the cells of a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Plain, Ordering::SeqCst};

use loom::cell::UnsafeCell;
use loom::thread;

use crate::counter::{Cell, CounterCells, LOST};
use crate::indexes::Indexes;
use crate::owners::Owners;
use crate::{model, without_acquire, without_release};

/// Two threads take the only free index, call `work`, and return the index. A thread that gets no index calls
/// `otherwise`. Returns the number of executions in which both threads had the index.
fn hand_over<O: Indexes, T: Send + Sync + 'static>(
    make: fn() -> T,
    work: fn(&T),
    otherwise: fn(&T),
    end: fn(&T),
) -> u64 {
    let handed_over = Arc::new(Plain::new(0));
    let count = handed_over.clone();
    model(move || {
        let (owners, owned) = (O::with_free(1), Arc::new(make()));
        let run = move |owners: &O, owned: &T| match owners.take() {
            Some(index) => {
                work(owned);
                owners.release(index);
                1
            }
            None => {
                otherwise(owned);
                0
            }
        };
        let other = {
            let (owners, owned) = (owners.clone(), owned.clone());
            thread::spawn(move || run(&owners, &owned))
        };
        let own = run(&owners, &owned);
        if own + other.join().unwrap() == 2 {
            count.fetch_add(1, SeqCst);
        }
        end(&owned);
    });
    handed_over.load(SeqCst)
}

/// Two increments in each thread, in the owned cells or in the shared one.
fn count_in_both<O: Indexes>() -> u64 {
    hand_over::<O, _>(
        || (CounterCells::new(), Cell::new()),
        |(cells, _)| {
            cells.inc();
            cells.add(1.0);
        },
        |(_, shared)| shared.add(2.0),
        |(cells, shared)| assert_eq!(cells.total() + shared.get(), 4.0, "{LOST}"),
    )
}

/// Memory that is not atomic: loom reports unordered accesses.
struct Memory(UnsafeCell<()>);

#[expect(unsafe_code, reason = "loom checks this promise at run time")]
// SAFETY: all access is by `write`, and loom fails the test if two of them are not ordered.
unsafe impl Sync for Memory {}

impl Memory {
    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

fn write_in_both<O: Indexes>() -> u64 {
    hand_over::<O, _>(|| Memory(UnsafeCell::new(())), Memory::write, |_| (), |_| ())
}

#[test]
fn the_next_owner_continues_from_the_last_value() {
    assert!(count_in_both::<Owners>() > 0, "in some execution both threads have the index");
}

#[test]
fn stores_of_the_previous_owner_happen_before_the_next_owner() {
    assert!(write_in_both::<Owners>() > 0, "in some execution both threads have the index");
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn returning_an_index_without_release_loses_increments() {
    count_in_both::<without_release::owners::Owners>();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn returning_an_index_without_release_orders_nothing() {
    write_in_both::<without_release::owners::Owners>();
}

#[test]
#[should_panic(expected = "an increment is lost")]
fn taking_an_index_without_acquire_loses_increments() {
    count_in_both::<without_acquire::owners::Owners>();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn taking_an_index_without_acquire_orders_nothing() {
    write_in_both::<without_acquire::owners::Owners>();
}
