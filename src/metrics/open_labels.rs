//! Families whose series have label names of their own.

use std::fmt;

use super::core::FamilyCore;
use super::family::OpenFamily;
use super::spec::{FamilySpec, IsNew, Unusable, slow_path};
use super::statics::{Declared, Static, sealed};
use super::{Metric, MetricBuilder};
use crate::error::Result;
use crate::registry::Registry;
use crate::store::fork::SlowPath;

impl<M: Metric> OpenFamily<M> {
    /// The handle of the series with these labels, in any order. The first use of a label set creates the series. If the family
    /// has a [limit](MetricBuilder::max_series) and is full, a further label set gets the series `series="other"`.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](crate::ErrorKind::InvalidLabels) if a name is malformed, reserved or given twice, or is that
    /// of a constant label. Names are checked at the first use of a label set, unless it exceeds a limit.
    #[inline]
    pub fn with(&self, labels: &[(&str, &str)]) -> Result<M> {
        self.core().open_child(labels).map(M::from_child)
    }

    /// The handle of the series with these labels, if the series exists: a lookup that creates nothing. Labels that the family
    /// cannot have are those of no series.
    pub fn get(&self, labels: &[(&str, &str)]) -> Option<M> {
        self.core().get_open(labels).map(M::from_child)
    }

    /// As [`with`](OpenFamily::with), and exports the zero of the series: see [`Family::create`](super::Family::create).
    ///
    /// # Errors
    ///
    /// Those of [`with`](OpenFamily::with).
    pub fn create(&self, labels: &[(&str, &str)]) -> Result<M> {
        let metric = self.with(labels)?;
        self.core().create(metric.child());
        Ok(metric)
    }

    /// Removes the series with these labels from the exposition: see [`Family::remove`](super::Family::remove). Returns
    /// whether it was exported.
    pub fn remove(&self, labels: &[(&str, &str)]) -> bool {
        self.core().remove_open(labels)
    }

    /// Removes all series of the family from the exposition, each as [`Family::remove`](super::Family::remove) does.
    pub fn clear(&self) {
        self.core().clear();
    }
}

impl<M: Metric> fmt::Debug for OpenFamily<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} family `{}` with open labels", M::TYPE, self.core().name())
    }
}

/// Builds a family whose series have label names of their own.
#[derive(Debug)]
#[must_use = "a family is created by `register`"]
pub struct OpenFamilyBuilder<M: Metric>(MetricBuilder<M>);

impl<M: Metric> MetricBuilder<M> {
    /// Makes it a family whose label names are known at run time only: see [`OpenFamily`].
    pub fn open_labels(mut self) -> OpenFamilyBuilder<M> {
        self.settings.open_labels = true;
        OpenFamilyBuilder(self)
    }
}

impl<M: Metric> OpenFamilyBuilder<M> {
    /// Registers the family; it exports the series that are used.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`].
    pub fn register(self, registry: &Registry) -> Result<OpenFamily<M>> {
        self.create(|spec, lock| spec.register(registry, Unusable::Fail, lock))
    }

    /// The family that is registered with the same name, help and settings, or a new one.
    ///
    /// # Errors
    ///
    /// Those of [`MetricBuilder::register`]; the name may be taken by a metric with another description.
    pub fn get_or_register(self, registry: &Registry) -> Result<OpenFamily<M>> {
        self.create(|spec, lock| spec.get_or_register(registry, lock))
    }

    fn create(
        self,
        create: impl FnOnce(&FamilySpec<'_>, &SlowPath) -> Result<&'static FamilyCore<M>>,
    ) -> Result<OpenFamily<M>> {
        let lock = slow_path()?;
        self.0.with_spec(&[], |spec| create(spec, &lock)).map(OpenFamily::new)
    }
}

impl<M: Metric> Static<M> {
    /// Makes it a family whose label names are known at run time only: see [`OpenFamily`]. Set everything else before.
    pub const fn open_labels(self) -> Static<OpenFamily<M>> {
        self.with_labels([])
    }
}

impl<M: Metric> Declared for OpenFamily<M> {}

impl<M: Metric> sealed::Declared for OpenFamily<M> {
    type Labels = [&'static str; 0];

    const HAS_OPEN_LABELS: bool = true;

    fn register(
        spec: &FamilySpec<'_>,
        registry: &Registry,
        unusable: Unusable,
        lock: &SlowPath,
    ) -> Result<OpenFamily<M>> {
        spec.register(registry, unusable, lock).map(OpenFamily::new)
    }

    fn is_retired(&self) -> bool {
        self.core().is_retired()
    }

    fn detached(spec: &FamilySpec<'_>, lock: &SlowPath) -> (OpenFamily<M>, IsNew) {
        let (core, is_new) = spec.detached(lock);
        (OpenFamily::new(core), is_new)
    }

    fn ignored() -> &'static OpenFamily<M> {
        OpenFamily::from_ref(M::ignored_family())
    }

    fn prepare(self, _: &SlowPath) -> Result<()> {
        self.core().check_store()
    }
}
