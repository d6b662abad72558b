//! A program that uses the crate `prometheus`, with a collector and process metrics. `prometheus_after.rs` is the same
//! program with multiprom.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);
static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("requests_total", "Requests.");
    let vec = IntCounterVec::new(opts, &["method", "code"]).unwrap();
    REGISTRY.register(Box::new(vec.clone())).unwrap();
    vec
});
static LATENCY: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = HistogramOpts::new("latency_seconds", "Latency.").buckets(vec![0.1, 1.0]);
    let histogram = Histogram::with_opts(opts).unwrap();
    REGISTRY.register(Box::new(histogram.clone())).unwrap();
    histogram
});
static BUSY: LazyLock<Gauge> = LazyLock::new(|| {
    let gauge = Gauge::new("busy", "Requests in flight.").unwrap();
    REGISTRY.register(Box::new(gauge.clone())).unwrap();
    gauge
});

/// Reads the lengths of queues at each scrape.
struct QueueCollector {
    queues: Arc<Mutex<HashMap<&'static str, Vec<u32>>>>,
    length: IntGaugeVec,
}

impl QueueCollector {
    fn new(queues: Arc<Mutex<HashMap<&'static str, Vec<u32>>>>) -> QueueCollector {
        let opts = Opts::new("queue_length", "Waiting jobs.");
        QueueCollector { queues, length: IntGaugeVec::new(opts, &["queue"]).unwrap() }
    }
}

impl Collector for QueueCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.length.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (queue, jobs) in &*self.queues.lock().unwrap() {
            self.length.with_label_values(&[queue]).set(jobs.len() as i64);
        }
        self.length.collect()
    }
}

pub fn main() {
    let queues = Arc::new(Mutex::new(HashMap::from([("mail", vec![1, 2]), ("print", vec![])])));
    REGISTRY.register(Box::new(QueueCollector::new(Arc::clone(&queues)))).unwrap();
    REGISTRY.register(Box::new(ProcessCollector::for_self())).unwrap();
    for (method, code, seconds) in [("GET", 200, 0.05), ("GET", 404, 0.5), ("POST", 200, 2.0)] {
        BUSY.inc();
        LATENCY.observe(seconds);
        REQUESTS.with_label_values(&[method, &code.to_string()]).inc();
        BUSY.dec();
    }
    queues.lock().unwrap().get_mut("mail").unwrap().push(3);
    TextEncoder::new().encode(&REGISTRY.gather(), &mut std::io::stdout()).unwrap();
}
