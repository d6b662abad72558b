//! Gives merged families to a sink.

use std::collections::HashMap;

use super::collector::Settings;
use super::gauge::{Reduced, Source, SourceState, reduce};
use super::merge::Merge;
use super::tables::Group;
use crate::model::{FamilyHead, FamilySink, GaugeMode, MetricType, Part, RenderedLabels, Sample};

/// The help text of a family whose files have none, which is what the Python client says then.
const NO_HELP: &str = "Multiprocess metric";

/// Gives families to `out`, by their numbers.
pub(super) fn emit(
    merge: &Merge,
    exported: &[usize],
    settings: &Settings,
    out: &mut dyn FamilySink,
) {
    let processes = process_labels(&merge.sources);
    for at in exported {
        let family = &merge.tables.families[*at];
        let mode = settings.gauge_mode.as_ref().and_then(|mode| mode(&family.name));
        let mode = mode.unwrap_or_else(|| match merge.mode(*at).unwrap_or_default() {
            GaugeMode::All => settings.default_gauge_mode,
            chosen => chosen,
        });
        let head =
            FamilyHead::new(&family.name, merge.help(*at).unwrap_or(NO_HELP), family.metric_type);
        out.family(&head);
        let mut emission = Emission {
            merge,
            settings,
            processes: &processes,
            metric_type: family.metric_type,
            mode,
            is_rendered: family.is_rendered() && settings.labels.is_empty(),
            out,
        };
        family.groups().for_each(|group| emission.group(group));
    }
}

/// A family on its way out.
struct Emission<'a> {
    merge: &'a Merge,
    settings: &'a Settings,
    processes: &'a [&'a str],
    metric_type: MetricType,
    mode: GaugeMode,
    /// Whether labels are shown as they were rendered.
    is_rendered: bool,
    out: &'a mut dyn FamilySink,
}

/// The labels of a group on their way out.
enum Labels<'a> {
    Rendered(RenderedLabels<'a>),
    Pairs(Vec<(&'a str, &'a str)>),
}

/// What is shown for each file: its process, or its whole id where two writers would be mistaken for one
/// another. Of several writers of one process name the one that lives is shown by it, if just one does.
fn process_labels(sources: &[Source]) -> Vec<&str> {
    let mut owners: HashMap<&str, Owner<'_>> = HashMap::new();
    let of_one = |source: &&Source| !matches!(source.state, SourceState::Merged(_));
    for source in sources.iter().filter(of_one) {
        let owner = owners.entry(source.process()).or_default();
        owner.any.add(source.writer());
        if source.state == SourceState::Live {
            owner.live.add(source.writer());
        }
    }
    let label = |source: &'_ Source| {
        owners.get(source.process()).is_some_and(|owner| owner.id() == Some(source.writer()))
    };
    let shown = |source| if label(source) { source.process() } else { &*source.id };
    sources.iter().map(shown).collect()
}

/// Who is shown by the name of a process.
#[derive(Default)]
struct Owner<'a> {
    any: Only<'a>,
    live: Only<'a>,
}

impl<'a> Owner<'a> {
    fn id(&self) -> Option<&'a str> {
        match (&self.live, &self.any) {
            (Only::One(id), _) | (Only::None, Only::One(id)) => Some(id),
            _ => None,
        }
    }
}

/// One id, however often it is added.
#[derive(Default)]
enum Only<'a> {
    #[default]
    None,
    One(&'a str),
    Several,
}

impl<'a> Only<'a> {
    fn add(&mut self, id: &'a str) {
        *self = match self {
            Only::None => Only::One(id),
            Only::One(known) if *known == id => return,
            _ => Only::Several,
        };
    }
}

impl<'a> Emission<'a> {
    fn sample(&mut self, labels: &Labels<'_>, part: Part, value: f64) {
        match labels {
            Labels::Rendered(labels) => self.out.rendered(part, *labels, value),
            Labels::Pairs(labels) => self.out.sample(&Sample::new(part, labels, value)),
        }
    }

    fn labels(&self, group: &'a Group) -> Labels<'a> {
        let rendered = group.labels.rendered().filter(|_| self.is_rendered);
        rendered.map_or_else(|| Labels::Pairs(self.pairs(group)), Labels::Rendered)
    }

    /// The labels of a group with those that all merged series get.
    fn pairs(&self, group: &'a Group) -> Vec<(&'a str, &'a str)> {
        let mut pairs = Vec::new();
        group.labels.push_pairs(&mut pairs);
        for (name, value) in &self.settings.labels {
            if let Err(at) = pairs.binary_search_by(|(other, _)| (*other).cmp(name)) {
                pairs.insert(at, (name, value));
            }
        }
        pairs
    }

    fn group(&mut self, group: &'a Group) {
        match self.metric_type {
            MetricType::Gauge => self.gauge(group),
            MetricType::Histogram => self.histogram(group),
            _ => {
                let labels = self.labels(group);
                let (value, sum, count) = (group.value, group.sum, group.count);
                let parts = [(Part::Total, value), (Part::Sum, sum), (Part::Count, count)];
                for (part, number) in parts {
                    if let Some(sum) = self.merge.sum(number) {
                        self.sample(&labels, part, sum);
                    }
                }
            }
        }
    }

    fn gauge(&mut self, group: &'a Group) {
        let contributions = self.merge.gauge(group.value);
        match reduce(self.mode, contributions, &self.merge.sources) {
            Reduced::Nothing => {}
            Reduced::One(value) => self.sample(&self.labels(group), Part::Value, value),
            Reduced::PerFile(values) => {
                let (processes, settings) = (self.processes, self.settings);
                let values: Vec<(u32, f64)> = values.into_iter().collect();
                let mut labels = self.pairs(group);
                for &(file, value) in &values {
                    let process = shown(file, &values, &self.merge.sources, processes);
                    replace_or_insert(&mut labels, &settings.pid_label, process);
                    self.out.sample(&Sample::new(Part::Value, &labels, value));
                }
            }
        }
    }

    /// Buckets add up from the smallest bound on; the bucket `+Inf`, which every histogram has, is the
    /// count.
    fn histogram(&mut self, group: &'a Group) {
        let merge = self.merge;
        let labels = self.labels(group);
        let sum = merge.sum(group.sum);
        let mut total = 0.0;
        let mut last = None;
        for (bound, bucket) in merge.buckets(group) {
            total += bucket;
            last = Some(bound);
            self.sample(&labels, Part::Bucket(bound), total);
        }
        if sum.is_none() && last.is_none() {
            return;
        }
        if last != Some(f64::INFINITY) {
            self.sample(&labels, Part::Bucket(f64::INFINITY), total);
        }
        if let Some(sum) = sum {
            self.sample(&labels, Part::Sum, sum);
        }
        self.sample(&labels, Part::Count, total);
    }
}

/// By what the value of a file is shown among those of one series: a retired one by its whole id where another
/// is shown by the same process.
fn shown<'a>(
    file: u32,
    values: &[(u32, f64)],
    sources: &'a [Source],
    processes: &[&'a str],
) -> &'a str {
    let (source, process) = (&sources[file as usize], processes[file as usize]);
    let is_same = |other: u32| other != file && processes[other as usize] == process;
    if source.is_retired && values.iter().any(|(other, _)| is_same(*other)) {
        &source.id
    } else {
        process
    }
}

/// Sorted by name, one value for a name.
fn replace_or_insert<'a>(labels: &mut Vec<(&'a str, &'a str)>, name: &'a str, value: &'a str) {
    match labels.binary_search_by(|(other, _)| (*other).cmp(name)) {
        Ok(at) => labels[at].1 = value,
        Err(at) => labels.insert(at, (name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_shown_by_its_whole_id_only_where_two_would_be_one() {
        use SourceState::{Dead, Live, Merged};
        let sources = [
            ("7-0000000a", "7", Live, "7"),
            ("7-0000000a", "7", Live, "7"),
            ("8-0000000b", "8", Live, "8-0000000b"),
            ("8", "8", Live, "8"),
            ("web-1", "web-1", Live, "web-1"),
            // The living one keeps the name of a dead one.
            ("9-0000000c", "9", Dead, "9-0000000c"),
            ("9-0000000d", "9", Live, "9"),
            ("5-0000000e", "5", Dead, "5"),
            ("6-0000000f", "6", Dead, "6-0000000f"),
            ("6-00000010", "6", Dead, "6-00000010"),
            ("archive", "archive", Merged(GaugeMode::Min), "archive"),
        ];
        let source = |(id, process, state, _): (&str, &str, SourceState, &str)| Source {
            id: id.into(),
            process_len: process.len(),
            is_retired: false,
            state,
        };
        assert_eq!(process_labels(&sources.map(source)), sources.map(|(.., shown)| shown));
    }

    #[test]
    fn a_process_whose_files_are_being_retired_keeps_its_name_and_one_that_comes_back_has_it() {
        use SourceState::{Dead, Live};
        let source = |(id, is_retired, state): (&str, bool, SourceState)| Source {
            id: id.into(),
            process_len: id.find('-').unwrap_or(id.len()),
            is_retired,
            state,
        };
        let retiring = [("7-0000000a", true, Dead), ("7-0000000b", true, Dead), ("7", false, Dead)];
        let sources = retiring.map(source);
        let processes = process_labels(&sources);
        assert_eq!(processes, ["7", "7", "7"]);
        assert_eq!(shown(0, &[(0, 1.0)], &sources, &processes), "7");
        let again = [("7", false, Live), ("7-0000000a", true, Dead), ("7-0000000b", true, Dead)];
        let sources = again.map(source);
        let processes = process_labels(&sources);
        let values = [(0, 1.0), (1, 1.0), (2, 1.0)];
        let names = [0, 1, 2].map(|file| shown(file, &values, &sources, &processes));
        assert_eq!(names, ["7", "7-0000000a", "7-0000000b"]);
    }
}
