//! Removes series and brings them back.
//!
//! usage: `test-removing DIR fork|loop`. `fork` does so in a forked child; `loop` does so in two threads until it is killed.

use std::thread;

use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

use super::fork::{in_child, limit_time, wait};

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

pub fn main() -> multiprom::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (dir, scenario) = (arguments.next().unwrap(), arguments.next().unwrap());
    let registry = Registry::builder().backend(Backend::directory(&dir)?).build()?;
    match scenario.as_str() {
        "fork" => in_forked_child(&registry),
        _ => until_killed(&registry),
    }
}
