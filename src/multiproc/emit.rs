//! Gives merged families to a sink.

use std::collections::HashMap;

use super::collector::Settings;
use super::gauge::{Reduced, reduce};
use super::merge::{Bucket, Family, FileId, Group, Merge};
use crate::model::{FamilyHead, FamilySink, MetricType, Part, Sample};

/// Gives all families to `out`, in the order of their first appearance.
pub(super) fn emit(merge: &Merge, settings: &Settings, out: &mut dyn FamilySink) {
    let processes = process_labels(&merge.files);
    for family in &merge.families {
        if settings.filter.as_ref().is_some_and(|filter| !filter(&family.name)) {
            continue;
        }
        out.family(&FamilyHead::new(&family.name, family.help(), family.metric_type));
        for group in &family.groups {
            emit_group(family, group, settings, &processes, out);
        }
    }
}

/// What is shown for each file: its process, or its whole id where two files of one process would be
/// mistaken for one another.
fn process_labels(files: &[FileId]) -> Vec<&str> {
    let mut ids: HashMap<&str, Option<&str>> = HashMap::new();
    for file in files {
        let only = ids.entry(&file.process).or_insert(Some(&file.id));
        *only = only.filter(|id| **id == *file.id);
    }
    let label = |file: &'_ FileId| ids[&*file.process].is_some();
    files.iter().map(|file| if label(file) { &*file.process } else { &*file.id }).collect()
}

fn emit_group(
    family: &Family,
    group: &Group,
    settings: &Settings,
    processes: &[&str],
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
            match reduce(mode.unwrap_or(family.mode), &group.gauge) {
                Reduced::Nothing => {}
                Reduced::One(value) => sample(&labels, Part::Value, value),
                Reduced::PerFile(values) => {
                    for (file, value) in values {
                        let process = processes.get(file).copied().unwrap_or_default();
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

    #[test]
    fn a_process_is_shown_by_its_whole_id_only_where_two_would_be_one() {
        let file = |id: &str, process: &str| FileId { id: id.into(), process: process.into() };
        let files = [
            file("7-0000000a", "7"),
            file("7-0000000a", "7"),
            file("8-0000000b", "8"),
            file("8", "8"),
            file("web-1", "web-1"),
        ];
        let shown = ["7", "7", "8-0000000b", "8", "web-1"];
        assert_eq!(process_labels(&files), shown);
    }
}
