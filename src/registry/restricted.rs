//! A view of some families of a registry.

use super::core::Registry;
use crate::exposition::Exposition;
use crate::model::{FamilySink, Gatherer};

/// A view of the families and samples of a registry that have given names: see [`Registry::restricted`].
#[derive(Clone, Debug)]
pub struct Restricted {
    registry: Registry,
    names: Vec<String>,
}

impl Registry {
    /// A view that shows only the families and samples with these names, such as `jobs`, `jobs_total` or `size_bytes_bucket`.
    /// The name of a family selects all its samples.
    ///
    /// Names are complete, with the prefix of the registry; a name that does not exist selects nothing.
    ///
    /// Collectors that [describe](crate::Collector::describe) families, and none of these, are not called. A collector that
    /// describes nothing is called, as is a [`MultiProcessCollector`](crate::MultiProcessCollector), which merges its whole
    /// directory; what is not selected is then left out. The exporter shows the same for the parameter `name[]`.
    ///
    /// The view is a [`Gatherer`], so it can be served, pushed, written to a file and compared in tests like a registry.
    ///
    /// ```
    /// use multiprom::{Backend, Gauge, Histogram, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let sizes = Histogram::builder("size_bytes", "Sizes.").register(&registry)?;
    /// sizes.observe(3.0);
    /// Gauge::builder("busy", "Requests in flight.").register(&registry)?;
    /// Gauge::builder("idle", "Idle workers.").register(&registry)?;
    /// assert_eq!(
    ///     registry.restricted(["size_bytes_count", "busy"]).render(None).to_string(),
    ///     "# HELP busy Requests in flight.\n\
    ///      ## TYPE busy gauge\n\
    ///      busy 0\n\
    ///      ## HELP size_bytes Sizes.\n\
    ///      ## TYPE size_bytes histogram\n\
    ///      size_bytes_count 1\n"
    /// );
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn restricted(&self, names: impl IntoIterator<Item = impl Into<String>>) -> Restricted {
        let names = names.into_iter().map(Into::into).collect();
        Restricted { registry: self.clone(), names }
    }
}

impl Restricted {
    /// Renders the view, in the format that an HTTP `Accept` header prefers: see [`Registry::render`].
    pub fn render(&self, accept: Option<&str>) -> Exposition {
        Exposition::render(self, accept)
    }
}

impl Gatherer for Restricted {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.registry.gather_names(&self.names, out);
    }
}
