//! The families and label sets of all keys, and the sum or gauge that each key resolves to.
//!
//! A key is parsed once in the life of a collector, however many files have it. The catalog does not depend on the
//! order of files; what does is determined at each scrape.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::key_table::{KeyTable, reserve_lean};
use super::sample_part::{SamplePart, family_name};
use crate::file::key::{self, Key};
use crate::file::layout::{Entry, EntryKind};
use crate::file::name::FileKind;
use crate::model::{FamilyIndex, HashIndex, KeptLabels, LabelPairs as _, MetricType, number};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::skipped::KeyProblem;
use crate::prefetch::prefetch;

/// The id of a sum or of a gauge. Sums and gauges are counted separately, from 1: so `Option<ValueId>` takes 4 bytes.
pub(crate) type ValueId = NonZeroU32;

/// The position of a help text among those of a family, from 1.
pub(super) type HelpId = NonZeroU32;

/// What the value of an entry is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Sum(ValueId),
    Gauge(ValueId),
    /// Nothing: the sample is derived from others when it is exported.
    Ignored,
    /// Nothing: the entry says whether the series with this lead sum is removed.
    Removal(ValueId),
    /// Nothing: the series with this lead sum is buried.
    Burial(ValueId),
    /// Nothing: the key cannot be used. The index is that of its problem.
    Unusable(u32),
}

/// How many groups ahead of the current one are prefetched, and then their labels.
const GROUPS_AHEAD: usize = 16;
const LABELS_AHEAD: usize = 8;

/// What a key resolves to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedKey {
    pub(crate) destination: Destination,
    /// The index of the family; `u32::MAX` if the key cannot be used.
    pub(crate) family: u32,
    pub(super) help: Option<HelpId>,
}

/// A family of one name and type. Files may have another family with the same name and another type.
pub(crate) struct MergedFamily {
    pub(crate) name: Box<str>,
    pub(crate) metric_type: MetricType,
    /// The indices of the families that have a name in common with this one and take precedence over it.
    rivals: Vec<u32>,
    helps: Vec<Box<str>>,
    groups: Vec<Group>,
    by_labels: HashIndex,
    /// The indices of the groups in the order of their labels. Groups that were added since the last sort are missing.
    order: Vec<u32>,
    /// The sorted names of all labels.
    label_names: Vec<Box<str>>,
    /// Whether a label has a name that depends on the format or on the escaping scheme.
    has_escaped_names: bool,
}

/// The samples of one label set, as ids of sums and gauges.
pub(crate) struct Group {
    pub(crate) labels: KeptLabels,
    /// By rising bound. Counts are not cumulative.
    #[expect(clippy::box_collection, reason = "most groups have no buckets")]
    buckets: Option<Box<Vec<(f64, ValueId)>>>,
    /// The total of a counter, or the value of a gauge.
    pub(crate) value: Option<ValueId>,
    pub(crate) count: Option<ValueId>,
    pub(crate) sum: Option<ValueId>,
}

/// The keys, families and label sets of all files.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) families: Vec<MergedFamily>,
    by_name: FamilyIndex<u32>,
    keys: FastMap<MetricType, KeyTable<ResolvedKey>>,
    /// Why keys cannot be used.
    pub(crate) key_problems: Vec<KeyProblem>,
    sums: u32,
    gauges: u32,
    /// Those of the last bucket that was parsed.
    bucket_keys: Option<BucketKeys>,
}

/// What the keys of the buckets of one series have in common: everything but the bound.
struct BucketKeys {
    /// The text before and after the bound.
    head: Vec<u8>,
    tail: Vec<u8>,
    family: u32,
    help: Option<HelpId>,
    /// The index of the group in the family.
    group: u32,
}

impl BucketKeys {
    /// The bound in a key that has the rest in common; `None` if it has not, or if the bound needs a full parser.
    fn bound(&self, key: &[u8]) -> Option<f64> {
        let bound = key.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)?;
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let bound = std::str::from_utf8(bound).ok().filter(|it| it.as_bytes().iter().all(is_plain));
        number::parse_bound(bound?)
    }
}

/// Which sample of its metric a key names.
enum KeyPart<'k> {
    Value,
    Count,
    Sum,
    Bucket {
        bound: f64,
        /// The bound as it is in the key.
        text: &'k str,
    },
}

impl Catalog {
    /// The lengths of tables of sums and of gauges, with an unused element 0.
    pub(crate) fn lens(&self) -> (usize, usize) {
        (self.sums as usize + 1, self.gauges as usize + 1)
    }

    /// The keys of a type.
    pub(super) fn keys(&self, metric_type: MetricType) -> Option<&KeyTable<ResolvedKey>> {
        self.keys.get(&metric_type)
    }

    /// Takes the keys of a type out; [`put_keys`](Catalog::put_keys) puts them back.
    pub(crate) fn take_keys(&mut self, metric_type: MetricType) -> KeyTable<ResolvedKey> {
        self.keys.remove(&metric_type).unwrap_or_default()
    }

    pub(crate) fn put_keys(&mut self, metric_type: MetricType, keys: KeyTable<ResolvedKey>) {
        self.keys.insert(metric_type, keys);
    }

    /// Parses a key, and adds its family and label set if they are new.
    pub(crate) fn resolve(&mut self, kind: FileKind, entry: &Entry<'_>) -> ResolvedKey {
        let resolved = match entry.kind {
            EntryKind::Unknown(kind) => Err(KeyProblem::UnknownKind { kind: kind.into() }),
            EntryKind::Value => self.resolve_key(kind, entry.key),
            EntryKind::Removal => self.resolve_record(kind, entry.key, Destination::Removal),
            EntryKind::Burial => self.resolve_record(kind, entry.key, Destination::Burial),
        };
        resolved.unwrap_or_else(|problem| {
            self.key_problems.push(problem);
            let destination = Destination::Unusable(self.key_problems.len() as u32 - 1);
            ResolvedKey { destination, family: u32::MAX, help: None }
        })
    }

    fn resolve_key(&mut self, kind: FileKind, bytes: &[u8]) -> Result<ResolvedKey, KeyProblem> {
        if kind.metric_type() == MetricType::Histogram
            && let Some(keys) = &self.bucket_keys
            && let Some(bound) = keys.bound(bytes)
        {
            let group = &mut self.families[keys.family as usize].groups[keys.group as usize];
            let destination = Destination::Sum(group.bucket(bound, &mut self.sums));
            return Ok(ResolvedKey { destination, family: keys.family, help: keys.help });
        }
        let key = key::decode(bytes).map_err(KeyProblem::Malformed)?;
        self.resolve_parsed(kind, bytes, &key)
    }

    /// Resolves the key of a record about a series. A gauge has no records.
    fn resolve_record(
        &mut self,
        kind: FileKind,
        bytes: &[u8],
        destination: impl Fn(ValueId) -> Destination,
    ) -> Result<ResolvedKey, KeyProblem> {
        let resolved = self.resolve_key(kind, bytes)?;
        let destination = match resolved.destination {
            Destination::Sum(id) => destination(id),
            _ => Destination::Ignored,
        };
        Ok(ResolvedKey { destination, ..resolved })
    }

    fn resolve_parsed(
        &mut self,
        kind: FileKind,
        bytes: &[u8],
        key: &Key<'_>,
    ) -> Result<ResolvedKey, KeyProblem> {
        let metric_type = kind.metric_type();
        let foreign = |key: &Key<'_>| KeyProblem::Sample {
            family: key.family.to_string(),
            sample: key.sample.to_string(),
        };
        let name = family_name(metric_type, &key.family);
        let part = SamplePart::of(metric_type, name, &key.sample).ok_or_else(|| foreign(key))?;
        let is_histogram = metric_type == MetricType::Histogram;
        let mut labels = sorted(&key.labels);
        let le = labels.iter().position(|(name, _)| *name == "le");
        let part = match part {
            SamplePart::Value => Some(KeyPart::Value),
            // The bucket `+Inf` of such a histogram would have two labels `le`.
            SamplePart::Sum | SamplePart::Count if is_histogram && le.is_some() => {
                return Err(foreign(key));
            }
            SamplePart::Sum => Some(KeyPart::Sum),
            SamplePart::Count if is_histogram => None,
            SamplePart::Count => Some(KeyPart::Count),
            SamplePart::Bucket => {
                let (_, text) = le.map(|at| labels.remove(at)).ok_or_else(|| foreign(key))?;
                let bound = number::parse_bound(text).ok_or_else(|| foreign(key))?;
                Some(KeyPart::Bucket { bound, text })
            }
        };
        let at = self.family(name, metric_type);
        let family = &mut self.families[at as usize];
        let help = key.help.as_ref().map(|help| family.help(help));
        let Some(part) = part else {
            return Ok(ResolvedKey { destination: Destination::Ignored, family: at, help });
        };
        let group_at = family.group(&labels);
        if let KeyPart::Bucket { text, .. } = part
            && let Some((head, tail)) = split_around(bytes, text)
        {
            let (head, tail) = (head.to_vec(), tail.to_vec());
            self.bucket_keys = Some(BucketKeys { head, tail, family: at, help, group: group_at });
        }
        let group = &mut family.groups[group_at as usize];
        let (sums, gauges) = (&mut self.sums, &mut self.gauges);
        let mut sum = |id: &mut Option<ValueId>| *id.get_or_insert_with(|| next_id(sums));
        let destination = match part {
            KeyPart::Value if metric_type == MetricType::Gauge => {
                Destination::Gauge(*group.value.get_or_insert_with(|| next_id(gauges)))
            }
            KeyPart::Value => Destination::Sum(sum(&mut group.value)),
            KeyPart::Count => Destination::Sum(sum(&mut group.count)),
            KeyPart::Sum => Destination::Sum(sum(&mut group.sum)),
            KeyPart::Bucket { bound, .. } => Destination::Sum(group.bucket(bound, sums)),
        };
        Ok(ResolvedKey { destination, family: at, help })
    }

    /// The index of a family.
    pub(super) fn find(&self, name: &str, metric_type: MetricType) -> Option<usize> {
        self.by_name.get(name, metric_type).map(|at| *at as usize)
    }

    /// Passes the indices of the families that have a name in common with a family of this name and type.
    pub(super) fn for_each_colliding(
        &self,
        name: &str,
        metric_type: MetricType,
        mut take: impl FnMut(usize),
    ) {
        self.by_name.find_colliding(name, metric_type, |_, _, at| {
            take(*at as usize);
            false
        });
    }

    fn family(&mut self, name: &str, metric_type: MetricType) -> u32 {
        if let Some(at) = self.by_name.get(name, metric_type) {
            return *at;
        }
        let at = self.families.len() as u32;
        let mut new = MergedFamily {
            name: name.into(),
            metric_type,
            rivals: Vec::new(),
            helps: Vec::new(),
            groups: Vec::new(),
            by_labels: HashIndex::default(),
            order: Vec::new(),
            label_names: Vec::new(),
            has_escaped_names: false,
        };
        let families = &mut self.families;
        self.by_name.find_colliding(name, metric_type, |_, _, index| {
            let other = &mut families[*index as usize];
            if other.precedence() < new.precedence() {
                new.add_rival(*index);
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

/// Labels sorted by name. The last of several labels with one name wins.
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

/// The bytes before and after a part of them; `None` if the part is elsewhere in memory.
fn split_around<'b>(bytes: &'b [u8], part: &str) -> Option<(&'b [u8], &'b [u8])> {
    let start = (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let (head, rest) = bytes.split_at_checked(start)?;
    Some((head, rest.get(part.len()..)?))
}

/// Increments a count of ids; returns the new id.
fn next_id(count: &mut u32) -> NonZeroU32 {
    *count += 1;
    // OK because 2^32 series do not fit into memory.
    NonZeroU32::new(*count).unwrap_or(NonZeroU32::MAX)
}

impl MergedFamily {
    /// Of families with a name in common the one with the lowest value is exported. It depends on names and types only,
    /// so it stays the same when processes start and end. Gauges are last: they may disappear with their processes,
    /// and a family that they suppressed would appear and disappear with them.
    pub(crate) fn precedence(&self) -> (u8, &str) {
        let of_type = match self.metric_type {
            MetricType::Histogram => 0,
            MetricType::Summary => 1,
            MetricType::Counter => 2,
            _ => 3,
        };
        (of_type, &self.name)
    }

    /// The name if the family is exported as this type: without the suffix that the type adds to the names of samples.
    pub(crate) fn name_as(&self, exported: MetricType) -> &str {
        if exported == self.metric_type {
            return &self.name;
        }
        self.name.strip_suffix(exported.own_suffix()).unwrap_or(&self.name)
    }

    fn add_rival(&mut self, index: u32) {
        if !self.rivals.contains(&index) {
            self.rivals.push(index);
        }
    }

    /// The indices of the families that take precedence over this one if they are exported.
    pub(crate) fn rivals(&self) -> impl Iterator<Item = usize> {
        self.rivals.iter().map(|index| *index as usize)
    }

    /// Sorts the groups by their labels.
    pub(crate) fn sort(&mut self) {
        if self.order.len() < self.groups.len() {
            let new = self.order.len() as u32..self.groups.len() as u32;
            reserve_lean(&mut self.order, new.len());
            self.order.extend(new);
            self.order.sort_by_key(|at| &self.groups[*at as usize].labels);
        }
    }

    /// The number of label sets.
    pub(crate) fn label_set_count(&self) -> usize {
        self.groups.len()
    }

    /// The groups in the order of the last [`sort`](MergedFamily::sort). This is not their order in memory, so groups
    /// that come soon are prefetched, and then their labels.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        let group = |at: &u32| &self.groups[*at as usize];
        self.order.iter().enumerate().map(move |(position, at)| {
            if let Some(ahead) = self.order.get(position + GROUPS_AHEAD) {
                prefetch(group(ahead));
            }
            let near = self.order.get(position + LABELS_AHEAD).map(group);
            if let Some(labels) = near.and_then(|near| near.labels.text()) {
                prefetch(labels.as_ptr());
            }
            group(at)
        })
    }

    /// Whether rendered labels are the same in all formats and escaping schemes.
    pub(crate) fn is_rendered(&self) -> bool {
        !self.has_escaped_names
    }

    /// Whether a series of the family has a label of this name.
    pub(crate) fn has_label(&self, name: &str) -> bool {
        self.label_names.binary_search_by(|other| (**other).cmp(name)).is_ok()
    }

    pub(crate) fn help_text(&self, help: HelpId) -> &str {
        &self.helps[help.get() as usize - 1]
    }

    fn help(&mut self, help: &str) -> HelpId {
        let found = self.helps.iter().position(|other| **other == *help);
        let mut before = found.unwrap_or(self.helps.len()) as u32;
        if found.is_none() {
            self.helps.push(help.into());
        }
        next_id(&mut before)
    }

    /// The index of the group with these labels, which is added if it is new.
    fn group(&mut self, pairs: &[(&str, &str)]) -> u32 {
        let labels = KeptLabels::new(pairs.iter().copied());
        let hash = match &labels {
            KeptLabels::Rendered(text) => self.by_labels.hash(text.as_bytes()),
            KeptLabels::Other(labels) => {
                let texts: Vec<&str> = labels.iter().flat_map(<[&str; 2]>::from).collect();
                self.by_labels.hash(texts.join("\0").as_bytes())
            }
        };
        let is_it = |at: u32| self.groups[at as usize].labels == labels;
        self.by_labels.find(hash, is_it).unwrap_or_else(|| {
            let at = self.groups.len() as u32;
            self.by_labels.insert(hash, at);
            for (name, _) in pairs {
                if let Err(at) = self.label_names.binary_search_by(|other| (**other).cmp(name)) {
                    self.label_names.insert(at, (*name).into());
                }
            }
            self.has_escaped_names |= !labels.has_plain_names();
            reserve_lean(&mut self.groups, 1);
            self.groups.push(Group { labels, buckets: None, value: None, count: None, sum: None });
            at
        })
    }
}

impl Group {
    /// The sum that stands for a series of totals: the total of a counter, the sum of a histogram or summary.
    pub(super) fn lead_sum(&self) -> Option<ValueId> {
        self.value.or(self.sum)
    }

    pub(crate) fn buckets(&self) -> &[(f64, ValueId)] {
        self.buckets.as_ref().map_or(&[], |buckets| buckets)
    }

    fn bucket(&mut self, bound: f64, sums: &mut u32) -> ValueId {
        let buckets = self.buckets.get_or_insert_default();
        // OK because no bound is NaN, and labels distinguish -0 from 0 as well.
        match buckets.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
            Ok(at) => buckets[at].1,
            Err(at) => {
                buckets.insert(at, (bound, next_id(sums)));
                buckets[at].1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_key_of_a_bucket_resolves_to_the_same_whatever_bucket_was_parsed_before(
            drawn in proptest::collection::vec(
                (
                    proptest::sample::select(vec!["h", "i"]),
                    proptest::sample::select(vec!["bucket", "sum"]),
                    proptest::sample::select(vec![
                        "1", "1.0", "1e1", "+Inf", "-1", " 1", "", "x", "NaN", "1\n", r"\u0031",
                        r#"1", "le": "2"#,
                    ]),
                    any::<[bool; 3]>(),
                ),
                1..12,
            ),
        ) {
            let (mut catalog, mut without) = (Catalog::default(), Catalog::default());
            for (family, sample, bound, [is_first, has_other_label, has_help]) in drawn {
                let other = if has_other_label { "x" } else { "y" };
                let labels = if is_first {
                    format!(r#""le": "{bound}", "a": "{other}""#)
                } else {
                    format!(r#""a": "{other}", "le": "{bound}""#)
                };
                let help = if has_help { "Help." } else { "" };
                let text = format!(r#"["{family}", "{family}_{sample}", {{{labels}}}, "{help}"]"#);
                let entry = Entry {
                    head: &[],
                    key: text.as_bytes(),
                    kind: EntryKind::Value,
                    value: 0.0,
                    time: None,
                };
                without.bucket_keys = None;
                let [one, other] = [&mut catalog, &mut without]
                    .map(|it| it.resolve(FileKind::Histogram, &entry));
                prop_assert_eq!(format!("{one:?}"), format!("{other:?}"), "{}", text);
            }
        }
    }
}
