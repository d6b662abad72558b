//! The example of the README: run it twice with `PROMETHEUS_MULTIPROC_DIR` set to one directory.

use multiprom::{
    Counter, Family, Gauge, GaugeMode, Histogram, MultiProcessCollector, Registry, Static, buckets,
};

static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
static LATENCY: Static<Family<Histogram>> = Histogram::declare("latency_seconds", "Latency.")
    .buckets(&buckets::GO_DEFAULT)
    .labels(["route"]);

fn main() -> multiprom::Result<()> {
    let _busy = BUSY.track_inprogress();
    let _timer = LATENCY.with(["/"]).start_timer();
    HITS.inc();
    let merged = Registry::new();
    merged.register(MultiProcessCollector::from_env()?)?; // what all processes recorded
    print!("{}", merged.render(None));
    Ok(())
}
