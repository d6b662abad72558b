//! A slot: a payload of several words that is replaced as a whole, behind a sequence word.
//!
//! The sequence is odd while the payload is being written. A writer that finds it odd skips its write. One that is killed in
//! between leaves it odd for ever: the slot then has no payload. Readers never see a part of a payload. They read through
//! any source of words: the words of the writer, another mapping of the file, or `pread`.

use super::sync::{AtomicU64, Ordering, fence};

/// Replaces the payload. Returns `false`, and writes nothing, if another write is in progress or was killed.
pub(crate) fn write<'w>(
    sequence: &AtomicU64,
    words: impl Iterator<Item = &'w AtomicU64>,
    payload: impl Iterator<Item = u64>,
) -> bool {
    let even = sequence.load(Ordering::Relaxed);
    if !is_even(even) {
        return false;
    }
    let odd = even.wrapping_add(1);
    // ORDERING: acquire, to store after the former writer, whose last store is a release.
    if sequence.compare_exchange(even, odd, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return false;
    }
    // ORDERING: a reader that loads one of the following stores also sees the odd sequence, by its second fence.
    fence(Ordering::Release);
    for (word, value) in words.zip(payload) {
        word.store(value, Ordering::Relaxed);
    }
    // ORDERING: release, after the payload.
    sequence.store(even.wrapping_add(2), Ordering::Release);
    true
}

fn is_even(sequence: u64) -> bool {
    sequence.is_multiple_of(2)
}

/// The words of a slot as a reader sees them. All loads are relaxed.
pub(crate) trait SlotWords {
    /// Loads the sequence; `None` if it cannot be read.
    fn sequence(&self) -> Option<u64>;

    /// Loads the payload, as many words as `out` has; `None` if it cannot be read.
    fn payload(&self, out: &mut [u64]) -> Option<()>;
}

/// Reads the payload into `out`. `None` if nothing was written yet, if a write is in progress at each of `tries` attempts or
/// was killed, or if the words cannot be read; `out` may then have any content.
pub(crate) fn read(words: &impl SlotWords, tries: usize, out: &mut [u64]) -> Option<()> {
    for _ in 0..tries {
        let before = words.sequence()?;
        if before == 0 {
            return None;
        }
        if !is_even(before) {
            continue;
        }
        // ORDERING: with the load before it an acquire, so the payload is not older than the sequence. For words that are
        // read by the kernel, it orders the loads of the system calls on both sides.
        fence(Ordering::Acquire);
        words.payload(out)?;
        // ORDERING: pairs with the release fence of the writer: if a word of the payload is newer, so is the sequence.
        fence(Ordering::Acquire);
        if words.sequence()? == before {
            return Some(());
        }
    }
    None
}
