//! Gives merged families to a sink.

use std::collections::HashMap;

use super::collector::Settings;
use super::gauge::{Reduced, Source, SourceState, reduce};
use super::merge::{Bucket, Family, Group, Merge};
use crate::model::{FamilyHead, FamilySink, MetricType, Part, Sample};

/// Gives all families to `out`, in the order of their first appearance.
pub(super) fn emit(merge: &Merge, settings: &Settings, out: &mut dyn FamilySink) {
    let processes = process_labels(&merge.sources);
    for family in &merge.families {
        if settings.filter.as_ref().is_some_and(|filter| !filter(&family.name)) {
            continue;
        }
        out.family(&FamilyHead::new(&family.name, family.help(), family.metric_type));
        for group in &family.groups {
            emit_group(family, group, settings, (&merge.sources, &processes), out);
        }
    }
}

/// What is shown for each file: its process, or its whole id where two writers would be mistaken for one
/// another. Of several writers of one process name the one that lives is shown by it, if just one does.
fn process_labels(sources: &[Source]) -> Vec<&str> {
    let mut owners: HashMap<&str, Owner<'_>> = HashMap::new();
    let of_one = |source: &&Source| !matches!(source.state, SourceState::Merged(_));
    for source in sources.iter().filter(of_one) {
        let owner = owners.entry(&source.process).or_default();
        owner.any.add(source.writer());
        if source.state == SourceState::Live {
            owner.live.add(source.writer());
        }
    }
    let label = |source: &'_ Source| {
        owners.get(&*source.process).is_some_and(|owner| owner.id() == Some(source.writer()))
    };
    let shown = |source| if label(source) { &*source.process } else { &*source.id };
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

fn emit_group(
    family: &Family,
    group: &Group,
    settings: &Settings,
    (sources, processes): (&[Source], &[&str]),
    out: &mut dyn FamilySink,
) {
    let added = settings.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut labels: Vec<(&str, &str)> = added.collect();
    for (name, value) in group.labels.iter() {
        replace_or_insert(&mut labels, name, value);
    }
    let mut sample = |labels: &[(&str, &str)], part, value| {
        out.sample(&Sample::new(part, labels, value));
    };
    match family.metric_type {
        MetricType::Gauge => {
            let mode = settings.gauge_mode.as_ref().and_then(|mode| mode(&family.name));
            let mode = mode.or(family.mode).unwrap_or_default();
            match reduce(mode, &group.gauge, sources) {
                Reduced::Nothing => {}
                Reduced::One(value) => sample(&labels, Part::Value, value),
                Reduced::PerFile(values) => {
                    let values: Vec<(usize, f64)> = values.into_iter().collect();
                    for &(file, value) in &values {
                        let process = shown(file, &values, sources, processes);
                        let mut labels = labels.clone();
                        replace_or_insert(&mut labels, &settings.pid_label, process);
                        sample(&labels, Part::Value, value);
                    }
                }
            }
        }
        MetricType::Histogram => emit_histogram(group, &mut |part, value| {
            sample(&labels, part, value);
        }),
        _ => {
            let parts =
                [(Part::Total, group.total), (Part::Sum, group.sum), (Part::Count, group.count)];
            for (part, value) in parts {
                if let Some(value) = value {
                    sample(&labels, part, value);
                }
            }
        }
    }
}

/// By what the value of a file is shown among those of one series: a retired one by its whole id where another
/// is shown by the same process.
fn shown<'a>(
    file: usize,
    values: &[(usize, f64)],
    sources: &'a [Source],
    processes: &[&'a str],
) -> &'a str {
    let (source, process) = (&sources[file], processes[file]);
    let is_same = |other: usize| other != file && processes[other] == process;
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

/// Buckets add up from the smallest bound on; the bucket `+Inf`, which every histogram has, is the
/// count.
fn emit_histogram(group: &Group, sample: &mut dyn FnMut(Part, f64)) {
    let mut buckets = group.buckets.clone();
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        buckets.push(Bucket { bound: f64::INFINITY, count: 0.0, entries: 0 });
    }
    let mut total = 0.0;
    for bucket in buckets {
        total += bucket.count;
        sample(Part::Bucket(bucket.bound), total);
    }
    if let Some(sum) = group.sum {
        sample(Part::Sum, sum);
    }
    sample(Part::Count, total);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GaugeMode;

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
            process: process.into(),
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
            process: id.split('-').next().unwrap().into(),
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
