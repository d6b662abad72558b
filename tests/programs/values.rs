//! Records values that are ignored, mirrored or counted, in a parent and forked children, and prints what they export.
//!
//! usage: `test-values SCENARIO`. The environment decides whether the metrics are in memory or in a directory.

use std::io::{Read as _, Write as _, pipe};

use multiprom::collector::BuildInfo;
use multiprom::{
    Counter, Gauge, GaugeMode, Histogram, Static, Summary, default_registry, register_statics,
};

use super::fork::{in_child, kill, limit_time, wait};

static JOBS: Static<Counter> = Counter::declare("jobs_total", "Jobs.");
static SIZES: Static<Histogram> = Histogram::declare("sizes", "Sizes.").buckets(&[1.0]);
static WAITS: Static<Summary> = Summary::declare("waits", "Waits.");

static STARTED: Static<Gauge> = Gauge::declare("started", "Workers.").mode(GaugeMode::Count);
static RUNNING: Static<Gauge> = Gauge::declare("running", "Workers.").mode(GaugeMode::LiveCount);

/// Prints what the page of this process has of the counter and of ignored values.
fn print_page(who: &str) {
    let page = multiprom::render(None).to_string();
    for line in page.lines() {
        let names = [
            "jobs_total",
            "multiprom_ignored_values_total",
            "started ",
            "running ",
            "shop_build_info",
        ];
        if names.iter().any(|name| line.starts_with(name)) {
            println!("{who}: {line}");
        }
    }
}

fn ignored() {
    JOBS.inc();
    for amount in [-1.0, -2.0, f64::NEG_INFINITY, f64::INFINITY, f64::NAN] {
        JOBS.inc_by(amount);
    }
    JOBS.set_at_least(-1.0);
    SIZES.observe(f64::NAN);
    WAITS.observe(f64::NAN);
    print_page("parent");
    wait(in_child(|| {
        JOBS.inc_by(-3.0);
        print_page("child");
    }));
    print_page("end");
}

fn mirrored() {
    JOBS.set_at_least(100.0);
    wait(in_child(|| {
        JOBS.set_at_least(100.0);
        JOBS.set_at_least(105.0);
        JOBS.set_at_least(-0.0);
        JOBS.set_at_least(103.0);
        println!("child has {}", JOBS.get());
    }));
    JOBS.set_at_least(101.0);
    println!("parent has {}", JOBS.get());
    print_page("end");
}

/// Starts a worker that records and then waits to be killed.
fn worker(record: impl FnOnce()) -> libc::pid_t {
    let (mut reader, mut writer) = pipe().expect("a pipe");
    let pid = in_child(|| {
        limit_time(300);
        record();
        writer.write_all(b".").expect("the parent reads");
        loop {
            std::thread::park();
        }
    });
    reader.read_exact(&mut [0]).expect("the worker records");
    pid
}

fn counted() {
    let set = |value| {
        STARTED.set(value);
        RUNNING.set(value);
    };
    let workers = [7.0, -1.0, f64::NAN].map(|value| worker(|| set(value)));
    let idle = worker(|| register_statics(&[&STARTED, &RUNNING]).expect("the names are free"));
    print_page("three set it");
    kill(workers[0]);
    print_page("one is killed");
    let replacement = worker(|| set(0.0));
    print_page("it is replaced");
    for pid in [workers[1], workers[2], idle, replacement] {
        kill(pid);
    }
    print_page("all are killed");
}

fn build() {
    let build = BuildInfo::new("shop").and_then(|build| build.label("version", "1.2"));
    default_registry().register(build.expect("valid names")).expect("no signal handler");
    JOBS.inc();
    print_page("parent");
    for _ in 0..2 {
        wait(in_child(|| {
            JOBS.inc();
            print_page("child");
        }));
    }
}

pub fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("ignored") => ignored(),
        Some("mirrored") => mirrored(),
        Some("counted") => counted(),
        Some("build") => build(),
        other => panic!("unknown scenario {other:?}"),
    }
}
