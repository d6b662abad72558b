//! Which threads have entries of their own: files grow with contention and not with the number of threads.

use std::sync::{PoisonError, mpsc};
use std::thread;

use multiprom::collector::MetricType;
use multiprom::{
    Backend, Counter, DirectoryOptions, Family, Histogram, Registry, Summary, buckets,
};

use crate::support::TestDir;
use crate::threads::{INDEXES, MAX_ENTRIES, at_once, entries};

/// After so many recordings in one series, one after the other, a thread has cells of its own.
const OFTEN: usize = 2_000;

fn registry(dir: &TestDir) -> Registry {
    registry_with(dir, DirectoryOptions::new())
}

fn registry_with(dir: &TestDir, options: DirectoryOptions) -> Registry {
    let backend = Backend::directory_with(dir.path(), options).unwrap();
    Registry::builder().backend(backend).build().unwrap()
}

/// Calls `work` in threads one after the other, all of which live until the last one has returned from it.
fn in_turn(threads: usize, work: impl Fn(usize) + Sync) {
    let (finish, finished) = mpsc::channel();
    thread::scope(|scope| {
        let mut stops = Vec::new();
        for thread in 0..threads {
            let (stop, stopped) = mpsc::channel::<()>();
            stops.push(stop);
            let (finish, work) = (finish.clone(), &work);
            scope.spawn(move || {
                work(thread);
                finish.send(()).unwrap();
                let _ = stopped.recv();
            });
            finished.recv().unwrap();
        }
    });
}

fn counter(registry: &Registry) -> Counter {
    Counter::builder("jobs", "J.").register(registry).unwrap()
}

fn counters(registry: &Registry) -> Family<Counter> {
    Counter::builder("requests", "R.").labels(["route"]).register(registry).unwrap()
}

#[test]
fn sixteen_threads_in_turn_make_at_most_two_entries_of_each_sample() {
    const SERIES: usize = 50;
    const TURNS: usize = 3;
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("cells");
    let registry = registry(&dir);
    let requests = counters(&registry);
    let times = Histogram::builder("times", "T.").buckets(buckets::DEFAULT).labels(["route"]);
    let times = times.register(&registry).unwrap();
    let sizes = Summary::builder("sizes", "S.").labels(["route"]).register(&registry).unwrap();
    let routes: Vec<String> = (0..SERIES).map(|at| at.to_string()).collect();
    in_turn(16, |_| {
        for route in (0..TURNS).flat_map(|_| &routes) {
            requests.with([route]).inc();
            times.with([route]).observe(0.3);
            sizes.with([route]).observe(1.0);
        }
    });
    assert_eq!(entries(dir.path(), MetricType::Counter), 2 * SERIES);
    assert_eq!(entries(dir.path(), MetricType::Histogram), 2 * SERIES * 16);
    assert_eq!(entries(dir.path(), MetricType::Summary), 2 * SERIES * 2);
    for route in &routes {
        let count = (16 * TURNS) as u64;
        assert_eq!(requests.with([route]).get(), count as f64);
        assert_eq!(
            (times.with([route]).get_count(), sizes.with([route]).get_count()),
            (count, count)
        );
    }
}

#[test]
fn threads_at_once_on_one_series_get_cells_of_their_own_up_to_a_bound() {
    const THREADS: usize = 32;
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("cells");
    let registry = registry(&dir);
    let jobs = counter(&registry);
    let times = Histogram::builder("times", "T.").buckets([1.0]).register(&registry).unwrap();
    at_once(THREADS, |_| {
        for _ in 0..10 * OFTEN {
            jobs.inc();
            times.observe(0.5);
        }
    });
    let all = THREADS * 10 * OFTEN;
    assert_eq!(
        (jobs.get(), times.get_count(), times.get_sum()),
        (all as f64, all as u64, all as f64 / 2.0)
    );
    let found = entries(dir.path(), MetricType::Counter);
    assert!((3..=MAX_ENTRIES).contains(&found), "{found}");
    let found = entries(dir.path(), MetricType::Histogram);
    assert!((3 * 3..=3 * MAX_ENTRIES).contains(&found), "{found}");
}

#[test]
fn the_thread_that_records_first_owns_the_entry_that_another_one_has_registered() {
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("cells");
    let registry = registry(&dir);
    let jobs = counter(&registry);
    assert_eq!(entries(dir.path(), MetricType::Counter), 1, "the zero is exported");
    in_turn(1, |_| (0..OFTEN).for_each(|_| jobs.inc()));
    assert_eq!(entries(dir.path(), MetricType::Counter), 1);
    in_turn(2, |_| jobs.inc());
    assert_eq!(entries(dir.path(), MetricType::Counter), 2);
    assert_eq!(jobs.get(), (OFTEN + 2) as f64);
}

#[test]
fn a_thread_that_records_often_in_a_series_of_another_one_gets_cells_unless_the_options_forbid_it()
{
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    for (most, expected) in [(16, 4), (3, 4), (2, 3), (1, 2), (0, 1)] {
        let dir = TestDir::new("cells");
        let registry = registry_with(&dir, DirectoryOptions::new().max_owned_cells(most));
        let jobs = counter(&registry);
        in_turn(3, |thread| (0..[1, OFTEN, OFTEN][thread]).for_each(|_| jobs.inc()));
        assert_eq!(entries(dir.path(), MetricType::Counter), expected, "{most}");
        assert_eq!(jobs.get(), (2 * OFTEN + 1) as f64);
    }
}

#[test]
fn entries_for_threads_that_record_often_are_bounded() {
    const SERIES: usize = 200;
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("cells");
    let registry = registry(&dir);
    let requests = counters(&registry);
    in_turn(8, |_| {
        for route in 0..SERIES {
            let requests = requests.with([&route.to_string()]);
            (0..OFTEN).for_each(|_| requests.inc());
        }
    });
    let found = entries(dir.path(), MetricType::Counter);
    let most = 2 * SERIES + 512 + 2 * SERIES / 64;
    assert!((2 * SERIES + 256..=most).contains(&found), "{found} of {most}");
    let found = (0..SERIES).map(|route| requests.with([&route.to_string()]).get());
    assert_eq!(found.sum::<f64>(), (8 * SERIES * OFTEN) as f64);
}
