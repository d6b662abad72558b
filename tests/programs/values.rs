//! Records values that are ignored or mirrored, in a parent and a forked child, and prints what each of them exports.
//!
//! usage: `test-values SCENARIO`. The environment decides whether the metrics are in memory or in a directory.

#[path = "../support/fork.rs"]
mod fork;

use multiprom::{Counter, Histogram, Static, Summary};

use fork::{in_child, wait};

static JOBS: Static<Counter> = Counter::declare("jobs_total", "Jobs.");
static SIZES: Static<Histogram> = Histogram::declare("sizes", "Sizes.").buckets(&[1.0]);
static WAITS: Static<Summary> = Summary::declare("waits", "Waits.");

/// Prints what the page of this process has of the counter and of ignored values.
fn print_page(who: &str) {
    let page = multiprom::render(None).to_string();
    for line in page.lines() {
        if line.starts_with("jobs_total") || line.starts_with("multiprom_ignored_values_total") {
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

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("ignored") => ignored(),
        Some("mirrored") => mirrored(),
        other => panic!("unknown scenario {other:?}"),
    }
}
