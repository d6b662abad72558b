//! Sets up a registry.

use super::backend::Backend;
use super::core::Registry;
use super::policy::{Lint, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{OwnedLabels, name};

/// Sets up a [`Registry`].
///
/// ```
/// use multiprom::{Backend, Counter, Registry};
///
/// let registry = Registry::builder()
///     .prefix("shop")
///     .const_label("zone", "eu")
///     .backend(Backend::in_memory())
///     .build()?;
/// let rows = Counter::builder("rows", "Rows read.").labels(["table"]).register(&registry)?;
/// rows.with(["orders"]).inc_by(3.0);
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP shop_rows_total Rows read.\n\
///      ## TYPE shop_rows_total counter\n\
///      shop_rows_total{table=\"orders\",zone=\"eu\"} 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Debug)]
pub struct RegistryBuilder {
    prefix: Option<String>,
    const_labels: Vec<(String, String)>,
    backend: Backend,
    policy: Policy,
}

impl Registry {
    /// A registry that is set up step by step.
    pub fn builder() -> RegistryBuilder {
        let backend = Backend::environment();
        RegistryBuilder {
            prefix: None,
            const_labels: Vec::new(),
            backend,
            policy: Policy::default(),
        }
    }
}

impl RegistryBuilder {
    /// Puts `<prefix>_` before the name of each metric of this registry, but not of its collectors.
    pub fn prefix(mut self, prefix: impl Into<String>) -> RegistryBuilder {
        self.prefix = Some(prefix.into());
        self
    }

    /// Adds a label to all series of this registry's metrics, but not to those of its collectors.
    pub fn const_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.const_labels.push((name.into(), value.into()));
        self
    }

    /// Sets where the values are stored. The default is the directory that the environment names, or else memory; the
    /// environment is read when the first metric is registered.
    pub fn backend(mut self, backend: Backend) -> RegistryBuilder {
        self.backend = backend;
        self
    }

    /// Makes registration fail for metrics that `promtool check metrics` complains of: names without a base unit or in
    /// camel case, missing help texts and the like.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).lint().build()?;
    /// let error = Counter::builder("wait_milliseconds", "").register(&registry).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "metric `wait_milliseconds`: no help text; use base unit \"seconds\" instead of \"milliseconds\""
    /// );
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn lint(mut self) -> RegistryBuilder {
        self.policy.lint = Lint::On;
        self
    }

    /// Limits the number of series in a process of each family that has no limit of its own: see
    /// [`MetricBuilder::max_series`](crate::metrics::MetricBuilder::max_series). The default is no limit.
    pub fn max_series(mut self, max: usize) -> RegistryBuilder {
        self.policy.max_series = Some(max);
        self
    }

    /// Creates the registry.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidName`](ErrorKind::InvalidName) or
    /// [`InvalidLabels`](ErrorKind::InvalidLabels) for a malformed prefix or label name.
    pub fn build(self) -> Result<Registry> {
        if let Some(prefix) = &self.prefix {
            name::check_metric_name(prefix)
                .map_err(|error| Error::new(ErrorKind::InvalidName, error))?;
        }
        let names = self.const_labels.iter().map(|(name, _)| name.as_str());
        name::check_label_names(&names, None)
            .map_err(|error| Error::new(ErrorKind::InvalidLabels, error))?;
        let const_labels = OwnedLabels::new(self.const_labels);
        Ok(Registry::from_parts(self.prefix, const_labels, self.backend, self.policy, false))
    }
}
