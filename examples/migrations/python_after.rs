//! The program of `python_before.py` with multiprom.
//!
//! usage: `PROMETHEUS_MULTIPROC_DIR=DIR python_after`
#![allow(clippy::print_stdout, reason = "a program")]

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

/// A worker is this program with an argument. It could be a forked child as well.
fn start(worker: u32) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(worker.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut output = BufReader::new(child.stdout.take().expect("the output is a pipe"));
    output.read_line(&mut String::new())?;
    Ok(child)
}

fn main() -> io::Result<()> {
    if let Some(worker) = std::env::args().nth(1) {
        work(worker.parse().expect("the number of a worker"));
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
