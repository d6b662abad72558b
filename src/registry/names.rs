//! The names of a registry: who has registered them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::descriptor::Descriptor;
use super::entry::{CollectorEntry, Described};
use super::registered::RegisteredFamily;
use crate::error::{Error, ErrorKind};
use crate::model::{MetricType, family_order, shared_name};
use crate::store::fork::{SlowPath, SortedList};

/// The families of a registry and those that its collectors describe, by name.
///
/// It is read without a lock, and changed under that of the slow path. Names that are not registered any more stay in it.
pub(super) struct Names(SortedList<Reserved>);

/// A family and the names of its samples, which no other family of the registry has.
pub(super) struct Reserved {
    owner: Owner,
    is_registered: AtomicBool,
}

pub(super) enum Owner {
    Family(&'static dyn RegisteredFamily),
    Collector(Described, Arc<CollectorEntry>),
}

impl Reserved {
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(super) fn is_registered(&self) -> bool {
        match &self.owner {
            Owner::Family(_) => self.is_registered.load(Ordering::Relaxed),
            Owner::Collector(_, entry) => !entry.is_removed(),
        }
    }

    /// Sets whether the family is registered. Called under the lock of the slow path.
    pub(super) fn set_registered(&self, is_registered: bool) {
        self.is_registered.store(is_registered, Ordering::Relaxed);
    }

    /// The family, if it is registered.
    pub(super) fn family(&self) -> Option<&'static dyn RegisteredFamily> {
        match &self.owner {
            Owner::Family(family) if self.is_registered() => Some(*family),
            _ => None,
        }
    }

    /// The family, as a collector would describe it.
    pub(super) fn described(&self) -> Described {
        let (name, metric_type) = self.name_and_type();
        Described { name: name.to_owned(), metric_type }
    }

    fn name_and_type(&self) -> (&str, MetricType) {
        match &self.owner {
            Owner::Family(family) => {
                let Descriptor { name, metric_type, .. } = family.descriptor();
                (name, *metric_type)
            }
            Owner::Collector(described, _) => (&described.name, described.metric_type),
        }
    }

    /// Why a new family cannot be registered beside this one.
    pub(super) fn collision(&self, new: &Descriptor) -> Error {
        let message = match &self.owner {
            Owner::Family(family) => new.collision(family.descriptor()),
            Owner::Collector(..) => None,
        };
        let message = message.unwrap_or_else(|| self.problem((&new.name, new.metric_type)));
        Error::new(ErrorKind::AlreadyRegistered, message)
    }

    /// Why a collector with this family cannot be registered beside this one.
    pub(super) fn problem(&self, new: (&str, MetricType)) -> String {
        let own = self.name_and_type();
        let name = shared_name(new, own).unwrap_or_else(|| new.0.to_owned());
        let owner = match &self.owner {
            Owner::Family(_) => format!("{} `{}`", own.1, own.0),
            Owner::Collector(_, entry) => format!("collector `{}`", entry.title()),
        };
        format!("metric name `{name}` is registered already, by the {owner}")
    }
}

impl Names {
    pub(super) fn new() -> Names {
        Names(SortedList::new(family_order))
    }

    /// Adds a family. The names were checked under the same lock.
    pub(super) fn insert(&self, owner: Owner, _lock: &SlowPath) {
        let reserved = Reserved { owner, is_registered: AtomicBool::new(true) };
        let name = reserved.name_and_type().0.to_owned();
        self.0.insert(&name, reserved);
    }

    /// The registered families in the order of an exposition.
    pub(super) fn families(&self) -> impl Iterator<Item = &'static dyn RegisteredFamily> {
        self.0.iter().filter_map(Reserved::family)
    }

    /// All that is registered, in the order of an exposition.
    pub(super) fn registered(&self) -> impl Iterator<Item = &Reserved> {
        self.0.iter().filter(|reserved| reserved.is_registered())
    }

    /// What was ever registered with this name of a family.
    pub(super) fn at(&self, name: &str) -> impl Iterator<Item = &Reserved> {
        self.0.at(name)
    }

    /// What is registered and has a sample of this name, or is a family of this name.
    pub(super) fn with_sample<'a>(&'a self, sample: &'a str) -> impl Iterator<Item = &'a Reserved> {
        MetricType::SUFFIXES.iter().flat_map(move |suffix| {
            let base = sample.strip_suffix(suffix);
            base.into_iter().flat_map(|base| self.0.at(base)).filter(move |reserved| {
                reserved.is_registered() && reserved.name_and_type().1.suffixes().contains(suffix)
            })
        })
    }

    /// Why a collector cannot describe a family; `None` if it can.
    pub(super) fn taken(&self, family: &Described) -> Option<String> {
        let new = (&*family.name, family.metric_type);
        self.find_colliding(new, |_| true).map(|other| other.problem(new))
    }

    /// The first that is registered, has a name in common with a family and fulfills a condition.
    pub(super) fn find_colliding(
        &self,
        (name, metric_type): (&str, MetricType),
        mut is_match: impl FnMut(&Reserved) -> bool,
    ) -> Option<&Reserved> {
        let mut find = |name: &str, suffix: &str| {
            self.0.at(name).find(|reserved| {
                reserved.is_registered()
                    && reserved.name_and_type().1.suffixes().contains(&suffix)
                    && is_match(reserved)
            })
        };
        // Two names with different suffixes are equal only if one of the suffixes is empty, which each type has.
        let split = MetricType::split_suffix(name);
        let found = find(name, "").or_else(|| split.and_then(|(base, suffix)| find(base, suffix)));
        let mut suffixes = metric_type.suffixes().iter().filter(|suffix| !suffix.is_empty());
        found.or_else(|| {
            let mut sample = String::with_capacity(name.len() + MetricType::MAX_SUFFIX_LEN);
            sample.push_str(name);
            suffixes.find_map(|suffix| {
                sample.truncate(name.len());
                sample.push_str(suffix);
                find(&sample, "")
            })
        })
    }
}
