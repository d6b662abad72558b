//! One series of a family: its storage, its removal and its return.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Child, FamilyCore, Typed};
use crate::metrics::child_labels::ChildLabels;
use crate::metrics::lookup_key::Ends;
use crate::metrics::removal_flags::RemovalFlags;
use crate::model::clock::now;
use crate::model::{KeptLabels, LabelPairs};
use crate::prefetch::prefetch;
use crate::registry::Descriptor;
use crate::store::fork::{Bound, Home, SlowPath, StaticRef, TransientSlice};
use crate::store::{IgnoredValue, Rebind, SeriesOpener, Store, any_removed};

impl<M: Typed> Child<M> {
    pub(super) fn new(
        family: &'static FamilyCore<M>,
        labels: &KeptLabels,
        ends: Box<[Ends]>,
        home: Home,
    ) -> Child<M> {
        Child {
            family: StaticRef::new(Some(family)),
            labels: ChildLabels::new(labels, home),
            ends: TransientSlice::new(home.slice(ends.into_vec())),
            bound: Bound::empty(),
            removal: if any_removed() { RemovalFlags::unexported() } else { RemovalFlags::new() },
            removed_at: AtomicU32::new(0),
            removed_in: AtomicU64::new(0),
            is_in_arena: !home.is_heap(),
            state: M::State::default(),
        }
    }

    /// The family. That of the ignored handle if the memory of the series was given back.
    pub(in crate::metrics) fn family(&self) -> &'static FamilyCore<M> {
        self.family.get().unwrap_or_else(|| *M::ignored_family())
    }

    /// Prefetches what a scrape reads first.
    pub(in crate::metrics) fn prefetch(&self) {
        self.bound.prefetch();
        prefetch(self.labels.as_ptr());
    }

    /// Prefetches the values, once the rest is in the cache.
    pub(in crate::metrics) fn prefetch_values(&self) {
        if let Some(slots) = self.bound.inherited() {
            M::prefetch(slots);
        }
    }

    /// Counts a value that this type does not record.
    #[cold]
    #[inline(never)]
    pub(in crate::metrics) fn ignore(&self, reason: IgnoredValue, value: f64) {
        let (metric_type, name) = (M::TYPE, self.family().name());
        let message = format_args!(
            "{metric_type} `{name}` ignores the value {value}: {reason}; further ones are counted in `multiprom_ignored_values_total`"
        );
        self.family().store.count_ignored_value(reason, &message);
    }

    pub(in crate::metrics) fn store(&self) -> Store {
        self.family().store
    }

    /// The storage of this series, if this process has created it.
    #[inline]
    pub(in crate::metrics) fn bound(&self) -> Option<&'static M::Slots> {
        self.bound.get()
    }

    /// The storage of this series that was created last, in this process or in an ancestor. Its words may be those of the
    /// parent's mapping, which a forked child must not access.
    #[inline]
    pub(in crate::metrics) fn bound_or_inherited(&self) -> Option<&'static M::Slots> {
        self.bound.inherited()
    }

    /// The storage that this process used before its files were closed, if it has created no other since.
    pub(in crate::metrics) fn former(&self) -> Option<&'static M::Slots> {
        self.bound.former()
    }

    /// The storage, if this process has recorded into the series or exported its zeros.
    pub(in crate::metrics) fn slots_if_bound(&self) -> Option<&'static M::Slots> {
        if self.removal.is_unexported() {
            return None;
        }
        if self.family().store.is_inherited() {
            self.bound.inherited()
        } else {
            self.bound.get().or_else(|| self.bound.former())
        }
    }

    /// The storage in this process, created if necessary.
    pub(in crate::metrics) fn bind(&'static self, lock: &SlowPath) -> &'static M::Slots {
        self.family().store.refresh();
        match self.bound.get() {
            Some(slots) if M::is_moved(slots) => self.clear_storage(),
            Some(slots) => return slots,
            None => {}
        }
        if self.removal.is_unexported() {
            // Not when the series is removed: most removed series do not come back, and the base takes memory.
            if let Some(slots) = self.bound.former() {
                M::restart(slots, self.family().options, self.home(), lock);
            }
            M::restore(&self.opener());
            let parked = self.bound.former().filter(|_| self.removal.take_parked());
            if let Some(slots) = parked.filter(|slots| !M::is_moved(slots)) {
                M::resume(slots);
                self.bound.set(slots, lock);
                self.removal.set_exported();
                return slots;
            }
        }
        let slots = match self.bound.inherited() {
            Some(slots) if self.family().store.is_inherited() => M::inherit(slots),
            _ => M::open(&self.opener(), self.family().options, self.bound.former()),
        };
        self.family().store.bound(self);
        self.bound.set(slots, lock);
        self.removal.set_exported();
        slots
    }

    fn clear_storage(&self) {
        M::unbind(&self.state);
        self.bound.clear();
    }

    /// Removes the series from the exposition, under the lock of the slow path. Returns whether it was exported.
    pub(super) fn remove(&'static self) -> bool {
        let is_exported = self.slots_if_bound().is_some();
        let bound = self.bound.get();
        // The flags come first: a child that is forked here finds a series that is removed and not bound.
        self.removal.begin(bound.is_some());
        if let Some(slots) = bound {
            M::remove(&self.opener(), slots);
        }
        self.clear_storage();
        self.removed_at.store(now() as u32, Ordering::Relaxed);
        self.removed_in.store(self.store().generation(), Ordering::Relaxed);
        is_exported
    }

    /// Identifies the series among those of its family.
    pub(in crate::metrics) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether the series is removed, so that recordings have no effect.
    pub(in crate::metrics) fn is_removed(&self) -> bool {
        self.removal.is_removed()
    }

    /// A number that changes with each removal.
    pub(in crate::metrics) fn removals(&self) -> u32 {
        self.removal.count()
    }

    /// Opens, removes and restores the samples of the series.
    pub(in crate::metrics) fn opener(&'static self) -> SeriesOpener<'static> {
        let descriptor = &self.family().descriptor;
        let Descriptor { name, help, metric_type, mode, unit, .. } = descriptor;
        SeriesOpener::new(self.family().store, name, help, *metric_type, *mode, &self.labels)
            .with_unit(*unit)
            .with_home(self.home())
    }
}

impl<M: Typed> fmt::Debug for Child<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = Vec::new();
        self.labels.push_pairs(&mut pairs);
        write!(f, "{} `{}` ", M::TYPE, self.family().name())?;
        // Of a series that is being buried, characters may be cut, and bytes change: they are copied first.
        let text = |text: &str| {
            let bytes = text.as_bytes().to_vec();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let pairs = pairs.into_iter().map(|(name, value)| (text(name), text(value)));
        f.debug_map().entries(pairs).finish()
    }
}

impl<M: Typed> Rebind for Child<M> {
    fn unbind(&self) {
        self.removal.take_parked();
        self.clear_storage();
    }
}
