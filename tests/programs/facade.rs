//! Records by the macros of the crate `metrics`, with the recorder of multiprom.
//!
//! usage: `test-facade NUMBER`. The environment names the directory. Process 0 describes its metrics before their first
//! use, process 1 after it, the others not at all.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use multiprom::GaugeMode;
use multiprom::facade::Recorder;

fn describe() {
    describe_counter!("requests", "Requests.");
    describe_gauge!("queue.depth", "Jobs waiting.");
    describe_histogram!("wait_seconds", Unit::Seconds, "Time in the queue.");
}

/// Records as a library does that knows nothing of multiprom.
fn record(number: u64) {
    for code in ["200", "500"] {
        counter!("requests", "code" => code, "method" => "GET").increment(number + 1);
    }
    let mut labels = vec![("method", "GET"), ("code", "200")];
    counter!("requests", &labels).increment(1);
    labels.push(("user-id", "7"));
    counter!("requests", &labels).increment(1);
    counter!("absolute").absolute(10);
    counter!("absolute").absolute(5);
    gauge!("queue.depth").set(2.0);
    gauge!("queue.depth").increment(3.0);
    gauge!("queue.depth").decrement(1.0);
    gauge!("highest").set(number as f64);
    histogram!("wait_seconds").record(0.5);
    histogram!("wait_seconds").record_many(2.0, 2);
    // Errors, each of which is logged once.
    gauge!("requests").set(1.0);
    for _ in 0..3 {
        histogram!("wait_seconds", "le" => "1").record(1.0);
    }
}

pub fn main() -> multiprom::Result<()> {
    let number = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    Recorder::builder()
        .gauge_mode("queue.*", GaugeMode::Sum)
        .gauge_mode("*", GaugeMode::Max)
        .buckets("*_seconds", [1.0])
        .install()?;
    assert!(multiprom::facade::install().is_err());
    if number == 0 {
        describe();
    }
    record(number);
    if number == 1 {
        describe();
    }
    Ok(())
}
