//! The program of `python_before.py` with multiprom.
//!
//! usage: `PROMETHEUS_MULTIPROC_DIR=DIR cargo run --example migrations python-after`

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use multiprom::{Counter, Family, Gauge, GaugeMode, Histogram, Static, Summary};

static JOBS: Static<Family<Counter>> =
    Counter::declare("jobs_total", "Jobs done.").labels(["queue"]);
static SIZE: Static<Summary> = Summary::declare("job_size_bytes", "Sizes of jobs.");
static LATENCY: Static<Histogram> =
    Histogram::declare("latency_seconds", "Latency.").buckets(&[0.1, 1.0]);
static BUSY: Static<Gauge> = Gauge::declare("busy", "Jobs in progress.").mode(GaugeMode::LiveSum);
static LARGEST: Static<Gauge> =
    Gauge::declare("largest_job_bytes", "The largest job.").mode(GaugeMode::Max);

fn wait() {
    let _timer = LATENCY.start_timer();
}

fn work(worker: u32) {
    BUSY.inc();
    for job in 0..=worker {
        JOBS.with([if job % 2 == 0 { "mail" } else { "print" }]).inc();
        let size = f64::from(100 * job);
        SIZE.observe(size);
        LARGEST.set(size);
        wait();
    }
}

/// A worker is this program with a further argument. It could be a forked child as well.
fn start(worker: u32) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args().skip(1)).arg(worker.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut output = BufReader::new(child.stdout.take().expect("the output is a pipe"));
    output.read_line(&mut String::new())?;
    Ok(child)
}

pub fn main() -> io::Result<()> {
    if let Some(worker) = std::env::args().next_back().and_then(|last| last.parse().ok()) {
        work(worker);
        println!("done");
        io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    let workers = (0..3).map(start).collect::<io::Result<Vec<Child>>>()?;
    print!("{}", multiprom::render(None));
    for mut worker in workers {
        drop(worker.stdin.take());
        worker.wait()?;
    }
    Ok(())
}
