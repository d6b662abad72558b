//! Families: the handles of all kinds, and lookups by position and by name.
#![expect(unsafe_code, reason = "one representation of families with any number of labels")]

use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use super::Metric;
use super::core::FamilyCore;
use super::labels::LabelValues;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Collector, FamilySink};

/// A family with `N` labels, which is one if not stated: a handle, whose copies record into the same family.
///
/// It is declared as a [`Static`](super::Static) or created by a [`FamilyBuilder`](super::FamilyBuilder).
///
/// ```
/// use multiprom::{Counter, Family, Static};
///
/// static REQUESTS: Static<Family<Counter, 2>> =
///     Counter::declare("requests_total", "Requests.").labels(["method", "code"]);
///
/// let ok: Counter = REQUESTS.with(["GET", "200"]);
/// ok.inc();
/// // Values of several types: a tuple.
/// REQUESTS.with(("GET", 200)).inc();
/// REQUESTS.with_names(&[("code", "200"), ("method", "GET")])?.inc();
/// assert_eq!(ok.get(), 3.0);
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Family<M: Metric, const N: usize = 1>(&'static FamilyCore<M>, PhantomData<[(); N]>);

/// A family with the labels of a [`LabelSet`](super::LabelSet): a handle, whose copies record into the same family.
///
/// It is declared as a [`Static`](super::Static) by `label_set` or created by
/// [`MetricBuilder::label_set`](super::MetricBuilder::label_set).
///
/// If the values of all fields can be listed, as those of enums that derive `LabelValue` and of `bool` can, registration
/// exports all label sets as zeros, unless there are more than 1,000. A static exports them when it is passed to
/// [`register_statics`](crate::register_statics). In a forked child they are exported by its first recording of each, or by
/// its own registration.
///
#[cfg_attr(feature = "derive", doc = "```")]
#[cfg_attr(not(feature = "derive"), doc = "```ignore")]
/// use multiprom::metrics::TypedFamily;
/// use multiprom::{Counter, LabelSet, LabelValue, Static};
///
/// #[derive(LabelValue)]
/// enum Outcome {
///     Done,
///     Failed,
/// }
///
/// #[derive(LabelSet)]
/// struct Job {
///     outcome: Outcome,
/// }
///
/// static JOBS: Static<TypedFamily<Counter, Job>> = Counter::declare("jobs", "Jobs.").label_set();
///
/// multiprom::register_statics(&[&JOBS])?;
/// JOBS.with(&Job { outcome: Outcome::Done }).inc();
/// let page = multiprom::render(None).to_string();
/// assert!(page.contains("jobs_total{outcome=\"Done\"} 1\n"));
/// assert!(page.contains("jobs_total{outcome=\"Failed\"} 0\n"));
/// # let _ = Outcome::Failed;
/// # Ok::<(), multiprom::Error>(())
/// ```
#[repr(transparent)]
pub struct TypedFamily<M: Metric, L: 'static>(&'static FamilyCore<M>, PhantomData<fn(&L)>);

impl<M: Metric, L: 'static> Clone for TypedFamily<M, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Metric, L: 'static> Copy for TypedFamily<M, L> {}

/// A family whose series have different label names, which are known at run time only: a handle, whose copies record into
/// the same family.
///
/// It is declared as a [`Static`](super::Static) by `open_labels` or created by
/// [`MetricBuilder::open_labels`](super::MetricBuilder::open_labels). Where the names are known, a [`Family`] is faster and
/// its lookups cannot fail.
///
/// Pairs may be in any order. A label with an empty value is left out, because Prometheus does not distinguish it from a
/// label that is missing. Up to eight labels are looked up without an allocation.
///
/// ```
/// use multiprom::metrics::OpenFamily;
/// use multiprom::{Counter, Static};
///
/// static UPLOADS: Static<OpenFamily<Counter>> =
///     Counter::declare("uploads_total", "Uploads.").open_labels();
///
/// UPLOADS.with(&[("type", "png")])?.inc();
/// UPLOADS.with(&[("user", "a"), ("type", "png")])?.inc_by(2.0);
/// assert_eq!(UPLOADS.with(&[("type", "png"), ("user", "a")])?.get(), 2.0);
/// assert!(UPLOADS.with(&[("no name", "x")]).is_err());
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct OpenFamily<M: Metric>(&'static FamilyCore<M>, PhantomData<()>);

/// Conversions between a family and the address of its core.
macro_rules! impl_conversions {
    ($type:ty, [$($generics:tt)*]) => {
        impl<$($generics)*> $type {
            /// The family of a core with the labels of this type.
            pub(super) fn new(core: &'static FamilyCore<M>) -> Self {
                Self(core, PhantomData)
            }

            /// The family at the place of the address of its core.
            pub(super) fn from_ref(core: &'static &'static FamilyCore<M>) -> &'static Self {
                let place = ptr::from_ref(core).cast::<Self>();
                // SAFETY: the type is transparent around the address, so it has the same layout and the same valid values.
                unsafe { &*place }
            }

            #[inline]
            pub(super) fn core(self) -> &'static FamilyCore<M> {
                self.0
            }
        }
    };
}

impl_conversions!(Family<M, N>, [M: Metric, const N: usize]);
impl_conversions!(TypedFamily<M, L>, [M: Metric, L: 'static]);
impl_conversions!(OpenFamily<M>, [M: Metric]);

impl<M: Metric, const N: usize> Family<M, N> {
    /// The handle of the series with these label values, in the order of the label names.
    ///
    /// Values are an array of one type or a tuple, or a reference to one: see [`LabelValues`]. They are looked up without
    /// a lock and without an allocation; the first use of a label set creates the series, which takes a lock and
    /// allocates. Keep the handle where it is used often. If the family has a
    /// [limit](super::MetricBuilder::max_series) and is full, a further label set gets the series `other`.
    #[inline]
    pub fn with(&self, values: impl LabelValues<N>) -> M {
        values.with_texts(
            #[inline(always)]
            |texts| M::from_child(self.0.child(texts)),
        )
    }

    /// The handle of the series with these label values, for lists whose length is known at run time only.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) if there are not as many values as labels.
    pub fn with_slice(&self, values: &[&str]) -> Result<M> {
        match <&[&str; N]>::try_from(values) {
            Ok(values) => Ok(self.with(values)),
            Err(_) => {
                let (names, given) = (self.0.label_names().join("`, `"), values.len());
                Err(self.invalid(&format!("{given} values are given for its {N} labels `{names}`")))
            }
        }
    }

    /// The handle of the series with these labels, in any order.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) if a label is missing, unknown or given twice.
    pub fn with_names(&self, labels: &[(&str, &str)]) -> Result<M> {
        Ok(self.with(self.by_position(labels)?))
    }

    /// The handle of the series with these labels, in any order, if the series exists.
    ///
    /// # Errors
    ///
    /// Those of [`with_names`](Family::with_names).
    pub fn get_names(&self, labels: &[(&str, &str)]) -> Result<Option<M>> {
        Ok(self.get(self.by_position(labels)?))
    }

    /// The values of labels that are given by name, in the order of the label names.
    fn by_position<'a>(self, labels: &[(&str, &'a str)]) -> Result<[&'a str; N]> {
        let names = self.0.label_names();
        let unknown = labels.iter().find(|(name, _)| !names.iter().any(|own| **own == **name));
        if let Some((unknown, _)) = unknown {
            let own = names.join("`, `");
            return Err(
                self.invalid(&format!("it has no label `{unknown}`; its labels are `{own}`"))
            );
        }
        let mut values = [""; N];
        for (value, name) in values.iter_mut().zip(names) {
            let mut given = labels.iter().filter(|(given, _)| **given == **name);
            *value = match (given.next(), given.next()) {
                (Some((_, given)), None) => given,
                (None, _) => return Err(self.invalid(&format!("the label `{name}` is missing"))),
                (Some(_), Some(_)) => {
                    return Err(self.invalid(&format!("the label `{name}` is given twice")));
                }
            };
        }
        Ok(values)
    }

    fn invalid(self, problem: &str) -> Error {
        let message = format!("metric `{}`: {problem}", self.0.name());
        Error::new(ErrorKind::InvalidLabels, message)
    }

    /// As [`with`](Family::with), and exports the zero of the series, so that it exists before the first recording.
    ///
    /// Of a histogram or a summary these are the zeros of all its samples. The zero of a gauge in a multiprocess directory
    /// takes no part in `min`, `max`, `count` and `mostrecent`. A forked child exports a zero of its own only if it calls this,
    /// too.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let errors = Counter::builder("errors", "Errors.").labels(["kind"]).register(&registry)?;
    /// for kind in ["timeout", "refused"] {
    ///     errors.create([kind]);
    /// }
    /// assert_eq!(registry.sample_value("errors_total", &[("kind", "refused")]), Some(0.0));
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn create(&self, values: impl LabelValues<N>) -> M {
        let metric = self.with(values);
        self.0.create(metric.child());
        metric
    }

    /// The handle of the series with these label values, if the series exists: a lookup that creates nothing.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let requests = Counter::builder("requests", "Requests.").labels(["code"]).register(&registry)?;
    /// requests.with(["200"]).inc();
    /// assert_eq!(requests.get(["200"]).map(|counter| counter.get()), Some(1.0));
    /// assert!(requests.get(["500"]).is_none());
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn get(&self, values: impl LabelValues<N>) -> Option<M> {
        values.with_texts(|texts| self.0.find(texts)).map(M::from_child)
    }

    /// Removes the series with these label values from the exposition. Returns whether it was exported.
    ///
    /// Recordings through handles of the series have no effect until [`with`](Family::with) is called with its label values
    /// again. The next recording then brings the series back, with values that begin at 0 in this process.
    ///
    /// In memory, a removal also gives back the memory of series of the family that were removed more than a minute ago, and
    /// of the oldest removed ones if more than 1,024 and more than half of the family are removed. In a multiprocess directory, a
    /// removal does so for series that were removed before the files were closed, or by the parent of a forked process. Handles
    /// of such a series never have an effect again, and `with` creates a new one: look up series that are removed at each use.
    ///
    /// In a multiprocess directory, label values that are never used again take memory, about 620 bytes for a counter, and their
    /// entries in the file, until the process ends or [closes](crate::Registry::close) its files. A process that meets ever new
    /// label values [limits](super::MetricBuilder::max_series) them.
    ///
    /// In a multiprocess directory, the value of a gauge leaves the exposition at once. A counter, a histogram or a summary
    /// leaves it when no living process exports the series any more; until then what this process has counted stays
    /// in the total, because Prometheus takes a total that falls for a restart. If a process brings the series back, the
    /// total continues. The Python client's collector does not see removals.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let jobs = Counter::builder("jobs", "Jobs.").labels(["tenant"]).register(&registry)?;
    /// jobs.with(["a"]).inc_by(2.0);
    /// assert!(jobs.remove(["a"]));
    /// assert_eq!(registry.sample_value("jobs_total", &[("tenant", "a")]), None);
    /// jobs.with(["a"]).inc();
    /// assert_eq!(registry.sample_value("jobs_total", &[("tenant", "a")]), Some(1.0));
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn remove(&self, values: impl LabelValues<N>) -> bool {
        values.with_texts(|texts| self.0.remove(texts))
    }

    /// Removes all series of the family from the exposition, each as [`remove`](Family::remove) does.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// Families as collectors.
macro_rules! impl_collector {
    ($(#[$docs:meta])* $type:ty, [$($generics:tt)*]) => {
        $(#[$docs])*
        impl<$($generics)*> Collector for $type {
            fn collect(&self, out: &mut dyn FamilySink) {
                self.0.collect(out);
            }

            fn describe(&self, out: &mut dyn FamilySink) {
                self.0.describe(out);
            }

            /// Whether the family is in memory: it is in files otherwise.
            fn is_merged(&self) -> bool {
                self.0.is_in_memory()
            }

            fn is_in_files(&self) -> bool {
                !self.0.is_in_memory()
            }
        }
    };
}

impl_collector!(
    /// Emits the series of the family, with the values of this process.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let in_memory = || Registry::builder().backend(Backend::in_memory());
    /// let registry = in_memory().prefix("shop").build()?;
    /// let requests = Counter::builder("requests", "Requests.").labels(["code"]).register(&registry)?;
    /// requests.with(["200"]).inc_by(2.0);
    ///
    /// // This family alone, in any format.
    /// let alone = in_memory().build()?;
    /// alone.register(requests)?;
    /// assert_eq!(
    ///     alone.render(None).to_string(),
    ///     "# HELP shop_requests_total Requests.\n\
    ///      ## TYPE shop_requests_total counter\n\
    ///      shop_requests_total{code=\"200\"} 2\n"
    /// );
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    Family<M, N>, [M: Metric, const N: usize]
);
impl_collector!(
    /// Emits the series of the family, with the values of this process.
    TypedFamily<M, L>, [M: Metric, L: 'static]
);
impl_collector!(
    /// Emits the series of the family, with the values of this process.
    OpenFamily<M>, [M: Metric]
);

impl<M: Metric, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} family `{}` ", M::TYPE, self.0.name())?;
        f.debug_list().entries(self.0.label_names()).finish()
    }
}
