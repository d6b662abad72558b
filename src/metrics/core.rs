//! Families, their children, and the storage of a child: what all metric types have in common.

use std::any::Any;
use std::fmt;

use super::children::Children;
use super::removal_flags::RemovalFlags;
use super::settings::Settings;
use super::shape::LabelShape;
use crate::error::Result;
use crate::model::clock::now;
use crate::model::{
    Collector, FamilyMetadata, FamilySink, KeptLabels, MetricType, Sample, SampleKind, Unit,
};
use crate::prefetch::prefetch;
use crate::registry::{Descriptor, RegisteredFamily};
use crate::store::fork::{self, Bound, SlowPath, StaticRef};
use crate::store::thread::{self, Token};
use crate::store::{
    Cell, Claimed, IgnoredValue, Opened, Rebind, SampleCells, SeriesOpener, Split, Store,
    recording_ignored,
};

/// A metric type, as storage uses it. A value of the type is a handle of one series.
pub trait Typed: Copy + Send + Sync + fmt::Debug + 'static {
    const TYPE: MetricType;

    /// The sample whose key names a series in removal records.
    const LEAD_SAMPLE: SampleKind;

    /// The label name that samples of this type set.
    const RESERVED_LABEL: Option<&'static str> = None;

    /// Whether families of this type have a gauge mode.
    const HAS_MODE: bool = false;

    /// What distinguishes families of this type: the mode of a gauge, the bounds of a histogram.
    type Options: Copy + Send + Sync + 'static;

    /// What a series keeps besides its cells. A forked child continues with it.
    type State: Default + Send + Sync + 'static;

    /// What a series is stored in, at an address that lives as long as the process.
    type Slots: Send + Sync + 'static;

    /// The handle of a series.
    fn from_child(child: ChildRef<Self>) -> Self;

    /// The series of a handle.
    fn child(self) -> ChildRef<Self>;

    /// Checks the settings of this type.
    fn check(settings: &Settings) -> Result<()> {
        let _ = settings;
        Ok(())
    }

    /// The options of a family that is created. What they refer to lives as long as the process.
    fn options(settings: &Settings) -> Self::Options;

    /// Whether a family has the options that these settings describe.
    fn has_options(options: Self::Options, settings: &Settings) -> bool {
        let _ = (options, settings);
        true
    }

    /// Creates the storage of a series in this process. It continues with the values of `former`, whose file was lost or
    /// closed.
    fn open(
        opener: &SeriesOpener<'_>,
        options: Self::Options,
        former: Option<&'static Self::Slots>,
    ) -> &'static Self::Slots;

    /// Called when the series is removed: the values of totals that this process shows begin at 0 again.
    fn restart(slots: &'static Self::Slots, options: Self::Options, lock: &SlowPath) {
        let _ = (slots, options, lock);
    }

    /// Called when a removed series is exported again with the same storage.
    fn resume(slots: &Self::Slots) {
        let _ = slots;
    }

    /// Called before the storage of a series is cleared.
    fn unbind(state: &Self::State) {
        let _ = state;
    }

    /// Whether the values were moved into a file, so that the storage must not be used any more.
    fn is_moved(slots: &Self::Slots) -> bool {
        let _ = slots;
        false
    }

    /// The storage with which a forked child continues if values are inherited.
    fn inherit(slots: &'static Self::Slots) -> &'static Self::Slots;

    /// Exports the zeros of a series.
    fn export_zeros(child: ChildRef<Self>, lock: &SlowPath);

    /// Prefetches what a scrape reads of a series.
    fn prefetch(slots: &Self::Slots) {
        let _ = slots;
    }

    /// See [`ignored_handle`].
    fn ignored() -> &'static Self;

    /// Emits the samples of one series with the values of this process, without the start timestamp.
    fn collect(slots: &Self::Slots, options: Self::Options, sink: &mut dyn FnMut(SampleKind, f64));

    /// When this process began to record a series, in Unix seconds. A forked child that inherits values inherits the time.
    fn created(slots: &Self::Slots) -> Option<f64> {
        let _ = slots;
        None
    }
}

/// A type whose series are split by thread.
pub trait SplitTyped: Typed<Slots = Split<Self::Cells>> {
    /// What one thread writes.
    type Cells: Send + Sync + 'static;

    /// The samples of a series.
    fn samples(options: Self::Options) -> impl Iterator<Item = SampleKind> + Clone;

    /// Creates the cells of one thread from the cells of its samples, in the order of [`samples`](Self::samples).
    fn cells(options: Self::Options, samples: &[SampleCells]) -> Self::Cells;

    /// The cell with the time at which the cells were created, in Unix seconds.
    fn created_cell(cells: &Self::Cells) -> Cell;

    /// The exported words, in the order of [`samples`](Self::samples).
    fn words(cells: &Self::Cells) -> impl Iterator<Item = Cell>;

    /// Records into cells that this thread owns.
    fn record(cells: &Self::Cells, value: f64);

    /// Records into cells that other threads write too.
    fn record_shared(cells: &Self::Cells, value: f64);
}

/// A family of one type: its children by label values, and the store of their cells.
pub struct FamilyCore<M: Typed> {
    descriptor: Descriptor,
    shape: LabelShape,
    options: M::Options,
    store: Store,
    children: Children<Child<M>>,
}

/// One series: its labels, and its cells in this process.
pub struct Child<M: Typed> {
    pub(super) family: &'static FamilyCore<M>,
    labels: KeptLabels,
    bound: Bound<M::Slots>,
    removal: RemovalFlags,
    pub(super) state: M::State,
}

/// The series that a handle records into.
pub type ChildRef<M> = &'static Child<M>;

/// The handle that lookups and registrations return to a signal handler or an allocator that interrupted the slow path.
/// Its series is not exported, and recordings into it are ignored as long as the slow path is interrupted.
///
/// It is created before the slow path is entered for the first time, because an interrupted allocator cannot be used.
pub(super) fn ignored_handle<M: Typed>(slot: &StaticRef<M>) -> &'static M {
    slot.get().unwrap_or_else(|| {
        let options = M::options(&Settings::default());
        let descriptor = Descriptor::detached("ignored", M::TYPE);
        let family = FamilyCore::leak(descriptor, options, Store::Heap);
        let child = Box::leak(Box::new(Child::new(family, family.labels(&[]))));
        slot.set_once(Box::leak(Box::new(M::from_child(child))))
    })
}

/// Defines how a type converts to and from its series, and its ignored handle.
macro_rules! impl_handle {
    ($type:ident) => {
        fn from_child(child: ChildRef<$type>) -> $type {
            $type(child)
        }

        fn child(self) -> ChildRef<$type> {
            self.0
        }

        fn ignored() -> &'static $type {
            static IGNORED: StaticRef<$type> = StaticRef::empty();
            ignored_handle(&IGNORED)
        }
    };
}

pub(super) use impl_handle;

impl<M: Typed> FamilyCore<M> {
    /// Creates a family, which lives as long as the process.
    pub(super) fn leak(
        descriptor: Descriptor,
        options: M::Options,
        store: Store,
    ) -> &'static FamilyCore<M> {
        let shape = LabelShape::new(&descriptor.label_names, &descriptor.const_labels);
        let children = Children::new();
        Box::leak(Box::new(FamilyCore { descriptor, shape, options, store, children }))
    }

    pub(super) fn options(&self) -> M::Options {
        self.options
    }

    /// The name of the family; of a counter without `_total`.
    pub(super) fn name(&self) -> &str {
        &self.descriptor.name
    }

    /// The label names, without constant labels.
    pub(super) fn label_names(&self) -> &[Box<str>] {
        &self.descriptor.label_names
    }

    /// Returns the error of a backend that cannot be used.
    pub(super) fn check_store(&self) -> Result<()> {
        self.store.check()
    }

    /// The child with these label values, if it exists.
    pub(super) fn find(&'static self, values: &[&str]) -> Option<ChildRef<M>> {
        let hash = self.children.hash(values);
        self.children.find(hash, |child| self.shape.has_values(&child.labels, values))
    }

    /// Removes the series with these label values from the exposition. Returns whether there was one.
    pub(super) fn remove(&'static self, values: &[&str]) -> bool {
        let Some(lock) = fork::lock() else {
            recording_ignored();
            return false;
        };
        let hash = self.children.hash(values);
        let removed =
            self.children.unlist(hash, |child| self.shape.has_values(&child.labels, values), &lock);
        removed.is_some_and(|child| child.remove(&lock))
    }

    /// Removes all series from the exposition.
    pub(super) fn clear(&'static self) {
        let Some(lock) = fork::lock() else {
            return recording_ignored();
        };
        for child in self.children.unlist_all(&lock) {
            child.remove(&lock);
        }
    }

    /// The child with these label values, created by the first call. Inlined so that loops over the labels are unrolled.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn child(&'static self, values: &[&str]) -> ChildRef<M> {
        let hash = self.children.hash(values);
        match self.children.find(hash, |child| self.shape.has_values(&child.labels, values)) {
            Some(child) => child,
            None => self.insert_now(hash, values),
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_now(&'static self, hash: u64, values: &[&str]) -> ChildRef<M> {
        match fork::lock() {
            Some(lock) => self.insert(hash, values, &lock),
            None => M::ignored().child(),
        }
    }

    /// As [`child`](Self::child), for callers that hold the lock.
    pub(super) fn child_locked(&'static self, values: &[&str], lock: &SlowPath) -> ChildRef<M> {
        self.insert(self.children.hash(values), values, lock)
    }

    fn labels(&self, values: &[&str]) -> KeptLabels {
        let Descriptor { label_names, const_labels, .. } = &self.descriptor;
        let own = label_names.iter().map(|name| &**name).zip(values.iter().copied());
        let mut pairs: Vec<(&str, &str)> = const_labels.iter().chain(own).collect();
        pairs.sort_unstable();
        KeptLabels::new(pairs.into_iter())
    }

    fn insert(&'static self, hash: u64, values: &[&str], lock: &SlowPath) -> ChildRef<M> {
        self.children.find_or_insert(
            hash,
            |child| self.shape.has_values(&child.labels, values),
            lock,
            |child| child.removal.end(),
            || Child::new(self, self.labels(values)),
        )
    }
}

impl<M: Typed> Child<M> {
    fn new(family: &'static FamilyCore<M>, labels: KeptLabels) -> Child<M> {
        let (bound, removal) = (Bound::empty(), RemovalFlags::new());
        Child { family, labels, bound, removal, state: M::State::default() }
    }

    /// Prefetches what a scrape reads first.
    fn prefetch(&self) {
        self.bound.prefetch();
        if let Some(labels) = self.labels.text() {
            prefetch(labels.as_ptr());
        }
    }

    /// Prefetches the values, once the rest is in the cache.
    fn prefetch_values(&self) {
        if let Some(slots) = self.bound.inherited() {
            M::prefetch(slots);
        }
    }

    /// Counts a value that this type does not record.
    #[cold]
    #[inline(never)]
    pub(super) fn ignore(&self, reason: IgnoredValue, value: f64) {
        let (metric_type, name) = (M::TYPE, self.family.name());
        let message = format_args!(
            "{metric_type} `{name}` ignores the value {value}: {reason}; further ones are counted in `multiprom_ignored_values_total`"
        );
        self.family.store.count_ignored_value(reason, &message);
    }

    pub(super) fn store(&self) -> Store {
        self.family.store
    }

    /// The storage of this series, if this process has created it.
    #[inline]
    pub(super) fn bound(&self) -> Option<&'static M::Slots> {
        self.bound.get()
    }

    /// The storage that this process used before its files were closed, if it has created no other since.
    pub(super) fn former(&self) -> Option<&'static M::Slots> {
        self.bound.former()
    }

    /// The storage, if this process has recorded into the series or exported its zeros.
    pub(super) fn slots_if_bound(&self) -> Option<&'static M::Slots> {
        if self.removal.is_unexported() {
            return None;
        }
        if self.family.store.is_inherited() {
            self.bound.inherited()
        } else {
            self.bound.get().or_else(|| self.bound.former())
        }
    }

    /// The storage in this process, created if necessary.
    pub(super) fn bind(&'static self, lock: &SlowPath) -> &'static M::Slots {
        self.family.store.refresh();
        match self.bound.get() {
            Some(slots) if M::is_moved(slots) => self.clear_storage(),
            Some(slots) => return slots,
            None => {}
        }
        if self.removal.is_unexported() {
            self.opener().restore(M::LEAD_SAMPLE);
            let parked = self.bound.former().filter(|_| self.removal.take_parked());
            if let Some(slots) = parked.filter(|slots| !M::is_moved(slots)) {
                M::resume(slots);
                self.bound.set(slots, lock);
                self.removal.set_exported();
                return slots;
            }
        }
        let slots = match self.bound.inherited() {
            Some(slots) if self.family.store.is_inherited() => M::inherit(slots),
            _ => M::open(&self.opener(), self.family.options, self.bound.former()),
        };
        self.family.store.bound(self);
        self.bound.set(slots, lock);
        self.removal.set_exported();
        slots
    }

    fn clear_storage(&self) {
        M::unbind(&self.state);
        self.bound.clear();
    }

    /// Removes the series from the exposition. Returns whether it was exported.
    fn remove(&'static self, lock: &SlowPath) -> bool {
        let slots = self.slots_if_bound();
        let is_bound = self.bound.get().is_some();
        // The flags come first: a child that is forked here finds a series that is removed and not bound.
        self.removal.begin(is_bound);
        if is_bound {
            self.opener().remove(M::LEAD_SAMPLE);
        }
        if let Some(slots) = slots {
            M::restart(slots, self.family.options, lock);
        }
        self.clear_storage();
        slots.is_some()
    }

    /// Whether the series is removed, so that recordings have no effect.
    pub(super) fn is_removed(&self) -> bool {
        self.removal.is_removed()
    }

    /// How often the series was removed.
    pub(super) fn removals(&self) -> u32 {
        self.removal.count()
    }

    fn opener(&'static self) -> SeriesOpener<'static> {
        let descriptor = &self.family.descriptor;
        let Descriptor { name, help, metric_type, mode, unit, .. } = descriptor;
        SeriesOpener::new(self.family.store, name, help, *metric_type, *mode, &self.labels)
            .with_unit(*unit)
    }
}

impl<M: Typed> fmt::Debug for Child<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = Vec::new();
        self.labels.push_pairs(&mut pairs);
        write!(f, "{} `{}` ", M::TYPE, self.family.name())?;
        f.debug_map().entries(pairs).finish()
    }
}

impl<M: Typed> Rebind for Child<M> {
    fn unbind(&self) {
        self.removal.take_parked();
        self.clear_storage();
    }
}

impl<M: SplitTyped> Child<M> {
    /// The cells that this thread owns, if it has recorded here before: the fast path of recording.
    ///
    /// The storage may be that of an ancestor, but no cells in it have a token of this process.
    #[inline]
    pub(super) fn owned(&self) -> Option<&'static M::Cells> {
        self.bound.inherited()?.owned(thread::token())
    }

    #[inline]
    pub(super) fn record(&'static self, value: f64) {
        match self.owned() {
            Some(cells) => M::record(cells, value),
            None => self.record_claimed(value),
        }
    }

    /// Records if this thread owns no cells of the series: at its first recording, if all owners' indexes are taken, or
    /// while the series waits.
    #[cold]
    pub(super) fn record_claimed(&'static self, value: f64) {
        if self.is_removed() {
            return;
        }
        self.family.store.prepare();
        let Some(inside) = fork::enter() else {
            // A signal handler or an allocator that interrupted the slow path.
            if !self.record_waiting(value) && !self.record_shared(value) {
                recording_ignored();
            }
            return;
        };
        let token = thread::claim(&inside);
        if self.record_waiting(value) {
            drop(inside);
            return self.family.store.retry();
        }
        if token.is_some() || !self.record_shared(value) {
            let lock = inside.lock();
            // OK because the series may have been removed while this thread waited for the lock.
            if self.is_removed() {
                return;
            }
            match self.claim(token, &lock) {
                Claimed::Owned(cells) => M::record(cells, value),
                Claimed::Shared(cells) => M::record_shared(cells, value),
                Claimed::Waiting(cells) => _ = cells.record(|cells| M::record_shared(cells, value)),
            }
        }
    }

    /// Records into the shared cells, if there are any.
    fn record_shared(&self, value: f64) -> bool {
        let cells = self.bound.get().and_then(Split::shared);
        cells.inspect(|cells| M::record_shared(cells, value)).is_some()
    }

    /// Records into the waiting cells, if there are any.
    fn record_waiting(&self, value: f64) -> bool {
        let waiting = self.bound.get().and_then(Split::waiting);
        waiting.is_some_and(|waiting| waiting.record(|cells| M::record_shared(cells, value)))
    }

    /// The cells of this thread, created if necessary.
    fn claim(&'static self, token: Option<Token>, lock: &SlowPath) -> Claimed<M::Cells> {
        let options = self.family.options;
        let make = || {
            let Opened { cells, gate } = self.opener().open(M::samples(options), now());
            (M::cells(options, &cells), gate)
        };
        self.bind(lock).claim(token, make, lock)
    }

    /// Exports the zeros of this thread's cells.
    pub(super) fn export_zeros(&'static self, lock: &SlowPath) {
        self.claim(thread::claim(lock.inside()), lock);
    }
}

impl<M: Typed> FamilyCore<M> {
    fn begin(&self, out: &mut dyn FamilySink) {
        let Descriptor { name, help, metric_type, unit, .. } = &self.descriptor;
        let unit = unit.map_or("", Unit::as_str);
        out.family(&FamilyMetadata { unit, ..FamilyMetadata::new(name, help, *metric_type) });
    }
}

impl<M: Typed> Child<M> {
    /// Emits the family with this series only, with the values of this process.
    pub(super) fn collect_alone(&self, out: &mut dyn FamilySink) {
        if let Some(slots) = self.slots_if_bound() {
            self.family.begin(out);
            self.collect(slots, &mut Vec::new(), out.wants_created(), out);
        }
    }

    /// Emits the samples of this series, with the start timestamp if it is wanted. `pairs` is only a buffer.
    fn collect<'a>(
        &'a self,
        slots: &M::Slots,
        pairs: &mut Vec<(&'a str, &'a str)>,
        wants_created: bool,
        out: &mut dyn FamilySink,
    ) {
        let labels = self.labels.labels(pairs);
        let mut give = |kind, value| out.sample(&Sample::new(kind, labels, value));
        M::collect(slots, self.family.options, &mut give);
        if wants_created && let Some(seconds) = M::created(slots) {
            out.sample(&Sample::new(SampleKind::Created, labels, seconds));
        }
    }
}

impl<M: Typed> Collector for FamilyCore<M> {
    fn collect(&self, out: &mut dyn FamilySink) {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let wants_created = out.wants_created();
        let mut begun = false;
        for child in self.children.iter(Child::prefetch, Child::prefetch_values) {
            let Some(slots) = child.slots_if_bound() else {
                continue;
            };
            if !begun {
                self.begin(out);
                begun = true;
            }
            child.collect(slots, &mut pairs, wants_created, out);
        }
    }
}

impl<M: Typed> RegisteredFamily for FamilyCore<M> {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn store(&self) -> Store {
        self.store
    }

    fn as_any(&'static self) -> &'static (dyn Any + Send + Sync) {
        self
    }
}
