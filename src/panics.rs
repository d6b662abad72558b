//! Panics of functions of the program, and the locks that may be held during them.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A function of the program has panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Calls a function of the program. What it panics with is dropped here, which may panic too.
pub(crate) fn caught<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
        Panicked
    })
}

/// Locks a mutex, also one whose holder has panicked: what it protects is valid at each point where that may happen.
#[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "for the exporter"))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            std::panic::panic_any(PanicsOnDrop);
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_caught_too() {
        assert!(caught(|| std::panic::panic_any(PanicsOnDrop)).is_err());
        assert!(matches!(caught(|| 7), Ok(7)));
    }
}
