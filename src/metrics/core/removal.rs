//! Removal of series: one, all, those with given labels, those that a function selects, and idle ones.

use std::collections::HashSet;
use std::time::Duration;

use super::{Child, FamilyCore, SplitTyped, Typed};
use crate::metrics::children::reading;
use crate::metrics::idle::SeriesState;
use crate::metrics::lookup_key::LookupKey;
use crate::model::{LabelPairs as _, Labels};
use crate::store::fork;
use crate::store::recording_ignored;

impl<M: Typed> FamilyCore<M> {
    /// Removes the series with these label values from the exposition. Returns whether it was exported.
    pub(in crate::metrics) fn remove(&'static self, values: &[&str]) -> bool {
        let key = self.children.key(values.iter().copied());
        self.remove_one(key, |child| self.has_values(child, values, &key))
    }

    /// Removes the series with this key for which `is_it` returns `true`. Returns whether it was exported.
    pub(super) fn remove_one(
        &'static self,
        key: LookupKey,
        is_it: impl Fn(&Child<M>) -> bool,
    ) -> bool {
        // Dropped after the lock, as the program may record when its functions are dropped.
        let _functions;
        let Some(lock) = fork::lock() else {
            recording_ignored();
            return false;
        };
        let Some(child) = self.children.unlist(key, is_it, &lock) else {
            return false;
        };
        _functions = self.functions.remove(|series| series == child.address(), &lock);
        let is_exported = child.remove();
        self.bury(&lock);
        is_exported
    }

    /// Removes all series from the exposition. Returns how many were exported.
    pub(in crate::metrics) fn clear(&'static self) -> usize {
        self.remove_all_of(|_| true)
    }

    /// Removes the series that have all of these labels, constant ones included.
    pub(in crate::metrics) fn remove_matching(&'static self, labels: &[(&str, &str)]) -> usize {
        self.remove_where(|own| labels.iter().all(|(name, value)| own.get(name) == Some(*value)))
    }

    /// Removes the series for whose labels `is_removed` returns `true`. It is called under no lock, as it may record.
    pub(in crate::metrics) fn remove_where(
        &'static self,
        mut is_removed: impl FnMut(Labels<'_>) -> bool,
    ) -> usize {
        let (mut chosen, mut pairs) = (HashSet::new(), Vec::new());
        let reading = reading();
        for child in self.children.listed() {
            if is_removed(child.labels.labels(&mut pairs)) {
                chosen.insert(child.address());
            }
        }
        drop(reading);
        if chosen.is_empty() {
            return 0;
        }
        self.remove_all_of(|child| chosen.contains(&child.address()))
    }

    /// Removes the listed series for which `is_it` returns `true`. Returns how many were exported.
    fn remove_all_of(&'static self, is_it: impl Fn(&Child<M>) -> bool) -> usize {
        // Dropped after the lock, as the program may record when its functions are dropped.
        let _functions;
        let Some(lock) = fork::lock() else {
            recording_ignored();
            return 0;
        };
        let removed: Vec<_> = self.children.unlist_where(is_it, &lock).collect();
        let addresses: HashSet<usize> = removed.iter().map(|child| child.address()).collect();
        _functions = self.functions.remove(|series| addresses.contains(&series), &lock);
        let exported = removed.into_iter().filter(|child| child.remove()).count();
        self.bury(&lock);
        exported
    }
}

impl<M: SplitTyped> FamilyCore<M> {
    /// Removes the series whose values are the same as in each sweep for at least this time. Returns how many were exported.
    ///
    /// A series that has a function is not idle.
    pub(in crate::metrics) fn remove_idle(&'static self, idle: Duration) -> usize {
        let reading = reading();
        let states = self.children.listed();
        let states = states.filter_map(|child| Some((child.address(), child.idle_state()?)));
        let over = self.idle_sweeps.sweep(idle, states);
        drop(reading);
        if over.is_empty() {
            return 0;
        }
        let computed = self.functions.series();
        // OK because a thread may have recorded since; then the next sweep finds another state.
        let is_idle = |child: &Child<M>| {
            let address = child.address();
            let found = over.get(&address);
            found.is_some_and(|found| child.idle_state() == Some(*found))
                && !computed.contains(&address)
        };
        self.remove_all_of(is_idle)
    }
}

impl<M: SplitTyped> Child<M> {
    /// The state of the series in a sweep for idle ones; `None` if this process does not export it.
    fn idle_state(&self) -> Option<SeriesState> {
        let activity = M::activity(self.slots_if_bound()?, self.family().options);
        Some(SeriesState { removals: self.removals(), activity: activity.to_bits() })
    }
}
