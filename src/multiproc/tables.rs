//! What keys stand for: families, label sets and the numbers that their values are added to.
//!
//! A key is parsed once in the life of a collector, however many files have it. The tables do not depend on
//! the order in which keys are met: what depends on the order of files is found out anew at each scrape.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU32;

use super::index::Index;
use super::problem::KeyProblem;
use super::targets::{Targets, make_room};
use crate::file::key::{self, Key};
use crate::file::map::fetch;
use crate::file::name::FileKind;
use crate::model::{FamilyIndex, KeptLabels, MetricType, number};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The number of a sum or of a gauge. They begin at 1, so that one that may be missing takes no more room.
pub(super) type Number = NonZeroU32;

/// Where the value of an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// It is added to the sum with this number.
    Sum(Number),
    /// It contributes to the gauge with this number.
    Gauge(Number),
    /// Nowhere: it is derived from others when it is exported.
    Ignored,
    /// Nowhere: the key cannot be used, for the problem with this number.
    Unusable(u32),
}

/// How many groups ahead of the current one are fetched, and their labels.
const GROUPS_AHEAD: usize = 16;
const LABELS_AHEAD: usize = 8;

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) goal: Goal,
    /// Of no family where the key is unusable.
    pub(super) family: u32,
    /// Its help text, among those of the family, counted from 1.
    pub(super) help: Option<Number>,
}

/// A family of one name and one type. Files may have another one of the name with another type.
pub(super) struct Family {
    pub(super) name: Box<str>,
    pub(super) metric_type: MetricType,
    /// The families that have a name in common with this one and take precedence over it.
    rivals: Vec<u32>,
    helps: Vec<Box<str>>,
    groups: Vec<Group>,
    by_labels: Index,
    /// The groups in the order of their labels, as far as they are sorted.
    order: Vec<u32>,
    /// The names of all labels, in order.
    label_names: Vec<Box<str>>,
    /// Whether a label has a name that formats show in different ways.
    has_other_names: bool,
}

/// The samples of one label set, as numbers of sums and gauges.
pub(super) struct Group {
    pub(super) labels: KeptLabels,
    /// By rising bound; what is counted in each bucket alone.
    #[expect(clippy::box_collection, reason = "most groups have none")]
    buckets: Option<Box<Vec<(f64, Number)>>>,
    /// The total of a counter, or the value of a gauge.
    pub(super) value: Option<Number>,
    pub(super) count: Option<Number>,
    pub(super) sum: Option<Number>,
}

/// All keys that were met.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) families: Vec<Family>,
    by_name: FamilyIndex<u32>,
    targets: Map<MetricType, Targets<Target>>,
    /// What is wrong with keys that cannot be used.
    pub(super) unusable: Vec<KeyProblem>,
    sums: u32,
    gauges: u32,
}

/// Which part of its metric a key is.
enum KeyPart {
    Value,
    Count,
    Sum,
    Bucket(f64),
    Ignored,
}

impl Tables {
    /// How long tables of sums and of gauges are.
    pub(super) fn lens(&self) -> (usize, usize) {
        (self.sums as usize + 1, self.gauges as usize + 1)
    }

    /// The keys of a type.
    pub(super) fn targets(&self, metric_type: MetricType) -> Option<&Targets<Target>> {
        self.targets.get(&metric_type)
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
        key.and_then(|key| self.target(kind, &key)).unwrap_or_else(|problem| {
            self.unusable.push(problem);
            let goal = Goal::Unusable(self.unusable.len() as u32 - 1);
            Target { goal, family: u32::MAX, help: None }
        })
    }

    fn target(&mut self, kind: FileKind, key: &Key<'_>) -> Result<Target, KeyProblem> {
        let metric_type = kind.metric_type();
        let foreign = |key: &Key<'_>| KeyProblem::Sample {
            family: key.family.to_string(),
            sample: key.sample.to_string(),
        };
        // NOTE: the Python client up to 0.3.1 keeps `_total` in the family's name, or leaves it out of
        // the sample's.
        let name = match metric_type {
            MetricType::Counter => key.family.strip_suffix("_total").unwrap_or(&key.family),
            _ => &key.family,
        };
        let mut labels = sorted(&key.labels);
        let kind = match (metric_type, key.sample.strip_prefix(name)) {
            (MetricType::Counter, Some("" | "_total")) | (MetricType::Gauge, Some("")) => {
                KeyPart::Value
            }
            // The bucket `+Inf` of such a histogram would have two labels of this name.
            (MetricType::Histogram, Some("_sum" | "_count"))
                if labels.iter().any(|(name, _)| *name == "le") =>
            {
                return Err(foreign(key));
            }
            (MetricType::Summary, Some("_count")) => KeyPart::Count,
            (MetricType::Summary | MetricType::Histogram, Some("_sum")) => KeyPart::Sum,
            (MetricType::Histogram, Some("_count")) => KeyPart::Ignored,
            (MetricType::Histogram, Some("_bucket")) => {
                let le = labels.iter().position(|(name, _)| *name == "le");
                let bound = le.map(|at| labels.remove(at));
                let bound = bound.and_then(|(_, value)| number::parse_bound(value));
                KeyPart::Bucket(bound.ok_or_else(|| foreign(key))?)
            }
            _ => return Err(foreign(key)),
        };
        let at = self.family(name, metric_type);
        let (sums, gauges) = (&mut self.sums, &mut self.gauges);
        let family = &mut self.families[at as usize];
        let help = key.help.as_ref().map(|help| family.help(help));
        let mut sum = |slot: &mut Option<Number>| *slot.get_or_insert_with(|| next(sums));
        let goal = match kind {
            KeyPart::Ignored => Goal::Ignored,
            KeyPart::Value if metric_type == MetricType::Gauge => {
                let gauge = &mut family.group(&labels).value;
                Goal::Gauge(*gauge.get_or_insert_with(|| next(gauges)))
            }
            KeyPart::Value => Goal::Sum(sum(&mut family.group(&labels).value)),
            KeyPart::Count => Goal::Sum(sum(&mut family.group(&labels).count)),
            KeyPart::Sum => Goal::Sum(sum(&mut family.group(&labels).sum)),
            KeyPart::Bucket(bound) => Goal::Sum(family.group(&labels).bucket(bound, sums)),
        };
        Ok(Target { goal, family: at, help })
    }

    fn family(&mut self, name: &str, metric_type: MetricType) -> u32 {
        if let Some(at) = self.by_name.get(name, metric_type) {
            return *at;
        }
        let at = self.families.len() as u32;
        let mut new = Family {
            name: name.into(),
            metric_type,
            rivals: Vec::new(),
            helps: Vec::new(),
            groups: Vec::new(),
            by_labels: Index::default(),
            order: Vec::new(),
            label_names: Vec::new(),
            has_other_names: false,
        };
        let families = &mut self.families;
        self.by_name.find_colliding(name, metric_type, |_, _, number| {
            let other = &mut families[*number as usize];
            if other.precedence() < new.precedence() {
                new.add_rival(*number);
            } else {
                other.add_rival(at);
            }
            false
        });
        self.by_name.insert(name, metric_type, at);
        self.families.push(new);
        at
    }
}

/// Labels sorted by name; of those with one name the last wins.
fn sorted<'k>(labels: &'k [(Cow<'_, str>, Cow<'_, str>)]) -> Vec<(&'k str, &'k str)> {
    let mut sorted: Vec<(&str, &str)> = Vec::with_capacity(labels.len());
    for (name, value) in labels {
        let (name, value): (&str, &str) = (name, value);
        match sorted.last() {
            Some((last, _)) if *last >= name => {
                match sorted.binary_search_by(|(other, _)| (*other).cmp(name)) {
                    Ok(at) => sorted[at].1 = value,
                    Err(at) => sorted.insert(at, (name, value)),
                }
            }
            _ => sorted.push((name, value)),
        }
    }
    sorted
}

/// Takes the next number.
fn next(count: &mut u32) -> Number {
    *count += 1;
    // OK because 2^32 series do not fit into memory.
    Number::new(*count).unwrap_or(Number::MAX)
}

impl Family {
    /// Of families with a name in common that with the lowest value is exported. Names and types alone decide, so
    /// that it stays the same when processes come and go. Gauges are last, because they may disappear with their
    /// processes, and what they hide would come and go with them.
    pub(super) fn precedence(&self) -> (u8, &str) {
        let of_type = match self.metric_type {
            MetricType::Histogram => 0,
            MetricType::Summary => 1,
            MetricType::Counter => 2,
            _ => 3,
        };
        (of_type, &self.name)
    }

    fn add_rival(&mut self, number: u32) {
        if !self.rivals.contains(&number) {
            self.rivals.push(number);
        }
    }

    /// The numbers of the families that take precedence over this one where they are exported too.
    pub(super) fn rivals(&self) -> impl Iterator<Item = usize> {
        self.rivals.iter().map(|number| *number as usize)
    }

    /// Puts the groups in the order of their labels.
    pub(super) fn sort(&mut self) {
        if self.order.len() < self.groups.len() {
            let new = self.order.len() as u32..self.groups.len() as u32;
            make_room(&mut self.order, new.len());
            self.order.extend(new);
            self.order.sort_by_key(|at| &self.groups[*at as usize].labels);
        }
    }

    /// The groups, in order after [`sort`](Family::sort). That is not the order in which they are in memory: those
    /// that come soon are fetched, and then their labels.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        let group = |at: &u32| &self.groups[*at as usize];
        self.order.iter().enumerate().map(move |(number, at)| {
            if let Some(ahead) = self.order.get(number + GROUPS_AHEAD) {
                fetch(group(ahead));
            }
            let near = self.order.get(number + LABELS_AHEAD).map(group);
            if let Some(labels) = near.and_then(|near| near.labels.text()) {
                fetch(labels.as_ptr());
            }
            group(at)
        })
    }

    /// Whether rendered labels show what any format would show.
    pub(super) fn is_rendered(&self) -> bool {
        !self.has_other_names
    }

    /// Whether a series of the family has a label of this name.
    pub(super) fn has_label(&self, name: &str) -> bool {
        self.label_names.binary_search_by(|other| (**other).cmp(name)).is_ok()
    }

    pub(super) fn help_text(&self, help: Number) -> &str {
        &self.helps[help.get() as usize - 1]
    }

    fn help(&mut self, help: &str) -> Number {
        let known = self.helps.iter().position(|known| **known == *help);
        let mut count = known.unwrap_or(self.helps.len()) as u32;
        if known.is_none() {
            self.helps.push(help.into());
        }
        next(&mut count)
    }

    fn group(&mut self, pairs: &[(&str, &str)]) -> &mut Group {
        let labels = KeptLabels::new(pairs.iter().copied());
        let hash = match &labels {
            KeptLabels::Rendered(text) => self.by_labels.hash(text.as_bytes()),
            KeptLabels::Other(labels) => {
                let texts: Vec<&str> = labels.iter().flat_map(<[&str; 2]>::from).collect();
                self.by_labels.hash(texts.join("\0").as_bytes())
            }
        };
        let is_it = |at: u32| self.groups[at as usize].labels == labels;
        let at = self.by_labels.find(hash, is_it).unwrap_or_else(|| {
            let at = self.groups.len() as u32;
            self.by_labels.insert(hash, at);
            for (name, _) in pairs {
                if let Err(at) = self.label_names.binary_search_by(|other| (**other).cmp(name)) {
                    self.label_names.insert(at, (*name).into());
                }
            }
            self.has_other_names |= !labels.has_plain_names();
            make_room(&mut self.groups, 1);
            self.groups.push(Group { labels, buckets: None, value: None, count: None, sum: None });
            at
        });
        &mut self.groups[at as usize]
    }
}

impl Group {
    pub(super) fn buckets(&self) -> &[(f64, Number)] {
        self.buckets.as_ref().map_or(&[], |buckets| buckets)
    }

    fn bucket(&mut self, bound: f64, sums: &mut u32) -> Number {
        let buckets = self.buckets.get_or_insert_default();
        // OK because bounds are no NaN, and -0 and 0 are told apart as labels tell them apart.
        match buckets.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
            Ok(at) => buckets[at].1,
            Err(at) => {
                buckets.insert(at, (bound, next(sums)));
                buckets[at].1
            }
        }
    }
}
