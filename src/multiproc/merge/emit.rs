//! Writes merged families to a sink.

use std::collections::HashMap;

use super::catalog::{Group, MergedFamily, ValueId};
use super::conflict::Conflict;
use super::exported_type::ExportedFamily;
use super::gauge::{Contribution, Reduced, reduce};
use super::gauge_samples::GaugeSamples;
use super::process_labels::SourceLabels;
use super::settings::MergeSettings;
use super::state::Merge;
use crate::model::{
    FamilyMetadata, FamilySink, GaugeMode, LabelPairs as _, Labels, MetricType, Sample, SampleKind,
};

/// The help text of a family whose files have none. It is that of the Python client.
const NO_HELP: &str = "Multiprocess metric";

/// Prefix of a label whose name the label of the process takes, as in Prometheus.
const EXPORTED_PREFIX: &str = "exported_";

/// What was written.
pub(crate) struct Emitted {
    pub(crate) series: u64,
    /// The conflicts that only the values show.
    pub(crate) conflicts: Vec<Conflict>,
}

/// Writes these families to `out`.
pub(crate) fn emit(
    merge: &Merge,
    exported: &[ExportedFamily],
    settings: &MergeSettings,
    processes: &SourceLabels,
    out: &mut dyn FamilySink,
) -> Emitted {
    let (mut series, mut conflicts) = (0, Vec::new());
    let mut shown = PerProcessValues::new(merge, processes);
    for it in exported {
        let ExportedFamily { at, metric_type } = *it;
        let (family, name) = (&merge.catalog.families[at], it.name(&merge.catalog.families));
        let is_gauge = family.metric_type == MetricType::Gauge;
        let rule = if is_gauge { settings.mode(&family.name, name) } else { None };
        let mode = rule.unwrap_or_else(|| match merge.mode(at).unwrap_or_default() {
            GaugeMode::All => settings.default_gauge_mode,
            chosen => chosen,
        });
        let head = FamilyMetadata::new(name, merge.help(at).unwrap_or(NO_HELP), metric_type)
            .with_unit(merge.attributes.unit_of(name));
        out.family(&head);
        let mut emitter = FamilyEmitter {
            merge,
            settings,
            metric_type: family.metric_type,
            gauges: GaugeSamples::new(name, metric_type),
            mode,
            is_rendered: family.is_rendered() && settings.labels.is_empty(),
            moved_label: moved_label(family, settings),
            shown: &mut shown,
            has_conflict: false,
            written: 0,
            out,
        };
        emitter.family(family);
        emitter.gauges.finish(emitter.out);
        series += emitter.written;
        if emitter.has_conflict {
            conflicts.push(Conflict::Series { family: name.to_owned() });
        }
    }
    Emitted { series, conflicts }
}

/// The new name of the label of series that has the name of the process label; `None` if no series has that label. No
/// series of the family has a label with the new name, so all series stay distinct.
fn moved_label(family: &MergedFamily, settings: &MergeSettings) -> Option<String> {
    if !family.has_label(&settings.pid_label) {
        return None;
    }
    let mut name = format!("{EXPORTED_PREFIX}{}", settings.pid_label);
    while family.has_label(&name) || settings.labels.iter().any(|(added, _)| *added == name) {
        name.insert_str(0, EXPORTED_PREFIX);
    }
    Some(name)
}

/// Writes one family.
struct FamilyEmitter<'a, 's> {
    merge: &'a Merge,
    settings: &'a MergeSettings,
    /// The type of the files.
    metric_type: MetricType,
    gauges: GaugeSamples<'a>,
    mode: GaugeMode,
    /// Whether rendered labels are passed on unchanged.
    is_rendered: bool,
    moved_label: Option<String>,
    shown: &'s mut PerProcessValues<'a>,
    has_conflict: bool,
    /// How many series were written.
    written: u64,
    out: &'s mut dyn FamilySink,
}

/// The labels of a series.
enum SeriesLabels<'a> {
    Rendered(Labels<'a>),
    Pairs(Vec<(&'a str, &'a str)>),
}

impl SeriesLabels<'_> {
    #[inline]
    fn get(&self) -> Labels<'_> {
        match self {
            SeriesLabels::Rendered(labels) => *labels,
            SeriesLabels::Pairs(labels) => Labels::new(labels),
        }
    }
}

impl<'a> FamilyEmitter<'a, '_> {
    /// Writes all series. Groups that added labels make equal are merged into one series.
    fn family(&mut self, family: &'a MergedFamily) {
        let (merge, metric_type) = (self.merge, self.metric_type);
        let shown = family.groups().filter(move |group| !merge.is_hidden(group, metric_type));
        if !self.settings.labels.iter().any(|(name, _)| family.has_label(name)) {
            return shown.for_each(|group| self.series(&[group]));
        }
        let (mut series, mut by_labels) = (Vec::<Vec<&Group>>::new(), HashMap::new());
        for group in shown {
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

    #[inline]
    fn sample(&mut self, labels: &SeriesLabels<'_>, kind: SampleKind, value: f64) {
        self.out.sample(&Sample::new(kind, labels.get(), value));
    }

    /// The labels of a series, which are those of any of its groups.
    fn labels(&self, groups: &[&'a Group]) -> SeriesLabels<'a> {
        let rendered = groups[0].labels.rendered().filter(|_| self.is_rendered);
        match rendered {
            Some(labels) => SeriesLabels::Rendered(labels),
            None => SeriesLabels::Pairs(self.pairs(groups[0])),
        }
    }

    /// The labels of a group and the added labels that it does not have.
    fn pairs(&self, group: &'a Group) -> Vec<(&'a str, &'a str)> {
        let mut pairs = Vec::new();
        group.labels.push_pairs(&mut pairs);
        for (name, value) in &self.settings.labels {
            if let Err(at) = position_of(&pairs, name) {
                pairs.insert(at, (name, value));
            }
        }
        pairs
    }

    /// Writes a series, which mostly is one group.
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
                self.written += u64::from(parts.iter().any(|(_, sum)| sum.is_some()));
                for (kind, sum) in parts {
                    if let Some(sum) = sum {
                        self.sample(&labels, kind, sum);
                    }
                }
                if self.merge.has_start_times() {
                    self.created(groups);
                }
            }
        }
    }

    fn sum(&self, groups: &[&Group], id: impl Fn(&Group) -> Option<ValueId>) -> Option<f64> {
        match groups {
            [group] => self.merge.sum(id(group)),
            _ => self.merge.sum_of(groups.iter().filter_map(|group| id(group))),
        }
    }

    /// Writes the start timestamp of a counter, histogram or summary. Most scrapes do not read them.
    #[inline(never)]
    fn created(&mut self, groups: &[&'a Group]) {
        let ids = groups.iter().filter_map(|group| group.lead_sum());
        if let Some(seconds) = self.merge.created(ids) {
            let labels = self.labels(groups);
            self.out.sample(&Sample::new(SampleKind::Created, labels.get(), seconds));
        }
    }

    fn gauge(&mut self, groups: &[&'a Group]) {
        let mut together = Vec::new();
        let contributions = match groups {
            [group] => self.merge.contributions(group.value),
            _ => {
                let all = groups.iter().flat_map(|group| self.merge.contributions(group.value));
                together.extend(all.copied());
                together.sort_by_key(|each: &Contribution| each.source);
                &together
            }
        };
        let reduced = match groups {
            [group] => self.merge.reduced(group.value),
            _ => None,
        };
        let value = match reduced {
            Some(reduced) => reduced.value(self.mode).map_or(Reduced::Nothing, Reduced::One),
            None => reduce(self.mode, contributions, self.merge.sources()),
        };
        match value {
            Reduced::Nothing => {}
            Reduced::One(value) => {
                let labels = self.labels(groups);
                self.gauges.emit(labels.get(), value, self.out);
                self.written += 1;
            }
            Reduced::PerSource(values) => {
                self.has_conflict |= self.shown.show(&values);
                let mut labels: Vec<(&str, &str)> = self.pairs(groups[0]);
                let pid_label = &*self.settings.pid_label;
                if let (Some(name), Ok(at)) = (&self.moved_label, position_of(&labels, pid_label)) {
                    let (_, value) = labels.remove(at);
                    let at = position_of(&labels, name).unwrap_or_else(|at| at);
                    labels.insert(at, (name, value));
                }
                let at = position_of(&labels, pid_label).unwrap_or_else(|at| at);
                labels.insert(at, (pid_label, ""));
                self.written += self.shown.values.len() as u64;
                for shown in &self.shown.values {
                    labels[at].1 = self.shown.label(shown);
                    self.gauges.emit(Labels::new(&labels), shown.value, self.out);
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

    /// Writes cumulative buckets. Every histogram gets the bucket `+Inf`, which equals the count.
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
        self.written += 1;
        if last != Some(f64::INFINITY) {
            self.sample(&labels, SampleKind::Bucket(f64::INFINITY), total);
        }
        if let Some(sum) = sum {
            self.sample(&labels, SampleKind::Sum, sum);
        }
        self.sample(&labels, SampleKind::Count, total);
        if self.merge.has_start_times() {
            self.created(groups);
        }
    }
}

/// The values of one series, each under the distinct label value of its process.
struct PerProcessValues<'a> {
    merge: &'a Merge,
    processes: &'a SourceLabels,
    values: Vec<ProcessValue>,
    /// For each label value the last series that had it, and its index in `values`.
    last_uses: Vec<(u64, u32)>,
    /// How many series there were so far.
    series: u64,
}

struct ProcessValue {
    source: u32,
    value: f64,
    /// Replaces the label value of the source.
    label: Option<String>,
}

impl<'a> PerProcessValues<'a> {
    fn new(merge: &'a Merge, processes: &'a SourceLabels) -> PerProcessValues<'a> {
        let last_uses = vec![(0, 0); processes.labels.len()];
        PerProcessValues { merge, processes, values: Vec::new(), last_uses, series: 0 }
    }

    /// Replaces the values by those of another series. Returns whether a process has several values: then the last one
    /// is shown.
    fn show(&mut self, values: &[(u32, f64)]) -> bool {
        self.series += 1;
        self.values.clear();
        let mut has_conflict = false;
        for &(source, value) in values {
            let last_use = &mut self.last_uses[self.processes.by_source[source as usize] as usize];
            if last_use.0 != self.series {
                *last_use = (self.series, self.values.len() as u32);
                self.values.push(ProcessValue { source, value, label: None });
                continue;
            }
            let other = &mut self.values[last_use.1 as usize];
            let sources = self.merge.sources();
            let (one, two) = (&sources[source as usize], &sources[other.source as usize]);
            // Files of one mode with different ids belong to two processes: one has taken over files of the other.
            if one.mode == two.mode && one.id != two.id {
                let label = Some(self.free_label(source));
                self.values.push(ProcessValue { source, value, label });
            } else {
                has_conflict = true;
                (other.source, other.value) = (source, value);
            }
        }
        has_conflict
    }

    fn label<'s>(&'s self, shown: &'s ProcessValue) -> &'s str {
        let index = self.processes.by_source[shown.source as usize];
        shown.label.as_deref().unwrap_or(&self.processes.labels[index as usize])
    }

    /// A label value for a source that no other process has.
    fn free_label(&self, source: u32) -> String {
        let id = &*self.merge.sources()[source as usize].id;
        let is_taken = |label: &str| {
            self.processes.labels.iter().any(|other| **other == *label)
                || self.values.iter().any(|shown| self.label(shown) == label)
        };
        let numbered = (2..).map(|number| format!("{id}#{number}"));
        let mut labels = std::iter::once(id.to_owned()).chain(numbered);
        labels.find(|label| !is_taken(label)).unwrap_or_default()
    }
}

/// The index of the label with a name, or where it would be inserted.
fn position_of(labels: &[(&str, &str)], name: &str) -> Result<usize, usize> {
    labels.binary_search_by(|(other, _)| (*other).cmp(name))
}
