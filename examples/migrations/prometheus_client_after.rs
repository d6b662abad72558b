//! The program of `prometheus_client_before.rs` with multiprom.
//!
//! With `PROMETHEUS_MULTIPROC_DIR` it may run as many processes.

use multiprom::labels::LabelValue;
use multiprom::{Counter, Family, Gauge, GaugeMode, Histogram, Info, Registry, Unit};

enum Method {
    Get,
    Post,
}

impl LabelValue for Method {
    type Buffer = ();

    fn text<'a>(&'a self, (): &'a mut ()) -> &'a str {
        match self {
            Method::Get => "Get",
            Method::Post => "Post",
        }
    }
}

struct Metrics {
    requests: Family<Counter, 2>,
    latency: Family<Histogram, 2>,
    memory: Gauge,
}

impl Metrics {
    fn new(registry: &Registry) -> multiprom::Result<Metrics> {
        let labels = ["method", "path"];
        let build = Info::builder("build", "Build.").register(registry)?;
        build.set(&[("version", "1.2"), ("commit", "a1")]);
        Ok(Metrics {
            requests: Counter::builder("requests", "Requests.")
                .labels(labels)
                .register(registry)?,
            latency: Histogram::builder("latency", "Latency.")
                .unit(Unit::Seconds)
                .buckets([0.1, 1.0])
                .labels(labels)
                .register(registry)?,
            memory: Gauge::builder("memory", "Memory.")
                .unit(Unit::Bytes)
                .mode(GaugeMode::LiveSum)
                .register(registry)?,
        })
    }

    fn count(&self, method: Method, path: &str, seconds: f64) {
        let labels = (method, path);
        self.requests.with(&labels).inc();
        self.latency.with(&labels).observe(seconds);
    }
}

pub fn main() -> multiprom::Result<()> {
    let registry = Registry::builder().prefix("shop").build()?;
    let metrics = Metrics::new(&registry)?;
    metrics.count(Method::Get, "/", 0.05);
    metrics.count(Method::Get, "/", 0.5);
    metrics.count(Method::Post, "/cart", 2.0);
    metrics.memory.set(4096.0);
    print!("{}", registry.render(Some("application/openmetrics-text; version=1.0.0")));
    Ok(())
}
