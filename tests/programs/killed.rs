//! A worker that records until it is killed, and counts its operations in a second file.
//!
//! usage: `test-killed DIR TRUTH`. TRUTH is a file of [`THREADS`] rows of [`ROW`] words. Each thread increments the word
//! of a series in its row after each operation on the series. So the values in DIR are never less than those in TRUTH,
//! and at most one operation per thread ahead of them.

use std::time::{Duration, Instant};

use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Summary};

use super::truth;

const THREADS: usize = 3;
/// Words of a row; `tests/kill.rs` defines their order.
const ROW: usize = 8;
/// Number of label sets, the same ones in all threads.
const SETS: usize = 16;
/// A worker that is not killed exits after this time.
const LIFE: Duration = Duration::from_secs(300);

pub fn main() -> multiprom::Result<()> {
    let start = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, truth] = arguments.as_slice() else { panic!("usage: test-killed DIR TRUTH") };
    let truth = truth::open(truth);
    // A thread that panics aborts the process, which the test distinguishes from a kill.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));

    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let ones = Counter::builder("ones", "By one.").register(&registry)?;
    let halves = Counter::builder("halves", "By a half.").register(&registry)?;
    let sizes = Histogram::builder("sizes", "Ones.").buckets([0.5, 2.0]).register(&registry)?;
    let times = Summary::builder("times", "Ones.").register(&registry)?;
    let level = Gauge::builder("level", "Up.").mode(GaugeMode::Sum).register(&registry)?;
    let sets = Counter::builder("sets", "By set.").labels(["set"]).register(&registry)?;
    let set_sizes = Histogram::builder("set_sizes", "By set.").buckets([0.5, 2.0]);
    let set_sizes = set_sizes.labels(["set"]).register(&registry)?;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (truth, sets, set_sizes) = (&truth, &sets, &set_sizes);
            scope.spawn(move || {
                let note = |series| truth.add(thread * ROW + series);
                for round in 0_usize.. {
                    ones.inc();
                    note(0);
                    halves.inc_by(0.5);
                    note(1);
                    sizes.observe(1.0);
                    note(2);
                    times.observe(1.0);
                    note(3);
                    level.inc();
                    note(4);
                    if round < SETS {
                        // So long that the file of histograms grows.
                        let set = format!("{round}-{:x<80}", "");
                        sets.with([&set]).inc();
                        note(5);
                        set_sizes.with([&set]).observe(1.0);
                        note(6);
                    }
                    if round % 1024 == 0 && start.elapsed() > LIFE {
                        break;
                    }
                }
            });
        }
    });
    Ok(())
}
