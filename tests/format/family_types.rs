//! Companion entries of the kind `type`: families of gauges that are exported with another type.

use std::fs;
use std::path::Path;

use super::{MAGIC, companion_entry, entry, run_in, series_file};
use crate::support::process::{Outcome, run};
use crate::support::{TestDir, multiprom, output_of, python, root, wait_for_deaths};

#[path = "../../fuzz/checks/family_types.rs"]
mod fuzzed;

const TYPE: u32 = 5;

/// The key of a gauge.
fn key(name: &str, labels: &str) -> String {
    format!(r#"["{name}", "{name}", {{{labels}}}, "Help."]"#)
}

fn type_entry(family: &str, metric_type: &str) -> Vec<u8> {
    let mut payload = metric_type.as_bytes().to_vec();
    payload.resize(payload.len().next_multiple_of(8), 0);
    companion_entry(TYPE, &key(family, ""), &payload)
}

/// Writes the files of a process that has ended: gauges in the mode `max`, and types.
fn write(dir: &Path, id: &str, gauges: &[(&str, &str, f64)], types: &[(&str, &str)]) {
    let gauges =
        gauges.iter().map(|(name, labels, value)| entry(&key(name, labels), 0, *value, 1.0));
    let gauges = series_file(MAGIC, &gauges.collect::<Vec<_>>());
    fs::write(dir.join(format!("gauge_max_{id}.db")), gauges).unwrap();
    let types = types.iter().map(|(family, metric_type)| type_entry(family, metric_type));
    let types = series_file(*b"MPX\x01", &types.collect::<Vec<_>>());
    fs::write(dir.join(format!("companion_{id}.mpx")), types).unwrap();
}

fn dump(dir: &Path, flags: &str) -> Outcome {
    let mut command = multiprom();
    command.args(["dump", "--exclude", "multiprom_.*"]).args(flags.split_whitespace());
    let outcome = run(command.arg("--dir").arg(dir));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome
}

/// The lines of a page in OpenMetrics without those of help texts. The strict parser accepts the page.
fn lines(dir: &Path, flags: &str) -> Vec<String> {
    let page = dump(dir, &format!("{flags} --format openmetrics")).stdout;
    let scratch = TestDir::new("page");
    let path = scratch.path().join("page");
    fs::write(&path, &page).unwrap();
    let verdict =
        run(multiprom().args(["convert", "--from", "openmetrics", "--to", "json"]).arg(&path));
    assert_eq!(verdict.status, 0, "{page}{}", verdict.stderr);
    let lines = page.lines().filter(|line| !line.starts_with("# HELP") && *line != "# EOF");
    lines.map(|line| line.strip_suffix(".0").unwrap_or(line).to_owned()).collect()
}

const GAUGES: [(&str, &str, f64); 7] = [
    ("build_info", r#""version": "1""#, 1.0),
    ("jobs_total", "", 5.0),
    ("mode", r#""mode": "a", "zone": "x""#, 0.0),
    ("mode", r#""mode": "b", "zone": "x""#, 1.0),
    ("mode", r#""mode": "a", "zone": "y""#, 1.0),
    ("mode", r#""mode": "b", "zone": "y""#, 0.0),
    ("other", "", 7.0),
];

const TYPES: [(&str, &str); 4] =
    [("build_info", "info"), ("jobs_total", "counter"), ("mode", "stateset"), ("other", "unknown")];

const SHOWN: [&str; 11] = [
    "# TYPE build info",
    "build_info{version=\"1\"} 1",
    "# TYPE jobs counter",
    "jobs_total 5",
    "# TYPE mode stateset",
    "mode{mode=\"a\",zone=\"x\"} 0",
    "mode{mode=\"b\",zone=\"x\"} 1",
    "mode{mode=\"a\",zone=\"y\"} 1",
    "mode{mode=\"b\",zone=\"y\"} 0",
    "# TYPE other unknown",
    "other 7",
];

#[test]
fn gauges_with_a_type_are_exported_with_it_from_files_and_archives() {
    let dir = TestDir::new("types");
    write(dir.path(), "1-00000001", &GAUGES, &TYPES);
    // The first file decides; a second process sets other values.
    write(dir.path(), "2-00000001", &[("jobs_total", "", 9.0)], &[("jobs_total", "unknown")]);
    for what in ["in files", "in an archive"] {
        let mut shown = SHOWN;
        shown[3] = "jobs_total 9";
        assert_eq!(lines(dir.path(), ""), shown, "{what}");
        let text = dump(dir.path(), "").stdout;
        for line in [
            "# TYPE build_info gauge",
            "# TYPE jobs_total counter",
            "# TYPE mode gauge",
            "# TYPE other untyped",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
        }
        wait_for_deaths(dir.path());
        assert_eq!(run_in(dir.path(), "compact").status, 0);
    }
    assert!(!dir.path().join("companion_1-00000001.mpx").exists());
    let usage = output_of(multiprom().args(["ls", "--families", "--dir"]).arg(dir.path()));
    for (family, metric_type) in TYPES {
        let mut rows = usage.lines().filter(|row| row.contains(family));
        assert!(rows.any(|row| row.contains(metric_type)), "{family}: {usage}");
    }
}

#[test]
fn a_reader_that_ignores_companions_sees_complete_gauges() {
    let dir = TestDir::new("gauges");
    write(dir.path(), "1-00000001", &GAUGES, &TYPES);
    let Some(mut python) = python("newest") else { return };
    let collect = root().join("tests/python/collect.py");
    let read = output_of(python.arg(collect).arg(dir.path()).arg("text"));
    fs::remove_file(dir.path().join("companion_1-00000001.mpx")).unwrap();
    let own = dump(dir.path(), "").stdout;
    let samples = |page: &str| {
        let mut lines: Vec<String> =
            page.lines().filter(|line| !line.starts_with("# HELP")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(samples(&read.replace(".0\n", "\n")), samples(&own));
    assert_eq!(
        own.lines().filter(|line| line.starts_with("# TYPE") && line.ends_with("gauge")).count(),
        4
    );
}

#[test]
fn a_type_that_does_not_fit_is_ignored() {
    let dir = TestDir::new("unfit");
    let gauges = [
        ("build", "", 1.0),
        ("jobs", "", 2.0),
        ("mode", r#""mode": "a""#, 1.0),
        ("mode", r#""zone": "x""#, 1.0),
        ("later", "", 4.0),
    ];
    let types = [
        ("build", "info"),
        ("jobs", "counter"),
        ("mode", "stateset"),
        ("later", "summary"),
        ("absent_info", "info"),
    ];
    write(dir.path(), "1-00000001", &gauges, &types);
    let page = lines(dir.path(), "");
    let types: Vec<&String> = page.iter().filter(|line| line.starts_with("# TYPE")).collect();
    assert_eq!(types.len(), 4, "{page:?}");
    assert!(types.iter().all(|line| line.ends_with(" gauge")), "{page:?}");
}

#[test]
fn names_collide_by_the_exported_type_and_patterns_match_the_exported_names() {
    let dir = TestDir::new("collide");
    let gauges = [
        ("jobs_total", "", 1.0),
        ("jobs_info", "", 1.0),
        ("work_total", "", 2.0),
        ("work_created", "", 3.0),
        ("free", "", 4.0),
    ];
    let types = [("jobs_total", "counter"), ("jobs_info", "info"), ("work_total", "counter")];
    write(dir.path(), "1-00000001", &gauges, &types);
    // `jobs_info` and `work_created` come first by name.
    assert_eq!(
        lines(dir.path(), ""),
        [
            "# TYPE free gauge",
            "free 4",
            "# TYPE jobs info",
            "jobs_info 1",
            "# TYPE work_created gauge",
            "work_created 3"
        ]
    );
    let reports = dump(dir.path(), "").stderr;
    for report in [
        "counter `jobs` is left out: it has a name in common with info `jobs`",
        "counter `work` is left out: it has a name in common with gauge `work_created`",
    ] {
        assert!(reports.contains(report), "{reports}");
    }
    for (flags, shown) in [
        ("--include jobs", &["# TYPE jobs info", "jobs_info 1"][..]),
        ("--include work", &["# TYPE work counter", "work_total 2"]),
        ("--include work_total", &["# TYPE work counter", "work_total 2"]),
        ("--include jobs --exclude jobs_info", &["# TYPE jobs counter", "jobs_total 1"]),
        ("--include work_total --gauge-mode work=count", &["# TYPE work counter", "work_total 1"]),
        ("--include free --gauge-mode free=sum", &["# TYPE free gauge", "free 4"]),
    ] {
        assert_eq!(lines(dir.path(), flags), shown, "{flags}");
    }
    // A counter of counter files takes precedence over gauges, also over those of its type.
    let counter = entry(r#"["jobs", "jobs_total", {}, "Help."]"#, 0, 8.0, 1.0);
    fs::write(dir.path().join("counter_3-00000001.db"), series_file(MAGIC, &[counter])).unwrap();
    let page = lines(dir.path(), "--include jobs.*");
    assert_eq!(page, ["# TYPE jobs counter", "jobs_total 8"]);
}

#[test]
fn the_seeds_of_the_fuzz_target_damaged_are_merged_to_pages_that_the_parsers_accept() {
    let dir = TestDir::in_memory("fuzzed-types");
    let (mut typed, mut compared) = (0, 0);
    for seed in fs::read_dir(root().join("fuzz/seeds/family_types")).unwrap() {
        let seed = fs::read(seed.unwrap().path()).unwrap();
        let (found, is_compared) = fuzzed::check(&seed, dir.path());
        typed += found;
        compared += usize::from(is_compared);
        for at in (0..seed.len()).step_by(3) {
            let mut damaged = seed.clone();
            damaged[at] = [b'"', b' ', b'_', b'a', 0xff][at % 5];
            fuzzed::check(&damaged, dir.path());
        }
    }
    assert!(typed >= 5, "{typed} families with a type");
    assert!(compared > 0, "no page is compared with that after a compaction");
}
