//! Values that a process computes: functions and custom collectors, on its own pages and on those of other processes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use multiprom::collector::{BuildInfo, HistogramPoint, MergeRule, MergedBy};
use multiprom::{
    Backend, Collector, Counter, DirectoryOptions, FamilySink, Gauge, GaugeMode, LabelSet,
    MultiProcessCollector, ProcessCollector, Registry,
};

use crate::support::process::{PATIENCE, Running};
use crate::support::registries::in_memory;
use crate::support::{TestDir, example, multiprom, output_of, wait_for, wait_for_deaths};

/// A collector whose values the test changes.
#[derive(Clone, Default)]
struct Pool(Arc<PoolState>);

#[derive(Default)]
struct PoolState {
    connections: AtomicU64,
    jobs: AtomicU64,
    queues: Mutex<Vec<&'static str>>,
    calls: AtomicU64,
}

impl Collector for Pool {
    fn collect(&self, out: &mut dyn FamilySink) {
        let PoolState { connections, jobs, queues, calls } = &*self.0;
        calls.fetch_add(1, Ordering::Relaxed);
        let connections = connections.load(Ordering::Relaxed) as f64;
        out.gauge("pool_connections", "Open connections.").sample(&[], connections);
        let jobs = jobs.load(Ordering::Relaxed) as f64;
        out.counter("pool_jobs_total", "Jobs done.").sample(&[], jobs);
        let queues = queues.lock().unwrap().clone();
        let mut depth = out.gauge("pool_depth", "Jobs waiting.");
        for queue in queues {
            depth.sample(&[("queue", queue)], 3.0);
        }
    }

    fn merge_rule(&self, family: &str) -> MergeRule {
        match family {
            "pool_connections" => MergeRule::Mode(GaugeMode::LiveSum),
            _ => MergeRule::ByType,
        }
    }
}

/// A registry in a directory that is refreshed only when something asks for it.
fn worker(dir: &Path) -> Registry {
    worker_with(dir, Duration::from_secs(3600))
}

fn worker_with(dir: &Path, interval: Duration) -> Registry {
    let options = DirectoryOptions::new().refresh_interval(interval);
    let backend = Backend::directory_with(dir, options).unwrap();
    Registry::builder().backend(backend).build().unwrap()
}

/// A registry that shows the merge of a directory.
fn merge(dir: &Path) -> Registry {
    let merged = in_memory();
    merged.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    merged
}

/// The values of the samples that begin with this text, on a page.
fn values_in(page: &str, start: &str) -> Vec<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(start)?;
        if rest.starts_with([' ', '{']) { rest.split(' ').next_back()?.parse().ok() } else { None }
    });
    values.collect()
}

fn values(registry: &Registry, start: &str) -> Vec<f64> {
    values_in(&registry.render(None).to_string(), start)
}

/// What another process exports, which refreshes nothing.
fn dump(dir: &Path) -> String {
    output_of(multiprom().arg("dump").arg("--dir").arg(dir))
}

#[test]
fn a_custom_collector_of_a_worker_is_in_the_merged_view_of_every_exporter() {
    let dir = TestDir::new("computed");
    let (registry, pool) = (worker(dir.path()), Pool::default());
    pool.0.connections.store(3, Ordering::Relaxed);
    pool.0.jobs.store(7, Ordering::Relaxed);
    registry.register(pool.clone()).unwrap();
    registry.flush();
    let page = dump(dir.path());
    assert_eq!(values_in(&page, "pool_connections"), [3.0], "{page}");
    assert_eq!(values_in(&page, "pool_jobs_total"), [7.0], "{page}");
    // The thread of the process refreshes them without being asked.
    let other = worker_with(dir.path(), Duration::from_millis(5));
    other.register(MergedBy::new(pool.clone(), |_| MergeRule::Mode(GaugeMode::LiveSum))).unwrap();
    let calls = || pool.0.calls.load(Ordering::Relaxed);
    let before = calls();
    wait_for("further refreshes", PATIENCE, || (calls() > before + 3).then_some(()));
}

/// Families of all types, whose totals grow at each call.
struct AllTypes(AtomicU64);

impl Collector for AllTypes {
    fn collect(&self, out: &mut dyn FamilySink) {
        let calls = (self.0.fetch_add(1, Ordering::Relaxed) + 1) as f64;
        out.counter("all_rows_total", "Rows.")
            .sample(&[("t", "a")], calls)
            .sample(&[("t", "b")], 2.0);
        let buckets = [(1.0, calls), (2.0, 2.0 * calls), (f64::INFINITY, 3.0 * calls)];
        let point = HistogramPoint::new(&buckets, 3.0 * calls, -4.0 * calls);
        out.histogram("all_sizes", "Sizes.").sample(&[], &point);
        out.summary("all_times", "Times.").sample(&[], &[(0.5, 7.0)], calls, 5.0 * calls);
        out.gauge("all_level", "Level.").sample(&[], f64::INFINITY);
        out.gauge("all_max", "Maximum.").sample(&[], calls);
        out.unknown("all_other", "Other.").sample(&[], -1.0);
    }

    fn merge_rule(&self, family: &str) -> MergeRule {
        match family {
            "all_max" => MergeRule::Mode(GaugeMode::Max),
            _ => MergeRule::ByType,
        }
    }
}

#[test]
fn each_type_of_a_collector_is_merged_by_its_rule() {
    let dir = TestDir::new("computed-types");
    let registry = worker(dir.path());
    registry.register(AllTypes(AtomicU64::new(0))).unwrap();
    registry.flush();
    registry.flush();
    let page = dump(dir.path());
    let calls = values_in(&page, "all_max")[0];
    assert!(calls >= 2.0, "{page}");
    let pid = format!("pid=\"{}", std::process::id());
    for (sample, value) in [
        ("all_rows_total{t=\"a\"}", calls),
        ("all_rows_total{t=\"b\"}", 2.0),
        ("all_sizes_bucket{le=\"1.0\"}", calls),
        ("all_sizes_bucket{le=\"2.0\"}", 2.0 * calls),
        ("all_sizes_bucket{le=\"+Inf\"}", 3.0 * calls),
        ("all_sizes_count", 3.0 * calls),
        ("all_sizes_sum", -4.0 * calls),
        ("all_times_count", calls),
        ("all_times_sum", 5.0 * calls),
    ] {
        let value = format!("\n{sample} {value}\n");
        assert!(page.contains(&value), "{value}{page}");
    }
    assert!(page.contains(&format!("all_level{{{pid}")), "{page}");
    assert!(!page.contains("quantile="), "{page}");
    assert!(
        page.contains("# TYPE all_sizes histogram\n")
            && page.contains("# TYPE all_times summary\n")
    );
}

/// Checks that a page has the families of a pool and of an info once.
#[track_caller]
fn check_once(registry: &Registry) {
    let page = registry.render(None).to_string();
    for sample in ["pool_connections", "pool_jobs_total", "pool_depth", "app_build_info"] {
        assert_eq!(values_in(&page, sample).len(), 1, "{sample} in\n{page}");
    }
    assert_eq!(values_in(&page, "pool_jobs_total"), [7.0], "{page}");
    assert_eq!(page.matches("# TYPE process_threads gauge").count(), 1, "{page}");
    assert!(!page.contains("multiprom_repeated_families_total"), "{page}");
}

#[test]
fn each_collector_is_on_a_page_of_its_process_once_whichever_way_the_page_is_made() {
    let pool = || {
        let pool = Pool::default();
        pool.0.jobs.store(7, Ordering::Relaxed);
        *pool.0.queues.lock().unwrap() = vec!["mail"];
        pool
    };
    let register = |registry: &Registry| {
        registry.register(pool()).unwrap();
        registry.register(BuildInfo::new("app").unwrap()).unwrap();
        registry.register(ProcessCollector::current()).unwrap();
        registry.flush();
    };
    let dir = TestDir::new("computed-once");
    let directory = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let read = |path: &Path| MultiProcessCollector::new(path).unwrap();
    // The registry alone.
    let path = directory("alone");
    let alone = worker(&path);
    register(&alone);
    (0..3).for_each(|_| check_once(&alone));
    // With a collector of the directory, before and behind the others.
    let path = directory("before");
    let before = worker(&path);
    before.register(read(&path)).unwrap();
    register(&before);
    (0..3).for_each(|_| check_once(&before));
    let path = directory("behind");
    let behind = worker(&path);
    register(&behind);
    behind.register(read(&path)).unwrap();
    (0..3).for_each(|_| check_once(&behind));
    // In a registry that reads the directory, and in one within one.
    let path = directory("nested");
    let library = worker(&path);
    register(&library);
    let application = merge(&path);
    application.register(library.clone()).unwrap();
    let outer = in_memory();
    outer.register(application).unwrap();
    (0..3).for_each(|_| check_once(&outer));
    // A registry in the directory, beside another one that has the same collector.
    let path = directory("two");
    let (one, two) = (worker(&path), Registry::builder());
    let two = two.backend(Backend::directory(&path).unwrap()).build().unwrap();
    let shared = pool();
    one.register(shared.clone()).unwrap();
    one.register(BuildInfo::new("app").unwrap()).unwrap();
    one.register(ProcessCollector::current()).unwrap();
    one.register(shared.clone()).unwrap();
    one.register(read(&path)).unwrap();
    one.flush();
    let page = one.render(None).to_string();
    assert_eq!(values_in(&page, "pool_jobs_total"), [7.0], "{page}");
    drop(two);
}

#[test]
fn per_process_collectors_are_not_in_the_files_unless_the_program_asks_for_it() {
    let dir = TestDir::new("computed-local");
    let registry = worker(dir.path());
    registry.register(ProcessCollector::current()).unwrap();
    registry.flush();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    registry.unregister("process_threads").unwrap();
    let sum = |_: &str| MergeRule::Mode(GaugeMode::LiveSum);
    registry.register(MergedBy::new(ProcessCollector::current(), sum)).unwrap();
    registry.flush();
    let page = dump(dir.path());
    assert!(values_in(&page, "process_threads")[0] > 1.0, "{page}");
}

#[test]
fn a_page_of_the_process_itself_shows_the_values_of_its_time() {
    let dir = TestDir::new("computed-fresh");
    let (registry, pool) = (worker(dir.path()), Pool::default());
    registry.register(pool.clone()).unwrap();
    let level =
        Gauge::builder("level", "Level.").mode(GaugeMode::LiveSum).register(&registry).unwrap();
    let value = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&value);
    level.set_function(move || read.load(Ordering::Relaxed) as f64);
    let merged = merge(dir.path());
    // Only scrapes refresh. Each waits for a second, which is not enough on a machine that is busy.
    let shows = |page: &Registry, expected: &[(&str, u64)]| {
        wait_for("values of now", PATIENCE, || {
            let page = page.render(None).to_string();
            let is_shown = |(name, value): &(&str, u64)| values_in(&page, name) == [*value as f64];
            expected.iter().all(is_shown).then_some(())
        });
    };
    for round in 1..20 {
        pool.0.jobs.store(round, Ordering::Relaxed);
        value.store(round, Ordering::Relaxed);
        shows(&merged, &[("pool_jobs_total", round), ("level", round)]);
        // The registry without the directory.
        value.store(100 + round, Ordering::Relaxed);
        shows(&registry, &[("level", 100 + round)]);
    }
}

#[test]
fn a_series_that_a_collector_does_not_return_any_more_leaves_the_merge_and_comes_back() {
    let dir = TestDir::new("computed-removed");
    let (registry, pool) = (worker(dir.path()), Pool::default());
    let set = |queues: &[&'static str]| *pool.0.queues.lock().unwrap() = queues.to_vec();
    registry.register(pool.clone()).unwrap();
    for (queues, shown) in [(&["a", "b"][..], 2), (&["b"], 1), (&[], 0), (&["b", "c"], 2)] {
        set(queues);
        registry.flush();
        let page = dump(dir.path());
        assert_eq!(values_in(&page, "pool_depth"), vec![3.0; shown], "{page}");
    }
    // The collector leaves with its registry.
    drop(registry);
    let other = worker(dir.path());
    other.register(AllTypes(AtomicU64::new(0))).unwrap();
    assert!(values(&merge(dir.path()), "pool_jobs_total").len() < 2);
}

#[test]
fn the_series_of_a_dropped_collector_are_removed_although_a_function_is_replaced_first() {
    let dir = TestDir::new("computed-dropped");
    let options = DirectoryOptions::new().refresh_interval(Duration::from_secs(3600));
    let backend = Backend::directory_with(dir.path(), options).unwrap();
    let build = || Registry::builder().backend(backend).build().unwrap();
    let (metrics, registry) = (build(), build());
    let level = Gauge::builder("level", "Level.").mode(GaugeMode::LiveSum);
    let level = level.register(&metrics).unwrap();
    level.set_function(|| 1.0);
    registry.register(Pool::default()).unwrap();
    metrics.flush();
    let page = dump(dir.path());
    assert_eq!(values_in(&page, "pool_connections"), [0.0], "{page}");
    drop(registry);
    level.set_function(|| 2.0);
    metrics.flush();
    let page = dump(dir.path());
    assert_eq!(values_in(&page, "level"), [2.0], "{page}");
    assert_eq!(values_in(&page, "pool_connections"), [0.0; 0], "{page}");
}

#[derive(LabelSet)]
struct ByQueue<'a> {
    queue: &'a str,
}

#[test]
fn families_of_all_kinds_that_are_registered_as_collectors_are_not_written_again() {
    let dir = TestDir::new("computed-again");
    let backend = Backend::directory(dir.path()).unwrap();
    let build = || Registry::builder().backend(backend).build().unwrap();
    let (registry, again, by_rule, nested) = (build(), build(), build(), build());
    let one = Counter::builder("one", "One.").register(&registry).unwrap();
    let listed = Counter::builder("listed", "Listed.").labels(["queue"]);
    let listed = listed.register(&registry).unwrap();
    let typed = Counter::builder("typed", "Typed.").label_set::<ByQueue>();
    let typed = typed.register(&registry).unwrap();
    let open = Counter::builder("open", "Open.").open_labels().register(&registry).unwrap();
    one.inc_by(3.0);
    listed.with(["mail"]).inc_by(3.0);
    typed.with(&ByQueue { queue: "mail" }).inc_by(3.0);
    open.with(&[("queue", "mail")]).unwrap().inc_by(3.0);
    again.register(one).unwrap();
    again.register(listed).unwrap();
    again.register(typed).unwrap();
    again.register(open).unwrap();
    let by_type = |_: &str| MergeRule::ByType;
    by_rule.register(MergedBy::new(one, by_type)).unwrap();
    by_rule.register(MergedBy::new(MergedBy::new(listed, by_type), by_type)).unwrap();
    nested.register(MergedBy::new(registry, by_type)).unwrap();
    again.flush();
    let page = dump(dir.path());
    for name in ["one_total", "listed_total", "typed_total", "open_total"] {
        assert_eq!(values_in(&page, name), [3.0], "{page}");
    }
}

#[test]
fn a_registry_contains_itself_also_within_another_merge_rule() {
    let registry = in_memory();
    let error = registry.register(MergedBy::new(registry.clone(), |_| MergeRule::ByType));
    assert!(error.unwrap_err().to_string().contains("cannot be registered in itself"));
}

#[test]
fn any_refresh_interval_is_accepted() {
    let dir = TestDir::new("computed-interval");
    let (registry, pool) = (worker_with(dir.path(), Duration::MAX), Pool::default());
    registry.register(pool.clone()).unwrap();
    for jobs in 1..4 {
        pool.0.jobs.store(jobs, Ordering::Relaxed);
        let start = Instant::now();
        registry.flush();
        assert!(start.elapsed() < Duration::from_secs(9), "a flush that fails takes ten seconds");
        assert_eq!(values_in(&dump(dir.path()), "pool_jobs_total"), [jobs as f64]);
    }
}

/// A collector with names that Prometheus 3 accepts.
struct Utf8Names;

impl Collector for Utf8Names {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.counter("pool.jobs_total", "Jobs.").sample(&[("queue.name", "mail")], 3.0);
    }
}

#[test]
fn names_of_collectors_are_valid_in_a_directory_if_they_are_in_memory() {
    let dir = TestDir::new("computed-names");
    let registries = [in_memory(), worker(dir.path())];
    for registry in &registries {
        registry.register(Utf8Names).unwrap();
        registry.flush();
        let labels = [("queue.name", "mail")];
        assert_eq!(registry.sample_value("pool.jobs_total", &labels), Some(3.0));
    }
    let merged = merge(dir.path());
    assert_eq!(merged.sample_value("pool.jobs_total", &[("queue.name", "mail")]), Some(3.0));
}

/// A total by tenant, whose tenants come and go.
struct Tenants(Arc<Mutex<Vec<(&'static str, f64)>>>);

impl Collector for Tenants {
    fn collect(&self, out: &mut dyn FamilySink) {
        let mut jobs = out.counter("tenant_jobs_total", "Jobs.");
        for (tenant, total) in &*self.0.lock().unwrap() {
            jobs.sample(&[("tenant", tenant)], *total);
        }
    }
}

#[test]
fn a_total_never_falls_in_the_files_whatever_its_source_does() {
    let dir = TestDir::new("computed-totals");
    let (registry, tenants) = (worker(dir.path()), Arc::new(Mutex::new(Vec::new())));
    registry.register(Tenants(Arc::clone(&tenants))).unwrap();
    for (source, shown) in [
        (vec![("a", 5.0)], 5.0),
        (vec![("a", 3.0)], 5.0),
        (vec![("a", 6.0)], 6.0),
        (vec![("a", f64::NAN)], 6.0),
        (vec![("a", 7.0), ("a", 100.0)], 7.0),
    ] {
        *tenants.lock().unwrap() = source;
        registry.flush();
        let page = dump(dir.path());
        assert_eq!(values_in(&page, "tenant_jobs_total"), [shown], "{page}");
    }
    // The tenant leaves and comes back, with a total that began anew, and with one that did not.
    for (source, shown) in [
        (vec![("b", 1.0)], None),
        (vec![("a", 2.0), ("b", 1.0)], Some(9.0)),
        (vec![("b", 1.0)], None),
        (vec![("a", 4.0), ("b", 1.0)], Some(11.0)),
    ] {
        *tenants.lock().unwrap() = source;
        registry.flush();
        let page = dump(dir.path());
        let shown: Vec<f64> = shown.into_iter().collect();
        assert_eq!(values_in(&page, "tenant_jobs_total{tenant=\"a\"}"), shown, "{page}");
    }
}

#[test]
fn a_collector_that_fails_keeps_its_values_and_is_counted_by_reason() {
    let dir = TestDir::new("computed-faulty");
    let output = example("test-computed").arg("faulty").arg(dir.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let logged: Vec<&str> = stderr.lines().filter(|line| line.contains("multiprom: ")).collect();
    let [line] = logged[..] else { panic!("one line: {logged:?}") };
    let text = "Faulty`: it has panicked: its values stay; further failures are counted in \
                `multiprom_failed_refreshes_total`";
    assert!(line.ends_with(text), "{line}");
}

#[test]
fn functions_compute_gauges_and_counters_in_memory_and_in_a_directory() {
    let dir = TestDir::new("computed-functions");
    for (registry, page) in [(in_memory(), None), (worker(dir.path()), Some(merge(dir.path())))] {
        let page = page.unwrap_or_else(|| registry.clone());
        let values = |start: &str| {
            registry.flush();
            values(&page, start)
        };
        let mode = GaugeMode::LiveSum;
        let gauge = Gauge::builder("depth", "Depth.").mode(mode).labels(["queue"]);
        let gauge = gauge.register(&registry).unwrap();
        let counter = Counter::builder("sent", "Sent.").register(&registry).unwrap();
        let total = Arc::new(AtomicU64::new(7));
        let read = Arc::clone(&total);
        counter.set_function(move || read.load(Ordering::Relaxed) as f64);
        gauge.with(["a"]).set_function(|| 1.0);
        gauge.with(["b"]).set_function(|| 2.0);
        assert_eq!(values("depth"), [1.0, 2.0]);
        assert_eq!(values("sent_total"), [7.0]);
        for (now, shown) in [(9, 9.0), (8, 9.0), (10, 10.0)] {
            total.store(now, Ordering::Relaxed);
            assert_eq!(values("sent_total"), [shown]);
            assert_eq!(counter.get(), shown);
        }
        // A second call replaces the function, and drops the first one with what it holds.
        gauge.with(["a"]).set_function(|| 5.0);
        let held = Arc::new(());
        let keep = Arc::clone(&held);
        gauge.with(["b"]).set_function(move || Arc::strong_count(&keep) as f64);
        assert_eq!(values("depth"), [5.0, 2.0]);
        gauge.with(["b"]).set_function(|| 6.0);
        assert_eq!(values("depth"), [5.0, 6.0]);
        wait_for("the end of the function", PATIENCE, || {
            (Arc::strong_count(&held) == 1).then_some(())
        });
        // A removed series does not come back by its function, nor does the function with the series.
        assert!(gauge.remove(["b"]));
        assert_eq!(values("depth"), [5.0]);
        gauge.with(["b"]).set(3.0);
        assert_eq!(values("depth"), [5.0, 3.0]);
        gauge.clear();
        assert_eq!(values("depth"), Vec::<f64>::new());
        // A new function whose total begins anew counts from 0.
        counter.set_function(|| 4.0);
        assert_eq!(values("sent_total"), [14.0]);
        // An invalid total is ignored.
        counter.set_function(|| -1.0);
        assert_eq!(values("sent_total"), [14.0]);
    }
}

#[test]
fn a_page_and_a_flush_refresh_each_directory_once() {
    let dir = TestDir::new("computed-each");
    let options = DirectoryOptions::new().refresh_interval(Duration::from_secs(3600));
    let backend = Backend::directory_with(dir.path(), options).unwrap();
    let build = || Registry::builder().backend(backend).build().unwrap();
    let (registry, nested) = (build(), build());
    let calls = Arc::new(AtomicU64::new(0));
    for (registry, name) in [(&registry, "a"), (&registry, "b"), (&nested, "c")] {
        let calls = Arc::clone(&calls);
        let gauge = Gauge::builder(name, "").register(registry).unwrap();
        gauge.set_function(move || calls.fetch_add(1, Ordering::Relaxed) as f64);
    }
    registry.register(nested).unwrap();
    registry.flush();
    let calls = || calls.load(Ordering::Relaxed);
    let before = calls();
    // A page waits for its refresh for a second only, which is not enough on a machine that is busy.
    let assert_calls = |count: u64, what: &str| {
        wait_for(what, PATIENCE, || (calls() - before >= count).then_some(()));
        assert_eq!(calls() - before, count, "{what}");
    };
    registry.render(None);
    assert_calls(3, "three functions for a page");
    registry.render(None);
    assert_calls(6, "again for the next page");
    registry.flush();
    assert_calls(9, "and for a flush");
}

#[test]
fn a_function_that_panics_keeps_its_value() {
    let dir = TestDir::new("computed-panic");
    for (registry, page) in [(in_memory(), None), (worker(dir.path()), Some(merge(dir.path())))] {
        let page = page.unwrap_or_else(|| registry.clone());
        let gauge = Gauge::builder("depth", "Depth.").mode(GaugeMode::LiveSum);
        let gauge = gauge.register(&registry).unwrap();
        let is_broken = Arc::new(AtomicBool::new(false));
        let read = Arc::clone(&is_broken);
        gauge.set_function(move || {
            assert!(!read.load(Ordering::Relaxed), "the function is broken");
            3.0
        });
        for broken in [false, true, true, false] {
            is_broken.store(broken, Ordering::Relaxed);
            // A scrape waits for a second only, and the trace of a panic may take longer.
            registry.flush();
            assert_eq!(values(&page, "depth"), [3.0]);
        }
    }
}

#[test]
fn a_slow_function_delays_neither_scrapes_nor_other_threads_for_long() {
    const SCRAPES: u32 = 40;
    let dir = TestDir::new("computed-slow");
    let registry = worker(dir.path());
    let gauge =
        Gauge::builder("depth", "Depth.").mode(GaugeMode::LiveSum).register(&registry).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&is_over);
    gauge.set_function(move || {
        while !wait.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        1.0
    });
    let merged = merge(dir.path());
    let jobs = Counter::builder("jobs", "Jobs.").register(&registry).unwrap();
    let start = Instant::now();
    for done in 1..=SCRAPES {
        jobs.inc();
        assert_eq!(values(&merged, "jobs_total"), [f64::from(done)]);
    }
    // The first scrape waits for a second, the others do not.
    let limit = Duration::from_secs(u64::from(SCRAPES) - 1);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    is_over.store(true, Ordering::Relaxed);
    wait_for("the value", PATIENCE, || (values(&merged, "depth") == [1.0]).then_some(()));
}

#[test]
fn closing_writes_the_last_values_and_nothing_is_refreshed_after_it() {
    let dir = TestDir::new("computed-closed");
    let (registry, pool) = (worker_with(dir.path(), Duration::from_millis(2)), Pool::default());
    registry.register(pool.clone()).unwrap();
    let calls = || pool.0.calls.load(Ordering::Relaxed);
    wait_for("refreshes", PATIENCE, || (calls() > 3).then_some(()));
    pool.0.jobs.store(7, Ordering::Relaxed);
    pool.0.connections.store(2, Ordering::Relaxed);
    registry.close();
    let before = calls();
    let names = || std::fs::read_dir(dir.path()).unwrap().count();
    let files = names();
    pool.0.jobs.store(9, Ordering::Relaxed);
    let merged = merge(dir.path());
    wait_for_deaths(dir.path());
    for _ in 0..20 {
        assert_eq!(values(&merged, "pool_jobs_total"), [7.0]);
        assert_eq!(values(&merged, "pool_connections"), Vec::<f64>::new());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert_eq!((calls(), names()), (before, files));
    // A flush begins anew, in new files.
    registry.flush();
    assert_eq!(values(&merged, "pool_jobs_total"), [9.0]);
    assert_eq!(values(&merged, "pool_connections"), [2.0]);
    registry.close();
    assert_eq!(values(&merged, "pool_jobs_total"), [9.0]);
}

/// A collector that renders the merge of the directory that it is written to.
struct Feedback(Registry);

impl Collector for Feedback {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.0.collect(out);
    }
}

#[test]
fn what_is_read_from_a_directory_is_not_written_to_it_again() {
    let dir = TestDir::new("computed-feedback");
    let registry = worker(dir.path());
    Counter::builder("jobs", "Jobs.").register(&registry).unwrap().inc_by(3.0);
    registry.register(Feedback(merge(dir.path()))).unwrap();
    for _ in 0..3 {
        registry.flush();
    }
    assert_eq!(values_in(&dump(dir.path()), "jobs_total"), [3.0]);
}

#[test]
fn a_source_that_processes_share_is_not_added_up_and_families_keep_their_types() {
    let dir = TestDir::new("computed-typed");
    let output = output_of(example("test-computed").arg("typed").arg(dir.path()));
    assert!(output.contains("done"), "{output}");
}

#[test]
fn forked_and_killed_workers_leave_exact_totals_and_no_gauges() {
    let dir = TestDir::in_memory("computed-killed");
    let output = output_of(example("test-computed").arg("killed").arg(dir.path()));
    assert!(output.contains("done"), "{output}");
}

#[test]
fn a_forked_child_calls_inherited_functions_only_after_its_first_recording() {
    for case in ["inherited", "held", "mirrored", "single"] {
        let dir = TestDir::new("computed-forked");
        let output = output_of(example("test-computed").arg(case).arg(dir.path()));
        assert!(output.contains("done"), "{case}: {output}");
    }
}

#[test]
fn the_merged_page_of_a_program_has_its_collectors_and_functions_once() {
    let dir = TestDir::new("computed-render");
    let mut command = example("test-computed");
    let mut program =
        Running::start(command.arg("render").env("PROMETHEUS_MULTIPROC_DIR", dir.path()));
    program.line_after("done");
}
