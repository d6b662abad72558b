//! Burial of removed series that do not come back: their memory is given back.
//!
//! A removed series stays in the table for a minute, because its label set may be looked up again, and handles that the
//! program has kept are valid again then. A handle of a buried series records nothing any more, and a lookup of its label set
//! creates a new series.

use std::sync::atomic::Ordering;

use super::{Child, FamilyCore, Typed};
use crate::metrics::child_labels::ChildLabels;
use crate::metrics::children::burying;
use crate::model::clock::now;
use crate::store::fork::{Home, Release, SlowPath};

/// The first children of a family are on the heap, so that a small family needs no page of its own.
const CHILDREN_ON_HEAP: usize = 8;

/// Removed series are buried after this time, in seconds.
const MAX_AGE: u32 = 60;

/// They are buried earlier if there are more of them than this, and more than other series.
const MAX_REMOVED: usize = 1_024;

impl<M: Typed> FamilyCore<M> {
    /// Where a child with these texts is placed.
    pub(super) fn home_of<'a>(&'static self, texts: impl Iterator<Item = &'a str>) -> Home {
        let is_in_memory = M::IS_TRANSIENT && self.store.is_inherited();
        let is_large = self.arena.is_used() || self.children.len() >= CHILDREN_ON_HEAP;
        if is_in_memory && is_large && ChildLabels::is_short(texts) {
            Home::in_arena(&self.arena)
        } else {
            Home::HEAP
        }
    }

    /// Buries removed series if some are due. Called after a removal.
    pub(super) fn bury(&'static self, lock: &SlowPath) {
        self.bury_beyond(MAX_REMOVED, lock);
    }

    /// Buries the series that were removed first, if more than `max` are removed and more than half of all, and those that
    /// have been removed for some time.
    pub(super) fn bury_beyond(&'static self, max: usize, lock: &SlowPath) {
        let removed = self.children.unlisted_len();
        let max = self.children.listed_len().max(max);
        let now = now() as u32;
        let is_due = now.wrapping_sub(self.buried_at.load(Ordering::Relaxed)) >= MAX_AGE;
        if !self.arena.is_used() || (removed <= max && !is_due) {
            return;
        }
        self.buried_at.store(now, Ordering::Relaxed);
        let removed_at = |child: &Child<M>| child.removed_at.load(Ordering::Relaxed);
        let mut times: Vec<u32> = self.children.unlisted().map(removed_at).collect();
        times.sort_unstable();
        let is_old = |time: u32| now.wrapping_sub(time) >= MAX_AGE;
        if removed <= max && !times.first().is_some_and(|time| is_old(*time)) {
            return;
        }
        // OK because the next removal buries them.
        let Some(burying) = burying(lock) else {
            return;
        };
        // Half of them, so that a burial, which looks at all children, is rare.
        let excess = if removed > max { removed - max / 2 } else { 0 };
        let last = excess.checked_sub(1).and_then(|at| times.get(at).copied());
        let earlier = times.partition_point(|time| Some(*time) < last);
        // Of those with the last time only as many as are too many.
        let of_last = std::cell::Cell::new(excess.saturating_sub(earlier));
        let is_over = |child: &'static Child<M>| {
            let time = removed_at(child);
            if is_old(time) || Some(time) < last {
                return true;
            }
            let is_one = Some(time) == last && of_last.get() > 0;
            of_last.set(of_last.get() - usize::from(is_one));
            is_one
        };
        self.children.bury(Home::in_arena(&self.arena), is_over, Child::release, &burying);
    }
}

impl<M: Typed> Child<M> {
    /// Where what belongs to the series is placed.
    pub(in crate::metrics) fn home(&self) -> Home {
        match self.family.get() {
            Some(family) if self.is_in_arena.load(Ordering::Relaxed) => {
                Home::in_arena(&family.arena)
            }
            _ => Home::HEAP,
        }
    }

    /// Releases what the series leads to.
    fn release(&'static self, release: &mut Release) {
        if let Some(slots) = self.bound.last_cleared() {
            M::release(slots, release);
        }
        self.labels.release(release);
        release.slice(self.ends.get());
    }
}
