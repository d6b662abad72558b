//! The info about the target of a scrape: `target_info`.

use super::Info;
use super::core::{FamilyCore, Typed};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::model::name::NameRules;
use crate::model::{MetricType, TARGET};
use crate::registry::{Descriptor, Registry, slow_path};
use crate::store::fork::SlowPath;

impl Registry {
    /// Sets the labels of `target_info`, which describes the target of the scrape as a whole; none removes it.
    ///
    /// The name has neither prefix nor constant labels, and the family is the first of an exposition. In a multiprocess directory
    /// the labels that any living process has set are exported once, so the merged page has one `target_info` if all processes
    /// set the same ones.
    ///
    /// ```
    /// use multiprom::{Backend, Gauge, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// Gauge::builder("busy", "Requests in flight.").register(&registry)?;
    /// registry.set_target_info(&[("env", "prod")])?;
    /// assert_eq!(
    ///     registry.render(None).to_string(),
    ///     "# HELP target_info Target metadata\n\
    ///      ## TYPE target_info gauge\n\
    ///      target_info{env=\"prod\"} 1\n\
    ///      ## HELP busy Requests in flight.\n\
    ///      ## TYPE busy gauge\n\
    ///      busy 0\n"
    /// );
    /// assert_eq!(registry.target_info(), [("env".to_owned(), "prod".to_owned())]);
    /// registry.set_target_info(&[])?;
    /// assert_eq!(registry.sample_value("target_info", &[("env", "prod")]), None);
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidLabels`](ErrorKind::InvalidLabels) for a label name that is malformed, reserved or given twice,
    /// [`AlreadyRegistered`](ErrorKind::AlreadyRegistered) if a metric or a collector has the name, and those of the backend.
    /// Nothing is changed then.
    pub fn set_target_info(&self, labels: &[(&str, &str)]) -> Result<()> {
        let names = labels.iter().map(|(name, _)| *name);
        NameRules::Classic
            .check_labels_of(&names, MetricType::Info, Some(Info::DEFAULT_MODE))
            .map_err(|error| {
                Error::new(ErrorKind::InvalidLabels, format!("`target_info`: {error}"))
            })?;
        self.prepare();
        let lock = slow_path()?;
        if labels.is_empty() {
            let is_set = find(self).is_some();
            drop(lock);
            return if is_set { self.unregister(TARGET) } else { Ok(()) };
        }
        let info = match find(self) {
            Some(family) => family,
            None => register(self, &lock)?,
        };
        let info = Info::from_child(info.child_locked(&[], &lock));
        drop(lock);
        info.set(labels);
        Ok(())
    }

    /// The labels of `target_info` that this process has set, sorted by name; empty if it has set none.
    pub fn target_info(&self) -> Vec<(String, String)> {
        let child = find(self).and_then(|family| family.find(&[]));
        child.map_or_else(Vec::new, |child| Info::from_child(child).get())
    }
}

fn descriptor() -> Descriptor {
    Descriptor {
        help: "Target metadata".to_owned(),
        mode: Some(Info::DEFAULT_MODE),
        is_target: true,
        ..Descriptor::detached(TARGET, MetricType::Info)
    }
}

/// The family, if the registry has one.
fn find(registry: &Registry) -> Option<&'static FamilyCore<Info>> {
    registry.find_family(&descriptor())
}

fn register(registry: &Registry, lock: &SlowPath) -> Result<&'static FamilyCore<Info>> {
    let descriptor = descriptor();
    registry.check_names(&descriptor)?;
    let store = registry.store()?;
    let settings = Settings { mode: Info::DEFAULT_MODE, ..Settings::default() };
    Ok(FamilyCore::register(descriptor, &settings, store, None, registry, lock))
}
