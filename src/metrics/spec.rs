//! Creates and registers families from their descriptions.

use super::core::{FamilyCore, Limit, Typed};
use super::overflows::Overflows;
use super::settings::Settings;
use super::{Counter, Enum, Gauge, Histogram, Info, Summary};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{MetricType, OwnedLabels, lint};
use crate::registry::{self, Descriptor, Lint, RegisteredFamily, Registry};
use crate::store::Store;
use crate::store::fork::{AppendList, SlowPath};

/// Enters the slow path for a registration. Every process registers before it records.
///
/// # Errors
///
/// Of kind [`Reentrant`](ErrorKind::Reentrant) if this thread is in the slow path already.
pub(super) fn slow_path() -> Result<SlowPath> {
    let _ = (Counter::ignored(), Gauge::ignored(), Histogram::ignored(), Summary::ignored());
    let _ = (Info::ignored(), Enum::ignored());
    registry::slow_path()
}

/// What happens if a directory cannot be used when a family is registered.
#[derive(Clone, Copy, Debug)]
pub enum Unusable {
    /// Registration fails.
    Fail,
    /// The family is registered, and its series wait until the directory can be used.
    Wait,
}

/// What a family is made from, whatever its type is.
#[derive(Debug)]
pub struct FamilySpec<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) label_names: &'a [&'a str],
    pub(super) settings: Settings,
}

impl FamilySpec<'_> {
    /// Checks names and settings, and completes them with those of a registry.
    fn describe<M: Typed>(&self, registry: &Registry) -> Result<Descriptor> {
        let Settings { mode, namespace, subsystem, unit, const_labels, rules, .. } = &self.settings;
        let namespace = namespace.as_ref().map(|namespace| format!("{namespace}_"));
        let subsystem = subsystem.as_ref().map(|subsystem| format!("{subsystem}_"));
        // The names of families are without the suffixes that the type adds: `_total`, `_info`.
        let base = self.name.strip_suffix(M::TYPE.own_suffix()).unwrap_or(self.name);
        let unit_suffix = unit.map(|unit| format!("_{unit}"));
        let unit_suffix = unit_suffix.filter(|suffix| !base.ends_with(suffix));
        let parts =
            [namespace.as_deref(), subsystem.as_deref(), Some(base), unit_suffix.as_deref()];
        let name = parts.into_iter().flatten().collect::<String>();
        let (name, of_registry) = registry.qualify(&name);
        rules
            .check_metric_name(&name)
            .map_err(|error| Error::new(ErrorKind::InvalidName, error))?;
        let invalid =
            |error| Error::new(ErrorKind::InvalidLabels, format!("metric `{name}`: {error}"));
        let own = const_labels.iter().map(|(name, _)| name.as_str());
        // The label with the state has the name of the family.
        let state_label = (M::TYPE == MetricType::StateSet).then_some(name.as_str());
        let names: Vec<&str> = of_registry
            .iter()
            .map(|(name, _)| name)
            .chain(own)
            .chain(self.label_names.iter().copied())
            .chain(state_label)
            .collect();
        let mode = M::HAS_MODE.then_some(*mode);
        rules.check_labels_of(&names.iter().copied(), M::TYPE, mode).map_err(invalid)?;
        M::check(&self.settings)
            .map_err(|error| Error::new(error.kind(), format!("metric `{name}`: {error}")))?;
        if registry.policy().lint == Lint::On {
            let text_name = [&name, M::TYPE.own_suffix()].concat();
            let problems = lint::problems(&text_name, self.help, M::TYPE, names);
            if !problems.is_empty() {
                let problems = problems.join("; ");
                let message = format!("metric `{name}`: {problems}");
                return Err(Error::new(ErrorKind::InvalidName, message));
            }
        }
        let own = const_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let const_labels = OwnedLabels::new(of_registry.iter().chain(own));
        Ok(Descriptor {
            name,
            help: self.help.to_owned(),
            metric_type: M::TYPE,
            unit: *unit,
            mode,
            label_names: self.label_names.iter().map(|&name| name.into()).collect(),
            rules: *rules,
            has_open_labels: self.settings.open_labels,
            is_target: false,
            const_labels,
        })
    }

    /// Creates the family and registers it.
    pub(super) fn register<M: Typed>(
        &self,
        registry: &Registry,
        unusable: Unusable,
        lock: &SlowPath,
    ) -> Result<&'static FamilyCore<M>> {
        let descriptor = self.describe::<M>(registry)?;
        registry.check_names(&descriptor)?;
        let store = match unusable {
            Unusable::Fail => registry.store()?,
            Unusable::Wait => registry.store_or_later()?,
        };
        let limit = self.limit(&descriptor, registry.policy().max_series, store);
        Ok(FamilyCore::register(descriptor, &self.settings, store, limit, registry, lock))
    }

    /// The limit of a family with labels: its own, or that of its registry.
    fn limit<M: Typed>(
        &self,
        descriptor: &Descriptor,
        of_registry: Option<usize>,
        store: Store,
    ) -> Option<Limit<M>> {
        if descriptor.label_names.is_empty() && !descriptor.has_open_labels {
            return None;
        }
        let max = self.settings.max_series.or(of_registry)?;
        Some(Limit::new(max, Box::new(Overflows::new(&descriptor.name, store))))
    }

    /// The family that is registered with the same description, or a new one.
    pub(super) fn get_or_register<M: Typed>(
        &self,
        registry: &Registry,
        lock: &SlowPath,
    ) -> Result<&'static FamilyCore<M>> {
        let descriptor = self.describe::<M>(registry)?;
        match registry.find_family::<FamilyCore<M>>(&descriptor) {
            Some(family) if M::has_options(family.options(), &self.settings) => Ok(family),
            _ => self.register(registry, Unusable::Fail, lock),
        }
    }

    /// A family in memory that no registry has, for a static that cannot be registered.
    ///
    /// Statics with the same name and labels share one: a declaration that is not a `static` is a new one at each use.
    pub(super) fn detached<M: Typed>(&self, _lock: &SlowPath) -> (&'static FamilyCore<M>, IsNew) {
        static DETACHED: AppendList<&'static dyn RegisteredFamily> = AppendList::new();
        let mut descriptor = Descriptor::detached(self.name, M::TYPE);
        descriptor.label_names = self.label_names.iter().map(|&name| name.into()).collect();
        descriptor.has_open_labels = self.settings.open_labels;
        for family in DETACHED.iter().filter(|family| *family.descriptor() == descriptor) {
            if let Some(family) = family.as_any().downcast_ref::<FamilyCore<M>>()
                && M::has_options(family.options(), &self.settings)
            {
                return (family, IsNew(false));
            }
        }
        let limit = self.limit(&descriptor, None, Store::Heap);
        let family = FamilyCore::leak(descriptor, M::options(&self.settings), Store::Heap, limit);
        DETACHED.push(family);
        (family, IsNew(true))
    }
}

/// Whether a detached family was created by this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsNew(pub(super) bool);
