//! Tags: numbers by which a reader checks that a published value is the expected one, such as the cells of its thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number of 63 bits, compared for equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(super) u64);

impl Tag {
    /// Creates a tag from 63 bits.
    pub(crate) const fn new(bits: u64) -> Tag {
        Tag(bits & !(1 << 63))
    }

    /// Returns the bits.
    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// A tag that threads share. It is 0 at first.
#[repr(transparent)]
pub(crate) struct AtomicTag(AtomicU64);

impl AtomicTag {
    pub(crate) const fn new() -> AtomicTag {
        AtomicTag(AtomicU64::new(0))
    }

    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> Tag {
        Tag(self.0.load(order))
    }

    pub(crate) fn store(&self, tag: Tag, order: Ordering) {
        self.0.store(tag.0, order);
    }

    pub(crate) fn swap(&self, tag: Tag, order: Ordering) -> Tag {
        Tag(self.0.swap(tag.0, order))
    }
}
