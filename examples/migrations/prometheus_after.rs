//! The program of `prometheus_before.rs` with multiprom.
//!
//! With `PROMETHEUS_MULTIPROC_DIR` it may run as many processes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use multiprom::{
    Collector, Counter, Family, FamilySink, Gauge, GaugeMode, Histogram, ProcessCollector, Static,
    default_registry,
};

static REQUESTS: Static<Family<Counter, 2>> =
    Counter::declare("requests_total", "Requests.").labels(["method", "code"]);
static LATENCY: Static<Histogram> =
    Histogram::declare("latency_seconds", "Latency.").buckets(&[0.1, 1.0]);
static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);

/// Reads the lengths of queues at each scrape.
struct QueueCollector {
    queues: Arc<Mutex<HashMap<&'static str, Vec<u32>>>>,
}

impl Collector for QueueCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        let mut length = out.gauge("queue_length", "Waiting jobs.");
        for (queue, jobs) in &*self.queues.lock().unwrap() {
            length.sample(&[("queue", queue)], jobs.len() as f64);
        }
    }
}

pub fn main() -> multiprom::Result<()> {
    let queues = Arc::new(Mutex::new(HashMap::from([("mail", vec![1, 2]), ("print", vec![])])));
    default_registry().register(QueueCollector { queues: Arc::clone(&queues) })?;
    default_registry().register(ProcessCollector::current())?;
    for (method, code, seconds) in [("GET", 200, 0.05), ("GET", 404, 0.5), ("POST", 200, 2.0)] {
        let _busy = BUSY.track_inprogress();
        LATENCY.observe(seconds);
        REQUESTS.with((method, code)).inc();
    }
    queues.lock().unwrap().get_mut("mail").unwrap().push(3);
    print!("{}", multiprom::render(None));
    Ok(())
}
