//! The helpers for tests of programs.

use multiprom::{Backend, Counter, Histogram, Registry, Static, testing};

use crate::support::registries::in_memory;

static HITS: Static<Counter> = Counter::declare("testing_hits", "Page hits.");

#[test]
fn a_static_begins_at_0_in_a_process_of_its_own() {
    testing::isolated(|| {
        HITS.inc();
        assert_eq!(HITS.get(), 1.0);
    });
}

#[test]
fn statics_of_isolated_tests_do_not_share_their_values() {
    testing::isolated(|| {
        HITS.inc_by(2.0);
        assert_eq!(HITS.get(), 2.0);
        assert_eq!(std::env::var_os("PROMETHEUS_MULTIPROC_DIR"), None);
    });
}

#[test]
#[ignore = "fails on purpose, in a process that another test starts"]
fn fails_in_isolation() {
    testing::isolated(|| panic!("the reason of the failure"));
}

#[test]
fn a_failure_in_isolation_is_reported_with_its_output() {
    let program = std::env::current_exe().unwrap();
    let arguments = ["testing::fails_in_isolation", "--include-ignored"];
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{shown}");
    assert!(shown.contains("testing::fails_in_isolation failed in its own process"), "{shown}");
    assert!(shown.contains("the reason of the failure"), "{shown}");
}

fn registry() -> Registry {
    let registry = in_memory();
    let jobs = Counter::builder("jobs", "Jobs.").labels(["queue"]).register(&registry).unwrap();
    (0..9).for_each(|at| jobs.with([at]).inc_by(f64::from(at)));
    let sizes = Histogram::builder("sizes", "Sizes.").buckets([1.0, 10.0]);
    sizes.register(&registry).unwrap().observe(5.0);
    registry
}

const SIZES: &str = "
    # HELP sizes Sizes.
    # TYPE sizes histogram
    sizes_bucket{le=\"1\"} 0
    sizes_bucket{le=\"10\"} 1
    sizes_bucket{le=\"+Inf\"} 1
    sizes_sum 5
    sizes_count 1
";

#[test]
fn equal_expositions_match_in_any_order_and_notation() {
    let jobs = (0..9).rev().map(|at| format!("jobs_total{{queue=\"{at}\"}} {at}.0\n"));
    let jobs: String = jobs.collect();
    let jobs = format!("# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n{jobs}");
    let registry = registry();
    testing::assert_exposition(&registry, &format!("{SIZES}{jobs}"));
    assert_eq!(testing::compare(&registry, SIZES, &["sizes"]), Ok(()));
    assert_eq!(testing::compare(&registry, &jobs, &["jobs_total"]), Ok(()));
    let openmetrics = "# TYPE sizes histogram\n# HELP sizes Sizes.\n\
        sizes_bucket{le=\"1.0\"} 0\nsizes_bucket{le=\"10.0\"} 1.0\nsizes_bucket{le=\"+Inf\"} 1\n\
        sizes_count 1\nsizes_sum 5\n# EOF\n";
    assert_eq!(testing::compare(&registry, openmetrics, &["sizes"]), Ok(()));
}

#[test]
fn a_difference_shows_the_lines_that_differ_and_their_surroundings() {
    let jobs = (1..9).map(|at| format!("jobs_total{{queue=\"{at}\"}} {at}\n"));
    let jobs: String = jobs.collect();
    let expected = format!(
        "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n{jobs}# TYPE gone gauge\ngone 1\n"
    );
    let difference = testing::compare(&registry(), &expected, &["jobs", "gone"]).unwrap_err();
    assert_eq!(
        difference.to_string(),
        "the exposition differs (- expected, + found):\n\
         - # TYPE gone gauge\n\
         - gone 1\n  \
           # HELP jobs_total Jobs.\n  \
           # TYPE jobs_total counter\n\
         + jobs_total{queue=\"0\"} 0\n  \
           jobs_total{queue=\"1\"} 1\n  \
           jobs_total{queue=\"2\"} 2\n  \
           (6 equal lines)\n"
    );
    let difference = testing::compare(&registry(), "jobs_total{", &[]).unwrap_err();
    assert!(difference.to_string().starts_with("the expected exposition is invalid: line 1"));
}

#[test]
fn a_registry_that_lints_registers_nothing_that_promtool_complains_of() {
    let registry = Registry::builder().backend(Backend::in_memory()).lint().build().unwrap();
    let good = Histogram::builder("wait_seconds", "Waits.").labels(["route"]);
    good.register(&registry).unwrap().with(["/"]).observe(1.0);
    Counter::builder("jobs", "Jobs.").register(&registry).unwrap();
    for (name, help, label, problem) in [
        (
            "jobsDone",
            "Jobs.",
            "a",
            "metric names should be written in 'snake_case' not 'camelCase'",
        ),
        ("done", "", "a", "no help text"),
        ("wait_hours", "Waits.", "a", "use base unit \"seconds\" instead of \"hours\""),
        (
            "done",
            "Jobs.",
            "byUser",
            "label names should be written in 'snake_case' not 'camelCase': `byUser`",
        ),
    ] {
        let builder = Counter::builder(name, help).labels([label]);
        let error = builder.register(&registry).unwrap_err().to_string();
        assert_eq!(error, format!("metric `{name}`: {problem}"));
    }
    assert!(testing::lint(&registry).is_empty());
}

#[test]
fn lint_problems_of_a_registry_are_those_of_promtool() {
    let registry = in_memory();
    Counter::builder("waitMillis", "").register(&registry).unwrap();
    let problems = testing::lint(&registry);
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(shown.contains(&"waitMillis_total no help text".to_owned()), "{shown:?}");
}
