//! Builds metrics whose names are known only at run time.

use std::borrow::Cow;

use super::core::{FamilySpec, slow_path};
use super::histogram::GivenBounds;
use super::{Family, Gauge, Histogram, Metric};
use crate::error::Result;
use crate::model::GaugeMode;
use crate::registry::Registry;

/// Builds a metric without labels; [`labels`](MetricBuilder::labels) makes it a family.
///
/// ```
/// use multiprom::{Backend, Counter, Registry};
///
/// let registry = Registry::builder().prefix("shop").backend(Backend::in_memory()).build()?;
/// let rows = Counter::builder("rows", "Rows read.").register(&registry)?;
/// rows.inc_by(3.0);
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP shop_rows_total Rows read.\n\
///      ## TYPE shop_rows_total counter\n\
///      shop_rows_total 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
#[must_use = "a metric is made by `register`"]
pub struct MetricBuilder<M: Metric> {
    name: String,
    help: String,
    options: M::Given,
}

impl<M: Metric> MetricBuilder<M> {
    pub(super) fn new(name: String, help: String, options: M::Options) -> MetricBuilder<M> {
        MetricBuilder { name, help, options: options.into() }
    }

    /// Makes it a family with these label names.
    pub fn labels<const N: usize>(self, labels: [&str; N]) -> FamilyBuilder<M, N> {
        FamilyBuilder { base: self, labels: labels.map(str::to_owned) }
    }

    /// Registers the metric, whose zero is exported from now on.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidName`](crate::ErrorKind::InvalidName),
    /// [`InvalidLabels`](crate::ErrorKind::InvalidLabels) or
    /// [`InvalidBuckets`](crate::ErrorKind::InvalidBuckets) for what the data model forbids,
    /// [`AlreadyRegistered`](crate::ErrorKind::AlreadyRegistered) for a name that is taken,
    /// [`Directory`](crate::ErrorKind::Directory) where the environment names a directory that is not
    /// there, and [`Reentrant`](crate::ErrorKind::Reentrant) in a signal handler or an allocator that interrupted
    /// this crate in the same thread.
    pub fn register(self, registry: &Registry) -> Result<M::Handle> {
        registry.prepare();
        let lock = slow_path()?;
        let child = self.spec(&[]).register(registry, &lock)?.child_locked(&[], &lock);
        M::declare(child, &lock);
        Ok(M::handle(child))
    }

    /// The metric that is registered under the same name with the same help and options, or a new one.
    ///
    /// # Errors
    ///
    /// Those of [`register`](MetricBuilder::register), where the name is taken by something else.
    pub fn get_or_register(self, registry: &Registry) -> Result<M::Handle> {
        registry.prepare();
        let lock = slow_path()?;
        let child = self.spec(&[]).get_or_register(registry, &lock)?.child_locked(&[], &lock);
        M::declare(child, &lock);
        Ok(M::handle(child))
    }

    fn spec<'a>(&'a self, label_names: &'a [&'a str]) -> FamilySpec<'a, M> {
        let options = self.options.clone();
        FamilySpec { name: &self.name, help: &self.help, label_names, options }
    }
}

impl MetricBuilder<Gauge> {
    /// Sets how the values of many processes are merged.
    pub fn mode(mut self, mode: GaugeMode) -> MetricBuilder<Gauge> {
        self.options = mode;
        self
    }
}

impl MetricBuilder<Histogram> {
    /// Sets the upper bounds of the buckets, each inclusive; `+Inf` is added if it is not the last.
    pub fn buckets(mut self, bounds: impl Into<Vec<f64>>) -> MetricBuilder<Histogram> {
        self.options = GivenBounds(Cow::Owned(bounds.into()));
        self
    }
}

/// Builds a family with `N` labels.
#[must_use = "a family is made by `register`"]
pub struct FamilyBuilder<M: Metric, const N: usize> {
    base: MetricBuilder<M>,
    labels: [String; N],
}

impl<M: Metric, const N: usize> FamilyBuilder<M, N> {
    /// Registers the family; it exports the series that are used.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`].
    pub fn register(self, registry: &Registry) -> Result<Family<M, N>> {
        let labels = self.labels.each_ref().map(String::as_str);
        let core = self.base.spec(&labels).register(registry, &slow_path()?)?;
        Ok(Family::registered(core))
    }

    /// The family that is registered under the same name with the same help, labels and options, or a
    /// new one.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`], where the name is taken by something else.
    pub fn get_or_register(self, registry: &Registry) -> Result<Family<M, N>> {
        let labels = self.labels.each_ref().map(String::as_str);
        let core = self.base.spec(&labels).get_or_register(registry, &slow_path()?)?;
        Ok(Family::registered(core))
    }
}
