//! Something that scrapes use in turn.

use std::ops::{Deref, DerefMut};
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a scrape waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// A value for one scrape at a time, which a forked child never waits for.
///
/// In a child whose parent was scraping the value is taken for ever, by a thread that is not there.
pub(super) struct Turns<T> {
    value: Mutex<T>,
    /// Held for moments, to wait and to be woken.
    gate: Mutex<()>,
    freed: Condvar,
    /// The process that made it.
    process: u32,
}

impl<T: Default> Default for Turns<T> {
    fn default() -> Turns<T> {
        let (value, gate, freed) = (Mutex::default(), Mutex::default(), Condvar::new());
        Turns { value, gate, freed, process: process::id() }
    }
}

impl<T: Default> Turns<T> {
    /// Waits for the value; `None` where another scrape does not give it back, or never will.
    pub(super) fn take_turn(&self) -> Option<Turn<'_, T>> {
        let is_forked = process::id() != self.process;
        if let Some(turn) = self.try_take(is_forked) {
            return Some(turn);
        }
        if is_forked {
            return None;
        }
        let begin = Instant::now();
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // OK because who gives it back goes through the gate before it wakes others.
            if let Some(turn) = self.try_take(is_forked) {
                return Some(turn);
            }
            let left = PATIENCE.checked_sub(begin.elapsed())?;
            let waited = self.freed.wait_timeout(gate, left);
            gate = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn try_take(&self, is_forked: bool) -> Option<Turn<'_, T>> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(poisoned)) => {
                // Nobody knows what a panic has left.
                let mut value = poisoned.into_inner();
                *value = T::default();
                self.value.clear_poison();
                value
            }
        };
        let bell = || Bell { gate: &self.gate, freed: &self.freed };
        Some(Turn { value, _bell: (!is_forked).then(bell) })
    }
}

/// The value, until it is given back.
pub(super) struct Turn<'t, T> {
    value: MutexGuard<'t, T>,
    // Dropped after the value, in the order of the fields.
    _bell: Option<Bell<'t>>,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Wakes the next scrape when it is dropped.
struct Bell<'t> {
    gate: &'t Mutex<()>,
    freed: &'t Condvar,
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        drop(self.gate.lock());
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    #[test]
    fn scrapes_take_turns() {
        let turns = Turns::<u64>::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mut turn = turns.take_turn().unwrap();
                        let before = *turn;
                        thread::yield_now();
                        *turn = before + 1;
                    }
                });
            }
        });
        assert_eq!(*turns.take_turn().unwrap(), 1600);
    }

    #[test]
    fn a_forked_child_waits_for_nobody() {
        let turns = Turns::<u64> { process: process::id() + 1, ..Turns::default() };
        let turn = turns.take_turn().unwrap();
        let gate = turns.gate.lock().unwrap();
        assert!(turns.take_turn().is_none());
        drop(turn);
        assert!(turns.take_turn().is_some());
        drop(gate);
    }

    #[test]
    fn after_a_panic_everything_is_learnt_anew() {
        let turns = Turns::<u64>::default();
        let panicking = || {
            let mut turn = turns.take_turn().unwrap();
            *turn = 7;
            panic!("a sink fails with {}", *turn);
        };
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        assert_eq!(*turns.take_turn().unwrap(), 0);
    }
}
