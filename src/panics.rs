//! Panics of functions of the program.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
