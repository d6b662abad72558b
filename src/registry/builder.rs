//! Sets up a registry.

use super::backend::Backend;
use super::core::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{LabelSet, name};

/// Sets up a [`Registry`].
#[derive(Debug)]
pub struct RegistryBuilder {
    prefix: Option<String>,
    const_labels: Vec<(String, String)>,
    backend: Backend,
}

impl Registry {
    /// A registry that is set up step by step.
    pub fn builder() -> RegistryBuilder {
        let backend = Backend::environment();
        RegistryBuilder { prefix: None, const_labels: Vec::new(), backend }
    }
}

impl RegistryBuilder {
    /// Puts `<prefix>_` before the name of each family of this registry, but not of collectors.
    pub fn prefix(mut self, prefix: impl Into<String>) -> RegistryBuilder {
        self.prefix = Some(prefix.into());
        self
    }

    /// Gives each series of this registry's families a label, but not those of collectors.
    pub fn const_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.const_labels.push((name.into(), value.into()));
        self
    }

    /// Where the values live. Without this the environment decides, as [`Backend::from_env`] does.
    pub fn backend(mut self, backend: Backend) -> RegistryBuilder {
        self.backend = backend;
        self
    }

    /// Makes the registry.
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
        let const_labels = LabelSet::new(self.const_labels);
        Ok(Registry::from_parts(self.prefix, const_labels, self.backend, false))
    }
}
