//! When a thread that shares the cells of a series gets cells of its own: if compare-and-swaps on the series fail often, or
//! if most of what the thread records into shared cells goes to few series.
//!
//! Neither costs a thread that owns its cells anything.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Failed compare-and-swaps of a series after which a thread gets cells of its own. Each sample of the series halves the
/// count, so a thread that is rarely disturbed never gets there.
const MAX_FAILURES: i32 = 64;
/// What the count starts at after a thread could not get cells of its own.
const REFUSED: i32 = -(1 << 20);

/// The failed compare-and-swaps on the shared cells of one series.
///
/// ORDERING: relaxed, as the count decides nothing that other memory depends on. Simultaneous changes may be lost.
pub(crate) struct Contention(AtomicI32);

impl Contention {
    pub(super) fn new() -> Contention {
        Contention(AtomicI32::new(0))
    }

    /// Counts failures. Returns whether the thread should get cells of its own.
    pub(crate) fn add(&self, failures: u32) -> bool {
        let failures = failures.min(MAX_FAILURES as u32) as i32;
        let count = self.0.load(Ordering::Relaxed).saturating_add(failures);
        self.0.store(count, Ordering::Relaxed);
        count >= MAX_FAILURES
    }

    /// Called at each sample of the series.
    pub(crate) fn decay(&self) {
        let count = self.0.load(Ordering::Relaxed);
        if count > 0 {
            self.0.store(count / 2, Ordering::Relaxed);
        }
    }

    /// Called when a thread has got cells of its own.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Called when a thread could not get cells of its own.
    pub(crate) fn refuse(&self) {
        self.0.store(REFUSED, Ordering::Relaxed);
    }
}

/// One of 16 to 47 shared recordings of a thread is a sample. The intervals vary, so that a thread that records several
/// series in turn does not sample the same one each time.
const MIN_INTERVAL: u32 = 16;
const INTERVALS: u32 = 32;
/// The interval after a thread could not get cells of its own.
const PAUSE: u32 = 1 << 16;
/// Series that a thread counts samples of. One that takes more than a share of 1 / (this + 1) of the samples stays in the list.
const CANDIDATES: usize = 16;
/// Samples, less those of other series that no candidate has room for, after which a series is hot.
const HOT: u32 = 8;

thread_local! {
    static SAMPLER: Sampler = const { Sampler::new() };
}

/// The samples of the recordings of one thread: the algorithm of Misra and Gries for frequent items.
struct Sampler {
    /// Recordings until the next sample.
    left: Cell<u32>,
    random: Cell<u32>,
    /// Addresses of series, and the samples of each.
    candidates: [Cell<(usize, u32)>; CANDIDATES],
}

impl Sampler {
    const fn new() -> Sampler {
        let candidates = [const { Cell::new((0, 0)) }; CANDIDATES];
        Sampler { left: Cell::new(MIN_INTERVAL), random: Cell::new(1), candidates }
    }

    #[inline]
    fn is_due(&self) -> bool {
        let left = self.left.get().wrapping_sub(1);
        self.left.set(left);
        left == 0
    }

    fn add(&self, series: usize) -> bool {
        // Constants of a linear congruential generator (Numerical Recipes); its high bits are the better ones.
        let random = self.random.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.random.set(random);
        self.left.set(MIN_INTERVAL + (random >> 16) % INTERVALS);
        let find = |address| self.candidates.iter().find(|it| it.get().0 == address);
        if let Some(known) = find(series) {
            let samples = known.get().1 + 1;
            known.set((series, samples));
            if samples >= HOT {
                known.set((0, 0));
            }
            return samples >= HOT;
        }
        if let Some(free) = find(0) {
            free.set((series, 1));
            return false;
        }
        for candidate in &self.candidates {
            let (series, samples) = candidate.get();
            candidate.set(if samples > 1 { (series, samples - 1) } else { (0, 0) });
        }
        false
    }
}

/// Counts a shared recording of this thread. Returns whether it is a sample.
#[inline]
pub(crate) fn is_sample() -> bool {
    SAMPLER.with(Sampler::is_due)
}

/// Counts a sample of the series with this address. Returns whether this thread should get cells of its own.
pub(crate) fn sample(series: usize) -> bool {
    SAMPLER.with(|sampler| sampler.add(series))
}

/// Called when this thread could not get cells of its own: what was refused now will hardly be granted soon.
pub(crate) fn pause() {
    SAMPLER.with(|sampler| sampler.left.set(PAUSE));
}

/// Entries for hot series that a process may have, however few other entries it has.
const MIN_EXTRA: u64 = 512;
/// Beyond that, one for this many entries of all series.
const ENTRIES_PER_EXTRA: u64 = 64;

/// The entries that a process has written to a directory, or has in memory, for threads that record often. They are bounded,
/// so that files stay small.
///
/// ORDERING: relaxed, as above.
pub(crate) struct Budget {
    /// Entries of all series, without those for hot ones.
    entries: AtomicU64,
    extra: AtomicU64,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { entries: AtomicU64::new(0), extra: AtomicU64::new(0) }
    }

    /// Counts the entries of a series that were opened for the first thread or for all others.
    pub(crate) fn add(&self, entries: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    /// Takes entries for a thread that records often, if so many are left.
    pub(crate) fn take(&self, entries: u64) -> bool {
        let most = MIN_EXTRA + self.entries.load(Ordering::Relaxed) / ENTRIES_PER_EXTRA;
        let extra = self.extra.fetch_add(entries, Ordering::Relaxed) + entries;
        if extra > most {
            self.give_back(entries);
        }
        extra <= most
    }

    /// Gives back entries that were not written.
    pub(crate) fn give_back(&self, entries: u64) {
        self.extra.fetch_sub(entries, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of these recordings, each the address of a series, at which one is hot.
    fn first_hot(mut recordings: impl Iterator<Item = usize>) -> Option<usize> {
        let sampler = Sampler::new();
        recordings.position(|series| sampler.is_due() && sampler.add(series))
    }

    #[test]
    fn a_series_is_hot_if_a_thread_records_little_else() {
        let most = HOT as usize * (MIN_INTERVAL + INTERVALS) as usize;
        assert!(first_hot(std::iter::repeat_n(1, most)).is_some());
        assert!(first_hot((0..8 * most).map(|at| at % 8 + 1)).is_some(), "eight in turn");
        let half = (0..4 * most).map(|at| if at % 2 == 0 { 1 } else { at + 2 });
        assert!(first_hot(half).is_some(), "every second recording");
    }

    #[test]
    fn no_series_is_hot_if_a_thread_records_many_in_turn() {
        for series in [100, 128, 1_000, 1_024] {
            assert_eq!(first_hot((0..1_000_000).map(|at| at % series + 1)), None, "{series}");
        }
    }

    #[test]
    fn rare_failures_never_add_up() {
        let contention = Contention::new();
        for _ in 0..1_000 {
            assert!(!contention.add(MAX_FAILURES as u32 / 4));
            contention.decay();
        }
        assert!((0..4).any(|_| contention.add(MAX_FAILURES as u32 / 3)));
        contention.refuse();
        assert!(!(0..1_000).any(|_| contention.add(1)));
    }
}
