//! Exemplars that threads write and read at once: `file/companion/slot.rs`.
//!
//! The orderings, all other accesses are relaxed:
//!
//! - A writer changes the even sequence to the odd one by a compare-and-swap with acquire, which orders its stores after those
//!   of the former writer. A release fence follows, then the payload, then the next even sequence is stored with release.
//! - A reader loads the sequence, and an acquire fence follows: it sees no payload that is older than the sequence. After the
//!   payload follows another acquire fence, then the second load of the sequence. A payload word of a later write pairs this
//!   fence with the release fence of that write, so the second load sees its odd sequence, or a later one.
//!
//! The acquire of the compare-and-swap has no test here: loom performs the stores to one word in the order of the execution,
//! so it does not show that stores of two writers may change places.

mod without_acquire_fences;
mod without_compare_exchange;
pub(crate) mod without_release;
mod without_release_fence;

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::{model_bounded, slot};

/// The words of a payload. All of them have the same value.
const LEN: usize = 2;

/// What a reader does, besides the fences of the source.
#[derive(Clone, Copy, PartialEq)]
enum Loads {
    Relaxed,
    /// The sequence is loaded with acquire, which replaces the first fence.
    AcquireSequence,
    /// A fence follows the payload, which replaces the second fence.
    FencePayload,
    /// The second read of the sequence returns the result of the first one.
    SequenceOnce,
}

/// The protocol, with its own orderings or with weaker ones.
trait Slot: Send + Sync + 'static {
    fn new() -> Self;
    fn write(&self, value: u64) -> bool;
    fn read(&self, loads: Loads) -> Option<[u64; LEN]>;
    fn sequence(&self) -> u64;
}

struct Words<A> {
    sequence: A,
    payload: [A; LEN],
}

struct Reading<'a, S> {
    slot: &'a S,
    loads: Loads,
    first: Cell<Option<u64>>,
}

macro_rules! slots {
    ($($name:ident, $atomic:ty, $module:path;)*) => {$(
        struct $name(Words<$atomic>);

        const _: () = {
            use $module as source;

            impl Slot for $name {
                fn new() -> Self {
                    let word = || <$atomic>::new(0);
                    $name(Words { sequence: word(), payload: [word(), word()] })
                }

                fn write(&self, value: u64) -> bool {
                    let Words { sequence, payload } = &self.0;
                    source::write(sequence, payload.iter(), [value; LEN].into_iter())
                }

                fn read(&self, loads: Loads) -> Option<[u64; LEN]> {
                    let mut payload = [0; LEN];
                    let words = Reading { slot: self, loads, first: Cell::new(None) };
                    source::read(&words, 2, &mut payload)?;
                    Some(payload)
                }

                fn sequence(&self) -> u64 {
                    self.0.sequence.load(Ordering::Relaxed)
                }
            }

            impl source::SlotWords for Reading<'_, $name> {
                fn sequence(&self) -> Option<u64> {
                    let ordering = match self.loads {
                        Loads::AcquireSequence => Ordering::Acquire,
                        _ => Ordering::Relaxed,
                    };
                    if let (Loads::SequenceOnce, Some(first)) = (self.loads, self.first.get()) {
                        return Some(first);
                    }
                    let sequence = self.slot.0.sequence.load(ordering);
                    self.first.set(Some(sequence));
                    Some(sequence)
                }

                fn payload(&self, out: &mut [u64]) -> Option<()> {
                    for (out, word) in out.iter_mut().zip(&self.slot.0.payload) {
                        *out = word.load(Ordering::Relaxed);
                    }
                    if self.loads == Loads::FencePayload {
                        loom::sync::atomic::fence(Ordering::Acquire);
                    }
                    Some(())
                }
            }
        };
    )*};
}

slots! {
    Correct, AtomicU64, slot;
    NoReleaseFence, AtomicU64, without_release_fence::slot;
    NoAcquireFences, AtomicU64, without_acquire_fences::slot;
    NoRelease, AtomicU64, without_release::slot;
    NoCompareExchange, without_compare_exchange::sync::AtomicU64, without_compare_exchange::slot;
}

fn check([first, second]: [u64; LEN]) -> u64 {
    assert_eq!(first, second, "a payload is torn");
    first
}

/// One thread replaces the payload twice while another one reads it twice.
fn write_and_read<S: Slot>(loads: Loads) {
    model_bounded(3, move || {
        let slot = Arc::new(S::new());
        assert!(slot.write(1));
        let own = slot.clone();
        let writer = thread::spawn(move || {
            assert!(own.write(2));
            assert!(own.write(3));
        });
        let early = slot.read(loads).map(check);
        let late = slot.read(loads).map(check);
        assert!(early.is_none() || late.is_none() || early <= late, "a payload is older");
        writer.join().unwrap();
        assert_eq!(slot.read(loads).map(check), Some(3));
    });
}

/// Two threads replace the payload, and a third one reads it. `is_expected` checks the last sequence, by the number of
/// writes that were not skipped.
fn write_twice_and_read<S: Slot>(is_expected: fn(u64, u64) -> bool) {
    model_bounded(3, move || {
        let slot = Arc::new(S::new());
        let writers: Vec<_> = (1..=2)
            .map(|value| {
                let slot = slot.clone();
                thread::spawn(move || u64::from(slot.write(value)))
            })
            .collect();
        slot.read(Loads::Relaxed).map(check);
        let written: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(slot.read(Loads::Relaxed).map(check).is_some(), "one of the writes is not skipped");
        assert!(is_expected(slot.sequence(), written), "{written} writes");
    });
}

#[test]
fn a_reader_never_sees_a_torn_payload() {
    write_and_read::<Correct>(Loads::Relaxed);
}

#[test]
fn a_writer_that_finds_another_one_skips_its_write() {
    write_twice_and_read::<Correct>(|sequence, written| sequence == 2 * written);
}

/// A killed writer leaves the sequence odd.
#[test]
fn a_slot_of_a_killed_writer_has_no_payload_and_is_not_written_again() {
    model_bounded(3, || {
        let slot = Correct::new();
        assert_eq!(slot.read(Loads::Relaxed), None);
        assert!(slot.write(1));
        slot.0.sequence.store(3, Ordering::Relaxed);
        assert!(!slot.write(2));
        assert_eq!(slot.read(Loads::Relaxed), None);
    });
}

#[test]
#[should_panic(expected = "a payload is torn")]
fn reading_the_sequence_only_once_shows_a_torn_payload() {
    write_and_read::<Correct>(Loads::SequenceOnce);
}

#[test]
#[should_panic(expected = "a payload is torn")]
fn writing_without_a_release_fence_shows_a_torn_payload() {
    write_and_read::<NoReleaseFence>(Loads::Relaxed);
}

#[test]
#[should_panic(expected = "a payload is torn")]
fn storing_the_even_sequence_relaxed_shows_a_torn_payload() {
    write_and_read::<NoRelease>(Loads::Relaxed);
}

#[test]
#[should_panic(expected = "a payload is torn")]
fn reading_without_the_first_acquire_fence_shows_a_torn_payload() {
    write_and_read::<NoAcquireFences>(Loads::FencePayload);
}

#[test]
#[should_panic(expected = "a payload is torn")]
fn reading_without_the_second_acquire_fence_shows_a_torn_payload() {
    write_and_read::<NoAcquireFences>(Loads::AcquireSequence);
}

#[test]
#[should_panic(expected = "a payload is torn")]
fn storing_the_odd_sequence_without_compare_and_swap_shows_a_torn_payload() {
    write_twice_and_read::<NoCompareExchange>(|_, _| true);
}
