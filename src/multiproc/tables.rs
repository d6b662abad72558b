//! What keys stand for: families, label sets and the numbers that their values are added to.
//!
//! A key is parsed once in the life of a collector, however many files have it. The tables do not depend on
//! the order in which keys are met: what depends on the order of files is found out anew at each scrape.

use std::collections::HashMap;

use super::problem::KeyProblem;
use super::targets::Targets;
use crate::file::key::{self, Key};
use crate::file::name::FileKind;
use crate::model::{LabelSet, MetricType, number};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Where the value of an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// It is added to the sum with this number.
    Sum(u32),
    /// It contributes to the gauge with this number.
    Gauge(u32),
    /// Nowhere: it is derived from others when it is exported.
    Ignored,
    /// Nowhere: the key cannot be used, for the problem with this number.
    Unusable(u32),
}

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) goal: Goal,
    /// Of no family where the key is unusable.
    pub(super) family: u32,
    /// Its help text, among those of the family.
    pub(super) help: Option<u32>,
}

/// A family of one name and one type. Files may have another one of the name with another type.
pub(super) struct Family {
    pub(super) name: Box<str>,
    /// The same for all families of the name.
    pub(super) name_id: u32,
    pub(super) metric_type: MetricType,
    pub(super) helps: Vec<Box<str>>,
    groups: Vec<Group>,
    by_labels: Map<LabelSet, u32>,
    /// The groups in the order of their labels, as far as they are sorted.
    order: Vec<u32>,
}

/// The samples of one label set, as numbers of sums and gauges.
pub(super) struct Group {
    pub(super) labels: LabelSet,
    pub(super) total: Option<u32>,
    pub(super) count: Option<u32>,
    pub(super) sum: Option<u32>,
    /// By rising bound; what is counted in each bucket alone.
    pub(super) buckets: Vec<(f64, u32)>,
    pub(super) gauge: Option<u32>,
}

/// All keys that were met.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) families: Vec<Family>,
    by_name: Map<(Box<str>, MetricType), u32>,
    name_ids: Map<Box<str>, u32>,
    targets: Map<MetricType, Targets<Target>>,
    /// What is wrong with keys that cannot be used.
    pub(super) unusable: Vec<KeyProblem>,
    sums: u32,
    gauges: u32,
}

/// Which part of its metric a key is.
enum KeyPart {
    Total,
    Count,
    Sum,
    Bucket(f64),
    Gauge,
    Ignored,
}

impl Tables {
    /// How many sums and gauges there are.
    pub(super) fn lens(&self) -> (usize, usize) {
        (self.sums as usize, self.gauges as usize)
    }

    /// How many names of families there are.
    pub(super) fn name_count(&self) -> usize {
        self.name_ids.len()
    }

    /// The keys of a type, to be put back.
    pub(super) fn take_targets(&mut self, metric_type: MetricType) -> Targets<Target> {
        self.targets.remove(&metric_type).unwrap_or_default()
    }

    pub(super) fn put_targets(&mut self, metric_type: MetricType, targets: Targets<Target>) {
        self.targets.insert(metric_type, targets);
    }

    /// Finds out what a key stands for.
    pub(super) fn resolve(&mut self, kind: FileKind, bytes: &[u8]) -> Target {
        let key = key::decode(bytes).map_err(KeyProblem::Malformed);
        key.and_then(|key| self.target(kind, key)).unwrap_or_else(|problem| {
            self.unusable.push(problem);
            let goal = Goal::Unusable(self.unusable.len() as u32 - 1);
            Target { goal, family: u32::MAX, help: None }
        })
    }

    fn target(&mut self, kind: FileKind, key: Key<'_>) -> Result<Target, KeyProblem> {
        let metric_type = kind.metric_type();
        let foreign = |key: &Key<'_>| KeyProblem::Sample {
            family: key.family.to_string(),
            sample: key.sample.to_string(),
        };
        // NOTE: the Python client up to 0.3.1 keeps `_total` in the family's name, or leaves it out of
        // the sample's.
        let total = |name: &str| name.strip_suffix("_total").unwrap_or(name).to_owned();
        let name = match metric_type {
            MetricType::Counter => total(&key.family),
            _ => key.family.to_string(),
        };
        let mut labels = LabelSet::new(key.labels.iter().map(|(n, v)| (&**n, &**v)));
        let suffix = key.sample.strip_prefix(name.as_str());
        let part = match (metric_type, suffix) {
            (MetricType::Counter, Some("" | "_total")) => KeyPart::Total,
            (MetricType::Gauge, Some("")) => KeyPart::Gauge,
            (MetricType::Summary, Some("_count")) => KeyPart::Count,
            (MetricType::Summary | MetricType::Histogram, Some("_sum")) => KeyPart::Sum,
            (MetricType::Histogram, Some("_count")) => KeyPart::Ignored,
            (MetricType::Histogram, Some("_bucket")) => {
                let le = labels.iter().find(|(name, _)| *name == "le");
                let bound = le.and_then(|(_, value)| number::parse_bound(value));
                let bound = bound.ok_or_else(|| foreign(&key))?;
                labels = labels.without("le");
                KeyPart::Bucket(bound)
            }
            _ => return Err(foreign(&key)),
        };
        let at = self.family(name, metric_type);
        let family = &mut self.families[at as usize];
        let help = key.help.map(|help| family.help(&help));
        let (sums, gauges) = (&mut self.sums, &mut self.gauges);
        let mut sum = |slot: &mut Option<u32>| Goal::Sum(*slot.get_or_insert_with(|| next(sums)));
        let goal = match part {
            KeyPart::Ignored => Goal::Ignored,
            KeyPart::Total => sum(&mut family.group(labels).total),
            KeyPart::Count => sum(&mut family.group(labels).count),
            KeyPart::Sum => sum(&mut family.group(labels).sum),
            KeyPart::Bucket(bound) => Goal::Sum(family.group(labels).bucket(bound, sums)),
            KeyPart::Gauge => {
                let gauge = &mut family.group(labels).gauge;
                Goal::Gauge(*gauge.get_or_insert_with(|| next(gauges)))
            }
        };
        Ok(Target { goal, family: at, help })
    }

    fn family(&mut self, name: String, metric_type: MetricType) -> u32 {
        let name: Box<str> = name.into();
        if let Some(&known) = self.by_name.get(&(name.clone(), metric_type)) {
            return known;
        }
        let at = self.families.len() as u32;
        let new_id = self.name_ids.len() as u32;
        let name_id = *self.name_ids.entry(name.clone()).or_insert(new_id);
        self.by_name.insert((name.clone(), metric_type), at);
        self.families.push(Family {
            name,
            name_id,
            metric_type,
            helps: Vec::new(),
            groups: Vec::new(),
            by_labels: Map::default(),
            order: Vec::new(),
        });
        at
    }
}

/// Takes the next number.
fn next(count: &mut u32) -> u32 {
    *count += 1;
    *count - 1
}

impl Family {
    /// Puts the groups in the order of their labels.
    pub(super) fn sort(&mut self) {
        if self.order.len() < self.groups.len() {
            self.order = (0..self.groups.len() as u32).collect();
            self.order.sort_unstable_by_key(|at| &self.groups[*at as usize].labels);
        }
    }

    /// The groups, in order after [`sort`](Family::sort).
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.order.iter().map(|at| &self.groups[*at as usize])
    }

    fn help(&mut self, help: &str) -> u32 {
        let known = self.helps.iter().position(|known| **known == *help);
        known.unwrap_or_else(|| {
            self.helps.push(help.into());
            self.helps.len() - 1
        }) as u32
    }

    fn group(&mut self, labels: LabelSet) -> &mut Group {
        let at = match self.by_labels.get(&labels) {
            Some(&known) => known as usize,
            None => {
                self.by_labels.insert(labels.clone(), self.groups.len() as u32);
                self.groups.push(Group {
                    labels,
                    total: None,
                    count: None,
                    sum: None,
                    buckets: Vec::new(),
                    gauge: None,
                });
                self.groups.len() - 1
            }
        };
        &mut self.groups[at]
    }
}

impl Group {
    fn bucket(&mut self, bound: f64, sums: &mut u32) -> u32 {
        // OK because bounds are no NaN, and -0 and 0 are told apart as labels tell them apart.
        match self.buckets.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
            Ok(at) => self.buckets[at].1,
            Err(at) => {
                self.buckets.insert(at, (bound, next(sums)));
                self.buckets[at].1
            }
        }
    }
}
