//! Whether a series is removed.

use std::sync::atomic::{AtomicU32, Ordering};

/// The series is removed: recordings through handles have no effect.
const REMOVED: u32 = 1;
/// The series was removed, and was not recorded into since.
const UNEXPORTED: u32 = 2;
/// The former storage of the series is still in use by this process: see [`Bound::former`](crate::store::fork::Bound::former).
const PARKED: u32 = 4;
/// One removal.
const ONE: u32 = 8;

/// The removal of a series. Changed under the lock of the slow path, and read by all threads.
///
/// ORDERING: relaxed. A recording that does not see a change happens at the same time as the removal.
pub(super) struct RemovalFlags(AtomicU32);

impl RemovalFlags {
    pub(super) fn new() -> RemovalFlags {
        RemovalFlags(AtomicU32::new(0))
    }

    /// The flags of a new series, which another family of its name may have removed before.
    pub(super) fn unexported() -> RemovalFlags {
        RemovalFlags(AtomicU32::new(UNEXPORTED))
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self, flags: u32) {
        self.0.store(self.get() & !flags, Ordering::Relaxed);
    }

    /// Removes the series. `is_parked` says whether this process continues with its storage if it comes back.
    pub(super) fn begin(&self, is_parked: bool) {
        let parked = if is_parked { PARKED } else { 0 };
        let count = self.get() & !(ONE - 1);
        let flags = REMOVED | UNEXPORTED | parked;
        self.0.store(count.wrapping_add(ONE) | flags, Ordering::Relaxed);
    }

    /// Allows recordings again, with the first of which the series comes back.
    pub(super) fn end(&self) {
        self.clear(REMOVED);
    }

    /// Called when the series is exported.
    pub(super) fn set_exported(&self) {
        self.clear(REMOVED | UNEXPORTED | PARKED);
    }

    /// Whether the former storage is still in use. It is not any more from then on.
    pub(super) fn take_parked(&self) -> bool {
        let is_parked = self.get() & PARKED != 0;
        if is_parked {
            self.clear(PARKED);
        }
        is_parked
    }

    pub(super) fn is_removed(&self) -> bool {
        self.get() & REMOVED != 0
    }

    /// Whether the series was removed, and not recorded into since.
    pub(super) fn is_unexported(&self) -> bool {
        self.get() & UNEXPORTED != 0
    }

    /// How often the series was removed.
    pub(super) fn count(&self) -> u32 {
        self.get() / ONE
    }
}
