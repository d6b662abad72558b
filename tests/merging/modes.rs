//! Gauges that processes declare in different modes.

use multiprom::{Backend, Gauge, GaugeMode, MultiProcessCollector, Registry};

use super::{dump, dump_checked, record, samples};
use crate::support::http::{scrape, sum_of};
use crate::support::process::Running;
use crate::support::registries::in_memory;
use crate::support::{TestDir, example, multiprom, output_of};

const REASON: &str = "multiprom_merge_conflicts_total{reason=\"mode\"}";

const REPORT: &str = "multiprom: gauge `level` has several modes (all, sum): it is merged by sum";

fn set(mode: &str, value: u32) -> String {
    format!("Gauge('level', 'L.', multiprocess_mode='{mode}', registry=None).set({value})")
}

#[test]
fn a_gauge_in_two_modes_is_merged_by_the_mode_that_sorts_last_and_is_reported() {
    for [all, sum] in [["1", "2"], ["2", "1"]] {
        let (dir, second) = (TestDir::in_memory("modes"), TestDir::in_memory("modes"));
        let (all, sum) = ((all, &*set("all", 2)), (sum, &*set("sum", 3)));
        let Some(()) = record(dir.path(), &[all, sum]) else { return };
        let outcome = dump_checked(&[dir.path()], "");
        assert_eq!((samples(&outcome.stdout), outcome.stderr.trim()), (vec!["level 5"], REPORT));
        assert_eq!(sum_of(&outcome.stdout, REASON), 1.0);
        // In one or two directories, and in the archive.
        let Some(()) = record(second.path(), &[all]) else { return };
        let outcome = dump_checked(&[dir.path(), second.path()], "");
        assert_eq!((samples(&outcome.stdout), outcome.stderr.trim()), (vec!["level 7"], REPORT));
        output_of(multiprom().args(["compact", "--dir"]).arg(dir.path()));
        assert!(dir.path().join("archive.multiprom").exists());
        for dirs in [[dir.path(), second.path()], [second.path(), dir.path()]] {
            let outcome = dump_checked(&dirs, "");
            assert_eq!(
                (samples(&outcome.stdout), outcome.stderr.trim()),
                (vec!["level 7"], REPORT)
            );
        }
        // If a flag sets the mode, there is no conflict.
        let outcome = dump_checked(&[second.path()], "--gauge-mode level=max");
        assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (vec!["level 2"], ""));
        let outcome = dump_checked(&[dir.path(), second.path()], "--gauge-mode level=sum");
        assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (vec!["level 7"], ""));
        assert_eq!(sum_of(&outcome.stdout, REASON), 0.0);
    }
}

#[test]
fn several_modes_of_a_gauge_are_reported_once_and_merged_alike_in_any_order_of_processes() {
    let dir = TestDir::in_memory("modes");
    let writer = |mode, value| {
        let backend = Backend::directory(dir.path()).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        Gauge::builder("level", "L.").mode(mode).register(&registry).unwrap().set(value);
        registry
    };
    let mut server = multiprom();
    server.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut server);
    let url = server.url();
    let sum = writer(GaugeMode::Sum, 3.0);
    assert_eq!(samples(&scrape(&url)), ["level 3"]);
    let _all = writer(GaugeMode::All, 2.0);
    for scrapes in 1..=3 {
        // The first process ends meanwhile.
        if scrapes == 2 {
            sum.close();
        }
        let page = scrape(&url);
        assert_eq!((samples(&page), sum_of(&page, REASON)), (vec!["level 5"], f64::from(scrapes)));
    }
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    let reports: Vec<&str> = stderr.lines().filter(|line| line.contains("several modes")).collect();
    assert_eq!(reports, [REPORT], "{stderr}");
}

#[test]
fn a_count_is_the_number_of_processes_that_have_set_the_gauge_also_after_compaction() {
    let dir = TestDir::in_memory("modes");
    let mut workers = example("test-values");
    workers.arg("counted").env("PROMETHEUS_MULTIPROC_DIR", dir.path());
    let output = output_of(&mut workers);
    let values = |when: &str| -> Vec<&str> {
        let mut lines: Vec<&str> = output.lines().filter_map(|it| it.strip_prefix(when)).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(values("three set it: "), ["running 3", "started 3"]);
    assert_eq!(values("one is killed: "), ["running 2", "started 3"]);
    assert_eq!(values("it is replaced: "), ["running 3", "started 4"]);
    assert_eq!(values("all are killed: "), ["started 4"]);
    let mut expected = 4;
    for _ in 0..2 {
        output_of(multiprom().args(["compact", "--dir"]).arg(dir.path()));
        let started = format!("started {expected}");
        assert_eq!(samples(&dump_checked(&[dir.path()], "").stdout), [&*started]);
        // The same with the files of further processes.
        output_of(&mut workers);
        expected += 4;
        let started = format!("started {expected}");
        assert_eq!(samples(&dump_checked(&[dir.path()], "").stdout), [&*started]);
    }
    // A rule counts the processes of a gauge of another mode.
    let dir = TestDir::in_memory("modes");
    let processes = [("1", &*set("all", 5)), ("2", &*set("all", 0))];
    let Some(()) = record(dir.path(), &processes) else { return };
    let outcome = dump_checked(&[dir.path()], "--gauge-mode level=count");
    assert_eq!(samples(&outcome.stdout), ["level 2"]);
    assert_eq!(samples(&dump(&[dir.path()], "--default-gauge-mode livecount").stdout), [""; 0]);
}

#[test]
fn a_gauge_of_mode_count_in_memory_exports_whether_it_was_set() {
    for mode in [GaugeMode::Count, GaugeMode::LiveCount] {
        let registry = in_memory();
        let gauge = Gauge::builder("ready", "R.").mode(mode).register(&registry).unwrap();
        assert_eq!(registry.sample_value("ready", &[]), Some(0.0));
        gauge.set(7.0);
        gauge.add(2.0);
        assert_eq!((registry.sample_value("ready", &[]), gauge.get()), (Some(1.0), 9.0));
    }
}

#[test]
fn a_removed_gauge_is_not_counted() {
    let dir = TestDir::in_memory("modes");
    for backend in [Backend::in_memory(), Backend::directory(dir.path()).unwrap()] {
        let registry = Registry::builder().backend(backend).build().unwrap();
        let ready = Gauge::builder("ready", "R.").mode(GaugeMode::Count).labels(["part"]);
        let ready = ready.register(&registry).unwrap();
        let merged = Registry::new();
        merged.register(registry).unwrap();
        merged.register(MultiProcessCollector::new(dir.path()).unwrap()).unwrap();
        let count = || merged.sample_value("ready", &[("part", "a")]);
        for _ in 0..2 {
            ready.with(["a"]).set(7.0);
            assert_eq!(count(), Some(1.0));
            assert!(ready.remove(["a"]));
            assert_eq!(count(), None);
        }
    }
}
