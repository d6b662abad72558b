//! The counter of lookups beyond the limits of families: a metric of multiprom itself, with a series for each family.

use super::Counter;
use super::core::{CountOverflows, FamilyCore, Typed as _};
use crate::model::own_metrics::SERIES_OVERFLOWS;
use crate::registry::{Descriptor, add_own_family};
use crate::store::fork::{self, AppendList, SlowPath, StaticRef};
use crate::store::{Store, recording_ignored};

/// Counts for one family.
pub(super) struct Overflows {
    family: Box<str>,
    store: Store,
    /// `None` until the first overflow, so that families without one export nothing.
    counter: StaticRef<Counter>,
}

impl Overflows {
    /// `family` is the name of a family in this store.
    pub(super) fn new(family: &str, store: Store) -> Overflows {
        Overflows { family: family.into(), store, counter: StaticRef::empty() }
    }

    /// The counter of the family, whose series is in the same store. Takes the lock of the slow path at the first call.
    fn counter(&self) -> Option<Counter> {
        let counter = self.counter.get().copied();
        counter.or_else(|| {
            let lock = fork::lock()?;
            let family = own_family(self.store, &lock);
            let counter = Counter::from_child(family.child_locked(&[&self.family], &lock));
            Some(*self.counter.set_once(Box::leak(Box::new(counter))))
        })
    }
}

impl CountOverflows for Overflows {
    fn count(&self) {
        match self.counter() {
            Some(counter) => counter.inc(),
            None => recording_ignored(),
        }
    }
}

/// The family of these counters in a store, which the first call creates.
fn own_family(store: Store, _lock: &SlowPath) -> &'static FamilyCore<Counter> {
    static FAMILIES: AppendList<&'static FamilyCore<Counter>> = AppendList::new();
    let found = FAMILIES.iter().find(|family| family.store.is_same(store));
    found.copied().unwrap_or_else(|| {
        let metric = &SERIES_OVERFLOWS;
        let descriptor = Descriptor {
            help: metric.help().to_owned(),
            label_names: [metric.label().into()].into(),
            ..Descriptor::detached(metric.family_name(), Counter::TYPE)
        };
        let family = FamilyCore::leak(descriptor, (), store, None);
        FAMILIES.push(family);
        if family.is_in_memory() {
            add_own_family(family);
        }
        family
    })
}
