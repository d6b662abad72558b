//! What all metric types share: a family, its children, and how a child finds its cells.

use std::any::Any;

use super::children::Children;
use super::shape::LabelShape;
use super::{Counter, Gauge, Histogram, Summary};
use crate::error::{Error, ErrorKind, Result};
use crate::model::clock::now;
use crate::model::{
    Collector, FamilyMetadata, FamilySink, GaugeMode, KeptLabels, LabelSet, MetricType, Sample,
    SampleKind, name,
};
use crate::registry::{self, Descriptor, RegisteredFamily, Registry};
use crate::store::fork::{self, Bound, SlowPath, StaticRef};
use crate::store::thread::{self, Token};
use crate::store::{
    Claimed, Opened, Rebind, SampleCells, SeriesOpener, Split, Store, recording_ignored,
};

/// A metric type, as storage sees it.
pub trait Typed: Sized + 'static {
    const TYPE: MetricType;

    /// What distinguishes families of this type: a gauge's mode, a histogram's bounds.
    type Options: Copy + Send + Sync + 'static;

    /// Options as a builder holds them: they live as long as the process only once a family needs them.
    type Given: Clone + From<Self::Options> + Into<Self::Options> + PartialEq<Self::Options>;

    /// What a series is stored in, at an address that lives as long as the process.
    type Slots: Send + Sync + 'static;

    fn check(options: &Self::Given) -> Result<()> {
        let _ = options;
        Ok(())
    }

    fn mode(options: &Self::Given) -> Option<GaugeMode> {
        let _ = options;
        None
    }

    /// The label name that this type keeps for itself.
    const RESERVED_LABEL: Option<&'static str> = None;

    /// Makes the storage of a series in this process, which goes on with what `former` has if its file
    /// was lost or closed.
    fn open(
        opener: &SeriesOpener<'_>,
        options: Self::Options,
        former: Option<&'static Self::Slots>,
    ) -> &'static Self::Slots;

    /// Whether the values were moved into a file, so that the storage must not be used any more.
    fn is_moved(slots: &Self::Slots) -> bool {
        let _ = slots;
        false
    }

    /// What a forked child goes on with where values are inherited.
    fn inherit(slots: &'static Self::Slots) -> &'static Self::Slots;

    /// Makes the zeros of a series visible.
    fn declare(child: ChildRef<Self>, lock: &SlowPath);

    /// Has what a scrape reads of a series brought near.
    fn fetch(slots: &Self::Slots) {
        let _ = slots;
    }

    /// See [`ignored_child`].
    fn ignored() -> ChildRef<Self>;

    /// Gives the samples of one series as this process has them.
    fn collect(slots: &Self::Slots, options: Self::Options, sink: &mut dyn FnMut(SampleKind, f64));
}

/// A type whose series are split by thread.
pub trait SplitTyped: Typed<Slots = Split<Self::Cells>> {
    /// What one thread writes.
    type Cells: Send + Sync + 'static;

    /// The samples of a series.
    fn parts(options: Self::Options) -> impl Iterator<Item = SampleKind>;

    /// Makes the cells for one thread from the cells of its samples, in the order of [`parts`](Self::parts).
    fn cells(options: Self::Options, samples: &[SampleCells]) -> Self::Cells;

    /// Records into cells that this thread owns.
    fn record(cells: &Self::Cells, value: f64);

    /// Records into cells that other threads write too.
    fn record_shared(cells: &Self::Cells, value: f64);
}

/// A family of one type: children by label values, and the store of their cells.
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
}

/// What a handle is.
pub type ChildRef<M> = &'static Child<M>;

/// The child that lookups and registrations return to a signal handler or an allocator that interrupted the slow path.
/// It is not exported, and recordings into it are ignored as long as the slow path is interrupted.
///
/// It is made by the first call of [`slow_path`], because an interrupted allocator cannot be used.
pub(super) fn ignored_child<M: Typed>(
    slot: &StaticRef<Child<M>>,
    options: M::Options,
) -> ChildRef<M> {
    slot.get().unwrap_or_else(|| {
        let spec =
            FamilySpec { name: "ignored", help: "", label_names: &[], options: options.into() };
        let family = spec.detached();
        slot.set_once(Box::leak(Box::new(Child::new(family, family.labels(&[])))))
    })
}

/// Takes the lock of the slow path for a registration. Every process registers before it records.
///
/// # Errors
///
/// Of kind [`Reentrant`](ErrorKind::Reentrant) where this thread is in the slow path already.
pub(super) fn slow_path() -> Result<SlowPath> {
    let _ = (Counter::ignored(), Gauge::ignored(), Histogram::ignored(), Summary::ignored());
    registry::slow_path()
}

/// What a family is made from.
pub(crate) struct FamilySpec<'a, M: Typed> {
    pub(crate) name: &'a str,
    pub(crate) help: &'a str,
    pub(crate) label_names: &'a [&'a str],
    pub(crate) options: M::Given,
}

impl<M: Typed> FamilySpec<'_, M> {
    /// Checks names and options, and puts them together for a registry.
    fn describe(&self, registry: &Registry) -> Result<Descriptor> {
        let (name, const_labels) = registry.qualify(self.name);
        name::check_metric_name(&name)
            .map_err(|error| Error::new(ErrorKind::InvalidName, error))?;
        let mode = M::mode(&self.options);
        let invalid =
            |error| Error::new(ErrorKind::InvalidLabels, format!("metric `{name}`: {error}"));
        let names = const_labels.iter().map(|(name, _)| name.to_owned());
        let names: Vec<String> =
            names.chain(self.label_names.iter().map(|name| (*name).to_owned())).collect();
        name::check_label_names(&names.iter().map(String::as_str), M::RESERVED_LABEL)
            .map_err(invalid)?;
        if mode.is_some_and(GaugeMode::is_per_process) && names.iter().any(|name| name == "pid") {
            return Err(invalid(name::NameError::PerProcessLabel("pid".to_owned())));
        }
        M::check(&self.options)?;
        let family = match M::TYPE {
            MetricType::Counter => name.strip_suffix("_total").unwrap_or(&name).to_owned(),
            _ => name,
        };
        Ok(Descriptor {
            name: family,
            help: self.help.to_owned(),
            metric_type: M::TYPE,
            mode,
            label_names: self.label_names.iter().map(|&name| name.into()).collect(),
            const_labels,
        })
    }

    /// Makes the family and registers it.
    pub(crate) fn register(
        &self,
        registry: &Registry,
        lock: &SlowPath,
    ) -> Result<&'static FamilyCore<M>> {
        self.register_in(registry.store(), registry, lock)
    }

    /// As [`register`](Self::register), but accepts a directory that cannot be used yet: a static is registered only
    /// once.
    pub(crate) fn register_static(
        &self,
        registry: &Registry,
        lock: &SlowPath,
    ) -> Result<&'static FamilyCore<M>> {
        self.register_in(registry.store_or_later(), registry, lock)
    }

    fn register_in(
        &self,
        store: Result<Store>,
        registry: &Registry,
        lock: &SlowPath,
    ) -> Result<&'static FamilyCore<M>> {
        let descriptor = self.describe(registry)?;
        registry.check_names(&descriptor)?;
        let family = FamilyCore::leak(descriptor, self.options.clone().into(), store?);
        registry.add_family(family, lock);
        Ok(family)
    }

    /// The family that is registered under the same description, or a new one.
    pub(crate) fn get_or_register(
        &self,
        registry: &Registry,
        lock: &SlowPath,
    ) -> Result<&'static FamilyCore<M>> {
        let descriptor = self.describe(registry)?;
        match registry.find_family::<FamilyCore<M>>(&descriptor) {
            Some(family) if self.options == family.options => Ok(family),
            _ => self.register(registry, lock),
        }
    }

    /// A family that no registry knows, on the heap, for a static that cannot be registered.
    pub(crate) fn detached(&self) -> &'static FamilyCore<M> {
        let descriptor = Descriptor {
            name: self.name.to_owned(),
            help: String::new(),
            metric_type: M::TYPE,
            mode: None,
            label_names: Box::default(),
            const_labels: LabelSet::default(),
        };
        FamilyCore::leak(descriptor, self.options.clone().into(), Store::Heap)
    }
}

impl<M: Typed> FamilyCore<M> {
    fn leak(descriptor: Descriptor, options: M::Options, store: Store) -> &'static FamilyCore<M> {
        let shape = LabelShape::new(&descriptor.label_names, &descriptor.const_labels);
        let children = Children::new();
        Box::leak(Box::new(FamilyCore { descriptor, shape, options, store, children }))
    }

    pub(super) fn options(&self) -> M::Options {
        self.options
    }

    /// The label name at a position, without constant labels.
    pub(super) fn label_name(&self, at: usize) -> &str {
        &self.descriptor.label_names[at]
    }

    /// Returns the error of a backend that was never usable.
    pub(super) fn check_store(&self) -> Result<()> {
        self.store.check()
    }

    /// The child with these label values, made at the first call. Inlined so that loops over the labels are unrolled.
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
            None => M::ignored(),
        }
    }

    /// As [`child`](Self::child), for those who hold the lock.
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
            || Child::new(self, self.labels(values)),
        )
    }
}

impl<M: Typed> Child<M> {
    fn new(family: &'static FamilyCore<M>, labels: KeptLabels) -> Child<M> {
        Child { family, labels, bound: Bound::empty() }
    }

    /// Has what a scrape reads first brought near.
    fn fetch(&self) {
        self.bound.fetch();
        if let Some(labels) = self.labels.text() {
            fork::fetch(labels.as_ptr());
        }
    }

    /// Has what that leads to brought near.
    fn fetch_values(&self) {
        if let Some(slots) = self.bound.inherited() {
            M::fetch(slots);
        }
    }

    pub(super) fn store(&self) -> Store {
        self.family.store
    }

    /// The storage of this series, if this process has made it.
    #[inline]
    pub(super) fn bound(&self) -> Option<&'static M::Slots> {
        self.bound.get()
    }

    /// The storage that this process used before its files were closed, if it has made no other since.
    pub(super) fn former(&self) -> Option<&'static M::Slots> {
        self.bound.former()
    }

    /// The storage, if this process has recorded or declared the series.
    pub(super) fn slots_if_bound(&self) -> Option<&'static M::Slots> {
        if self.family.store.is_inherited() {
            self.bound.inherited()
        } else {
            self.bound.get().or_else(|| self.bound.former())
        }
    }

    /// The storage in this process, made if need be.
    pub(super) fn bind(&'static self, lock: &SlowPath) -> &'static M::Slots {
        self.family.store.refresh();
        match self.bound.get() {
            Some(slots) if M::is_moved(slots) => self.bound.clear(),
            Some(slots) => return slots,
            None => {}
        }
        let slots = match self.bound.inherited() {
            Some(slots) if self.family.store.is_inherited() => M::inherit(slots),
            _ => M::open(&self.opener(), self.family.options, self.bound.former()),
        };
        self.family.store.bound(self);
        self.bound.set(slots, lock);
        slots
    }

    fn opener(&self) -> SeriesOpener<'static> {
        let descriptor = &self.family.descriptor;
        let mut pairs = Vec::new();
        self.labels.push_pairs(&mut pairs);
        let labels = LabelSet::new(pairs);
        let Descriptor { name, help, metric_type, mode, .. } = descriptor;
        SeriesOpener::new(self.family.store, name, help, *metric_type, *mode, labels)
    }
}

impl<M: Typed> Rebind for Child<M> {
    fn unbind(&self) {
        self.bound.clear();
    }
}

impl<M: SplitTyped> Child<M> {
    /// The cells that this thread owns, if it has recorded here before: the fast path of recording.
    ///
    /// The storage may be that of a forebear, but no cells in it bear a token of this process.
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

    /// The cells for this thread, made if need be.
    fn claim(&'static self, token: Option<Token>, lock: &SlowPath) -> Claimed<M::Cells> {
        let options = self.family.options;
        let make = || {
            let Opened { cells, gate } = self.opener().open(M::parts(options), now());
            (M::cells(options, &cells), gate)
        };
        self.bind(lock).claim(token, make, lock)
    }

    /// Makes the zeros of this thread's cells visible.
    pub(super) fn declare(&'static self, lock: &SlowPath) {
        self.claim(thread::claim(lock.inside()), lock);
    }
}

/// The sum of one part of a series over all threads of this process.
pub(super) fn total<C: Sync>(split: &Split<C>, part: impl Fn(&C) -> f64) -> f64 {
    // OK because an empty sum from `Iterator::sum` would be -0.
    split.iter().map(part).fold(0.0, |sum, value| sum + value)
}

/// Implements what is the same for every type whose series are split.
macro_rules! split_storage {
    () => {
        fn open(
            _: &SeriesOpener<'_>,
            _: Self::Options,
            former: Option<&'static Self::Slots>,
        ) -> &'static Self::Slots {
            Box::leak(Box::new(Split::following(former)))
        }

        fn inherit(slots: &'static Self::Slots) -> &'static Self::Slots {
            Box::leak(Box::new(Split::inherit(slots)))
        }

        fn declare(child: ChildRef<Self>, lock: &SlowPath) {
            child.declare(lock);
        }
    };
}

pub(super) use split_storage;

impl<M: Typed> Collector for FamilyCore<M> {
    fn collect(&self, out: &mut dyn FamilySink) {
        let Descriptor { name, help, metric_type, .. } = &self.descriptor;
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut begun = false;
        for child in self.children.iter(Child::fetch, Child::fetch_values) {
            let Some(slots) = child.slots_if_bound() else {
                continue;
            };
            if !begun {
                out.family(&FamilyMetadata::new(name, help, *metric_type));
                begun = true;
            }
            let labels = child.labels.labels(&mut pairs);
            let mut give = |kind, value| out.sample(&Sample::new(kind, labels, value));
            M::collect(slots, self.options, &mut give);
        }
    }
}

impl<M: Typed> RegisteredFamily for FamilyCore<M> {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn as_any(&'static self) -> &'static (dyn Any + Send + Sync) {
        self
    }
}
