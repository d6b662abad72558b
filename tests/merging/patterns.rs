//! Selection of families by patterns.

use std::path::Path;

use super::{dump, dump_checked, record, samples};
use crate::support::http::scrape;
use crate::support::process::Running;
use crate::support::{TestDir, multiprom, output_of};

const STATEMENTS: &str = "Counter('req', 'R.', registry=None).inc()
Counter('req_bytes', 'R.', registry=None).inc(9)
Histogram('size', 'S.', buckets=[1], registry=None).observe(1)
Gauge('level', 'L.', multiprocess_mode='max', registry=None).set(2)";

fn recorded() -> Option<TestDir> {
    let dir = TestDir::in_memory("patterns");
    record(dir.path(), &[("7", STATEMENTS)])?;
    Some(dir)
}

/// The names of the families that `dump` exports, in the text format.
fn families(dir: &Path, flags: &str) -> Vec<String> {
    let outcome = dump(&[dir], flags);
    assert_eq!(outcome.stderr, "", "{flags}");
    let types = outcome.stdout.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|line| line.split(' ').next().unwrap().to_owned());
    names.filter(|name| !name.starts_with("multiprom_")).collect()
}

#[test]
fn patterns_match_the_names_of_families_and_of_their_samples_and_repeat() {
    let Some(dir) = recorded() else { return };
    for (flags, shown) in [
        ("", &["level", "req_total", "req_bytes_total", "size"][..]),
        ("--include req_total", &["req_total"]),
        ("--include req", &["req_total"]),
        ("--include req_total --include size_count", &["req_total", "size"]),
        ("--exclude req_bytes_total", &["level", "req_total", "size"]),
        ("--exclude req.* --exclude level", &["size"]),
        ("--include size_.* --include req.* --exclude req_bytes", &["req_total", "size"]),
        ("--include .* --exclude size_sum", &["level", "req_total", "req_bytes_total"]),
    ] {
        assert_eq!(families(dir.path(), flags), shown, "{flags}");
    }
    dump_checked(&[dir.path()], "--include req_total");
}

#[test]
fn metrics_of_multiprom_are_omitted_only_if_they_are_excluded() {
    let Some(dir) = recorded() else { return };
    let page = dump(&[dir.path()], "--include req_total").stdout;
    assert!(page.contains("\nmultiprom_file_errors_total{"), "{page}");
    let page = dump(&[dir.path()], "--include req_total --exclude multiprom_.*").stdout;
    assert_eq!(page, "# HELP req_total R.\n# TYPE req_total counter\nreq_total 1\n");
    let page = dump(&[dir.path()], "--exclude multiprom_files").stdout;
    assert!(!page.contains("multiprom_files{") && page.contains("multiprom_file_errors_total{"));
    // The pattern also excludes metrics of the compactor.
    let mut server = multiprom();
    server.args(["serve", "--exclude", "multiprom_.*", "--compact", "own"]);
    server.args(["--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut server);
    assert!(!scrape(&server.url()).contains("multiprom_"));
}

#[test]
fn a_pattern_that_has_matched_no_family_is_reported_once() {
    let Some(dir) = recorded() else { return };
    let flags = [
        "--include",
        "req.*",
        "--include",
        "rek_total",
        "--exclude",
        "req_bytes",
        "--exclude",
        "eq.*",
        "--gauge-mode",
        "level=max",
        "--gauge-mode",
        "levels=sum",
    ];
    let report =
        |name, pattern| format!("multiprom: {name} `{pattern}` has matched no family so far");
    let wanted = [
        report("--include", "rek_total"),
        report("--exclude", "eq.*"),
        // This gauge is not included.
        report("--gauge-mode", "level"),
        report("--gauge-mode", "levels"),
    ];
    let stderr = dump(&[dir.path()], &flags[..8].join(" ")).stderr;
    assert_eq!(stderr.lines().collect::<Vec<_>>(), wanted[..2]);
    // An exporter reports it at the first scrape with families.
    let empty = TestDir::in_memory("patterns");
    let mut server = multiprom();
    server.arg("serve").args(flags).args(["--compact", "own", "--listen", "127.0.0.1:0", "--dir"]);
    let mut server = Running::start(server.arg(empty.path()));
    let url = server.url();
    assert_eq!(samples(&scrape(&url)), Vec::<&str>::new());
    record(empty.path(), &[("7", STATEMENTS)]).unwrap();
    for _ in 0..3 {
        assert_eq!(samples(&scrape(&url)), ["req_total 1"]);
    }
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("no family")).collect();
    assert_eq!(lines, wanted, "{stderr}");
}

#[test]
fn help_documents_that_patterns_match_whole_names() {
    for command in ["run", "serve", "dump"] {
        let help = output_of(multiprom().args([command, "--help"]));
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words.matches("families whose whole name").count(), 2, "{help}");
        assert!(words.contains("Merge gauges whose whole name matches REGEX"), "{help}");
    }
}
