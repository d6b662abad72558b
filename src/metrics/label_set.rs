//! Families whose labels are the fields of a struct.

use std::fmt;
use std::marker::PhantomData;

use super::core::FamilyCore;
use super::family::TypedFamily;
use super::spec::{FamilySpec, IsNew, Unusable, slow_path};
use super::statics::{Declared, LabelNames, Static, sealed};
use super::{Metric, MetricBuilder};
use crate::error::Result;
use crate::registry::Registry;
use crate::store::fork::SlowPath;

/// Label sets up to this number are exported as zeros when a family of an enumerable type is registered.
const MAX_ZEROS: usize = 1_000;

/// A struct whose fields are labels.
///
/// Derived by the macro of the same name, which the feature `derive` exports. Fields may be borrowed: a lookup needs no
/// owned text and allocates nothing.
///
#[cfg_attr(feature = "derive", doc = "```")]
#[cfg_attr(not(feature = "derive"), doc = "```ignore")]
/// use std::net::IpAddr;
///
/// use multiprom::{Backend, Counter, LabelSet, LabelValue, Registry};
///
/// #[derive(LabelValue)]
/// #[label(rename_all = "lowercase")]
/// enum Method {
///     Get,
///     Post,
/// }
///
/// #[derive(LabelSet)]
/// struct Http<'a> {
///     method: Method,
///     route: &'a str,
///     code: u16,
///     #[label(name = "peer", display)]
///     address: IpAddr,
/// }
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// let requests =
///     Counter::builder("http", "HTTP requests.").label_set::<Http>().register(&registry)?;
///
/// let route = String::from("/");
/// let address = [127, 0, 0, 1].into();
/// requests.with(&Http { method: Method::Post, route: &route, code: 200, address }).inc();
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP http_total HTTP requests.\n\
///      ## TYPE http_total counter\n\
///      http_total{code=\"200\",method=\"post\",peer=\"127.0.0.1\",route=\"/\"} 1\n"
/// );
/// # let _ = Method::Get;
/// # Ok::<(), multiprom::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a label set",
    note = "derive `LabelSet` for a struct with named fields"
)]
pub trait LabelSet {
    /// The type with the lifetime `'static` in place of all others. It is the parameter of [`TypedFamily`], whose lookups take
    /// label sets of any lifetime.
    type Static: 'static;

    /// The names of the labels.
    const NAMES: &'static [&'static str];

    /// For each label, the texts of all its values, or nothing if they cannot be listed.
    const VALUES: &'static [&'static [&'static str]];

    /// Calls `use_texts` with the values as text, in the order of the names, and returns its result.
    fn with_texts<R>(&self, use_texts: impl FnOnce(&[&str]) -> R) -> R;
}

impl<M: Metric, L: 'static> TypedFamily<M, L> {
    /// The handle of the series with these labels.
    ///
    /// The lookup takes no lock and allocates nothing; the first use of a label set creates the series, which does both.
    /// Keep the handle where it is used often. If the family has a [limit](MetricBuilder::max_series) and is full, a further
    /// label set gets the series `other`.
    #[inline]
    pub fn with(&self, labels: &impl LabelSet<Static = L>) -> M {
        labels.with_texts(
            #[inline(always)]
            |texts| M::from_child(self.core().child(texts)),
        )
    }

    /// The handle of the series with these labels, if the series exists: a lookup that creates nothing.
    pub fn get(&self, labels: &impl LabelSet<Static = L>) -> Option<M> {
        labels.with_texts(|texts| self.core().find(texts)).map(M::from_child)
    }

    /// As [`with`](TypedFamily::with), and exports the zero of the series: see [`Family::create`](super::Family::create).
    pub fn create(&self, labels: &impl LabelSet<Static = L>) -> M {
        let metric = self.with(labels);
        self.core().create(metric.child());
        metric
    }

    /// Removes the series with these labels from the exposition: see [`Family::remove`](super::Family::remove). Returns
    /// whether it was exported.
    pub fn remove(&self, labels: &impl LabelSet<Static = L>) -> bool {
        labels.with_texts(|texts| self.core().remove(texts))
    }

    /// Removes all series of the family from the exposition, each as [`Family::remove`](super::Family::remove) does.
    pub fn clear(&self) {
        self.core().clear();
    }
}

impl<M: Metric, L: 'static> fmt::Debug for TypedFamily<M, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} family `{}` ", M::TYPE, self.core().name())?;
        f.debug_list().entries(self.core().label_names()).finish()
    }
}

/// Builds a family with the labels of a [`LabelSet`].
#[must_use = "a family is created by `register`"]
pub struct TypedFamilyBuilder<M: Metric, L: LabelSet> {
    base: MetricBuilder<M>,
    exports_zeros: bool,
    labels: PhantomData<fn(&L)>,
}

impl<M: Metric> MetricBuilder<M> {
    /// Makes it a family with the labels of a struct: see [`LabelSet`].
    pub fn label_set<L: LabelSet>(self) -> TypedFamilyBuilder<M, L> {
        TypedFamilyBuilder { base: self, exports_zeros: true, labels: PhantomData }
    }
}

impl<M: Metric, L: LabelSet> TypedFamilyBuilder<M, L> {
    /// Exports only the series that are used, also if the values of all labels can be listed.
    pub fn without_zeros(mut self) -> TypedFamilyBuilder<M, L> {
        self.exports_zeros = false;
        self
    }

    /// Registers the family; it exports the series that are used, and zeros of all label sets if they can be listed.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`].
    pub fn register(self, registry: &Registry) -> Result<TypedFamily<M, L::Static>> {
        self.create(registry, |spec, lock| spec.register(registry, Unusable::Fail, lock))
    }

    /// The family that is registered with the same name, help, labels and settings, or a new one.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`]; the name may be taken by a metric with another description.
    pub fn get_or_register(self, registry: &Registry) -> Result<TypedFamily<M, L::Static>> {
        self.create(registry, |spec, lock| spec.get_or_register(registry, lock))
    }

    fn create(
        self,
        registry: &Registry,
        create: impl FnOnce(&FamilySpec<'_>, &SlowPath) -> Result<&'static FamilyCore<M>>,
    ) -> Result<TypedFamily<M, L::Static>> {
        registry.prepare();
        let lock = slow_path()?;
        let core = self.base.with_spec(L::NAMES, |spec| create(spec, &lock))?;
        if self.exports_zeros {
            core.create_all(L::VALUES, MAX_ZEROS, &lock);
        }
        Ok(TypedFamily::new(core))
    }
}

impl<M: Metric, L: LabelSet> fmt::Debug for TypedFamilyBuilder<M, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedFamilyBuilder")
            .field("base", &self.base)
            .field("labels", &L::NAMES)
            .field("exports_zeros", &self.exports_zeros)
            .finish()
    }
}

impl<M: Metric> Static<M> {
    /// Makes it a family with the labels of a struct: see [`LabelSet`]. Set everything else before.
    ///
    /// # Panics
    ///
    /// If a label name is malformed, reserved or given twice, which in a static fails the build.
    pub const fn label_set<L: LabelSet<Static = L> + 'static>(self) -> Static<TypedFamily<M, L>> {
        self.check_labels(L::NAMES);
        self.with_labels(LabelNames(L::NAMES))
    }
}

impl<M: Metric, L: LabelSet<Static = L> + 'static> Declared for TypedFamily<M, L> {}

impl<M: Metric, L: LabelSet<Static = L> + 'static> sealed::Declared for TypedFamily<M, L> {
    type Labels = LabelNames;

    fn register(
        spec: &FamilySpec<'_>,
        registry: &Registry,
        unusable: Unusable,
        lock: &SlowPath,
    ) -> Result<TypedFamily<M, L>> {
        spec.register(registry, unusable, lock).map(TypedFamily::new)
    }

    fn is_retired(&self) -> bool {
        self.core().is_retired()
    }

    fn detached(spec: &FamilySpec<'_>, lock: &SlowPath) -> (TypedFamily<M, L>, IsNew) {
        let (core, is_new) = spec.detached(lock);
        (TypedFamily::new(core), is_new)
    }

    fn ignored() -> &'static TypedFamily<M, L> {
        TypedFamily::from_ref(M::ignored_family())
    }

    fn prepare(self, lock: &SlowPath) -> Result<()> {
        self.core().check_store()?;
        self.core().create_all(L::VALUES, MAX_ZEROS, lock);
        Ok(())
    }
}
