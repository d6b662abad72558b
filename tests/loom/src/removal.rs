//! A series that one thread removes and brings back while another one records.
//!
//! Mirrors `Child::remove` and `Child::bind` in `metrics/core.rs`, `RemovalFlags` and `restart` in `metrics/split.rs`. Cells keep their
//! values when the series is removed: what a process shows afterwards is their total less a base.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Plain, Ordering::SeqCst};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::counter::{Cell, CounterCells, LOST};
use crate::model;

/// How often the series was recorded before it is removed.
const BEFORE: f64 = 2.0;
const AGAIN: &str = "a recording from before the removal is shown again";
const REMOVED: &str = "a removed series is exported";

/// The cells of the owner, whether the series has them, and the base.
struct Series {
    cells: CounterCells,
    is_bound: AtomicBool,
    base: Cell,
}

/// How a series comes back.
#[derive(Clone, Copy)]
enum Return {
    /// Its base becomes the total.
    FromBase,
    /// Its cells become 0.
    FromZero,
}

/// The owner records while another thread removes the series and brings it back.
fn remove_and_return(way: Return) {
    model(move || {
        let series = Series {
            cells: CounterCells::new(),
            is_bound: AtomicBool::new(true),
            base: Cell::new(),
        };
        (0..BEFORE as u32).for_each(|_| series.cells.inc());
        let series = Arc::new(series);
        let recorded = Arc::new(Plain::new(0));
        let owner = {
            let (series, recorded) = (series.clone(), recorded.clone());
            thread::spawn(move || {
                if series.is_bound.load(Ordering::Acquire) {
                    series.cells.inc();
                    recorded.fetch_add(1, SeqCst);
                }
            })
        };
        series.is_bound.store(false, Ordering::Release);
        match way {
            Return::FromBase => series.base.add(series.cells.total()),
            Return::FromZero => series.cells.reset(),
        }
        series.is_bound.store(true, Ordering::Release);
        owner.join().unwrap();
        let recorded = recorded.load(SeqCst) as f64;
        let shown = series.cells.total() - series.base.get();
        assert!((0.0..=recorded).contains(&shown), "{AGAIN}");
        if let Return::FromBase = way {
            assert_eq!(series.cells.total(), BEFORE + recorded, "{LOST}");
        }
    });
}

#[test]
fn a_series_that_comes_back_shows_what_was_recorded_since_and_loses_nothing() {
    remove_and_return(Return::FromBase);
}

#[test]
#[should_panic(expected = "a recording from before the removal is shown again")]
fn setting_the_cells_of_another_thread_to_zero_shows_former_recordings_again() {
    remove_and_return(Return::FromZero);
}

/// Whether the recording thread looks again when it has the lock.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    BeforeTheLock,
    AndUnderIt,
}

/// A thread that records for the first time waits for the lock of the slow path while the series is removed.
fn record_and_remove(look: Look) {
    model(move || {
        // The lock, whether the series is removed, and the address of its storage.
        let series = Arc::new((Mutex::new(()), AtomicBool::new(false), AtomicUsize::new(0)));
        let recorder = {
            let series = series.clone();
            thread::spawn(move || {
                let (lock, is_removed, bound) = &*series;
                if is_removed.load(Ordering::Relaxed) {
                    return;
                }
                let _lock = lock.lock().unwrap();
                if look == Look::AndUnderIt && is_removed.load(Ordering::Relaxed) {
                    return;
                }
                bound.store(1, Ordering::Release);
            })
        };
        let (lock, is_removed, bound) = &*series;
        {
            let _lock = lock.lock().unwrap();
            is_removed.store(true, Ordering::Relaxed);
            bound.store(0, Ordering::Release);
        }
        recorder.join().unwrap();
        assert_eq!(bound.load(Ordering::Acquire), 0, "{REMOVED}");
    });
}

#[test]
fn a_recording_that_waits_for_a_removal_is_ignored() {
    record_and_remove(Look::AndUnderIt);
}

#[test]
#[should_panic(expected = "a removed series is exported")]
fn a_recording_that_looks_only_before_the_lock_brings_a_removed_series_back() {
    record_and_remove(Look::BeforeTheLock);
}
