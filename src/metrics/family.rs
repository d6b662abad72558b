//! Families with labels by position.

use super::Metric;
use super::core::{FamilyCore, FamilySpec, slow_path};
use super::statics::Declare;
use crate::error::{Error, ErrorKind, Result};
use crate::model::name;
use crate::registry::{default_registry, registration_failed};
use crate::store::fork::StaticRef;

/// A family with `N` labels, declared as a static or made by a [`FamilyBuilder`](super::FamilyBuilder).
///
/// ```
/// use multiprom::{Counter, Family};
///
/// static REQUESTS: Family<Counter, 2> =
///     Counter::new("requests_total", "Requests.").labels(["method", "code"]);
///
/// let ok = REQUESTS.with(["GET", "200"]);
/// ok.inc();
/// assert_eq!(REQUESTS.with(["GET", "200"]).get(), 1.0);
/// ```
pub struct Family<M: Metric, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    options: M::Options,
    core: StaticRef<FamilyCore<M>>,
}

impl<M: Metric, const N: usize> Family<M, N> {
    pub(super) const fn declare(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        options: M::Options,
    ) -> Family<M, N> {
        let mut at = 0;
        while at < N {
            assert!(name::is_label_name(labels[at]), "not a label name");
            assert!(!name::is_internal_label(labels[at]), "label names with __ are reserved");
            if let Some(reserved) = M::RESERVED_LABEL {
                assert!(!name::same(labels[at], reserved), "this type keeps the label for itself");
            }
            let mut earlier = 0;
            while earlier < at {
                assert!(!name::same(labels[at], labels[earlier]), "a label is given twice");
                earlier += 1;
            }
            at += 1;
        }
        Family { name, help, labels, options, core: StaticRef::empty() }
    }

    /// The family of a core that is registered already.
    pub(super) fn registered(core: &'static FamilyCore<M>) -> Self {
        let labels = std::array::from_fn(|at| core.label_name(at));
        let family = Family {
            name: "",
            help: "",
            labels,
            options: core.options(),
            core: StaticRef::empty(),
        };
        family.core.set(core);
        family
    }

    /// The handle of the series with these label values, in the order of the label names.
    ///
    /// Looks the values up without allocating and without a lock; the first use of a label set makes the
    /// series. Keep the handle where it is used often.
    #[inline]
    pub fn with(&self, values: [&str; N]) -> M::Handle {
        let core = match self.core.get() {
            Some(core) => core,
            None => match self.first_use() {
                Some(core) => core,
                None => return M::handle(M::ignored()),
            },
        };
        M::handle(core.child(&values))
    }

    /// The handle of the series with these labels, in any order.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) where a label is missing, unknown or given twice.
    pub fn with_names(&self, labels: &[(&str, &str)]) -> Result<M::Handle> {
        let mut values = [""; N];
        for (value, name) in values.iter_mut().zip(self.labels) {
            let mut found = labels.iter().filter(|(given, _)| *given == name);
            let (Some((_, given)), None) = (found.next(), found.next()) else {
                let message = format!("label `{name}` must be given once");
                return Err(Error::new(ErrorKind::InvalidLabels, message));
            };
            *value = given;
        }
        if let Some((name, _)) = labels.iter().find(|(name, _)| !self.labels.contains(name)) {
            return Err(Error::new(
                ErrorKind::InvalidLabels,
                format!("there is no label `{name}`"),
            ));
        }
        Ok(self.with(values))
    }

    fn spec(&self) -> FamilySpec<'_, M> {
        let (name, help, options) = (self.name, self.help, self.options.into());
        FamilySpec { name, help, label_names: &self.labels, options }
    }

    /// Registers the family; `None` if this thread is in the slow path already.
    #[cold]
    fn first_use(&self) -> Option<&'static FamilyCore<M>> {
        let lock = slow_path().ok()?;
        if let Some(core) = self.core.get() {
            return Some(core);
        }
        let spec = self.spec();
        let core = spec.register_static(default_registry(), &lock).unwrap_or_else(|error| {
            registration_failed(self.name, &error);
            spec.detached()
        });
        self.core.set(core);
        Some(core)
    }
}

impl<M: Metric, const N: usize> Declare for Family<M, N> {
    fn try_register(&self) -> Result<()> {
        let lock = slow_path()?;
        match self.core.get() {
            Some(core) => core.check_store(),
            None => {
                self.core.set(self.spec().register(default_registry(), &lock)?);
                Ok(())
            }
        }
    }
}

impl<M: Metric, const N: usize> Clone for Family<M, N> {
    fn clone(&self) -> Self {
        let core = StaticRef::empty();
        // A static that is cloned before its first use would register twice.
        let registered = self.core.get().or_else(|| self.first_use());
        core.set(registered.unwrap_or_else(|| M::ignored().family));
        Family { core, ..*self }
    }
}
