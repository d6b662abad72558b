//! A minimal pre-fork program: the parent registers and records metrics, then forks four workers. Each worker
//! records through the handles that it inherited.
//!
//! ```text
//! mkdir /dev/shm/app
//! PROMETHEUS_MULTIPROC_DIR=/dev/shm/app cargo run --example prefork
//! multiprom dump --dir /dev/shm/app
//! ```
//!
//! A child starts from zero in its own files, so nothing is counted twice. The last command prints the merged metrics;
//! `multiprom serve --dir /dev/shm/app` serves them to Prometheus.
#![expect(unsafe_code, reason = "fork")]

use std::process::ExitCode;

use multiprom::{Counter, Family, Gauge, GaugeMode, Histogram, Static, buckets};

static JOBS: Static<Counter> = Counter::declare("jobs_total", "Jobs done.");
static BUSY: Static<Gauge> = Gauge::declare("busy", "Jobs in progress.").mode(GaugeMode::LiveSum);
static SECONDS: Static<Family<Histogram>> =
    Histogram::declare("job_seconds", "Time for a job, by kind.")
        .buckets(&buckets::GO_DEFAULT)
        .labels(["kind"]);

const WORKERS: usize = 4;
const JOBS_EACH: usize = 1000;

fn work() {
    let mail = SECONDS.with(["mail"]);
    for _ in 0..JOBS_EACH {
        let _busy = BUSY.track_inprogress();
        mail.start_timer().stop();
        JOBS.inc();
    }
}

fn main() -> ExitCode {
    if let Err(error) = multiprom::register_statics(&[&JOBS, &BUSY, &SECONDS]) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    work();
    for _ in 0..WORKERS {
        // SAFETY: this process has one thread, so the child may call any function.
        let pid = unsafe { libc::fork() };
        match pid {
            0 => {
                work();
                return ExitCode::SUCCESS;
            }
            -1 => return ExitCode::FAILURE,
            _ => {}
        }
    }
    let mut failed = false;
    for _ in 0..WORKERS {
        let mut status = 0;
        // SAFETY: `status` is valid and writable.
        let pid = unsafe { libc::wait(&raw mut status) };
        failed |= pid < 0 || status != 0;
    }
    println!("{} jobs in this process, {} in all", JOBS.get(), (WORKERS + 1) * JOBS_EACH);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
