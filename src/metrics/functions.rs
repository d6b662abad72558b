//! Functions that compute the values of series.
//!
//! In memory they are called when the family is gathered. If the values are in a directory, the refresher of the process
//! calls them: see `store::refresher`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::panics::{Panicked, caught};
use crate::registry;
use crate::store::fork::{self, NO_EPOCH, SlowPath};
use crate::store::refresher::{self, Computed, Record, Slots};
use crate::store::{FailedRefresh, Store, recording_ignored};

/// A handle of a series whose value a function computes.
pub(super) trait Target: Send + Sync + fmt::Debug {
    /// Whether the value can be recorded; counts and logs it if not. Called under no lock.
    fn accepts(&self, value: f64) -> bool {
        let _ = value;
        true
    }

    /// Records a value under the lock of the slow path.
    fn record_computed(&self, value: f64, order: Order, lock: &SlowPath);
}

/// Whether a process has recorded a value of a function before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    First,
    Later,
}

/// A function and the series that it belongs to.
pub(super) struct Function {
    /// The address of the series.
    series: usize,
    store: Store,
    call: Box<dyn Fn() -> f64 + Send + Sync>,
    target: Box<dyn Target>,
    /// The epoch of the process that has recorded a value last.
    recorded_in: AtomicU64,
    /// Whether the function was replaced, or its series removed. Set under the lock of the slow path.
    is_over: AtomicBool,
    /// Whether a panic of the function is logged.
    is_logged: AtomicBool,
}

impl Function {
    /// Calls the function in memory, and records its value.
    fn run(&self) {
        match caught(|| self.compute()) {
            Ok(Some(record)) => {
                // OK because a signal handler that interrupted the slow path shows the last values.
                if let Some(lock) = fork::lock() {
                    record(&lock);
                }
            }
            Ok(None) => {}
            Err(Panicked) => self.note_panic(),
        }
    }
}

impl Computed for Function {
    fn compute(&self) -> Option<Record<'_>> {
        let value = (self.call)();
        if !self.target.accepts(value) {
            return None;
        }
        self.store.prepare();
        Some(Box::new(move |lock| {
            if !self.is_over() {
                let epoch = fork::epoch();
                let recorded_in = self.recorded_in.swap(epoch, Ordering::Relaxed);
                let order = if recorded_in == epoch { Order::Later } else { Order::First };
                self.target.record_computed(value, order, lock);
            }
        }))
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn note_panic(&self) {
        let target = &self.target;
        let message = format_args!("the function of {target:?} has panicked: the value stays");
        self.store.count_failed_refresh(FailedRefresh::Panic, &self.is_logged, &message);
    }
}

/// The functions of a family.
pub(super) struct Functions(Slots<Function>);

impl Functions {
    pub(super) const fn new() -> Functions {
        Functions(Slots::new())
    }

    /// Refreshes the values before the family is gathered.
    #[inline]
    pub(super) fn refresh(&self, store: Store) {
        if !self.0.is_unused() {
            self.refresh_all(store);
        }
    }

    #[cold]
    fn refresh_all(&self, store: Store) {
        if let Some(group) = store.refreshed() {
            return registry::refresh(group);
        }
        let functions = fork::lock().map(|lock| self.0.all(&lock)).unwrap_or_default();
        for function in functions {
            function.run();
        }
    }

    /// Sets the function of a series, in place of the former one.
    pub(super) fn set(
        &self,
        target: impl Target + 'static,
        series: usize,
        store: Store,
        call: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let function = Arc::new(Function {
            series,
            store,
            call: Box::new(call),
            target: Box::new(target),
            recorded_in: AtomicU64::new(NO_EPOCH),
            is_over: AtomicBool::new(false),
            is_logged: AtomicBool::new(false),
        });
        // Dropped after the lock, as the program may record when its values are dropped.
        let former;
        let Some(lock) = fork::lock() else {
            return recording_ignored();
        };
        former = self.remove(|of| of == series, &lock);
        self.0.add(Arc::clone(&function), &lock);
        if let Some(group) = store.refreshed() {
            refresher::add(group, function, &lock);
        }
        drop(lock);
        drop(former);
    }

    /// The addresses of the series that have a function.
    pub(super) fn series(&self) -> HashSet<usize> {
        if self.0.is_unused() {
            return HashSet::new();
        }
        let functions = fork::lock().map(|lock| self.0.all(&lock)).unwrap_or_default();
        functions.iter().map(|function| function.series).collect()
    }

    /// Removes the functions of the series for whose addresses `is_removed` returns `true`. The caller drops what is returned
    /// after it has released the lock.
    pub(super) fn remove(&self, is_removed: impl Fn(usize) -> bool, lock: &SlowPath) -> Removed {
        if self.0.is_unused() {
            return Removed(Vec::new());
        }
        let functions = self.0.remove(|function| is_removed(function.series), lock);
        for function in &functions {
            function.is_over.store(true, Ordering::Relaxed);
        }
        // All functions of a family have one store.
        if let Some(group) = functions.first().and_then(|function| function.store.refreshed()) {
            group.remove_over(lock);
        }
        Removed(functions)
    }
}

/// Functions that were removed. They are dropped after the lock of the slow path is released.
pub(super) struct Removed(#[expect(dead_code, reason = "only dropped")] Vec<Arc<Function>>);
