//! Records a counter, a gauge and a histogram, and prints the merged metrics of all processes that used the directory.
//!
//! ```text
//! mkdir /dev/shm/app
//! PROMETHEUS_MULTIPROC_DIR=/dev/shm/app cargo run --example quickstart
//! ```
//!
//! Run it twice: the second run counts the page hits of both processes. This is the example of the README.

use multiprom::{Counter, Family, Gauge, GaugeMode, Histogram, Static, buckets};

static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
static LATENCY: Static<Family<Histogram>> = Histogram::declare("latency_seconds", "Latency.")
    .buckets(&buckets::GO_DEFAULT)
    .labels(["route"]);

fn main() {
    let _busy = BUSY.track_inprogress();
    let _timer = LATENCY.with(["/"]).start_timer();
    HITS.inc();
    print!("{}", multiprom::render(None)); // of all processes, if the variable is set
}
