//! Random directories whose processes disagree about types, modes and labels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use multiprom::collector::MultiProcessCollectorBuilder;
use multiprom::exposition::{Exposition, Format};
use multiprom::inspect::list_files;
use multiprom::parse::Parser;
use multiprom::{GaugeMode, MultiProcessCollector, Registry};
use serde_json::{Value, json};

use super::assert_no_series_is_repeated;
use crate::support::{self, TestDir, output_of, root, skip};

/// Number of directories.
const DIRECTORIES: usize = 80;

/// Options of the collector, each of which changes the labels of series.
const FLAGS: [fn(MultiProcessCollectorBuilder) -> MultiProcessCollectorBuilder; 4] = [
    |builder| builder,
    |builder| builder.label("env", "x").label("site", "a"),
    |builder| builder.pid_label("worker"),
    |builder| builder.gauge_mode(|_| Some(GaugeMode::All)),
];

/// The merged files of two directories, as text and as OpenMetrics.
fn pages(
    dirs: &[PathBuf],
    flags: fn(MultiProcessCollectorBuilder) -> MultiProcessCollectorBuilder,
) -> [String; 2] {
    let files = dirs.iter().flat_map(|dir| list_files(dir).unwrap());
    let builder = files
        .fold(flags(MultiProcessCollector::builder()), |builder, file| builder.file(file.path));
    let registry = Registry::new();
    registry.register(builder.build().unwrap()).unwrap();
    [Format::Text, Format::OpenMetrics].map(|it| Exposition::encode(&registry, it).to_string())
}

/// Asserts that the Python client parses all documents.
fn assert_python_accepts(parser: &str, documents: &[String], scratch: &Path) {
    let Some(mut python) = support::python("newest") else { return };
    let file = scratch.join(parser);
    fs::write(&file, json!(documents).to_string()).unwrap();
    let verdicts =
        output_of(python.arg(root().join("tests/python/judge.py")).arg(parser).arg(file));
    for (verdict, document) in verdicts.lines().zip(documents) {
        let verdict: Value = serde_json::from_str(verdict).unwrap();
        assert!(verdict["error"].is_null(), "{}\n{document}", verdict["error"]);
    }
    assert_eq!(verdicts.lines().count(), documents.len());
}

fn assert_promtool_accepts(page: &Path) {
    let mut promtool = Command::new("promtool");
    match promtool.args(["check", "metrics"]).stdin(fs::File::open(page).unwrap()).output() {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {stderr}", page.display());
        }
        Err(_) => skip("promtool is not installed"),
    }
}

#[test]
fn no_exposition_of_a_random_directory_repeats_a_series_and_every_parser_accepts_it() {
    let Some(mut generate) = support::python("newest") else { return };
    let dir = TestDir::in_memory("random");
    let script = root().join("tests/python/random_dirs.py");
    let count = DIRECTORIES.to_string();
    output_of(
        generate.arg(script).args(["--clashes", "--tame"]).arg(dir.path()).args(["7", &count]),
    );
    let (mut texts, mut openmetrics) = (Vec::new(), Vec::new());
    let mut conflicts = [0; 3];
    for number in 0..DIRECTORIES {
        let dirs = [number, (number + 1) % DIRECTORIES];
        let dirs = dirs.map(|number| dir.path().join(format!("{number:04}")));
        for flags in FLAGS {
            let [text, strict] = pages(&dirs, flags);
            assert_no_series_is_repeated(&text);
            for (reason, count) in ["name", "mode", "series"].iter().zip(&mut conflicts) {
                let none = format!("multiprom_merge_conflicts_total{{reason=\"{reason}\"}} 0\n");
                *count += usize::from(!text.contains(&none));
            }
            let parsed = Parser::openmetrics(strict.as_bytes()).collect::<Result<Vec<_>, _>>();
            assert!(parsed.is_ok(), "{}\n{strict}", parsed.unwrap_err());
            texts.push(text);
            openmetrics.push(strict);
        }
        let page = dir.path().join("page");
        fs::write(&page, &texts[texts.len() - FLAGS.len()]).unwrap();
        assert_promtool_accepts(&page);
    }
    assert!(conflicts.iter().all(|count| *count > 20), "{conflicts:?}");
    assert_python_accepts("text", &texts, dir.path());
    assert_python_accepts("openmetrics", &openmetrics, dir.path());
}
