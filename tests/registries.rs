//! Registries: several at once, collisions, views by name, target info, and what is unregistered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use multiprom::bridge::Textfile;
use multiprom::collector::{DirectoryId, MergeRule, ProcessCollector};
use multiprom::exposition::{Exposition, Format};
use multiprom::parse::Families;
use multiprom::{
    Backend, Collector, Counter, Error, ErrorKind, Family, FamilySink, Gauge, GaugeMode, Histogram,
    Info, Registry, Static, Summary, Unit, default_registry, register_statics,
};

use crate::support::registries::{in_memory, merged, process, samples};
use crate::support::{TestDir, assert_success, example};

/// A collector with two families, which counts its calls.
#[derive(Clone, Default)]
struct Queue {
    calls: Arc<AtomicU32>,
}

impl Collector for Queue {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        out.gauge("queue_depth", "Jobs waiting.").sample(&[("queue", "mail")], 3.0);
        out.counter("queue_done_total", "Jobs done.").sample(&[], 7.0);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        out.gauge("queue_depth", "");
        out.counter("queue_done_total", "");
    }

    fn merge_rule(&self, _: &str) -> MergeRule {
        MergeRule::Mode(GaugeMode::Sum)
    }
}

/// A collector that describes nothing and writes one family.
struct Undescribed(&'static str, f64);

impl Collector for Undescribed {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.gauge(self.0, "").sample(&[], self.1);
    }
}

fn counter(name: &str, registry: &Registry) -> Counter {
    Counter::builder(name, "C.").register(registry).unwrap()
}

fn is_taken<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyRegistered, "{error}");
    error.to_string()
}

#[test]
fn registries_in_memory_share_nothing() {
    let (one, other) = (in_memory(), in_memory());
    counter("jobs", &one).inc_by(2.0);
    Gauge::builder("jobs", "Of another type.").register(&other).unwrap().set(5.0);
    assert_eq!(samples(&one), ["jobs_total 2"]);
    assert_eq!(samples(&other), ["jobs 5"]);
}

#[test]
fn registries_of_one_directory_are_merged_and_each_shows_its_own_metrics() {
    let dir = TestDir::new("registries-shared");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = || Registry::builder().backend(backend).build().unwrap();
    let (one, other, local) = (registry(), registry(), in_memory());
    counter("jobs", &one).inc_by(2.0);
    counter("jobs", &other).inc_by(5.0);
    counter("hits", &other).inc();
    counter("of_this_process", &local).inc_by(4.0);
    assert_eq!(samples(&one), ["jobs_total 2"]);
    assert_eq!(samples(&other), ["hits_total 1", "jobs_total 5"]);
    // Families in memory beside a merged directory.
    let page = merged(&dir);
    page.register(local).unwrap();
    counter("of_the_page", &page).inc();
    assert_eq!(
        samples(&page),
        ["hits_total 1", "jobs_total 7", "of_the_page_total 1", "of_this_process_total 4"]
    );
}

#[test]
fn a_metric_in_memory_is_preferred_to_a_merged_one_of_its_name() {
    let dir = TestDir::new("registries-preferred");
    let registry = process(&dir);
    counter("jobs", &registry).inc_by(2.0);
    counter("other", &registry).inc();
    let page = merged(&dir);
    Gauge::builder("jobs_total", "In memory.").register(&page).unwrap().set(9.0);
    assert_eq!(samples(&page), ["jobs_total 9", "other_total 1"]);
    assert_eq!(page.sample_value("multiprom_repeated_families_total", &[]), Some(2.0));
}

#[test]
fn a_gauge_that_two_registries_have_keeps_its_value_after_anything_was_unregistered() {
    let dir = TestDir::new("registries-shared-gauge");
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = || Registry::builder().backend(backend).build().unwrap();
    let (one, other) = (registry(), registry());
    let level = |registry: &Registry| {
        Gauge::builder("level", "L.").mode(GaugeMode::Sum).register(registry).unwrap()
    };
    let of_one = level(&one);
    of_one.set(5.0);
    counter("jobs", &one).inc();
    one.unregister("jobs").unwrap();
    let of_other = level(&other);
    assert_eq!((of_one.get(), of_other.get()), (5.0, 5.0));
    assert_eq!(samples(&merged(&dir)), ["level 5"]);
}

#[test]
fn of_registries_that_register_a_name_later_one_in_memory_shows_it() {
    let dir = TestDir::new("registries-later");
    let (page, in_files) = (merged(&dir), process(&dir));
    let (first, second) = (in_memory(), in_memory());
    for library in [&in_files, &first, &second] {
        page.register(library.clone()).unwrap();
    }
    counter("jobs", &in_files).inc_by(3.0);
    counter("jobs", &first).inc_by(5.0);
    counter("jobs", &second).inc_by(7.0);
    assert_eq!(samples(&page), ["jobs_total 5"]);
}

#[test]
fn a_described_name_is_taken_in_both_orders_and_the_error_names_the_collector() {
    let registry = in_memory();
    registry.register(Queue::default()).unwrap();
    let message = is_taken(Gauge::builder("queue_done_total", "").register(&registry));
    assert!(message.contains("metric name `queue_done_total` is registered already"), "{message}");
    assert!(message.contains("by the collector `") && message.contains("Queue`"), "{message}");
    is_taken(Histogram::builder("queue_depth", "").register(&registry));
    let message = is_taken(registry.register(Queue::default()));
    assert!(message.starts_with("collector `") && message.contains("Queue`: "), "{message}");

    let registry = in_memory();
    Summary::builder("queue", "").register(&registry).unwrap();
    Gauge::builder("queue_done_total", "").register(&registry).unwrap();
    let message = is_taken(registry.register(Queue::default()));
    assert!(message.ends_with("by the gauge `queue_done_total`"), "{message}");

    // Also through a registry in a registry.
    let (library, application) = (in_memory(), in_memory());
    library.register(Queue::default()).unwrap();
    counter("queue_depth", &application);
    is_taken(application.register(library.clone()));
    let application = in_memory();
    application.register(library).unwrap();
    is_taken(Gauge::builder("queue_depth", "").register(&application));
}

#[test]
fn an_undescribed_collector_is_left_out_at_the_scrape_if_its_name_is_taken() {
    let registry = in_memory();
    counter("foo", &registry).inc();
    registry.register(Undescribed("foo_total", 1.0)).unwrap();
    registry.register(Undescribed("bar", 1.0)).unwrap();
    registry.register(Undescribed("bar", 2.0)).unwrap();
    assert_eq!(samples(&registry), ["bar 1", "foo_total 1"]);
    assert_eq!(registry.sample_value("multiprom_repeated_families_total", &[]), Some(4.0));
}

#[test]
fn several_collectors_are_registered_all_or_none() {
    let registry = in_memory();
    let registered = registry
        .register_all((Queue::default(), ProcessCollector::current(), Undescribed("bar", 1.0)))
        .unwrap();
    assert!(format!("{registered:?}").contains("Queue"));
    let names = |registry: &Registry| samples(registry).len();
    let all = names(&registry);
    for message in [
        is_taken(registry.register_all((Undescribed("new", 1.0), Queue::default()))),
        is_taken(in_memory().register_all([Queue::default(), Queue::default()])),
        is_taken(in_memory().register_all(vec![Queue::default(), Queue::default()])),
    ] {
        assert!(message.contains("Queue`: "), "{message}");
    }
    assert_eq!(names(&registry), all);
    registered.unregister();
    registered.unregister();
    assert_eq!(samples(&registry), Vec::<String>::new());
}

/// A collector that records when the registry asks it.
struct Asked(Family<Counter>);

impl Collector for Asked {
    fn collect(&self, _: &mut dyn FamilySink) {}

    fn directories(&self) -> Vec<DirectoryId> {
        self.0.with(["directories"]).inc();
        Vec::new()
    }

    fn is_merged(&self) -> bool {
        self.0.with(["is_merged"]).inc();
        true
    }
}

#[test]
fn a_collector_may_record_while_it_is_registered() {
    let registry = in_memory();
    let asked: Family<Counter> =
        Counter::builder("asked", "").labels(["method"]).register(&registry).unwrap();
    registry.register(Asked(asked)).unwrap();
    for method in ["is_merged", "directories"] {
        assert_eq!(asked.get([method]).map(|counter| counter.get()), Some(1.0), "{method}");
    }
}

#[test]
fn a_restricted_view_shows_names_and_calls_only_collectors_that_may_write_them() {
    let dir = TestDir::new("registries-restricted");
    for (registry, is_in_files) in [(in_memory(), false), (process(&dir), true)] {
        let queue = Queue::default();
        registry.register(queue.clone()).unwrap();
        registry.register(Undescribed("bare", 1.0)).unwrap();
        let library = in_memory();
        counter("of_library", &library).inc();
        registry.register(library).unwrap();
        counter("jobs", &registry).inc();
        let sizes = Histogram::builder("sizes", "").buckets([1.0]).register(&registry).unwrap();
        sizes.observe(0.5);
        let restricted = |names: &[&str]| samples(&registry.restricted(names.iter().copied()));
        let calls = || queue.calls.swap(0, Ordering::Relaxed);
        assert_eq!(restricted(&["sizes_sum", "jobs"]), ["jobs_total 1", "sizes_sum 0.5"]);
        assert_eq!(restricted(&["of_library_total", "none"]), ["of_library_total 1"]);
        assert_eq!(restricted(&["bare"]), ["bare 1"]);
        assert_eq!(restricted(&[]), Vec::<String>::new());
        // The refresher of a directory calls it, too.
        assert!(is_in_files || calls() == 0);
        let page = restricted(&["queue_done_total", "queue_depth"]);
        assert_eq!(page, ["queue_depth{queue=\"mail\"} 3", "queue_done_total 7"]);
        assert!(is_in_files || calls() == 1);
    }
}

#[test]
fn target_info_is_first_set_changed_removed_and_reserved() {
    let dir = TestDir::new("registries-target");
    let builder = || Registry::builder().prefix("shop").const_label("zone", "eu");
    let directory = Backend::directory(dir.path()).unwrap();
    for backend in [Backend::in_memory(), directory] {
        let registry = builder().backend(backend).build().unwrap();
        counter("a", &registry).inc();
        registry.set_target_info(&[("env", "prod"), ("app", "shop")]).unwrap();
        let a = "shop_a_total{zone=\"eu\"} 1";
        let first = "target_info{app=\"shop\",env=\"prod\"} 1";
        assert_eq!(samples(&registry), [first, a]);
        registry.set_target_info(&[("env", "test")]).unwrap();
        assert_eq!(samples(&registry), ["target_info{env=\"test\"} 1", a]);
        for labels in [&[("no name", "")][..], &[("a", "1"), ("a", "2")], &[("__x", "1")]] {
            let error = registry.set_target_info(labels).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidLabels, "{error}");
        }
        assert_eq!(registry.target_info(), [("env".to_owned(), "test".to_owned())]);
        let text = Exposition::encode(&registry, Format::OpenMetrics).to_string();
        assert!(text.starts_with("# TYPE target info\n# HELP target Target metadata\n"), "{text}");
        let library = in_memory();
        Gauge::builder("target_info", "").register(&library).unwrap();
        is_taken(registry.register(library));
        registry.set_target_info(&[]).unwrap();
        registry.set_target_info(&[]).unwrap();
        assert!(registry.target_info().is_empty());
        assert_eq!(samples(&registry), [a]);
        registry.set_target_info(&[("env", "new")]).unwrap();
        assert_eq!(samples(&registry), ["target_info{env=\"new\"} 1", a]);
    }
    let registry = in_memory();
    Info::builder("target", "Target metadata").register(&registry).unwrap();
    is_taken(registry.set_target_info(&[("env", "prod")]));
    assert!(registry.target_info().is_empty());
}

#[test]
fn a_name_that_is_unregistered_can_have_another_type_and_handles_stay_harmless() {
    let dir = TestDir::new("registries-unregister");
    for registry in [in_memory(), process(&dir)] {
        let jobs = counter("jobs", &registry);
        let family: Family<Counter> =
            Counter::builder("requests", "R.").labels(["code"]).register(&registry).unwrap();
        let level = Gauge::builder("level", "L.").mode(GaugeMode::Sum).register(&registry).unwrap();
        let sizes = Histogram::builder("sizes", "").buckets([1.0]).register(&registry).unwrap();
        let ok = family.with(["200"]);
        jobs.inc_by(3.0);
        ok.inc();
        level.set(4.0);
        sizes.observe(0.5);
        for name in ["jobs", "requests_total", "level", "sizes_bucket"] {
            registry.unregister(name).unwrap();
            let error = registry.unregister(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotRegistered);
        }
        // Neither handles nor lookups bring a series back.
        jobs.inc();
        ok.inc();
        family.with(["200"]).inc();
        family.with(["500"]).inc();
        family.create(["404"]);
        level.set(5.0);
        level.inc();
        sizes.observe(0.5);
        drop(level.track_inprogress());
        level.set_function(|| 7.0);
        assert_eq!((jobs.get(), family.with(["500"]).get(), level.get()), (0.0, 0.0, 0.0));
        assert_eq!(samples(&registry), Vec::<String>::new());
        // Other types, help texts, labels and bounds.
        Gauge::builder("jobs", "Now.").mode(GaugeMode::Sum).register(&registry).unwrap().set(1.0);
        counter("level", &registry).inc_by(2.0);
        let requests = Counter::builder("requests", "Other help.").register(&registry).unwrap();
        requests.inc();
        let sizes = Histogram::builder("sizes", "").buckets([2.0]).register(&registry).unwrap();
        sizes.observe(1.5);
        let expected = [
            "jobs 1",
            "level_total 2",
            "requests_total 1",
            "sizes_bucket{le=\"2.0\"} 1",
            "sizes_bucket{le=\"+Inf\"} 1",
            "sizes_sum 1.5",
            "sizes_count 1",
        ];
        assert_eq!(samples(&registry), expected);
        assert_eq!(family.with(["200"]).get(), 0.0);
    }
    // Of totals in files the share of the process stays.
    assert_eq!(
        samples(&merged(&dir)),
        [
            "jobs 1",
            "level_total 2",
            "requests_total 1",
            "sizes_bucket{le=\"1.0\"} 1",
            "sizes_bucket{le=\"2.0\"} 2",
            "sizes_bucket{le=\"+Inf\"} 2",
            "sizes_sum 2",
            "sizes_count 2"
        ]
    );
}

#[test]
fn a_metric_that_is_registered_again_as_before_continues_with_its_handles() {
    let dir = TestDir::new("registries-again");
    let page = merged(&dir);
    for registry in [in_memory(), process(&dir)] {
        let register = || {
            let family = Counter::builder("requests", "R.").labels(["code"]);
            family.get_or_register(&registry).unwrap()
        };
        let family = register();
        let ok = family.with(["200"]);
        ok.inc_by(3.0);
        registry.unregister("requests").unwrap();
        let again = register();
        assert_eq!(samples(&registry), Vec::<String>::new());
        again.with(["200"]).inc();
        family.with(["200"]).inc();
        ok.inc();
        assert_eq!(samples(&registry), ["requests_total{code=\"200\"} 3"]);
        assert_eq!(ok.get(), 3.0);
        is_taken(Counter::builder("requests", "R.").labels(["code"]).register(&registry));
    }
    assert_eq!(samples(&page), ["requests_total{code=\"200\"} 6"]);
}

#[test]
fn collectors_are_unregistered_by_name_or_handle_and_dropped() {
    let dir = TestDir::new("registries-collectors");
    for (registry, is_in_files) in [(in_memory(), false), (process(&dir), true)] {
        let queue = Queue::default();
        registry.register(queue.clone()).unwrap();
        let undescribed = registry.register(Undescribed("bare", 1.0)).unwrap();
        registry.flush();
        assert_eq!(samples(&registry).len(), 3);
        registry.unregister("queue_done").unwrap();
        assert_eq!(Arc::strong_count(&queue.calls), 1);
        undescribed.unregister();
        assert_eq!(samples(&registry), Vec::<String>::new());
        let gauge = Gauge::builder("queue_depth", "Jobs waiting.").mode(GaugeMode::Sum);
        gauge.labels(["queue"]).register(&registry).unwrap().with(["mail"]).set(8.0);
        registry.flush();
        assert_eq!(samples(&registry), ["queue_depth{queue=\"mail\"} 8"]);
        registry.unregister("queue_depth").unwrap();
        registry.register(queue.clone()).unwrap();
        registry.flush();
        let all = ["queue_depth{queue=\"mail\"} 3", "queue_done_total 7"];
        assert_eq!(samples(&registry), all);
        let files = if is_in_files { &all[..] } else { &[] };
        assert_eq!(samples(&merged(&dir)), files);
    }
}

#[test]
fn families_have_one_order_wherever_they_are_shown() {
    let dir = TestDir::new("registries-order");
    let names = |source: &dyn multiprom::collector::Gatherer| -> Vec<String> {
        let text = Exposition::encode(source, Format::OpenMetrics).to_string();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split_once(' ')).map(|(name, _)| name.to_owned());
        names.filter(|name| !name.starts_with("multiprom_")).collect()
    };
    let expected = ["target", "a", "b_bytes", "bare", "queue_depth", "queue_done", "z"];
    for registry in [in_memory(), process(&dir)] {
        counter("z", &registry).inc();
        Gauge::builder("b", "").unit(Unit::Bytes).register(&registry).unwrap().set(1.0);
        registry.register(Queue::default()).unwrap();
        registry.register(Undescribed("bare", 1.0)).unwrap();
        let library = in_memory();
        counter("a", &library).inc();
        registry.register(library).unwrap();
        registry.set_target_info(&[("env", "prod")]).unwrap();
        assert_eq!(names(&registry), expected);
        assert_eq!(names(&registry.restricted(expected)), expected);
        let text = registry.render(None).to_string();
        let path = dir.path().join("registry.prom");
        Textfile::new(&path).write(&registry).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        let page = merged(&dir);
        page.register(registry.clone()).unwrap();
        assert_eq!(names(&page), expected);
        let parsed = Families::of_gatherer(&registry).unwrap();
        assert_eq!(Exposition::encode(&parsed, Format::Text).to_string(), text);
    }
}

#[test]
fn a_registry_without_series_has_an_empty_page_and_samples_have_sorted_labels() {
    let registry = in_memory();
    let jobs = Counter::builder("jobs", "").const_label("m", "2").labels(["z", "a"]);
    let jobs = jobs.register(&registry).unwrap();
    assert_eq!(Exposition::encode(&registry, Format::Text).to_string(), "");
    assert_eq!(Exposition::encode(&registry, Format::OpenMetrics).to_string(), "# EOF\n");
    jobs.with([3, 1]).inc();
    assert_eq!(samples(&registry), ["jobs_total{a=\"1\",m=\"2\",z=\"3\"} 1"]);
    assert!(registry.render(None).to_string().ends_with(" 1\n"));
}

#[test]
fn a_family_that_another_thread_unregisters_is_whole_or_missing() {
    let registry = in_memory();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                let queue = registry.register(Queue::default()).unwrap();
                let jobs = counter("jobs", &registry);
                jobs.inc();
                if round % 2 == 0 {
                    queue.unregister();
                } else {
                    registry.unregister("queue_depth").unwrap();
                }
                registry.unregister("jobs").unwrap();
            }
        });
        for _ in 0..200 {
            let page = registry.render(None).to_string();
            assert_eq!(
                page.contains("queue_depth{"),
                page.contains("queue_done_total 7"),
                "{page}"
            );
        }
    });
    assert_eq!(samples(&registry), Vec::<String>::new());
}

#[test]
fn children_that_are_forked_during_registrations_find_a_registry_that_they_can_change() {
    let dir = TestDir::new("registries-fork");
    let mut program = example("test-forks");
    let output = program.arg(dir.path()).arg("registering").output().unwrap();
    assert_success(&program, &output);
    // No collector is written that was unregistered, or not registered yet, when its process was forked.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let page = merged(&dir);
    assert_eq!(page.sample_value("by_child_total", &[]), Some(40.0));
    assert_eq!(page.sample_value("kept_7_total", &[]), Some(1.0));
}

#[test]
fn a_static_that_is_unregistered_is_registered_again_on_request() {
    static JOBS: Static<Counter> = Counter::declare("registries_jobs_total", "Jobs.");
    static QUEUES: Static<Family<Counter>> =
        Counter::declare("registries_queues_total", "Queues.").labels(["queue"]);
    let value = |name: &str, labels: &[(&str, &str)]| default_registry().sample_value(name, labels);
    JOBS.inc();
    QUEUES.with(["mail"]).inc();
    default_registry().unregister("registries_jobs").unwrap();
    default_registry().unregister("registries_queues_total").unwrap();
    JOBS.inc();
    QUEUES.with(["mail"]).inc();
    assert_eq!(value("registries_jobs_total", &[]), None);
    register_statics(&[&JOBS, &QUEUES]).unwrap();
    assert_eq!(value("registries_jobs_total", &[]), Some(0.0));
    JOBS.inc_by(2.0);
    QUEUES.with(["mail"]).inc();
    assert_eq!(value("registries_jobs_total", &[]), Some(2.0));
    assert_eq!(value("registries_queues_total", &[("queue", "mail")]), Some(1.0));
}

#[test]
fn ten_thousand_families_and_collectors_are_registered() {
    let registry = in_memory();
    for at in 0..5_000 {
        counter(&format!("family_{}", at * 7_919 % 5_000), &registry);
        registry.register(Named(format!("collector_{at}"))).unwrap();
    }
    is_taken(Gauge::builder("family_77_total", "").register(&registry));
    is_taken(registry.register(Named("collector_4999".to_owned())));
    assert_eq!(samples(&registry).len(), 10_000);
}

struct Named(String);

impl Collector for Named {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.gauge(&self.0, "").sample(&[], 1.0);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collect(out);
    }
}
