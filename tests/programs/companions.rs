//! Writes units, exemplars and native histograms to companion files until it is killed, and counts its operations in a
//! second file.
//!
//! usage: `test-companions DIR TRUTH`. TRUTH is a file of three words, which `tests/companions.rs` describes. Each is
//! incremented after an operation: so the content of DIR is never behind, and at most one operation ahead.
//!
//! usage: `test-companions DIR fork`. Sets a gauge with a unit, also in a forked child, and exits.

use std::path::Path;
use std::time::{Duration, Instant};

use multiprom::unstable::Companion;
use multiprom::{Backend, Gauge, GaugeMode, Registry, Unit};

use super::{fork, truth};

const UNITS: usize = 0;
const EXEMPLARS: usize = 1;
const OBSERVATIONS: usize = 2;

/// So many families that their companion file grows.
const FAMILIES: usize = 300;
const SLOTS: usize = 3;
const LABELS_LEN: usize = 128;
const BUCKETS: usize = 16;
/// After so many observations the resolution of the native histogram is halved, at first and later.
const HALVING: [u64; 2] = [50, 20_000];
/// A worker that is not killed exits after this time.
const LIFE: Duration = Duration::from_secs(300);

pub fn main() -> multiprom::Result<()> {
    let start = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, truth] = arguments.as_slice() else { panic!("usage: test-companions DIR TRUTH") };
    if truth == "fork" {
        return record_in_child(dir);
    }
    let truth = truth::open(truth);
    // A thread that panics aborts the process, which the test distinguishes from a kill.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));

    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let mut slots = Companion::create(Path::new(dir))?;
    let slots: Vec<_> =
        (0..SLOTS).map(|_| slots.exemplar("e", LABELS_LEN)).collect::<Result<_, _>>()?;
    let is_over = || start.elapsed() > LIFE;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..FAMILIES {
                let gauge = Gauge::builder(format!("f{number}_bytes"), "x".repeat(100));
                let gauge = gauge.unit(Unit::Bytes).mode(GaugeMode::Max).register(&registry);
                gauge.expect("a new family").set(1.0);
                truth.add(UNITS);
            }
        });
        for first in [0_u32, 1] {
            let (slots, truth) = (&slots, &truth);
            scope.spawn(move || {
                for number in (first..).step_by(2) {
                    let labels = format!("{number} ").repeat(1 + number as usize % 10);
                    let value = f64::from(number);
                    if slots[number as usize % SLOTS].write(value, 2.0 * value, &labels) {
                        truth.add(EXEMPLARS);
                    }
                    if number % 1024 == first && is_over() {
                        break;
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut companion = Companion::create(Path::new(dir)).expect("a companion");
            let mut native = companion.native("n", 8, BUCKETS).expect("a native histogram");
            for number in 1.. {
                let [first, later] = HALVING;
                if number % if number < later { first } else { later } == 0 {
                    let former = native.current();
                    companion.halve(&mut native).expect("a new record");
                    assert!(native.current() > former);
                } else {
                    native.observe(number as usize % BUCKETS);
                }
                truth.add(OBSERVATIONS);
                if number % 1024 == 0 && is_over() {
                    break;
                }
            }
        });
    });
    Ok(())
}

fn record_in_child(dir: &str) -> multiprom::Result<()> {
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let gauge = Gauge::builder("age", "Age.").unit(Unit::Seconds).register(&registry)?;
    gauge.set(1.0);
    let child = fork::in_child(|| gauge.set(2.0));
    fork::wait(child);
    Ok(())
}
