//! Gives merged families to a sink.

use std::collections::HashMap;

use super::collector::Settings;
use super::conflicts::Conflict;
use super::gauge::{Contribution, Reduced, reduce};
use super::merge::Merge;
use super::processes::Labelling;
use super::tables::{Family, Group, Number};
use crate::model::{FamilyMetadata, FamilySink, GaugeMode, Labels, MetricType, Sample, SampleKind};

/// The help text of a family whose files have none, which is what the Python client says then.
const NO_HELP: &str = "Multiprocess metric";

/// What the name of a label begins with whose place the process has taken, as in Prometheus.
const EXPORTED_PREFIX: &str = "exported_";

/// Gives families to `out`, by their numbers. Returns the conflicts that show only in the values.
pub(super) fn emit(
    merge: &Merge,
    exported: &[usize],
    settings: &Settings,
    processes: &Labelling,
    out: &mut dyn FamilySink,
) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut shown = ShownProcesses::new(merge, processes);
    for at in exported {
        let family = &merge.tables.families[*at];
        let is_gauge = family.metric_type == MetricType::Gauge;
        let rule = settings.gauge_mode.as_ref().filter(|_| is_gauge);
        let mode = rule.and_then(|rule| rule(&family.name));
        let mode = mode.unwrap_or_else(|| match merge.mode(*at).unwrap_or_default() {
            GaugeMode::All => settings.default_gauge_mode,
            chosen => chosen,
        });
        let head = FamilyMetadata::new(
            &family.name,
            merge.help(*at).unwrap_or(NO_HELP),
            family.metric_type,
        );
        out.family(&head);
        let mut emission = Emission {
            merge,
            settings,
            metric_type: family.metric_type,
            mode,
            is_rendered: family.is_rendered() && settings.labels.is_empty(),
            moved_label: moved_label(family, settings),
            shown: &mut shown,
            has_conflict: false,
            out,
        };
        emission.family(family);
        if emission.has_conflict {
            conflicts.push(Conflict::Series { family: family.name.to_string() });
        }
    }
    conflicts
}

/// The name that a label of the series gets whose place the process takes; `None` where they have no such label. No
/// series of the family has a label of that name, so that no two become one.
fn moved_label(family: &Family, settings: &Settings) -> Option<String> {
    if !family.has_label(&settings.pid_label) {
        return None;
    }
    let mut name = format!("{EXPORTED_PREFIX}{}", settings.pid_label);
    while family.has_label(&name) || settings.labels.iter().any(|(added, _)| *added == name) {
        name.insert_str(0, EXPORTED_PREFIX);
    }
    Some(name)
}

/// A family on its way out.
struct Emission<'a, 's> {
    merge: &'a Merge,
    settings: &'a Settings,
    metric_type: MetricType,
    mode: GaugeMode,
    /// Whether labels are shown as they were rendered.
    is_rendered: bool,
    moved_label: Option<String>,
    shown: &'s mut ShownProcesses<'a>,
    has_conflict: bool,
    out: &'s mut dyn FamilySink,
}

/// The labels of a group on their way out.
enum SeriesLabels<'a> {
    Rendered(Labels<'a>),
    Pairs(Vec<(&'a str, &'a str)>),
}

impl<'a> Emission<'a, '_> {
    /// Gives all series. Groups that added labels make equal are one series.
    fn family(&mut self, family: &'a Family) {
        if !self.settings.labels.iter().any(|(name, _)| family.has_label(name)) {
            return family.groups().for_each(|group| self.series(&[group]));
        }
        let (mut series, mut by_labels) = (Vec::<Vec<&Group>>::new(), HashMap::new());
        for group in family.groups() {
            let at = *by_labels.entry(self.pairs(group)).or_insert(series.len());
            match series.get_mut(at) {
                Some(groups) => groups.push(group),
                None => series.push(vec![group]),
            }
        }
        for groups in &series {
            self.series(groups);
        }
    }

    fn sample(&mut self, labels: &SeriesLabels<'_>, kind: SampleKind, value: f64) {
        let labels = match labels {
            SeriesLabels::Rendered(labels) => *labels,
            SeriesLabels::Pairs(labels) => Labels::new(labels),
        };
        self.out.sample(&Sample::new(kind, labels, value));
    }

    /// The labels of a series, which all of its groups become.
    fn labels(&self, groups: &[&'a Group]) -> SeriesLabels<'a> {
        let rendered = groups[0].labels.rendered().filter(|_| self.is_rendered);
        match rendered {
            Some(labels) => SeriesLabels::Rendered(labels),
            None => SeriesLabels::Pairs(self.pairs(groups[0])),
        }
    }

    /// The labels of a group with those that all merged series get.
    fn pairs(&self, group: &'a Group) -> Vec<(&'a str, &'a str)> {
        let mut pairs = Vec::new();
        group.labels.push_pairs(&mut pairs);
        for (name, value) in &self.settings.labels {
            if let Err(at) = place_of(&pairs, name) {
                pairs.insert(at, (name, value));
            }
        }
        pairs
    }

    /// Gives a series, which mostly is one group.
    fn series(&mut self, groups: &[&'a Group]) {
        match self.metric_type {
            MetricType::Gauge => self.gauge(groups),
            MetricType::Histogram => self.histogram(groups),
            _ => {
                let labels = self.labels(groups);
                let parts = [
                    (SampleKind::Total, self.sum(groups, |group| group.value)),
                    (SampleKind::Sum, self.sum(groups, |group| group.sum)),
                    (SampleKind::Count, self.sum(groups, |group| group.count)),
                ];
                for (kind, sum) in parts {
                    if let Some(sum) = sum {
                        self.sample(&labels, kind, sum);
                    }
                }
            }
        }
    }

    fn sum(&self, groups: &[&Group], number: impl Fn(&Group) -> Option<Number>) -> Option<f64> {
        match groups {
            [group] => self.merge.sum(number(group)),
            _ => self.merge.sum_of(groups.iter().filter_map(|group| number(group))),
        }
    }

    fn gauge(&mut self, groups: &[&'a Group]) {
        let mut together = Vec::new();
        let contributions = match groups {
            [group] => self.merge.gauge(group.value),
            _ => {
                let all = groups.iter().flat_map(|group| self.merge.gauge(group.value));
                together.extend(all.copied());
                together.sort_by_key(|each: &Contribution| each.source);
                &together
            }
        };
        match reduce(self.mode, contributions, &self.merge.sources) {
            Reduced::Nothing => {}
            Reduced::One(value) => self.sample(&self.labels(groups), SampleKind::Value, value),
            Reduced::PerSource(values) => {
                self.has_conflict |= self.shown.show(&values);
                let mut labels: Vec<(&str, &str)> = self.pairs(groups[0]);
                let pid_label = &*self.settings.pid_label;
                if let (Some(name), Ok(at)) = (&self.moved_label, place_of(&labels, pid_label)) {
                    let (_, value) = labels.remove(at);
                    let at = place_of(&labels, name).unwrap_or_else(|at| at);
                    labels.insert(at, (name, value));
                }
                let at = place_of(&labels, pid_label).unwrap_or_else(|at| at);
                labels.insert(at, (pid_label, ""));
                for shown in &self.shown.values {
                    labels[at].1 = self.shown.label(shown);
                    self.out.sample(&Sample::new(SampleKind::Value, &labels, shown.value));
                }
            }
        }
    }

    fn histogram(&mut self, groups: &[&'a Group]) {
        match groups {
            [group] => self.buckets(groups, self.merge.buckets(group)),
            _ => self.buckets(groups, self.merge.buckets_of(groups).into_iter()),
        }
    }

    /// Buckets add up from the smallest bound on; the bucket `+Inf`, which every histogram has, is the
    /// count.
    fn buckets(&mut self, groups: &[&'a Group], buckets: impl Iterator<Item = (f64, f64)>) {
        let labels = self.labels(groups);
        let sum = self.sum(groups, |group| group.sum);
        let mut total = 0.0;
        let mut last = None;
        for (bound, bucket) in buckets {
            total += bucket;
            last = Some(bound);
            self.sample(&labels, SampleKind::Bucket(bound), total);
        }
        if sum.is_none() && last.is_none() {
            return;
        }
        if last != Some(f64::INFINITY) {
            self.sample(&labels, SampleKind::Bucket(f64::INFINITY), total);
        }
        if let Some(sum) = sum {
            self.sample(&labels, SampleKind::Sum, sum);
        }
        self.sample(&labels, SampleKind::Count, total);
    }
}

/// The processes whose values one series has, each under a label value of its own.
struct ShownProcesses<'a> {
    merge: &'a Merge,
    processes: &'a Labelling,
    values: Vec<Shown>,
    /// For each label value the last series that had it, and where in the values.
    places: Vec<(u64, u32)>,
    series: u64,
}

struct Shown {
    source: u32,
    value: f64,
    /// In place of the label value of the source.
    label: Option<String>,
}

impl<'a> ShownProcesses<'a> {
    fn new(merge: &'a Merge, processes: &'a Labelling) -> ShownProcesses<'a> {
        let places = vec![(0, 0); processes.labels.len()];
        ShownProcesses { merge, processes, values: Vec::new(), places, series: 0 }
    }

    /// Takes the values of a series. Returns whether a process has several: the last one is shown then.
    fn show(&mut self, values: &[(u32, f64)]) -> bool {
        self.series += 1;
        self.values.clear();
        let mut has_conflict = false;
        for &(source, value) in values {
            let place = &mut self.places[self.processes.by_source[source as usize] as usize];
            if place.0 != self.series {
                *place = (self.series, self.values.len() as u32);
                self.values.push(Shown { source, value, label: None });
                continue;
            }
            let other = &mut self.values[place.1 as usize];
            let sources = &self.merge.sources;
            let (one, two) = (&sources[source as usize], &sources[other.source as usize]);
            // Files of one mode with different ids are of two processes, of which one took over files of the other.
            if one.mode == two.mode && one.id != two.id {
                let label = Some(self.free_label(source));
                self.values.push(Shown { source, value, label });
            } else {
                has_conflict = true;
                (other.source, other.value) = (source, value);
            }
        }
        has_conflict
    }

    fn label<'s>(&'s self, shown: &'s Shown) -> &'s str {
        let number = self.processes.by_source[shown.source as usize];
        shown.label.as_deref().unwrap_or(&self.processes.labels[number as usize])
    }

    /// A label value for a source that no process has.
    fn free_label(&self, source: u32) -> String {
        let id = &*self.merge.sources[source as usize].id;
        let is_taken = |label: &str| {
            self.processes.labels.iter().any(|other| **other == *label)
                || self.values.iter().any(|shown| self.label(shown) == label)
        };
        let numbered = (2..).map(|number| format!("{id}#{number}"));
        let mut labels = std::iter::once(id.to_owned()).chain(numbered);
        labels.find(|label| !is_taken(label)).unwrap_or_default()
    }
}

/// Where the label of a name is, or would be.
fn place_of(labels: &[(&str, &str)], name: &str) -> Result<usize, usize> {
    labels.binary_search_by(|(other, _)| (*other).cmp(name))
}
