//! Directories written by the Python client.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::samples::{Line, assert_same, own_samples, python_samples, rounded_once};
use crate::support::{self, TestDir, multiprom, output_of, root};

/// Compares multiprom's merge of a directory with the samples that a Python program printed.
#[track_caller]
fn assert_merged_alike(what: &str, dir: &Path, printed: &str) {
    let (own, own_families) = own_samples(dir);
    let (reference, reference_families) = python_samples(printed);
    let reference = rounded_once(reference, &own);
    assert_eq!(own_families, reference_families, "{what}: families");
    // In multiprom, NaN never hides a number. In the Python client, that depends on the order of files.
    let order_dependent: BTreeSet<&str> =
        reference.iter().filter(|line| line.is_order_dependent).map(|line| &*line.family).collect();
    let comparable = |lines: &[Line]| -> Vec<Line> {
        let is_comparable = |line: &&Line| !order_dependent.contains(&*line.family);
        lines.iter().filter(is_comparable).cloned().collect()
    };
    assert_same(what, &comparable(&own), &comparable(&reference));
    for line in reference.iter().filter(|line| line.is_order_dependent && !line.value().is_nan()) {
        let same = |own: &&Line| own.name == line.name && own.labels == line.labels;
        let own = own.iter().find(same).unwrap();
        assert!(!own.value().is_nan(), "{what}: a number is hidden by NaN in {line:?}");
    }
}

#[test]
fn fixtures_of_every_layout_are_merged_as_their_release_merges_them() {
    for release in ["0.3.1", "0.8.0", "0.16.0", "0.26.0"] {
        let dir = root().join("multiproc-fixtures").join(release);
        let expected = fs::read_to_string(dir.join("expected.jsonl")).unwrap();
        assert_merged_alike(release, &dir, &expected);
    }
}

#[test]
fn all_layouts_may_be_mixed_in_one_directory() {
    let dir = TestDir::new("mixed");
    let mut expected = 0.0;
    for release in ["0.3.1", "0.8.0", "0.16.0", "0.26.0"] {
        let fixtures = root().join("multiproc-fixtures").join(release);
        for id in ["99", "101", "1000"] {
            let from = fixtures.join(format!("counter_{id}.db"));
            let name = format!("counter_{id}_{}.db", release.replace('.', "-"));
            fs::copy(from, dir.path().join(name)).unwrap();
        }
        let (lines, _) = own_samples(&fixtures);
        let total = lines.iter().find(|line| line.name == "requests_total").unwrap();
        expected += total.value();
    }
    let (lines, _) = own_samples(dir.path());
    let total = lines.iter().find(|line| line.name == "requests_total").unwrap().value();
    assert!((total - expected).abs() < 1e-9, "{total} is not {expected}");
}

fn real_processes_are_merged_alike(release: &str) {
    let Some(mut worker) = support::python(release) else { return };
    let scripts = root().join("tests/python");
    let dir = TestDir::new("worker");
    output_of(worker.arg(scripts.join("worker.py")).arg("--dead").arg(dir.path()));
    let Some(mut collect) = support::python(release) else { return };
    let printed = output_of(collect.arg(scripts.join("collect.py")).arg(dir.path()));
    assert_merged_alike(release, dir.path(), &printed);
}

#[test]
fn processes_of_the_newest_python_client_are_merged_as_it_merges_them() {
    real_processes_are_merged_alike("newest");
}

#[test]
fn processes_of_release_0_8_0_are_merged_as_it_merges_them() {
    real_processes_are_merged_alike("0.8.0");
}

fn random_directories_are_merged_alike(release: &str, seed: &str, count: &str) {
    let Some(mut generate) = support::python(release) else { return };
    let dir = TestDir::new("random");
    let script = root().join("tests/python/random_dirs.py");
    output_of(generate.arg(script).arg(dir.path()).args([seed, count]));
    let mut compared = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read_to_string(path.join("expected.jsonl")).unwrap();
        assert_merged_alike(&format!("{release}, {}", path.display()), &path, &expected);
        compared += 1;
    }
    assert_eq!(compared.to_string(), count);
}

#[test]
fn three_hundred_random_directories_are_merged_as_the_newest_python_client_merges_them() {
    random_directories_are_merged_alike("newest", "1", "300");
}

#[test]
fn sixty_random_directories_are_merged_as_release_0_8_0_merges_them() {
    random_directories_are_merged_alike("0.8.0", "2", "60");
}

/// Asserts that the Python client parses multiprom's exposition into the merged samples.
fn exposition_is_parsed(format: &str, parser: &str) {
    let Some(mut parse) = support::python("newest") else { return };
    let dir = root().join("multiproc-fixtures/0.26.0");
    // OpenMetrics does not allow counters of NaN and sums with negative bounds, and the parser is strict.
    let exclude = "odd_counts|offset|render_seconds|with_nan";
    let mut dump = multiprom();
    dump.args(["dump", "--format", format, "--exclude", exclude]);
    dump.args(multiprom::inspect::list_files(&dir).unwrap().iter().map(|file| &file.path));
    let page = output_of(&mut dump);
    let input = TestDir::new("page");
    fs::write(input.path().join("page"), page).unwrap();
    parse.arg(root().join("tests/python/parse.py")).arg(parser);
    parse.stdin(fs::File::open(input.path().join("page")).unwrap());
    let (parsed, _) = python_samples(&output_of(&mut parse));
    let comparable = |lines: Vec<Line>| -> Vec<Line> {
        let is_excluded = |line: &Line| exclude.split('|').any(|name| line.family == name);
        let own = |line: &Line| line.family.starts_with("multiprom_");
        let lines = lines.into_iter().filter(|line| !is_excluded(line) && !own(line));
        // The parsers strip help texts, name counters differently, and read `-0` as the integer 0.
        let plain = |mut line: Line| {
            if line.value() == 0.0 {
                line.bits = 0;
            }
            Line { help: String::new(), family: String::new(), ..line }
        };
        let mut lines: Vec<Line> = lines.map(plain).collect();
        lines.sort();
        lines
    };
    assert_same(format, &comparable(own_samples(&dir).0), &comparable(parsed));
}

#[test]
fn the_python_parser_reads_the_text_of_multiprom() {
    exposition_is_parsed("text", "text");
}

#[test]
fn the_strict_python_parser_reads_the_openmetrics_of_multiprom() {
    exposition_is_parsed("openmetrics", "openmetrics");
}

#[test]
fn a_gauge_family_in_two_modes_has_the_mode_of_the_last_file() {
    let Some(mut python) = support::python("newest") else { return };
    let dir = TestDir::new("modes");
    let write = "
import os, sys
os.environ['PROMETHEUS_MULTIPROC_DIR'] = sys.argv[1]
from prometheus_client import Gauge, values
for pid, mode, value in ((1, 'all', 2), (2, 'sum', 3), (3, 'sum', 4)):
    values.ValueClass = values.MultiProcessValue(lambda: pid)
    Gauge('level', 'Clash.', registry=None, multiprocess_mode=mode).set(value)
";
    output_of(python.args(["-c", write]).arg(dir.path()));
    let (lines, _) = own_samples(dir.path());
    assert_eq!(lines.iter().map(Line::value).collect::<Vec<_>>(), [9.0]);
    let Some(mut collect) = support::python("newest") else { return };
    let script = root().join("tests/python/collect.py");
    assert_merged_alike("sum", dir.path(), &output_of(collect.arg(&script).arg(dir.path())));
}
