//! Adds up the entries of many files, series by series.
//!
//! A key is parsed once, however many files have it: what its bytes stand for is kept in a table.
//! Entries then go straight to the sum that they belong to.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::gauge::{Contribution, Source, SourceState};
use super::problem::{Cause, KeyProblem, Problems};
use super::targets::{Target, TargetPart, Targets};
use crate::file::archive::Section;
use crate::file::key::{self, Key};
use crate::file::layout::{Entries, Entry, Layout};
use crate::file::name::{FileKind, FileName};
use crate::file::reader::{ReadError, Reader};
use crate::model::{GaugeMode, LabelSet, MetricType, number};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The help text of a family whose files have none, which is what the Python client says then.
const NO_HELP: &str = "Multiprocess metric";

/// Everything that a scrape has read.
#[derive(Default)]
pub(super) struct Merge {
    pub(super) families: Vec<Family>,
    by_name: Map<Box<str>, usize>,
    /// What the bytes of a key stand for, for each metric type.
    targets: Map<MetricType, Targets<Target>>,
    /// What is wrong with keys that cannot be used.
    unusable: Vec<KeyProblem>,
    /// Where the values of gauges are from: a file, or a section of an archive.
    pub(super) sources: Vec<Source>,
    pub(super) problems: Problems,
    reader: Reader,
}

pub(super) struct Family {
    pub(super) name: Box<str>,
    pub(super) help: Option<Box<str>>,
    pub(super) metric_type: MetricType,
    /// Of gauges: that of the file read last, as in the Python client; of no file, that of the archive.
    pub(super) mode: Option<GaugeMode>,
    pub(super) groups: Vec<Group>,
    by_labels: Map<LabelSet, usize>,
}

impl Family {
    pub(super) fn help(&self) -> &str {
        self.help.as_deref().unwrap_or(NO_HELP)
    }
}

/// The samples of one label set.
pub(super) struct Group {
    pub(super) labels: LabelSet,
    pub(super) total: Option<f64>,
    pub(super) count: Option<f64>,
    pub(super) sum: Option<f64>,
    /// In the order of their first use.
    pub(super) buckets: Vec<Bucket>,
    pub(super) gauge: Vec<Contribution>,
}

#[derive(Clone, Copy)]
pub(super) struct Bucket {
    pub(super) bound: f64,
    /// What was counted in this bucket alone.
    pub(super) count: f64,
    /// How many processes have this bound.
    pub(super) entries: u32,
}

impl Group {
    /// Whether processes have different bounds.
    pub(super) fn has_bucket_conflict(&self) -> bool {
        self.buckets.windows(2).any(|pair| pair[0].entries != pair[1].entries)
    }
}

/// Where an entry is from.
struct Origin<'a> {
    path: &'a Path,
    kind: FileKind,
    /// Its place among the sources of gauges.
    source: usize,
    is_archived: bool,
    /// Whether a time of 0 means that the gauge was never set.
    can_tell_unset: bool,
}

/// Which name a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The one that its writer gave it.
    First,
    /// One that a compactor gave it.
    Retired,
}

impl Merge {
    /// Adds the entries of an open file. One that is cut off or damaged is read a second time: its writer
    /// may have been in the middle of it.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        file: &File,
        name: FileName<'_>,
        state: SourceState,
        names: Names,
    ) {
        let mut reader = std::mem::take(&mut self.reader);
        let origin = self.origin(path, name, state, names);
        let mut added = 0;
        for is_last in [false, true] {
            let result = match reader.read(file) {
                Ok(snapshot) => self.add_entries(&origin, snapshot.entries, &mut added),
                Err(error) => Err(Cause::Read(error)),
            };
            match result {
                Err(Cause::Entry(_) | Cause::Read(ReadError::Layout(_))) if !is_last => {}
                Err(cause) => {
                    self.problems.add(path, cause);
                    break;
                }
                Ok(()) => break,
            }
        }
        self.reader = reader;
    }

    /// Adds what an archive holds.
    pub(super) fn add_section(&mut self, path: &Path, section: Section<'_>) {
        let state = match section.name.kind.mode() {
            Some(mode) if section.ended == 0.0 => SourceState::Merged(mode),
            _ => SourceState::Dead,
        };
        let mut origin = self.origin(path, section.name, state, Names::First);
        origin.is_archived = true;
        if let Err(cause) = self.add_entries(&origin, section.entries, &mut 0) {
            self.problems.add(path, cause);
        }
    }

    fn origin<'a>(
        &mut self,
        path: &'a Path,
        name: FileName<'_>,
        state: SourceState,
        names: Names,
    ) -> Origin<'a> {
        if name.kind.mode().is_some() {
            self.sources.push(Source {
                id: name.id.into(),
                process: name.process().into(),
                is_retired: names == Names::Retired,
                state,
            });
        }
        let source = self.sources.len().saturating_sub(1);
        Origin { path, kind: name.kind, source, is_archived: false, can_tell_unset: false }
    }

    /// Adds the entries from the `added`-th on.
    fn add_entries(
        &mut self,
        origin: &Origin<'_>,
        mut entries: Entries<'_>,
        added: &mut usize,
    ) -> Result<(), Cause> {
        let origin = Origin { can_tell_unset: entries.layout() == Layout::Own, ..*origin };
        let metric_type = origin.kind.metric_type();
        let mut targets = self.targets.remove(&metric_type).unwrap_or_default();
        targets.begin_file();
        entries.by_ref().take(*added).for_each(drop);
        let result = loop {
            if let Some((entry, target)) = targets.next(&mut entries) {
                *added += 1;
                self.add_entry(target, &entry, &origin);
                continue;
            }
            let entry = match entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => break Err(Cause::Entry(error)),
                None => break Ok(()),
            };
            *added += 1;
            let target = match targets.find(&entry) {
                Some(target) => target,
                None => {
                    let target = self.resolve(origin.kind, entry.key);
                    targets.insert(&entry, target);
                    target
                }
            };
            self.add_entry(target, &entry, &origin);
        };
        self.targets.insert(metric_type, targets);
        result
    }

    #[inline]
    fn add_entry(&mut self, target: Target, entry: &Entry<'_>, origin: &Origin<'_>) {
        match target.part {
            TargetPart::Ignored => return,
            TargetPart::Unusable(problem) => {
                let problem = self.unusable[problem].clone();
                return self.problems.add(origin.path, Cause::Key(problem));
            }
            _ => {}
        }
        let family = &mut self.families[target.family];
        let group = &mut family.groups[target.group];
        // Sums start at 0, so that a lone -0 is 0, as in the Python client.
        let add = |sum: &mut Option<f64>| *sum = Some(sum.unwrap_or(0.0) + entry.value);
        match target.part {
            TargetPart::Total => add(&mut group.total),
            TargetPart::Count => add(&mut group.count),
            TargetPart::Sum => add(&mut group.sum),
            TargetPart::Bucket(at) => {
                group.buckets[at].count += entry.value;
                group.buckets[at].entries += 1;
            }
            TargetPart::Gauge => {
                if !origin.is_archived || family.mode.is_none() {
                    family.mode = origin.kind.mode();
                }
                let time = entry.time.unwrap_or(0.0);
                let is_sum = origin.is_archived && origin.kind.mode() == Some(GaugeMode::Avg);
                group.gauge.push(Contribution {
                    file: origin.source,
                    value: entry.value,
                    time,
                    processes: if is_sum { time } else { 1.0 },
                    is_unset: origin.can_tell_unset && time == 0.0,
                });
            }
            TargetPart::Ignored | TargetPart::Unusable(_) => {}
        }
    }

    /// Finds out what a key stands for.
    fn resolve(&mut self, kind: FileKind, bytes: &[u8]) -> Target {
        let key = key::decode(bytes).map_err(KeyProblem::Malformed);
        key.and_then(|key| self.target(kind, key)).unwrap_or_else(|problem| {
            self.unusable.push(problem);
            Target::unusable(self.unusable.len() - 1)
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
        let mut bound = None;
        let suffix = key.sample.strip_prefix(name.as_str());
        let part = match (metric_type, suffix) {
            (MetricType::Counter, Some("" | "_total")) => TargetPart::Total,
            (MetricType::Gauge, Some("")) => TargetPart::Gauge,
            (MetricType::Summary, Some("_count")) => TargetPart::Count,
            (MetricType::Summary | MetricType::Histogram, Some("_sum")) => TargetPart::Sum,
            (MetricType::Histogram, Some("_count")) => TargetPart::Ignored,
            (MetricType::Histogram, Some("_bucket")) => {
                let le = labels.iter().find(|(name, _)| *name == "le");
                bound = le.and_then(|(_, value)| number::parse_bound(value));
                if bound.is_none() {
                    return Err(foreign(&key));
                }
                labels = labels.without("le");
                TargetPart::Bucket(0)
            }
            _ => return Err(foreign(&key)),
        };
        let family = self.family(name, metric_type)?;
        if let (None, Some(help)) = (&self.families[family].help, key.help) {
            self.families[family].help = Some(help.into());
        }
        let group = self.families[family].group(labels);
        let part = match bound {
            Some(bound) => TargetPart::Bucket(self.families[family].groups[group].bucket(bound)),
            None => part,
        };
        Ok(Target { family, group, part })
    }

    fn family(&mut self, name: String, metric_type: MetricType) -> Result<usize, KeyProblem> {
        if let Some(&known) = self.by_name.get(name.as_str()) {
            return if self.families[known].metric_type == metric_type {
                Ok(known)
            } else {
                Err(KeyProblem::Type { family: name })
            };
        }
        let at = self.families.len();
        self.by_name.insert(name.as_str().into(), at);
        self.families.push(Family {
            name: name.into(),
            help: None,
            metric_type,
            mode: None,
            groups: Vec::new(),
            by_labels: Map::default(),
        });
        Ok(at)
    }
}

impl Family {
    fn group(&mut self, labels: LabelSet) -> usize {
        if let Some(&known) = self.by_labels.get(&labels) {
            return known;
        }
        let at = self.groups.len();
        self.by_labels.insert(labels.clone(), at);
        self.groups.push(Group {
            labels,
            total: None,
            count: None,
            sum: None,
            buckets: Vec::new(),
            gauge: Vec::new(),
        });
        at
    }
}

impl Group {
    fn bucket(&mut self, bound: f64) -> usize {
        let known = self.buckets.iter().position(|other| other.bound == bound);
        known.unwrap_or_else(|| {
            self.buckets.push(Bucket { bound, count: 0.0, entries: 0 });
            self.buckets.len() - 1
        })
    }
}
