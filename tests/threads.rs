//! Many threads of one process: sums are exact, and files stay small.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;

use multiprom::collector::MetricType;
use multiprom::inspect::list_files;
use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Summary};

use crate::support::TestDir;
use crate::support::samples::own_samples;

/// Most entries of a sample: one per owner, and a shared one.
pub const MAX_ENTRIES: usize = 17;

/// Held by tests that use all indexes of threads, and by tests that need an index.
pub static INDEXES: Mutex<()> = Mutex::new(());

fn registry(dir: &TestDir) -> Registry {
    let backend = Backend::directory(dir.path()).unwrap();
    Registry::builder().backend(backend).build().unwrap()
}

/// Values by name and label values.
fn values(dir: &Path) -> BTreeMap<String, f64> {
    let line = |line: crate::support::samples::Line| {
        let labels: Vec<&str> = line.labels.values().map(String::as_str).collect();
        (format!("{} {}", line.name, labels.join(" ")).trim().to_owned(), line.value())
    };
    own_samples(dir).0.into_iter().map(line).collect()
}

/// The number of entries in all files of a type.
pub fn entries(dir: &Path, metric_type: MetricType) -> usize {
    let files = list_files(dir).unwrap();
    assert!(files.iter().all(|file| file.error.is_none()), "{files:?}");
    let files = files.iter().filter(|file| file.metric_type == Some(metric_type));
    files.map(|file| file.entries).sum()
}

/// Runs `work` in threads that start at the same time.
pub fn at_once(threads: usize, work: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn sixty_four_threads_at_once_lose_nothing() {
    const THREADS: usize = 64;
    const TURNS: usize = 2_000;
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("threads");
    let registry = registry(&dir);
    let ones = Counter::builder("ones", "By one.").register(&registry).unwrap();
    let halves = Counter::builder("halves", "By a half.").register(&registry).unwrap();
    let sizes = Histogram::builder("sizes", "S.").buckets([1.0, 2.0]).register(&registry).unwrap();
    let times = Summary::builder("times", "T.").register(&registry).unwrap();
    let level = Gauge::builder("level", "L.").mode(GaugeMode::Sum).register(&registry).unwrap();
    let by = Counter::builder("by", "By label.").labels(["turn"]).register(&registry).unwrap();
    at_once(THREADS, |_| {
        for turn in 0..TURNS {
            ones.inc();
            halves.inc_by(0.5);
            sizes.observe((turn % 4) as f64);
            times.observe(0.25);
            level.add(2.0);
            level.dec();
            by.with([["a", "b"][turn % 2]]).inc();
        }
    });
    let all = (THREADS * TURNS) as f64;
    let found = values(dir.path());
    for (name, expected) in [
        ("ones_total", all),
        ("halves_total", all / 2.0),
        ("sizes_count", all),
        ("sizes_sum", all * 1.5),
        ("sizes_bucket 1.0", all / 2.0),
        ("sizes_bucket 2.0", all * 0.75),
        ("sizes_bucket inf", all),
        ("times_count", all),
        ("times_sum", all / 4.0),
        ("level", all),
        ("by_total a", all / 2.0),
        ("by_total b", all / 2.0),
    ] {
        assert_eq!(found[name], expected, "{name}");
    }
    assert_eq!((ones.get(), halves.get()), (all, all / 2.0));
    assert_eq!((sizes.get_count() as f64, sizes.get_sum()), (all, all * 1.5));
    assert!(entries(dir.path(), MetricType::Counter) <= 4 * MAX_ENTRIES);
    assert!(entries(dir.path(), MetricType::Histogram) <= 4 * MAX_ENTRIES);
    assert!(entries(dir.path(), MetricType::Summary) <= 2 * MAX_ENTRIES);
    assert_eq!(entries(dir.path(), MetricType::Gauge), 1);
}

#[test]
fn five_thousand_threads_in_turn_share_a_few_entries() {
    let dir = TestDir::new("churn");
    let counter = Counter::builder("jobs", "J.").register(&registry(&dir)).unwrap();
    for _ in 0..5_000 {
        thread::spawn(move || counter.inc()).join().unwrap();
    }
    assert_eq!(values(dir.path())["jobs_total"], 5_000.0);
    assert!(entries(dir.path(), MetricType::Counter) <= MAX_ENTRIES);
}

#[test]
fn waves_of_threads_reuse_cells_without_a_loss() {
    const WAVES: usize = 60;
    const THREADS: usize = 40;
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("waves");
    let registry = registry(&dir);
    let counter = Counter::builder("jobs", "J.").register(&registry).unwrap();
    let sizes = Histogram::builder("sizes", "S.").buckets([1.0]).register(&registry).unwrap();
    // Threads with different lifetimes: some return their index while others continue.
    let next = AtomicUsize::new(0);
    let observed = AtomicUsize::new(0);
    at_once(THREADS, |_| {
        while next.fetch_add(1, Ordering::Relaxed) < WAVES * THREADS {
            let turns = next.load(Ordering::Relaxed) % 50 + 1;
            let record = move || {
                for _ in 0..turns {
                    counter.inc();
                    sizes.observe(0.5);
                }
                turns
            };
            observed.fetch_add(thread::spawn(record).join().unwrap(), Ordering::Relaxed);
            counter.inc_by(100.0 - turns as f64);
        }
    });
    let all = (WAVES * THREADS * 100) as f64;
    let found = values(dir.path());
    assert_eq!(found["jobs_total"], all);
    let observed = observed.into_inner() as f64;
    assert_eq!((found["sizes_count"], found["sizes_sum"]), (observed, observed / 2.0));
    assert!(entries(dir.path(), MetricType::Counter) <= MAX_ENTRIES);
    assert!(entries(dir.path(), MetricType::Histogram) <= 3 * MAX_ENTRIES);
}

#[test]
fn a_thread_that_panics_under_guards_leaves_everything_usable() {
    let dir = TestDir::new("panics");
    let registry = registry(&dir);
    let busy = Gauge::builder("busy", "B.").mode(GaugeMode::Sum).register(&registry).unwrap();
    let took = Histogram::builder("took", "T.").register(&registry).unwrap();
    let jobs = Counter::builder("jobs", "J.").labels(["who"]).register(&registry).unwrap();
    for turn in 0..50 {
        let panics = thread::spawn(move || {
            let _busy = busy.track_inprogress();
            let _took = took.start_timer();
            jobs.with([&turn.to_string()]).inc();
            // Not `panic!`, whose message would be in the output of the tests.
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panics.join().is_err());
    }
    let later = Counter::builder("later", "L.").register(&registry).unwrap();
    thread::spawn(move || {
        busy.inc();
        took.observe(1.0);
        jobs.with(["late"]).inc();
        later.inc();
    })
    .join()
    .unwrap();
    let found = values(dir.path());
    assert_eq!((found["busy"], found["took_count"], found["later_total"]), (1.0, 51.0, 1.0));
    assert!((0..50).all(|turn| found[&format!("jobs_total {turn}")] == 1.0));
    assert_eq!(found["jobs_total late"], 1.0);
}

#[test]
fn recordings_in_destructors_of_thread_local_values_count() {
    const THREADS: usize = 200;
    /// Records on drop: into a series that the thread has recorded into before, and into a new one.
    struct Last(Counter, Counter);
    impl Drop for Last {
        fn drop(&mut self) {
            for _ in 0..10 {
                self.0.inc();
                self.1.inc_by(0.5);
            }
        }
    }
    thread_local! {
        static EARLY: RefCell<Option<Last>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let dir = TestDir::new("locals");
    let registry = registry(&dir);
    let known = Counter::builder("known", "K.").register(&registry).unwrap();
    let unknown = Counter::builder("unknown", "U.").register(&registry).unwrap();
    let run = move || {
        // The first is dropped after the library's own thread-local value, the second before it.
        EARLY.set(Some(Last(known, unknown)));
        known.inc();
        LATE.set(Some(Last(known, unknown)));
    };
    for _ in 0..THREADS / 8 {
        at_once(8, |_| thread::spawn(run).join().unwrap());
    }
    let found = values(dir.path());
    assert_eq!(found["known_total"], (THREADS * 21) as f64);
    assert_eq!(found["unknown_total"], (THREADS * 10) as f64);
    assert!(entries(dir.path(), MetricType::Counter) <= 2 * MAX_ENTRIES);
}

#[test]
fn concurrent_registrations_and_new_series_are_all_exported() {
    const THREADS: usize = 8;
    const TURNS: usize = 60;
    let dir = TestDir::new("makers");
    let registry = registry(&dir);
    let sets = Counter::builder("sets", "By set.").labels(["set"]).register(&registry).unwrap();
    let sizes = Histogram::builder("sizes", "By set.").buckets([1.0]).labels(["set"]);
    let sizes = sizes.register(&registry).unwrap();
    at_once(THREADS, |thread| {
        for turn in 0..TURNS {
            // A family that all threads register, and one that only this thread registers.
            let common = Counter::builder(format!("common_{turn}"), "C.");
            common.get_or_register(&registry).unwrap().inc();
            let own = Counter::builder(format!("own_{thread}_{turn}"), "O.");
            own.register(&registry).unwrap().inc();
            sets.with([&format!("{turn}-{:x<1000}", "")]).inc();
            sizes.with([&format!("{thread}-{turn}-{:x<1000}", "")]).observe(1.0);
            // Only one thread can register this name.
            let taken = Counter::builder(format!("taken_{turn}"), "T.").register(&registry);
            let _ = taken.map(|counter| counter.inc());
        }
    });
    let found = values(dir.path());
    let mut names = HashSet::new();
    for turn in 0..TURNS {
        let mut check = |name: String, expected: f64| {
            assert_eq!(found.get(&name), Some(&expected), "{name}");
            names.insert(name);
        };
        check(format!("common_{turn}_total"), THREADS as f64);
        check(format!("taken_{turn}_total"), 1.0);
        check(format!("sets_total {turn}-{:x<1000}", ""), THREADS as f64);
        for thread in 0..THREADS {
            check(format!("own_{thread}_{turn}_total"), 1.0);
            check(format!("sizes_count {thread}-{turn}-{:x<1000}", ""), 1.0);
        }
    }
    let found = found.keys().filter(|name| name.contains("_total") || name.contains("_count"));
    assert_eq!(found.count(), names.len());
    // The registry renders the same series.
    let text = registry.render(None).to_string();
    assert_eq!(text.lines().filter(|line| line.starts_with("own_")).count(), THREADS * TURNS);
}
