//! Closures, futures, errors and mirrored totals that are recorded, and values that are ignored.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::process::Output;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use multiprom::collector::{MetricType, SampleKind};
use multiprom::metrics::Timer;
use multiprom::parse::Families;
use multiprom::{
    Backend, Collector, Counter, Exposition, FamilySink, Gauge, GaugeMode, Histogram,
    MultiProcessCollector, Registry, Summary,
};

use crate::support::registries::{in_memory, process};
use crate::support::{TestDir, assert_success, example};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that is ready when it is polled for the second time.
fn ready_later(mut is_ready: bool) -> impl Future<Output = u32> {
    std::future::poll_fn(move |_| {
        if std::mem::replace(&mut is_ready, true) { Poll::Ready(42) } else { Poll::Pending }
    })
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_future_is_timed_from_its_first_poll_until_it_completes_or_is_dropped() {
    let registry = in_memory();
    let histogram = Histogram::builder("histogram", "").register(&registry).unwrap();
    let summary = Summary::builder("summary", "").register(&registry).unwrap();
    let gauge = Gauge::builder("gauge", "").register(&registry).unwrap();
    {
        let mut timed = pin!(assert_send(histogram.time_future(ready_later(false))));
        assert_eq!(poll(timed.as_mut()), Poll::Pending);
        assert_eq!(histogram.get_count(), 0);
        assert_eq!(poll(timed.as_mut()), Poll::Ready(42));
        assert_eq!(histogram.get_count(), 1);
    }
    assert_eq!(histogram.get_count(), 1);
    {
        let mut dropped = pin!(summary.time_future(pending::<()>()));
        assert!(poll(dropped.as_mut()).is_pending());
        assert_eq!(summary.get_count(), 0);
        let mut dropped = pin!(gauge.time_future(pending::<()>()));
        assert!(poll(dropped.as_mut()).is_pending());
        assert_eq!(gauge.get().to_bits(), 0);
    }
    assert_eq!(summary.get_count(), 1);
    assert!(gauge.get() > 0.0);
    drop(histogram.time_future(pending::<()>()));
    assert_eq!(histogram.get_count(), 1, "a future that was never polled took no time");
}

#[test]
fn a_future_is_in_progress_until_it_completes_panics_or_is_dropped() {
    let registry = in_memory();
    let busy = Gauge::builder("busy", "").mode(GaugeMode::LiveSum).register(&registry).unwrap();
    let never_polled = busy.track_inprogress_future(pending::<()>());
    assert_eq!(busy.get().to_bits(), 0);
    {
        let mut completes = pin!(assert_send(busy.track_inprogress_future(ready_later(false))));
        let mut dropped = pin!(busy.track_inprogress_future(pending::<()>()));
        assert!(poll(completes.as_mut()).is_pending());
        assert!(poll(dropped.as_mut()).is_pending());
        assert_eq!(busy.get(), 2.0);
        assert!(poll(completes.as_mut()).is_ready());
        assert_eq!(busy.get(), 1.0);
    }
    drop(never_polled);
    let mut panics = pin!(busy.track_inprogress_future(async { panic!("the future panics") }));
    catch_unwind(AssertUnwindSafe(|| poll(panics.as_mut()))).unwrap_err();
    assert_eq!(busy.get().to_bits(), 0);
}

#[test]
fn closures_are_timed_and_panics_counted_also_when_they_panic() {
    let registry = in_memory();
    let histogram = Histogram::builder("histogram", "").register(&registry).unwrap();
    let summary = Summary::builder("summary", "").register(&registry).unwrap();
    let gauge = Gauge::builder("gauge", "").register(&registry).unwrap();
    let panics = Counter::builder("panics", "").register(&registry).unwrap();
    let work = || -> u32 { panic!("the work panics") };
    for result in [
        catch_unwind(AssertUnwindSafe(|| histogram.time(work))),
        catch_unwind(AssertUnwindSafe(|| summary.time(work))),
        catch_unwind(AssertUnwindSafe(|| gauge.time(work))),
        catch_unwind(AssertUnwindSafe(|| panics.count_panics(work))),
    ] {
        result.unwrap_err();
    }
    assert_eq!((histogram.get_count(), summary.get_count(), panics.get()), (1, 1, 1.0));
    assert!(gauge.get() > 0.0);
    // Calls can be nested.
    assert_eq!(histogram.time(|| histogram.time(|| panics.count_panics(|| 7))), 7);
    assert_eq!((histogram.get_count(), panics.get()), (3, 1.0));
    let start = Instant::now();
    summary.time(|| thread::park_timeout(Duration::from_millis(5)));
    assert!(summary.get_sum() <= start.elapsed().as_secs_f64() + gauge.get() + 1.0);
}

#[test]
fn errors_are_counted_by_predicate_and_returned() {
    let registry = in_memory();
    let errors = Counter::builder("errors", "").register(&registry).unwrap();
    assert_eq!(errors.count_errors(|| Err::<(), _>("a")), Err("a"));
    assert_eq!(errors.count_errors(|| Ok::<_, ()>(1)), Ok(1));
    for error in ["a", "b"] {
        let result = errors.count_errors_if(|| Err::<(), _>(error), |error| *error == "b");
        assert_eq!(result, Err(error));
    }
    let is_counted = |(): &()| panic!("called for a success");
    assert_eq!(errors.count_errors_if(|| Ok::<_, ()>(2), is_counted), Ok(2));
    assert_eq!(errors.get(), 2.0);
}

#[test]
fn a_timer_records_into_a_function_once() {
    let mut calls = Vec::new();
    drop(Timer::start(|elapsed| calls.push(elapsed)));
    let elapsed = Timer::start(|elapsed| calls.push(elapsed)).stop();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1], elapsed);
    Timer::start(|_| panic!("a discarded timer records")).discard();
}

#[test]
fn a_counter_mirrors_a_total_exactly_from_many_threads() {
    const THREADS: usize = 4;
    const STEPS: usize = 10_000;
    let registry = in_memory();
    let counter = Counter::builder("mirrored", "").register(&registry).unwrap();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                (0..=STEPS).for_each(|total| counter.set_at_least(total as f64));
            });
        }
    });
    assert_eq!(counter.get(), STEPS as f64);
    counter.set_at_least(1.0);
    counter.set_at_least(f64::NAN);
    assert_eq!(counter.get(), STEPS as f64);
}

fn alone(collector: impl Collector + 'static) -> String {
    let registry = in_memory();
    registry.register(collector).unwrap();
    registry.render(None).to_string()
}

#[test]
fn a_handle_or_family_is_rendered_alone_with_the_values_of_its_process() {
    let dir = TestDir::new("alone");
    for backend in [Backend::in_memory(), Backend::directory(dir.path()).unwrap()] {
        let registry = Registry::builder().const_label("zone", "eu").backend(backend);
        let registry = registry.build().unwrap();
        let sizes = Histogram::builder("sizes", "Sizes.").buckets([1.0, 2.0]).labels(["kind"]);
        let sizes = sizes.register(&registry).unwrap();
        let (a, b) = (sizes.with(["a"]), sizes.with(["b"]));
        assert_eq!((alone(sizes), alone(a)), (String::new(), String::new()));
        assert_eq!(a.get_buckets(), [(1.0, 0), (2.0, 0), (f64::INFINITY, 0)]);
        for size in [0.5, 1.0, 1.5, 3.0] {
            a.observe(size);
        }
        b.observe(4.0);
        assert_eq!(a.get_buckets(), [(1.0, 2), (2.0, 3), (f64::INFINITY, 4)]);
        let head = "# HELP sizes Sizes.\n# TYPE sizes histogram\n";
        let text_of_a = "sizes_bucket{kind=\"a\",zone=\"eu\",le=\"1.0\"} 2\n\
                         sizes_bucket{kind=\"a\",zone=\"eu\",le=\"2.0\"} 3\n\
                         sizes_bucket{kind=\"a\",zone=\"eu\",le=\"+Inf\"} 4\n\
                         sizes_sum{kind=\"a\",zone=\"eu\"} 6\n\
                         sizes_count{kind=\"a\",zone=\"eu\"} 4\n";
        assert_eq!(alone(a), [head, text_of_a].concat());
        assert_eq!(alone(sizes), registry.render(None).to_string());
        assert!(alone(sizes).starts_with(&[head, text_of_a].concat()));
    }
}

/// Records a value of each type.
fn record_all(registry: &Registry) {
    Counter::builder("jobs", "Jobs.").register(registry).unwrap().inc_by(2.0);
    let levels = Gauge::builder("levels", "Levels.").mode(GaugeMode::Max).labels(["tank"]);
    let levels = levels.register(registry).unwrap();
    levels.with(["a"]).set(3.0);
    levels.with(["b"]).set(-1.0);
    let sizes = Histogram::builder("sizes", "Sizes.").buckets([1.0]).register(registry).unwrap();
    sizes.observe(0.5);
    sizes.observe(7.0);
    Summary::builder("waits", "Waits.").register(registry).unwrap().observe(1.5);
}

#[test]
fn families_are_the_same_values_in_memory_and_through_the_merge() {
    let registry = in_memory();
    record_all(&registry);
    let families = Families::of_gatherer(&registry).unwrap();
    let types: Vec<_> = families.0.iter().map(|family| family.metric_type).collect();
    let expected =
        [MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Summary];
    assert_eq!(types, expected);
    assert_eq!(families.0[1].samples[1].labels, [("tank".to_owned(), "b".to_owned())]);
    assert_eq!(families.0[2].samples[1].kind, SampleKind::Bucket(f64::INFINITY));
    let rendered = Exposition::render(&families, None).to_string();
    assert_eq!(rendered, registry.render(None).to_string());

    let dir = TestDir::new("values");
    let registry =
        Registry::builder().backend(Backend::directory(dir.path()).unwrap()).build().unwrap();
    record_all(&registry);
    assert_eq!(Families::of_gatherer(&registry).unwrap(), families);
    let collector = MultiProcessCollector::new(dir.path()).unwrap();
    let mut merged = Families::of_collector(&collector).unwrap().0;
    merged.retain(|family| !family.name.starts_with("multiprom_"));
    merged.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(Families(merged), families);
}

#[test]
fn the_series_of_one_family_are_listed_with_their_labels_and_values() {
    let dir = TestDir::new("listed");
    for registry in [in_memory(), process(&dir)] {
        let jobs = Counter::builder("jobs", "Jobs.").labels(["queue"]).register(&registry).unwrap();
        let list = || {
            let families = Families::of_collector(&jobs).unwrap().0;
            let samples = families.into_iter().flat_map(|family| family.samples);
            let mut list: Vec<_> = samples.map(|sample| (sample.labels, sample.value)).collect();
            list.sort_by(|one, other| one.0.cmp(&other.0));
            list
        };
        let labels = |queue: &str| vec![("queue".to_owned(), queue.to_owned())];
        assert_eq!(list(), []);
        jobs.with(["print"]).inc_by(2.0);
        jobs.with(["mail"]).inc();
        assert_eq!(list(), [(labels("mail"), 1.0), (labels("print"), 2.0)]);
        jobs.remove(["mail"]);
        assert_eq!(list(), [(labels("print"), 2.0)]);
    }
}

#[test]
fn a_collector_that_fails_gives_its_error_in_place_of_families() {
    struct Failing;
    impl Collector for Failing {
        fn collect(&self, out: &mut dyn FamilySink) {
            out.gauge("level", "").sample(&[], 1.0);
            let unknown = "median".parse::<GaugeMode>().unwrap_err();
            out.fail(unknown.into());
            out.fail(Registry::builder().prefix("a b").build().unwrap_err());
        }
    }
    let error = Families::of_collector(&Failing).unwrap_err();
    assert_eq!(error.to_string(), "`median` is not a gauge mode");
}

#[test]
fn the_current_time_is_exported_in_memory_and_through_the_merge() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let dir = TestDir::new("clock");
    for backend in [Backend::in_memory(), Backend::directory(dir.path()).unwrap()] {
        let registry = Registry::builder().backend(backend).build().unwrap();
        let modes = [GaugeMode::Max, GaugeMode::MostRecent, GaugeMode::LiveMin];
        let before = now();
        for mode in modes {
            let gauge = Gauge::builder(format!("at_{mode}"), "").mode(mode);
            gauge.register(&registry).unwrap().set_to_current_time();
        }
        let times = before..=now();
        let merged = Registry::new();
        merged.register(registry).unwrap();
        merged.register(MultiProcessCollector::new(dir.path()).unwrap()).unwrap();
        for mode in modes {
            let value = merged.sample_value(&format!("at_{mode}"), &[]);
            assert!(value.is_some_and(|value| times.contains(&value)), "{mode} {value:?}");
        }
    }
}

fn run(scenario: &str, dir: Option<&TestDir>) -> (String, Output) {
    let mut command = example("test-values");
    if let Some(dir) = dir {
        command.env("PROMETHEUS_MULTIPROC_DIR", dir.path());
    }
    let output = command.arg(scenario).output().unwrap();
    assert_success(&command, &output);
    (String::from_utf8(output.stdout.clone()).unwrap(), output)
}

#[test]
fn a_mirrored_total_that_a_forked_child_copies_is_counted_once() {
    let (text, _) = run("mirrored", None);
    assert_eq!(text, "child has 105\nparent has 101\nend: jobs_total 101\n");
    let dir = TestDir::new("mirrored");
    let (text, _) = run("mirrored", Some(&dir));
    assert_eq!(text, "child has 5\nparent has 101\nend: jobs_total 106\n");
}

#[test]
fn ignored_values_are_counted_by_reason_and_logged_once() {
    let ignored = |who: &str, text: &str| -> Vec<String> {
        let prefix = format!("{who}: multiprom_ignored_values_total");
        text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let parent = ["{reason=\"negative\"} 3", "{reason=\"not_finite\"} 3", "{reason=\"nan\"} 2"];
    let with_child = ["{reason=\"negative\"} 4", parent[1], parent[2]];
    let dir = TestDir::new("ignored");
    for dir in [None, Some(&dir)] {
        let (text, output) = run("ignored", dir);
        let sorted = |mut lines: Vec<String>| {
            lines.sort_unstable();
            lines
        };
        let expected = |lines: [&str; 3]| sorted(lines.map(str::to_owned).to_vec());
        assert_eq!(sorted(ignored("parent", &text)), expected(parent), "{text}");
        // In memory, a child continues with a copy of its parent's counts.
        assert_eq!(sorted(ignored("child", &text)), expected(with_child), "{text}");
        let end = if dir.is_some() { with_child } else { parent };
        assert_eq!(sorted(ignored("end", &text)), expected(end), "{text}");
        assert!(text.contains("end: jobs_total 1\n"), "{text}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let logged = stderr.lines().filter(|line| line.contains("multiprom_ignored_values_total"));
        assert_eq!(logged.count(), 3, "{stderr}");
        let line = "counter `jobs` ignores the value -1: the increment is negative, and a counter never decreases; \
                    further ones are counted in `multiprom_ignored_values_total`";
        assert!(stderr.contains(line), "{stderr}");
    }
}
