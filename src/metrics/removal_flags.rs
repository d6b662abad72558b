//! Whether a series is removed.

use std::sync::atomic::{AtomicU32, Ordering};

/// The series is not removed: recordings through handles have an effect.
const LIVE: u32 = 1;
/// The series was never removed, or was recorded into since.
const EXPORTED: u32 = 2;
/// The former storage of the series is still in use by this process: see [`Bound::former`](crate::store::fork::Bound::former).
const PARKED: u32 = 4;
/// One removal. A new series counts one more, so that its count is not that of memory that was given back.
const ONE: u32 = 8;

/// The removal of a series. Changed under the lock of the slow path, and read by all threads. Zeros are those of a series that is
/// removed.
///
/// ORDERING: relaxed. A recording that does not see a change happens at the same time as the removal.
pub(super) struct RemovalFlags(AtomicU32);

impl RemovalFlags {
    pub(super) fn new() -> RemovalFlags {
        RemovalFlags(AtomicU32::new(LIVE | EXPORTED | ONE))
    }

    /// The flags of a new series whose label set may have been removed before: with another family of its name, or as a series
    /// that was buried. Its first recording ends that removal.
    pub(super) fn unexported() -> RemovalFlags {
        RemovalFlags(AtomicU32::new(LIVE | ONE))
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces the flags, but not the count.
    fn set(&self, flags: u32) {
        self.0.store(self.get() & !(ONE - 1) | flags, Ordering::Relaxed);
    }

    /// Removes the series. `is_parked` says whether this process continues with its storage if it comes back.
    pub(super) fn begin(&self, is_parked: bool) {
        let count = self.get() & !(ONE - 1);
        let flags = if is_parked { PARKED } else { 0 };
        self.0.store(count.wrapping_add(ONE) | flags, Ordering::Relaxed);
    }

    /// Allows recordings again, with the first of which the series comes back.
    pub(super) fn end(&self) {
        self.set(self.get() & (ONE - 1) | LIVE);
    }

    /// Called when the series is exported.
    pub(super) fn set_exported(&self) {
        self.set(LIVE | EXPORTED);
    }

    /// Whether the former storage is still in use. It is not any more from then on.
    pub(super) fn take_parked(&self) -> bool {
        let flags = self.get() & (ONE - 1);
        let is_parked = flags & PARKED != 0;
        if is_parked {
            self.set(flags & !PARKED);
        }
        is_parked
    }

    pub(super) fn is_removed(&self) -> bool {
        self.get() & LIVE == 0
    }

    /// Whether the series was removed, or may have been removed before it was created, and was not recorded into since.
    pub(super) fn is_unexported(&self) -> bool {
        self.get() & EXPORTED == 0
    }

    /// A number that changes with each removal.
    pub(super) fn count(&self) -> u32 {
        self.get() / ONE
    }
}
