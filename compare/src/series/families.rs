//! Families with one label in multiprom and in other libraries.

use std::io;
use std::sync::Arc;

use fastmetrics::metrics::counter::Counter as FastCounter;
use fastmetrics::metrics::family::Family as FastFamily;
use fastmetrics::metrics::histogram::Histogram as FastHistogram;
use multiprom::{Backend, Counter, Histogram, Registry, buckets};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter as ClientCounter;
use prometheus_client::metrics::family::Family as ClientFamily;
use prometheus_client::metrics::histogram::Histogram as ClientHistogram;

use crate::workload::TestDir;

const LABEL: &str = "tenant";

/// A library, and for multiprom where it records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Mapped,
    InMemory,
    Prometheus,
    PrometheusClient,
    Fastmetrics,
}

impl Library {
    pub const ALL: [Library; 5] = [
        Library::Mapped,
        Library::InMemory,
        Library::Prometheus,
        Library::PrometheusClient,
        Library::Fastmetrics,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Library::Mapped => "multiprom, mapped",
            Library::InMemory => "multiprom, in memory",
            Library::Prometheus => "prometheus",
            Library::PrometheusClient => "prometheus-client",
            Library::Fastmetrics => "fastmetrics",
        }
    }
}

/// The type of the metrics of a family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Counts in `f64`, except in `prometheus-client` and `fastmetrics`, whose default is `u64`.
    Counter,
    /// With 14 bounds.
    Histogram,
}

/// An owned label set, which `prometheus-client` and `fastmetrics` take.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct LabelSet {
    tenant: String,
}

pub fn label_sets(count: usize) -> Arc<[LabelSet]> {
    (0..count).map(|at| LabelSet { tenant: format!("tenant-{at}") }).collect()
}

/// A family without series.
pub struct Family {
    record: Box<dyn Fn(usize) + Send + Sync>,
    _registry: Option<Registry>,
    /// Removed last.
    _dir: Option<TestDir>,
}

impl Family {
    pub fn new(library: Library, metric: Metric, labels: &Arc<[LabelSet]>) -> io::Result<Family> {
        let labels = Arc::clone(labels);
        let dir = (library == Library::Mapped).then(|| TestDir::in_memory("compare-series"));
        let backend = match &dir {
            Some(dir) => Backend::directory(dir.path()).map_err(io::Error::other)?,
            None => Backend::in_memory(),
        };
        let mut registry = None;
        let record = match library {
            Library::Mapped | Library::InMemory => {
                let own = Registry::builder().backend(backend).build().map_err(io::Error::other)?;
                let record = of_multiprom(&own, metric, labels).map_err(io::Error::other)?;
                registry = Some(own);
                record
            }
            Library::Prometheus => of_prometheus(metric, labels).map_err(io::Error::other)?,
            Library::PrometheusClient => of_client(metric, labels),
            Library::Fastmetrics => of_fastmetrics(metric, labels),
        };
        Ok(Family { record, _registry: registry, _dir: dir })
    }

    /// Records in the series with the label set of this index; the first time, this creates the series.
    pub fn record(&self, at: usize) {
        (self.record)(at);
    }
}

type Record = Box<dyn Fn(usize) + Send + Sync>;

fn of_multiprom(
    registry: &Registry,
    metric: Metric,
    labels: Arc<[LabelSet]>,
) -> multiprom::Result<Record> {
    Ok(match metric {
        Metric::Counter => {
            let family = Counter::builder("requests_total", "Requests.").labels([LABEL]);
            let family = family.register(registry)?;
            Box::new(move |at| family.with([&labels[at].tenant]).inc())
        }
        Metric::Histogram => {
            let family = Histogram::builder("latency_seconds", "14 bounds.");
            let family = family.buckets(buckets::DEFAULT).labels([LABEL]).register(registry)?;
            Box::new(move |at| family.with([&labels[at].tenant]).observe(0.3))
        }
    })
}

fn of_prometheus(metric: Metric, labels: Arc<[LabelSet]>) -> prometheus::Result<Record> {
    Ok(match metric {
        Metric::Counter => {
            let options = prometheus::Opts::new("requests_total", "Requests.");
            let family = prometheus::CounterVec::new(options, &[LABEL])?;
            Box::new(move |at| family.with_label_values(&[&labels[at].tenant]).inc())
        }
        Metric::Histogram => {
            let options = prometheus::HistogramOpts::new("latency_seconds", "14 bounds.");
            let options = options.buckets(buckets::DEFAULT.to_vec());
            let family = prometheus::HistogramVec::new(options, &[LABEL])?;
            Box::new(move |at| family.with_label_values(&[&labels[at].tenant]).observe(0.3))
        }
    })
}

fn of_client(metric: Metric, labels: Arc<[LabelSet]>) -> Record {
    match metric {
        Metric::Counter => {
            let family = ClientFamily::<LabelSet, ClientCounter>::default();
            Box::new(move |at| {
                family.get_or_create(&labels[at]).inc();
            })
        }
        Metric::Histogram => {
            let new: fn() -> ClientHistogram = || ClientHistogram::new(buckets::DEFAULT);
            let family = ClientFamily::<LabelSet, ClientHistogram>::new_with_constructor(new);
            Box::new(move |at| family.get_or_create(&labels[at]).observe(0.3))
        }
    }
}

fn of_fastmetrics(metric: Metric, labels: Arc<[LabelSet]>) -> Record {
    match metric {
        Metric::Counter => {
            let family = FastFamily::<LabelSet, FastCounter>::default();
            Box::new(move |at| family.with_or_new(&labels[at], FastCounter::inc))
        }
        Metric::Histogram => {
            let new = || FastHistogram::new(buckets::DEFAULT.to_vec());
            let family = FastFamily::<LabelSet, FastHistogram>::new(new);
            Box::new(move |at| family.with_or_new(&labels[at], |series| series.observe(0.3)))
        }
    }
}
