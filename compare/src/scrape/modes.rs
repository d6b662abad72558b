//! Scrapes of a directory with all types and the gauge modes of the Python client, of living processes with long keys.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

use super::busy::Living;
use super::directory::timed;
use super::{BATCH, Effort, Measurement, WARM_UP};
use crate::floor::{self, Floor, Reads};
use crate::programs::Programs;
use crate::rounds::{Ratio, Times};
use crate::served::{Served, TEXT};
use crate::workload::TestDir;

/// First argument of this program when it runs as a process of this directory; directory and number follow.
pub const RECORD: &str = "--record-modes";

const PROCESSES: usize = 256;

/// The modes of the Python client, each of which has a file of its own.
fn modes() -> impl Iterator<Item = GaugeMode> {
    let is_of_python = |mode: &GaugeMode| {
        use GaugeMode::{Avg, Count, LiveAvg, LiveCount};
        !matches!(mode, Avg | LiveAvg | Count | LiveCount)
    };
    GaugeMode::ALL.iter().copied().filter(is_of_python)
}

/// Entries per file. The modes all and liveall, of which each process has samples of its own in the text, have
/// `SHOWN` instead.
const ENTRIES: usize = 324;
const SHOWN: usize = 8;
/// Label sets per file that no other process has.
const OWN: usize = 2;

/// Samples of a histogram with default buckets, and of a summary, in a series file.
const HISTOGRAM_SAMPLES: usize = 16;
const SUMMARY_SAMPLES: usize = 2;

/// Label values that bring keys to about 250 bytes.
const REGION: &str = "eu-central-1a.production.example.internal";
const SERVICE: &str = "checkout-service-with-a-long-name.payments.svc.cluster.local";

const LABELS: [&str; 3] = ["region", "service", "route"];

/// Compares cold and repeated scrapes with reading the files, and with loading each value.
pub fn compare(programs: &Programs, effort: Effort) -> io::Result<Vec<Measurement>> {
    let dir = TestDir::in_memory("compare-modes");
    let processes = effort.pick(PROCESSES, 4);
    let living = (0..processes)
        .map(|number| {
            let arguments = [RECORD.into(), dir.path().into(), number.to_string().into()];
            Living::run(arguments)
        })
        .collect::<io::Result<Vec<_>>>()?;
    let files = floor::series_files(dir.path())?;
    let mut bytes = 0;
    for file in &files {
        bytes += file.metadata()?.len();
    }
    let outputs = TestDir::in_memory("compare-modes-outputs");
    let output = outputs.path().join("text");
    let rounds = effort.pick(15, 2);

    let mut reads = Reads::new(dir.path())?;
    let (mut dump, mut read) = (Times::new("dump"), Times::new("read"));
    let mut used = reads.read()?;
    for _ in 0..rounds {
        dump.push(programs.dump(dir.path(), &output)?);
        let mut result = Ok(0);
        read.push(timed(|| result = reads.read())?);
        used = result?;
    }

    let served = Served::start(programs, dir.path())?;
    let mut connection = served.connect()?;
    for _ in 0..WARM_UP {
        connection.get(TEXT)?;
    }
    let page = String::from_utf8_lossy(connection.get(TEXT)?).into_owned();
    let mut floor = Floor::new(dir.path(), &page)?;
    let (mut repeated, mut load) = (Times::new("repeated"), Times::new("load"));
    for _ in 0..rounds {
        repeated.push(served.time_of(&mut connection, BATCH)?);
        load.push(timed(|| (0..BATCH).for_each(|_| floor.touch()))? / BATCH as f64);
    }
    drop(living);

    println!(
        "Scrapes of {processes} living processes with all types and {} gauge modes: {} files, {:.0} MB, of which {:.0} MB are \
         in use; {} values, {} lines:\n",
        modes().count(),
        files.len(),
        bytes as f64 / 1e6,
        used as f64 / 1e6,
        floor.values(),
        page.lines().count()
    );
    println!(
        "| scrape | ms | lower bound | ms | scrape / lower bound, median, lowest to highest |"
    );
    println!("|---|---:|---|---:|---|");
    let rows = [
        ("cold `dump`", &dump, "read each file", &read),
        ("repeated", &repeated, "load each value", &load),
    ];
    let mut summary = Vec::new();
    for (what, times, bound, least) in rows {
        let ratio: Ratio = times.ratio(least);
        let ms = |times: &Times| times.median() * 1e3;
        println!("| {what} | {:.2} | {bound} | {:.2} | {ratio} |", ms(times), ms(least));
        summary.push(Measurement::new(format!("{what}, all types and modes / {bound}"), ratio));
    }
    println!();
    Ok(summary)
}

/// Runs this program as a process of the directory: records, and waits until standard input ends.
pub fn record(dir: &str, number: &str) -> Result<(), Box<dyn std::error::Error>> {
    let registry = record_all(Path::new(dir), number)?;
    let mut stdout = io::stdout();
    stdout.write_all(b".")?;
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(registry);
    Ok(())
}

fn record_all(dir: &Path, number: &str) -> Result<Registry, Box<dyn std::error::Error>> {
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let seed: f64 = number.parse()?;
    let jobs = Counter::builder("jobs_processed_total", "Jobs that were processed, by route.");
    let jobs: Family<Counter, 3> = jobs.labels(LABELS).register(&registry)?;
    for (at, route) in routes(ENTRIES, number).enumerate() {
        jobs.with([REGION, SERVICE, &route]).inc_by(seed + at as f64);
    }
    let latency = Histogram::builder("job_latency_seconds", "Latency of jobs, by route.");
    let latency: Family<Histogram, 3> = latency.labels(LABELS).register(&registry)?;
    for (at, route) in routes(ENTRIES / HISTOGRAM_SAMPLES, number).enumerate() {
        latency.with([REGION, SERVICE, &route]).observe((seed + at as f64) * 0.01);
    }
    let size = Summary::builder("job_size_bytes", "Size of jobs, by route.");
    let size: Family<Summary, 3> = size.labels(LABELS).register(&registry)?;
    for (at, route) in routes(ENTRIES / SUMMARY_SAMPLES, number).enumerate() {
        size.with([REGION, SERVICE, &route]).observe(seed + at as f64 * 0.1);
    }
    for mode in modes() {
        let name = format!("jobs_waiting_{mode}");
        let gauge = Gauge::builder(&name, "Jobs that wait, by route.").mode(mode);
        let gauge: Family<Gauge, 3> = gauge.labels(LABELS).register(&registry)?;
        let entries = if mode.is_per_process() { SHOWN } else { ENTRIES };
        for (at, route) in routes(entries, number).enumerate() {
            gauge.with([REGION, SERVICE, &route]).set(seed * 0.25 + at as f64);
        }
    }
    Ok(registry)
}

/// The values of the label `route`: those that all processes have, then those of this process.
fn routes(count: usize, process: &str) -> impl Iterator<Item = String> {
    (0..count).map(move |at| {
        if at + OWN < count {
            format!("/api/v1/customers/orders/items/{at}")
        } else {
            format!("/api/v1/customers/process-{process}/{at}")
        }
    })
}
