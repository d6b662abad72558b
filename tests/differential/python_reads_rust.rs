//! Directories written by multiprom.

use std::path::Path;

use crate::support::samples::{Line, assert_same, own_samples, python_samples, rounded_once};
use crate::support::{self, TestDir, assert_success, example, output_of, root};

/// Runs several workers at once.
fn record(dir: &Path) {
    let start = |index: u32| {
        let mut worker = example("test-worker");
        worker.arg(dir).arg(index.to_string()).spawn().unwrap()
    };
    let workers: Vec<_> = (0..4).map(start).collect();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert_success(&example("test-worker"), &output);
    }
}

/// The samples that the newest Python client merges from a directory, without multiprom's own metrics. Ids of multiprom are shortened to pids, as
/// multiprom exports them.
fn collected_by_python(dir: &Path) -> Option<Vec<Line>> {
    let mut collect = support::python("newest")?;
    let printed = output_of(collect.arg(root().join("tests/python/collect.py")).arg(dir));
    let (mut lines, _) = python_samples(&printed);
    lines.retain(|line| !line.name.starts_with("multiprom_"));
    for line in &mut lines {
        // The id of the Python client is the pid alone.
        if let Some(pid) = line.labels.get_mut("pid")
            && let Some((process, suffix)) = pid.split_once('-')
        {
            assert_eq!(suffix.len(), 8, "{pid}");
            *pid = process.to_owned();
        }
    }
    lines.sort();
    Some(lines)
}

#[test]
fn the_python_client_merges_every_type_and_mode_of_multiprom_alike() {
    let dir = TestDir::new("rust");
    record(dir.path());
    let Some(reference) = collected_by_python(dir.path()) else { return };
    let (own, families) = own_samples(dir.path());
    assert_eq!(families.len(), 27);
    assert_same("written by multiprom", &own, &reference);
    let total = own.iter().find(|line| line.name == "requests_total").unwrap();
    assert!((total.value() - 10.4).abs() < 1e-9);
}

#[test]
fn multiprom_and_the_python_client_can_share_a_directory() {
    let Some(mut python) = support::python("newest") else { return };
    let dir = TestDir::new("both");
    output_of(python.arg(root().join("tests/python/worker.py")).arg(dir.path()));
    let (alone, _) = own_samples(dir.path());
    record(dir.path());
    let (both, _) = own_samples(dir.path());
    let total = |lines: &[Line], name: &str| {
        let found: Vec<f64> =
            lines.iter().filter(|line| line.name == name).map(Line::value).collect();
        assert!(!found.is_empty(), "{name}");
        found.iter().sum::<f64>()
    };
    // What the workers of multiprom record, by name.
    for (name, recorded) in [
        ("requests_total", 10.4),
        ("odd_labels_total", 156.0),
        ("latency_seconds_count", 16.0),
        ("payload_bytes_count", 12.0),
    ] {
        let grown = total(&both, name) - total(&alone, name);
        assert!((grown - recorded).abs() < 1e-9, "{name} {grown}");
    }
    let Some(reference) = collected_by_python(dir.path()) else { return };
    assert_same("both", &both, &rounded_once(reference, &both));
}

#[test]
fn an_unset_gauge_changes_the_minimum_in_the_python_client_only() {
    use multiprom::{Backend, Gauge, GaugeMode, Registry};
    let dir = TestDir::new("declared");
    for set in [None, Some(5.0)] {
        let backend = Backend::directory(dir.path()).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        let gauge = Gauge::builder("level", "Level.").mode(GaugeMode::Min);
        let gauge = gauge.register(&registry).unwrap();
        if let Some(value) = set {
            gauge.set(value);
        }
    }
    let value = |lines: &[Line]| lines.iter().map(Line::value).collect::<Vec<_>>();
    assert_eq!(value(&own_samples(dir.path()).0), [5.0]);
    let Some(reference) = collected_by_python(dir.path()) else { return };
    assert_eq!(value(&reference), [0.0]);
}
