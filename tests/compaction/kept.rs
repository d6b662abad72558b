//! The values of ended processes that an archive keeps.

use std::fs;
use std::path::Path;

use multiprom::compact::{CompactFiles, Compactor};
use multiprom::inspect::inspect_archive;
use multiprom::{Backend, Counter, Gauge, GaugeMode, Registry};

use super::{
    ARCHIVE, assert_only_archive, compact, compact_with, copy_of, count, count_in_python, merged,
    names_in, value,
};
use crate::support::samples::{Line, is_near, python_samples};
use crate::support::{self, TestDir, example, output_of, root, wait_for_deaths};

/// Asserts that two merges are equal. Totals must have the same bits; gauges may differ by rounding.
#[track_caller]
fn assert_alike(own: &[Line], reference: &[Line]) {
    let key = |line: &Line| {
        (line.name.clone(), line.labels.clone(), line.metric_type.clone(), line.help.clone())
    };
    assert_eq!(own.len(), reference.len());
    for (own, reference) in own.iter().zip(reference) {
        let is_gauge = own.metric_type == "gauge";
        let is_same_number =
            own.bits == reference.bits || (is_gauge && is_near(own.value(), reference.value()));
        assert!(key(own) == key(reference) && is_same_number, "{own:?}, not {reference:?}");
    }
}

/// Runs workers with unusual labels and values, and gauges of averages and counts, to their end.
fn generation(dir: &Path, from: u32) {
    for index in from..from + 3 {
        output_of(example("test-worker").arg(dir).arg(index.to_string()));
    }
    let registry = Registry::builder().backend(Backend::directory(dir).unwrap()).build().unwrap();
    for mode in [GaugeMode::Avg, GaugeMode::LiveAvg] {
        let gauge = Gauge::builder(format!("mean_{mode}"), "A mean.").mode(mode);
        gauge.register(&registry).unwrap().set(f64::from(from));
    }
    for mode in [GaugeMode::Count, GaugeMode::LiveCount] {
        let gauge = Gauge::builder(format!("number_{mode}"), "A count.").mode(mode);
        gauge.register(&registry).unwrap().set(-1.0);
    }
    Gauge::builder("mean_unset", "Unset.").mode(GaugeMode::Avg).register(&registry).unwrap();
    registry.close();
    wait_for_deaths(dir);
}

/// Prometheus treats a total that decreases by its last digit as a counter reset.
#[test]
fn totals_are_bit_identical_whichever_processes_have_ended() {
    let (dir, other) = (TestDir::new("digits"), TestDir::new("digits"));
    let (path, never_compacted) = (dir.path(), other.path());
    let name = "cpu_seconds_total";
    let mut amount = 0.1;
    let mut last = 0.0;
    for round in 0..40 {
        for path in [path, never_compacted] {
            let backend = Backend::directory(path).unwrap();
            let registry = Registry::builder().backend(backend).build().unwrap();
            Counter::builder(name, "Used.").register(&registry).unwrap().inc_by(amount);
            registry.close();
        }
        amount = (amount * 997.0) % 1.7 + 1e-7;
        wait_for_deaths(path);
        let total = value(&merged(path), name);
        assert!(total >= last, "{total} after {last}");
        if round % 3 > 0 {
            compact(path);
        }
        last = value(&merged(path), name);
        let same = [total, value(&merged(never_compacted), name)].map(f64::to_bits);
        assert_eq!(same, [last.to_bits(); 2], "{last}, {total} before");
    }
}

#[test]
fn compaction_does_not_change_merged_values_of_any_type_or_mode() {
    let dir = TestDir::new("generations");
    let path = dir.path();
    generation(path, 0);
    count_in_python(path, 5);
    let first = merged(path);
    assert!(first.iter().any(|line| line.name == "level_all"));
    assert!(first.iter().all(|line| !line.name.contains("_live")), "{first:?}");
    assert_eq!((value(&first, "mean_avg"), value(&first, "number_count")), (0.0, 1.0));
    compact(path);
    assert_only_archive(path);
    assert_alike(&merged(path), &first);

    // The second generation is merged with the first one, as files and as an archive.
    generation(path, 4);
    count_in_python(path, 6);
    let second = merged(path);
    assert_eq!((value(&second, "mean_avg"), value(&second, "number_count")), (2.0, 2.0));
    compact(path);
    assert_only_archive(path);
    assert_alike(&merged(path), &second);
    compact(path);
    assert_alike(&merged(path), &second);
}

#[test]
fn a_compacted_directory_is_merged_like_one_that_was_never_compacted() {
    let dir = TestDir::new("never");
    generation(dir.path(), 0);
    let (_parent, compacted) = copy_of(dir.path(), "compacted");
    compact(&compacted);
    // Both directories get the same additional files.
    let more = TestDir::new("more");
    generation(more.path(), 4);
    for dir in [dir.path(), &compacted] {
        for name in names_in(more.path()) {
            fs::copy(more.path().join(&name), dir.join(&name)).unwrap();
        }
        wait_for_deaths(dir);
    }
    compact(&compacted);
    let alike = |lines: Vec<Line>| -> Vec<Line> {
        // If times are equal, the value of the first file is exported, and the order of files differs.
        lines.into_iter().filter(|line| !line.name.contains("mostrecent")).collect()
    };
    assert_alike(&alike(merged(&compacted)), &alike(merged(dir.path())));
}

#[test]
fn gauges_of_ended_processes_are_kept_for_the_configured_time() {
    let processes = |dir: &Path| inspect_archive(dir).unwrap().unwrap().processes;
    let of_all = |dir: &Path| merged(dir).iter().filter(|it| it.name == "queue_all_ratio").count();
    let dir = TestDir::new("keep");
    let path = dir.path();
    for jobs in 1..=3 {
        count(path, jobs);
        assert_eq!(compact_with("--keep-dead forever", path).status, 0);
    }
    compact(path);
    assert_eq!((of_all(path), processes(path)), (3, 3));
    // Only the values of single processes are dropped.
    assert_eq!(compact_with("--keep-dead 0", path).status, 0);
    assert_eq!((of_all(path), processes(path)), (0, 0));
    let lines = merged(path);
    assert_eq!((value(&lines, "jobs_total"), value(&lines, "queue_max_ratio")), (6.0, 3.0));
    assert_eq!((value(&lines, "queue_sum_ratio"), value(&lines, "queue_min_ratio")), (6.0, 1.0));
    // Gauges of processes that end now are not archived first.
    count(path, 4);
    assert_eq!(of_all(path), 1);
    assert_eq!(compact_with("--keep-dead 0", path).status, 0);
    assert_eq!((of_all(path), processes(path)), (0, 0));
    assert_eq!(value(&merged(path), "jobs_total"), 10.0);
}

#[test]
fn the_earliest_created_time_is_kept() {
    let dir = TestDir::new("created");
    let counter = |dir: &Path| {
        let backend = Backend::directory(dir).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        Counter::builder("jobs_total", "Jobs.").register(&registry).unwrap().inc();
        registry.close();
        wait_for_deaths(dir);
    };
    // The time is the last word of the last entry of the file, or of the archive's only section.
    let time =
        |bytes: &[u8], end: usize| f64::from_le_bytes(bytes[end - 8..end].try_into().unwrap());
    counter(dir.path());
    let file = fs::read(dir.path().join(&names_in(dir.path())[0])).unwrap();
    let used = u32::from_le_bytes(file[..4].try_into().unwrap()) as usize;
    let created = time(&file, used);
    assert!(created > 1e9);
    for _ in 0..2 {
        compact(dir.path());
        let archive = fs::read(dir.path().join(ARCHIVE)).unwrap();
        assert_eq!(time(&archive, archive.len() - 8), created);
        counter(dir.path());
    }
}

#[test]
fn compaction_of_own_files_keeps_those_of_the_python_client_for_its_collector() {
    let dir = TestDir::new("own");
    let path = dir.path();
    if count_in_python(path, 5).is_none() {
        return;
    }
    count(path, 3);
    let python: Vec<String> =
        names_in(path).into_iter().filter(|name| !name.contains('-')).collect();
    assert!(python.len() >= 8, "{python:?}");
    let before = merged(path);
    assert_eq!(compact_with("--own", path).status, 0);
    let left: Vec<String> = names_in(path).into_iter().filter(|name| name != ARCHIVE).collect();
    assert_eq!(left, python);
    assert_alike(&merged(path), &before);
    let mut collect = support::python("newest").unwrap();
    collect.arg(root().join("tests/python/collect.py")).arg(path);
    let (lines, _) = python_samples(&output_of(&mut collect));
    assert_eq!(value(&lines, "py_jobs_total"), 5.0);
    assert!(lines.iter().all(|line| line.name != "jobs_total"));
    // The library keeps the files of the Python client too, unless `CompactFiles::All` is set.
    let run = |files| Compactor::builder().directory(path).files(files).build().unwrap().run();
    assert_eq!(run(CompactFiles::Own).unwrap().retired, 0);
    assert_eq!(names_in(path).len(), python.len() + 1);
    assert_eq!(run(CompactFiles::All).unwrap().retired, python.len() as u64);
}
