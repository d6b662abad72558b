//! Families with labels by position.
#![expect(unsafe_code, reason = "one representation of families with any number of labels")]

use std::fmt;
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
pub struct Family<M: Metric, const N: usize = 1>(&'static FamilyCore<M>);

impl<M: Metric, const N: usize> Family<M, N> {
    /// The family of a core that has `N` labels.
    pub(super) fn new(core: &'static FamilyCore<M>) -> Family<M, N> {
        Family(core)
    }

    /// The family at the place of the address of its core.
    pub(super) fn from_ref(core: &'static &'static FamilyCore<M>) -> &'static Family<M, N> {
        let place = ptr::from_ref(core).cast::<Family<M, N>>();
        // SAFETY: `Family` is transparent around the address, so it has the same layout and the same valid values.
        unsafe { &*place }
    }

    pub(super) fn core(self) -> &'static FamilyCore<M> {
        self.0
    }

    /// The handle of the series with these label values, in the order of the label names.
    ///
    /// Values are an array of one type or a tuple, or a reference to one: see [`LabelValues`]. They are looked up without
    /// a lock and without an allocation; the first use of a label set creates the series, which takes a lock and
    /// allocates. Keep the handle where it is used often.
    #[inline]
    pub fn with(&self, values: impl LabelValues<N>) -> M {
        values.with_texts(
            #[inline(always)]
            |texts| M::from_child(self.0.child(texts)),
        )
    }

    /// The handle of the series with these labels, in any order.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) if a label is missing, unknown or given twice.
    pub fn with_names(&self, labels: &[(&str, &str)]) -> Result<M> {
        let names = self.0.label_names();
        let invalid = |problem: String| {
            let message = format!("metric `{}`: {problem}", self.0.name());
            Error::new(ErrorKind::InvalidLabels, message)
        };
        if let Some((unknown, _)) =
            labels.iter().find(|(name, _)| !names.iter().any(|own| **own == **name))
        {
            let own = names.join("`, `");
            return Err(invalid(format!("it has no label `{unknown}`; its labels are `{own}`")));
        }
        let mut values = [""; N];
        for (value, name) in values.iter_mut().zip(names) {
            let mut given = labels.iter().filter(|(given, _)| **given == **name);
            *value = match (given.next(), given.next()) {
                (Some((_, given)), None) => given,
                (None, _) => return Err(invalid(format!("the label `{name}` is missing"))),
                (Some(_), Some(_)) => {
                    return Err(invalid(format!("the label `{name}` is given twice")));
                }
            };
        }
        Ok(self.with(values))
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
    /// again. The next recording then brings the series back, with values that begin at 0 in this process. Label values
    /// that are never used again still take memory: about 200 bytes and the text of the labels.
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
impl<M: Metric, const N: usize> Collector for Family<M, N> {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.0.collect(out);
    }

    /// Whether the family is in memory: it is in files otherwise.
    fn is_merged(&self) -> bool {
        self.0.is_in_memory()
    }
}

impl<M: Metric, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} family `{}` ", M::TYPE, self.0.name())?;
        f.debug_list().entries(self.0.label_names()).finish()
    }
}
