//! A program that uses the crate `prometheus-client`, with an info, units and typed labels. `prometheus_client_after.rs` is
//! the same program with multiprom.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Method {
    Get,
    Post,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: Method,
    path: String,
}

struct Metrics {
    requests: Family<Labels, Counter>,
    latency: Family<Labels, Histogram>,
    memory: Gauge<f64, AtomicU64>,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new([0.1, 1.0])),
            memory: Gauge::default(),
        };
        registry.register("requests", "Requests", metrics.requests.clone());
        registry.register_with_unit("latency", "Latency", Unit::Seconds, metrics.latency.clone());
        registry.register_with_unit("memory", "Memory", Unit::Bytes, metrics.memory.clone());
        registry.register("build", "Build", Info::new(vec![("version", "1.2"), ("commit", "a1")]));
        metrics
    }

    fn count(&self, method: Method, path: &str, seconds: f64) {
        let labels = Labels { method, path: path.to_owned() };
        self.requests.get_or_create(&labels).inc();
        self.latency.get_or_create(&labels).observe(seconds);
    }
}

pub fn main() {
    let mut registry = Registry::with_prefix("shop");
    let metrics = Metrics::new(&mut registry);
    metrics.count(Method::Get, "/", 0.05);
    metrics.count(Method::Get, "/", 0.5);
    metrics.count(Method::Post, "/cart", 2.0);
    metrics.memory.set(4096.0);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    print!("{text}");
}
