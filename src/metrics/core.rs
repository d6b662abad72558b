//! Families, their children, and the storage of a child: what all metric types have in common.

mod burial;
mod child;
mod limit;
mod lookup;
mod removal;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub(super) use self::limit::{AtLimit, CountOverflows, Limit};
use super::child_labels::ChildLabels;
use super::children::{Children, Places};
use super::functions::Functions;
use super::idle::IdleSweeps;
use super::lookup_key::{Ends, LookupKey};
use super::removal_flags::RemovalFlags;
use super::settings::Settings;
use super::shape::LabelShape;
use crate::error::Result;
use crate::model::{FamilySink, GaugeMode, KeptLabels, Labels, MetricType, Sample, SampleKind};
use crate::registry::{Descriptor, RegisteredFamily, Registry};
use crate::store::fork::{
    self, Arena, Bound, Home, Release, SlowPath, StaticRef, Transient, TransientSlice,
};
use crate::store::{Cell, SampleCells, SeriesOpener, Split, Store};

/// A metric type, as storage uses it. A value of the type is a handle of one series.
pub trait Typed: Copy + Send + Sync + fmt::Debug + 'static {
    const TYPE: MetricType;

    /// The sample whose key names a series in removal records.
    const LEAD_SAMPLE: SampleKind;

    /// Whether families of this type have a gauge mode.
    const HAS_MODE: bool = false;

    /// The gauge mode of families that name none.
    const DEFAULT_MODE: GaugeMode = GaugeMode::All;

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

    /// Removes a series of this process from the exposition.
    fn remove(opener: &SeriesOpener<'_>, slots: &Self::Slots) {
        let _ = slots;
        opener.remove(Self::LEAD_SAMPLE);
    }

    /// Exports a series again that was removed, before its storage is opened or resumed.
    fn restore(opener: &SeriesOpener<'_>) {
        opener.restore(Self::LEAD_SAMPLE);
    }

    /// Called before a removed series is exported again: the values of totals that this process shows begin at 0 again.
    fn restart(slots: &'static Self::Slots, options: Self::Options, home: Home, lock: &SlowPath) {
        let _ = (slots, options, home, lock);
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

    /// Whether series of this type are placed in memory that is given back after their removal.
    const IS_TRANSIENT: bool = true;

    /// Releases the storage of a removed series that does not come back.
    fn release(slots: &'static Self::Slots, release: &mut Release) {
        let _ = (slots, release);
    }

    /// The storage with which a forked child continues if values are inherited. Called under the lock of the slow path.
    fn inherit(slots: &'static Self::Slots) -> &'static Self::Slots;

    /// Exports the zeros of a series.
    fn export_zeros(child: ChildRef<Self>, lock: &SlowPath);

    /// Prefetches what a scrape reads of a series.
    fn prefetch(slots: &Self::Slots) {
        let _ = slots;
    }

    /// What a signal handler or an allocator gets that interrupted the slow path.
    fn ignored() -> &'static Self {
        &Self::ignored_series().handle
    }

    /// The family of that handle. It stands for that of a series whose memory was given back.
    fn ignored_family() -> &'static &'static FamilyCore<Self> {
        &Self::ignored_series().family
    }

    /// The handle and the family.
    fn ignored_series() -> &'static Ignored<Self>;

    /// Passes the samples of one series with the values of this process, without the start timestamp. Types whose samples
    /// have labels of their own implement [`emit`](Typed::emit) instead.
    fn collect(slots: &Self::Slots, options: Self::Options, sink: &mut dyn FnMut(SampleKind, f64)) {
        let _ = (slots, options, sink);
    }

    /// Emits these samples.
    fn emit(
        slots: &Self::Slots,
        options: Self::Options,
        labels: Labels<'_>,
        out: &mut dyn FamilySink,
    ) {
        let mut give = |kind, value| out.sample(&Sample::new(kind, labels, value));
        Self::collect(slots, options, &mut give);
    }

    /// When this process began to record a series, in Unix seconds. A forked child that inherits values inherits the time.
    fn created(slots: &Self::Slots) -> Option<f64> {
        let _ = slots;
        None
    }
}

/// The handle of a series that is not exported, and its family.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct Ignored<M: Typed> {
    pub(super) handle: M,
    pub(super) family: &'static FamilyCore<M>,
}

/// A type whose series are split by thread.
pub trait SplitTyped: Typed<Slots = Split<Self::Cells, Self::Alignment>> {
    /// What one thread writes.
    type Cells: Transient + Send + 'static;

    /// A type with the alignment of the cells that the first thread owns.
    type Alignment: Send + Sync + 'static;

    /// The samples of a series.
    fn samples(options: Self::Options) -> impl Iterator<Item = SampleKind> + Clone;

    /// Creates the cells of one thread from the cells of its samples, in the order of [`samples`](Self::samples).
    fn cells(options: Self::Options, samples: &[SampleCells], home: Home) -> Self::Cells;

    /// Releases what the cells of one thread lead to, besides the words.
    fn release_cells(cells: &Self::Cells, release: &mut Release) {
        let _ = (cells, release);
    }

    /// The cell with the time at which the cells were created, in Unix seconds.
    fn created_cell(cells: &Self::Cells) -> Cell;

    /// The exported words, in the order of [`samples`](Self::samples).
    fn words(cells: &Self::Cells) -> impl Iterator<Item = Cell>;

    /// A number that changes with each recording: the total, or the number of observations.
    fn activity(slots: &Self::Slots, options: Self::Options) -> f64;

    /// Records into cells that this thread owns.
    fn record(cells: &Self::Cells, value: f64);

    /// Records into cells that other threads write too. Returns how often another thread was faster.
    fn record_shared(cells: &Self::Cells, value: f64) -> u32;
}

/// A family of one type: its children by label values, and the store of their cells.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct FamilyCore<M: Typed> {
    pub(super) descriptor: Descriptor,
    shape: LabelShape,
    pub(super) options: M::Options,
    pub(super) store: Store,
    pub(super) children: Children<Child<M>>,
    pub(super) functions: Functions,
    limit: Option<Limit<M>>,
    idle_sweeps: IdleSweeps,
    /// The memory of the series, except the first ones.
    arena: Arena,
    /// When series that do not come back were looked for last, in Unix seconds, and in which generation of the store. Written
    /// under the lock of the slow path.
    buried_at: AtomicU32,
    buried_in: AtomicU64,
    /// Whether the family is unregistered. Written under the lock of the slow path.
    is_retired: AtomicBool,
    /// What lookups return then: a removed series. Created when the family is first unregistered.
    retired: StaticRef<Child<M>>,
}

/// One series: its labels, and its cells in this process.
///
/// Its memory may be given back, and is zeros then.
pub struct Child<M: Typed> {
    family: StaticRef<FamilyCore<M>>,
    pub(super) labels: ChildLabels,
    /// See [`LookupKey::kept_ends`].
    ends: TransientSlice<Ends>,
    bound: Bound<M::Slots>,
    removal: RemovalFlags,
    /// When the series was removed last, in Unix seconds.
    removed_at: AtomicU32,
    /// The generation of the store at that time.
    removed_in: AtomicU64,
    /// Whether it is in the arena of its family.
    is_in_arena: bool,
    pub(super) state: M::State,
}

/// The series that a handle records into.
pub type ChildRef<M> = &'static Child<M>;

impl<M: Typed> FamilyCore<M> {
    /// Creates a family, which lives as long as the process.
    pub(super) fn leak(
        descriptor: Descriptor,
        options: M::Options,
        store: Store,
        limit: Option<Limit<M>>,
    ) -> &'static FamilyCore<M> {
        let shape = LabelShape::new(&descriptor.label_names, &descriptor.const_labels);
        Box::leak(Box::new(FamilyCore {
            descriptor,
            shape,
            options,
            store,
            children: Children::new(),
            functions: Functions::new(),
            limit,
            idle_sweeps: IdleSweeps::new(),
            arena: Arena::new(),
            buried_at: AtomicU32::new(0),
            buried_in: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
            retired: StaticRef::empty(),
        }))
    }

    /// Creates a family and registers it, or registers one again that was unregistered. The names were checked under the same
    /// lock.
    pub(super) fn register(
        descriptor: Descriptor,
        settings: &Settings,
        store: Store,
        limit: Option<Limit<M>>,
        registry: &Registry,
        lock: &SlowPath,
    ) -> &'static FamilyCore<M> {
        let max = |limit: Option<&Limit<M>>| limit.map(Limit::max);
        let is_fit = |former: &FamilyCore<M>| {
            former.store.is_same(store)
                && M::has_options(former.options, settings)
                && max(former.limit.as_ref()) == max(limit.as_ref())
        };
        if let Some(family) = registry.restore_family(&descriptor, is_fit, lock) {
            family.is_retired.store(false, Ordering::Relaxed);
            return family;
        }
        let family = FamilyCore::leak(descriptor, M::options(settings), store, limit);
        registry.add_family(family, lock);
        family
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

    pub(super) fn is_in_memory(&self) -> bool {
        self.store.is_inherited()
    }

    /// A child without label values that no lookup finds. It lives as long as the process.
    pub(super) fn leak_child(&'static self) -> ChildRef<M> {
        Box::leak(Box::new(Child::new(self, &self.labels(&[]), Box::default(), Home::HEAP)))
    }

    /// The child with these label values, if it exists.
    pub(super) fn find(&'static self, values: &[&str]) -> Option<ChildRef<M>> {
        let key = self.children.key(values.iter().copied());
        self.children.find_surely(key, |child| self.has_values(child, values, &key))
    }

    /// The child with these label values, created by the first call. Inlined so that loops over the labels are unrolled.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn child(&'static self, values: &[&str]) -> ChildRef<M> {
        let key = self.children.key(values.iter().copied());
        match self.children.find(key, |child| self.has_values(child, values, &key)) {
            Some(child) => child,
            None => self.insert_now(values),
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_now(&'static self, values: &[&str]) -> ChildRef<M> {
        if let Some(child) = self.overflow(|| self.find(values)) {
            return child;
        }
        let Some(lock) = fork::lock() else {
            return M::ignored().child();
        };
        match self.at_limit(|| self.find(values), &lock) {
            None => self.insert(self.children.key(values.iter().copied()), values, &lock),
            Some(at_limit) => {
                drop(lock);
                self.counted(&at_limit)
            }
        }
    }

    /// As [`child`](Self::child), for callers that hold the lock.
    pub(super) fn child_locked(&'static self, values: &[&str], lock: &SlowPath) -> ChildRef<M> {
        match self.at_limit(|| self.find(values), lock) {
            None => self.insert(self.children.key(values.iter().copied()), values, lock),
            Some(AtLimit::Found(child) | AtLimit::Overflow(child)) => child,
        }
    }

    /// Whether a child, whose key has these lengths, has these values.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn has_values(&self, child: &Child<M>, values: &[&str], key: &LookupKey) -> bool {
        match key.is_kept(child.ends.get(), values.len()) {
            Some(has_values) => has_values,
            None => self.shape.has_values(&child.labels, values, key.has_lengths()),
        }
    }

    fn labels(&self, values: &[&str]) -> KeptLabels {
        let Descriptor { label_names, const_labels, .. } = &self.descriptor;
        let own = label_names.iter().map(|name| &**name).zip(values.iter().copied());
        let mut pairs: Vec<(&str, &str)> = const_labels.iter().chain(own).collect();
        pairs.sort_unstable();
        KeptLabels::new(pairs.into_iter())
    }

    /// Whether the family is unregistered.
    pub(super) fn is_retired(&self) -> bool {
        // ORDERING: relaxed. Those who depend on it hold the lock of the slow path.
        self.is_retired.load(Ordering::Relaxed)
    }

    /// The series that lookups return while the family is unregistered.
    fn retired(&self) -> Option<ChildRef<M>> {
        if self.is_retired() { self.retired.get() } else { None }
    }

    /// The child with these label values, created if necessary.
    fn insert(&'static self, key: LookupKey, values: &[&str], lock: &SlowPath) -> ChildRef<M> {
        if let Some(child) = self.retired() {
            return child;
        }
        let home = self.home_of(values.iter().copied());
        self.children.find_or_insert(
            &Places::new(self.home(), home),
            key,
            |child| self.has_values(child, values, &key),
            lock,
            |child| child.removal.end(),
            || Child::new(self, &self.labels(values), key.kept_ends(values.len()), home),
        )
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

    fn retire(&'static self, lock: &SlowPath) -> Box<dyn Any> {
        if self.retired.get().is_none() {
            let child = self.leak_child();
            child.removal.begin(false);
            self.retired.set(child);
        }
        self.is_retired.store(true, Ordering::Relaxed);
        let functions = self.functions.remove(|_| true, lock);
        for child in self.children.unlist_where(|_| true, lock) {
            child.remove();
        }
        self.bury(lock);
        Box::new(functions)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counter;
    use super::*;
    use crate::registry::Backend;

    #[test]
    fn lookups_in_an_unregistered_family_return_one_series_however_often_it_is_unregistered() {
        let registry = Registry::builder().backend(Backend::in_memory()).build().unwrap();
        let register = || Counter::builder("jobs", "J.").labels(["at"]).register(&registry);
        let jobs = register().unwrap();
        let mut retired = Vec::new();
        for _ in 0..3 {
            registry.unregister("jobs").unwrap();
            let child = jobs.core().child(&["a"]);
            assert!(child.is_removed() && jobs.core().is_retired());
            retired.push(child.address());
            register().unwrap();
            assert!(!jobs.core().child(&["a"]).is_removed() && !jobs.core().is_retired());
        }
        retired.dedup();
        assert_eq!(retired.len(), 1);
    }
}
