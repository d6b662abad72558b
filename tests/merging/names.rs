//! Families of different processes whose sample names collide.

use multiprom::{Backend, Counter, Gauge, GaugeMode, Registry};

use super::{dump_checked, record, samples};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::{TestDir, multiprom, output_of, wait_for};

const COUNTERS: &str = "Counter('foo', 'F.', registry=None).inc()
Histogram('bar', 'B.', buckets=[1], registry=None).observe(1)";
const OTHERS: &str = "Gauge('foo_total', 'F.', multiprocess_mode='sum', registry=None).set(7)
Counter('bar_count', 'C.', registry=None).inc()
Gauge('bar_sum', 'S.', multiprocess_mode='max', registry=None).set(3)
Counter('single', 'S.', registry=None).inc()";

const SHOWN: [&str; 6] = [
    "bar_bucket{le=\"1.0\"} 1",
    "bar_bucket{le=\"+Inf\"} 1",
    "bar_sum 1",
    "bar_count 1",
    "foo_total 1",
    "single_total 1",
];

/// The reports about [`OTHERS`] if [`COUNTERS`] exist.
const REPORTS: &str =
    "multiprom: counter `bar_count` is left out: it has a name in common with histogram `bar`
multiprom: gauge `bar_sum` is left out: it has a name in common with histogram `bar`
multiprom: gauge `foo_total` is left out: it has a name in common with counter `foo`
";

#[test]
fn the_choice_between_colliding_families_does_not_depend_on_the_order_of_processes() {
    for ids in [["1", "2"], ["2", "1"]] {
        let dir = TestDir::in_memory("names");
        let processes = [(ids[0], COUNTERS), (ids[1], OTHERS)];
        let Some(()) = record(dir.path(), &processes) else { return };
        let outcome = dump_checked(&[dir.path()], "");
        assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (SHOWN.to_vec(), REPORTS));
        let counted = sum_of(&outcome.stdout, "multiprom_merge_conflicts_total{reason=\"name\"}");
        assert_eq!(counted, 3.0);
        // An excluded family does not hide another one.
        let outcome = dump_checked(&[dir.path()], "--exclude foo|bar");
        let wanted = ["bar_count_total 1", "bar_sum 3", "foo_total 7", "single_total 1"];
        assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (wanted.to_vec(), ""));
    }
}

#[test]
fn the_choice_between_two_types_of_a_family_is_the_same_in_files_and_archives() {
    let dir = TestDir::in_memory("types");
    let statements = "Gauge('jobs', 'G.', multiprocess_mode='max', registry=None).set(9)
Summary('jobs', 'S.', registry=None).observe(2)";
    let later = "Counter('jobs', 'C.', registry=None).inc(5)";
    let Some(()) = record(dir.path(), &[("1", statements), ("2", later)]) else { return };
    let wanted = ["jobs_sum 2", "jobs_count 1"];
    let shown = |what: &str| {
        let outcome = dump_checked(&[dir.path()], "");
        assert_eq!(samples(&outcome.stdout), wanted, "{what}");
        assert_eq!(outcome.stderr.lines().count(), 2, "{what}: {}", outcome.stderr);
    };
    shown("in files");
    let mut compact = multiprom();
    output_of(compact.arg("compact").arg("--dir").arg(dir.path()));
    assert!(dir.path().join("archive.multiprom").exists());
    shown("in an archive");
    let Some(()) = record(dir.path(), &[("3", later)]) else { return };
    shown("in both");
}

#[test]
fn collisions_are_reported_once_counted_at_each_scrape_and_stable_when_processes_end() {
    let dir = TestDir::in_memory("flip");
    let writer = || {
        let backend = Backend::directory(dir.path()).unwrap();
        Registry::builder().backend(backend).build().unwrap()
    };
    let [gauges, counters] = [writer(), writer()];
    let gauge = Gauge::builder("foo_total", "F.").mode(GaugeMode::LiveSum);
    gauge.register(&gauges).unwrap().set(7.0);
    let mut server = multiprom();
    server.args(["serve", "--compact", "all", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut server);
    let url = server.url();
    let counted = |page: &str| sum_of(page, "multiprom_merge_conflicts_total{reason=\"name\"}");
    assert_eq!(samples(&scrape(&url)), ["foo_total 7"]);
    Counter::builder("foo_total", "F.").register(&counters).unwrap().inc();
    for scrapes in 1..=3 {
        let page = scrape(&url);
        assert_eq!((samples(&page), counted(&page)), (vec!["foo_total 1"], f64::from(scrapes)));
    }
    gauges.close();
    wait_for("end of the gauge", PATIENCE, || {
        let page = scrape(&url);
        assert_eq!(samples(&page), ["foo_total 1"]);
        (counted(&page) == counted(&scrape(&url))).then_some(())
    });
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    let (ended, reports): (Vec<&str>, Vec<&str>) = stderr
        .lines()
        .filter(|line| line.contains("left out"))
        .partition(|line| line.starts_with("multiprom: conflict has ended after "));
    assert_eq!(ended.len(), 1, "{stderr}");
    assert_eq!(reports, REPORTS.lines().skip(2).collect::<Vec<_>>(), "{stderr}");
}
