//! The programs in `examples/migrations`: the original and the one with multiprom have the same page.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::Command;

use multiprom::collector::MetricType;
use multiprom::parse::{Families, OwnedFamily, OwnedSample, Parser};

use crate::support::process::PATIENCE;
use crate::support::{TestDir, example, output_of, python, root, wait_for};

fn families<R: BufRead>(page: Parser<R>) -> BTreeMap<String, OwnedFamily> {
    let families: Vec<OwnedFamily> = page.map(Result::unwrap).collect();
    let families = Families(families).joined().0.into_iter();
    families
        .map(|mut family| {
            family.samples.iter_mut().for_each(|sample| sample.labels.sort_unstable());
            family.samples.sort_by(|one, other| {
                let key =
                    |sample: &OwnedSample| (sample.labels.clone(), format!("{:?}", sample.kind));
                key(one).cmp(&key(other))
            });
            (family.name.clone(), family)
        })
        .collect()
}

fn text(page: &str) -> BTreeMap<String, OwnedFamily> {
    families(Parser::text(page.as_bytes()))
}

fn migration(name: &str) -> Command {
    let mut command = example("migrations");
    command.arg(name);
    command
}

fn run(mut command: Command) -> String {
    command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
    output_of(&mut command)
}

/// Removes the families with a prefix, and returns them.
fn take(families: &mut BTreeMap<String, OwnedFamily>, prefix: &str) -> Vec<OwnedFamily> {
    let names: Vec<String> =
        families.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
    names.iter().map(|name| families.remove(name).unwrap()).collect()
}

#[test]
fn a_program_with_prometheus_a_collector_and_process_metrics_has_the_same_page() {
    let mut before = text(&run(migration("prometheus-before")));
    let page = run(migration("prometheus-after"));
    let mut after = text(&page);
    // The values of two processes differ. Help texts are those of the clients of other languages.
    let heads = |families: Vec<OwnedFamily>| -> BTreeMap<String, (MetricType, usize)> {
        let heads = families.into_iter();
        heads.map(|it| (it.name, (it.metric_type, it.samples.len()))).collect()
    };
    let (theirs, ours) = (take(&mut before, "process_"), take(&mut after, "process_"));
    let (theirs, mut ours) = (heads(theirs), heads(ours));
    assert!(theirs.len() >= 6, "{theirs:?}");
    ours.retain(|name, _| theirs.contains_key(name));
    assert_eq!(ours, theirs);
    assert_eq!(after, before);
    assert_eq!(after.len(), 4, "{page}");
}

#[test]
fn a_program_with_prometheus_client_units_and_an_info_has_the_same_page() {
    let openmetrics = |page: String| families(Parser::openmetrics(page.as_bytes()));
    let before = openmetrics(run(migration("prometheus-client-before")));
    let after = openmetrics(run(migration("prometheus-client-after")));
    assert_eq!(after, before);
    let names: Vec<&str> = after.keys().map(String::as_str).collect();
    assert_eq!(names, ["shop_build", "shop_latency_seconds", "shop_memory_bytes", "shop_requests"]);
    assert_eq!(after["shop_build"].metric_type, MetricType::Info);
    assert_eq!(after["shop_latency_seconds"].unit, "seconds");
}

#[test]
fn three_processes_with_the_python_client_have_the_same_page() {
    let Some(mut original) = python("newest") else { return };
    original.arg(root().join("examples/migrations/python_before.py"));
    let page = |mut program: Command| {
        // On a busy machine a process may wait while it measures: then another run has all times in the first bucket.
        wait_for("times of less than 0.1 s", PATIENCE, || {
            let dir = TestDir::in_memory("migration");
            program.env("PROMETHEUS_MULTIPROC_DIR", dir.path());
            let mut families = text(&output_of(&mut program));
            // The sums of measured times differ.
            let latency = families.get_mut("latency_seconds").unwrap();
            let mut samples = latency.samples.iter_mut();
            let sum = samples.find(|sample| sample.kind.suffix() == "_sum").unwrap();
            let seconds = std::mem::take(&mut sum.value);
            assert!(seconds > 0.0);
            (seconds < 0.1).then_some(families)
        })
    };
    let (before, mut after) = (page(original), page(migration("python-after")));
    // The metrics of multiprom itself.
    take(&mut after, "multiprom_");
    assert_eq!(after, before);
    let names: Vec<&str> = after.keys().map(String::as_str).collect();
    let expected = ["busy", "job_size_bytes", "jobs", "largest_job_bytes", "latency_seconds"];
    assert_eq!(names, expected);
}
