//! Records N jobs into DIR, in every type and gauge mode and with units, and exits.
//!
//! usage: test-counting DIR N [hold]
//!
//! With `hold` it prints `ready` after it has recorded, and lives until its standard input ends.
#![allow(clippy::print_stdout, reason = "a program")]

use std::io::Read as _;

use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Summary, Unit};

const MODES: [(GaugeMode, &str); 10] = [
    (GaugeMode::All, "all"),
    (GaugeMode::LiveAll, "liveall"),
    (GaugeMode::Min, "min"),
    (GaugeMode::LiveMin, "livemin"),
    (GaugeMode::Max, "max"),
    (GaugeMode::LiveMax, "livemax"),
    (GaugeMode::Sum, "sum"),
    (GaugeMode::LiveSum, "livesum"),
    (GaugeMode::MostRecent, "mostrecent"),
    (GaugeMode::LiveMostRecent, "livemostrecent"),
];

pub fn main() -> multiprom::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, jobs, rest @ ..] = arguments.as_slice() else { panic!("usage: DIR N [hold]") };
    let jobs: u32 = jobs.parse().expect("N is a number");
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let total = Counter::builder("jobs_total", "Jobs done.").register(&registry)?;
    let parity = Counter::builder("jobs_by_parity_total", "Jobs done, by number.")
        .labels(["parity"])
        .register(&registry)?;
    let size = Histogram::builder("job_size_bytes", "Sizes of jobs.")
        .buckets([10.0, 100.0])
        .unit(Unit::Bytes)
        .register(&registry)?;
    let time = Summary::builder("job_duration_seconds", "Durations.").unit(Unit::Seconds);
    let time = time.register(&registry)?;
    for (mode, name) in MODES {
        let gauge = Gauge::builder(format!("queue_{name}_ratio"), "Merged by its mode.");
        gauge.mode(mode).register(&registry)?.set(f64::from(jobs));
    }
    for job in 0..jobs {
        total.inc();
        parity.with([if job % 2 == 0 { "even" } else { "odd" }]).inc();
        size.observe(f64::from(job));
        time.observe(0.5);
    }
    if rest == ["hold"] {
        println!("ready");
        std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
    }
    Ok(())
}
