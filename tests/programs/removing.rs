//! Removes series and brings them back.
//!
//! usage: `test-removing DIR|- fork|loop|kept`. `-` is memory. `fork` does so in a forked child; `loop` does so in two threads until it is
//! killed; `kept` records into handles of removed series.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use multiprom::collector::Labels;
use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

use super::fork::{exit, in_child, limit_time, raw_clone, wait};

/// The label values that `loop` uses.
const LABELS: [&str; 3] = ["a", "b", "c"];

struct Families {
    jobs: Family<Counter>,
    level: Family<Gauge>,
    size: Family<Histogram>,
    time: Family<Summary>,
}

impl Families {
    fn register(registry: &Registry) -> multiprom::Result<Families> {
        let label = ["at"];
        let level = Gauge::builder("level", "Level.").mode(GaugeMode::LiveSum);
        Ok(Families {
            jobs: Counter::builder("jobs", "Jobs.").labels(label).register(registry)?,
            level: level.labels(label).register(registry)?,
            size: Histogram::builder("size", "Size.").labels(label).register(registry)?,
            time: Summary::builder("time", "Time.").labels(label).register(registry)?,
        })
    }

    fn record(&self, at: &str) {
        self.jobs.with([at]).inc();
        self.level.with([at]).set(1.0);
        self.size.with([at]).observe(0.5);
        self.time.with([at]).observe(0.5);
    }

    fn remove(&self, at: &str) {
        self.jobs.remove([at]);
        self.level.remove([at]);
        self.size.remove([at]);
        self.time.remove([at]);
    }
}

/// The parent has removed a series of 5, which the child then records.
fn in_forked_child(registry: &Registry) -> multiprom::Result<()> {
    let jobs = Counter::builder("jobs", "Jobs.").labels(["at"]).register(registry)?;
    let handle = jobs.with(["a"]);
    handle.inc_by(5.0);
    assert!(jobs.remove(["a"]));
    wait(in_child(|| {
        handle.inc();
        assert_eq!(handle.get(), 0.0, "the series is removed in the child too");
        jobs.with(["a"]).inc();
        assert_eq!(handle.get(), 1.0);
    }));
    Ok(())
}

fn until_killed(registry: &Registry) -> multiprom::Result<()> {
    let families = &Families::register(registry)?;
    limit_time(300);
    thread::scope(|scope| {
        for shift in 0..2 {
            scope.spawn(move || {
                for round in shift.. {
                    let at = LABELS[round % LABELS.len()];
                    (0..round % 4).for_each(|_| families.record(at));
                    families.remove(at);
                    if round % 100 == 0 {
                        families.jobs.clear();
                    }
                }
            });
        }
    });
    Ok(())
}

/// The handles of one label set.
#[derive(Clone, Copy)]
struct Kept(Counter, Gauge, Histogram, Summary);

impl Kept {
    fn new(families: &Families, at: &str) -> Kept {
        let Families { jobs, level, size, time } = families;
        Kept(jobs.with([at]), level.with([at]), size.with([at]), time.with([at]))
    }

    fn record(self, value: f64) {
        let Kept(jobs, level, size, time) = self;
        jobs.inc_by(value);
        jobs.inc();
        level.set(value);
        level.add(value);
        size.observe(value);
        time.observe(value);
        drop(level.track_inprogress());
    }

    fn values(self) -> [f64; 4] {
        let Kept(jobs, level, size, time) = self;
        [jobs.get(), level.get(), size.get_sum(), time.get_sum()]
    }
}

/// Asserts that new series have only what is recorded into them, and that those removed have nothing.
fn assert_apart(families: &Families, kept: &[Kept], name: &str) {
    let new: Vec<_> = (0..500).map(|at| Kept::new(families, &format!("{name} {at}"))).collect();
    for handle in kept {
        handle.record(1e6);
    }
    for handle in &new {
        handle.record(1.0);
    }
    for handle in kept {
        handle.record(1e6);
    }
    assert!(new.iter().all(|handle| handle.values() == [2.0, 2.0, 1.0, 1.0]));
    assert!(kept.iter().all(|handle| handle.values() == [0.0; 4]));
}

/// Handles of removed series record, in several threads and in forked children, while the memory of the series is given back.
fn with_kept_handles(registry: &Registry) -> multiprom::Result<()> {
    const THREADS: usize = 2;
    const ROUNDS: usize = 8;
    /// Label sets that each round creates and removes.
    const SETS: usize = 1_000;
    let families = &Families::register(registry)?;
    limit_time(300);
    let (kept, is_over) = (&Mutex::new(Vec::<Kept>::new()), &AtomicBool::new(false));
    let live = Kept::new(families, "live");
    live.record(1.0);
    let shown = || registry.render(None).to_string().matches("{at=").count();
    let only_live = shown();
    // A raw clone needs threads that do not allocate: they have started, and their buffers do not grow.
    let are_started = &Barrier::new(1 + THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut chosen = Vec::with_capacity(ROUNDS * SETS);
                are_started.wait();
                while !is_over.load(Ordering::Relaxed) {
                    chosen.clear();
                    chosen.extend(kept.lock().unwrap().iter().step_by(7).copied());
                    for handle in &chosen {
                        handle.record(1e6);
                    }
                    thread::yield_now();
                }
            });
        }
        are_started.wait();
        for round in 0..ROUNDS {
            let labels = (0..SETS).map(|at| format!("{round} {at}"));
            let new: Vec<_> = labels.map(|at| Kept::new(families, &at)).collect();
            for handle in &new {
                handle.record(1.0);
            }
            kept.lock().unwrap().extend(new);
            let is_removed = |labels: Labels<'_>| labels.get("at") != Some("live");
            families.jobs.remove_where(is_removed);
            families.level.remove_where(is_removed);
            families.size.remove_where(is_removed);
            families.time.remove_where(is_removed);
            assert_eq!(shown(), only_live);
            if round % 4 == 3 {
                // The first recording of this child is into handles of removed series.
                let all = kept.lock().unwrap().clone();
                let pid = raw_clone();
                if pid == 0 {
                    limit_time(60);
                    for handle in &all {
                        handle.record(1e6);
                    }
                    exit();
                }
                wait(pid);
                wait(in_child(|| {
                    limit_time(60);
                    assert_apart(families, &all, "child");
                    assert_eq!(live.values(), [2.0, 2.0, 1.0, 1.0]);
                }));
            }
        }
        let all = kept.lock().unwrap().clone();
        assert_apart(families, &all, "parent");
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(live.values(), [2.0, 2.0, 1.0, 1.0]);
    Ok(())
}

pub fn main() -> multiprom::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (dir, scenario) = (arguments.next().unwrap(), arguments.next().unwrap());
    let backend = if dir == "-" { Backend::in_memory() } else { Backend::directory(&dir)? };
    let registry = Registry::builder().backend(backend).build()?;
    match scenario.as_str() {
        "fork" => in_forked_child(&registry),
        "kept" => with_kept_handles(&registry),
        _ => until_killed(&registry),
    }
}
