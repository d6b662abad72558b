//! Limits: the most series of a family, and the series that stands for all others.

use super::{ChildRef, FamilyCore, Typed};
use crate::registry::log_limit_reached;
use crate::store::fork::{SlowPath, StaticRef};

/// The label values of the overflow series.
const OVERFLOW_VALUE: &str = "other";

/// The label of the overflow series of a family with open labels.
const OPEN_OVERFLOW: [(&str, &str); 1] = [("series", OVERFLOW_VALUE)];

/// Counts the lookups of label sets beyond the limit of a family.
pub trait CountOverflows: Send + Sync {
    /// Counts one. Called under no lock.
    fn count(&self);
}

/// What a lookup finds in a family that has no place for another series.
pub(in crate::metrics) enum AtLimit<M: Typed> {
    /// The label set is that of a series.
    Found(ChildRef<M>),
    /// It is not.
    Overflow(ChildRef<M>),
}

/// The limit of a family.
pub(in crate::metrics) struct Limit<M: Typed> {
    max: usize,
    /// The series that lookups of further label sets return. It has no place of its own in the limit. `None` until the first
    /// such lookup.
    overflow: StaticRef<super::Child<M>>,
    counter: Box<dyn CountOverflows>,
}

impl<M: Typed> Limit<M> {
    pub(in crate::metrics) fn new(max: usize, counter: Box<dyn CountOverflows>) -> Limit<M> {
        Limit { max, overflow: StaticRef::empty(), counter }
    }

    /// The most series of the family.
    pub(in crate::metrics) fn max(&self) -> usize {
        self.max
    }

    /// The overflow series, if lookups find it.
    fn listed_overflow(&self) -> Option<ChildRef<M>> {
        self.overflow.get().filter(|child| !child.is_removed())
    }

    fn is_reached(&self, listed: usize) -> bool {
        listed >= self.max.saturating_add(usize::from(self.listed_overflow().is_some()))
    }
}

impl<M: Typed> FamilyCore<M> {
    /// The limit, if the family has no place for another series. An unregistered family creates none.
    fn reached_limit(&self) -> Option<&Limit<M>> {
        let is_reached = |limit: &&Limit<M>| limit.is_reached(self.children.listed_len());
        self.limit.as_ref().filter(is_reached).filter(|_| !self.is_retired())
    }

    /// The overflow series for a label set that was not found, if the family has no place and has had no place before. Takes
    /// no lock and allocates nothing. `find` looks the label set up again, as another thread may have inserted it as the last
    /// one.
    pub(super) fn overflow(
        &'static self,
        find: impl FnOnce() -> Option<ChildRef<M>>,
    ) -> Option<ChildRef<M>> {
        let limit = self.reached_limit()?;
        let overflow = limit.listed_overflow()?;
        find().or_else(|| {
            limit.counter.count();
            Some(overflow)
        })
    }

    /// What a lookup finds if the family has no place for another series.
    pub(super) fn at_limit(
        &'static self,
        find: impl FnOnce() -> Option<ChildRef<M>>,
        lock: &SlowPath,
    ) -> Option<AtLimit<M>> {
        let limit = self.reached_limit()?;
        if let Some(found) = find() {
            return Some(AtLimit::Found(found));
        }
        if limit.overflow.get().is_none() {
            log_limit_reached(self.name(), limit.max);
        }
        let overflow = if self.descriptor.has_open_labels {
            let taken = |name| self.descriptor.const_labels.iter().any(|(other, _)| other == name);
            let own = OPEN_OVERFLOW.iter().filter(|(name, _)| !taken(*name)).copied();
            self.insert_open_locked(&own.collect::<Vec<_>>(), lock)
        } else {
            let values = vec![OVERFLOW_VALUE; self.label_names().len()];
            self.insert(self.children.key(values.iter().copied()), &values, lock)
        };
        limit.overflow.set(overflow);
        Some(AtLimit::Overflow(overflow))
    }

    /// The series that a lookup has found. Counts an overflow, under no lock.
    pub(super) fn counted(&self, at_limit: &AtLimit<M>) -> ChildRef<M> {
        match *at_limit {
            AtLimit::Found(child) => child,
            AtLimit::Overflow(child) => {
                self.limit.iter().for_each(|limit| limit.counter.count());
                child
            }
        }
    }

    /// Whether a series is the one that stands for all label sets beyond the limit.
    #[cfg(feature = "metrics-facade")]
    pub(in crate::metrics) fn is_overflow(&self, child: ChildRef<M>) -> bool {
        let overflow = self.limit.as_ref().and_then(|limit| limit.overflow.get());
        overflow.is_some_and(|overflow| std::ptr::eq(overflow, child))
    }
}
