//! Histograms.

use std::hint::black_box;

use fastmetrics::metrics::histogram::Histogram as FastHistogram;
use multiprom::{Histogram, buckets};
use prometheus_client::metrics::histogram::Histogram as ClientHistogram;

use super::{Registries, Row};
use crate::rounds::Contestant;
use crate::workload;

/// Histograms with 14 bounds, and a copy of the observed values for each.
struct Histograms {
    mapped: Histogram,
    heap: Histogram,
    prometheus: prometheus::Histogram,
    client: ClientHistogram,
    fast: FastHistogram,
    values: [Vec<f64>; 5],
}

impl Histograms {
    fn new(registries: &Registries, name: &str) -> Histograms {
        let own_histogram = |registry| {
            let builder = Histogram::builder(name, "14 bounds.").buckets(buckets::DEFAULT);
            builder.register(registry).expect("the name is free")
        };
        let options = prometheus::HistogramOpts::new("histogram", "14 bounds.");
        let options = options.buckets(buckets::DEFAULT.to_vec());
        let values = workload::observations();
        Histograms {
            mapped: own_histogram(&registries.mapped),
            heap: own_histogram(&registries.heap),
            prometheus: prometheus::Histogram::with_opts(options).expect("the options are valid"),
            client: ClientHistogram::new(buckets::DEFAULT),
            fast: FastHistogram::new(buckets::DEFAULT.to_vec()),
            values: std::array::from_fn(|_| values.clone()),
        }
    }
}

pub fn histogram(registries: &Registries) -> Row {
    let Histograms { mapped, heap, prometheus, client, fast, values } =
        Histograms::new(registries, "histogram_alone");
    let [for_mapped, for_heap, for_prometheus, for_client, for_fast] = values;
    let batch = for_mapped.len();
    Row {
        operation: "histogram, 14 bounds",
        own: vec![
            Contestant::new("mapped", batch, move || {
                for_mapped.iter().for_each(|value| black_box(&mapped).observe(black_box(*value)));
            }),
            Contestant::new("heap", batch, move || {
                for_heap.iter().for_each(|value| black_box(&heap).observe(black_box(*value)));
            }),
        ],
        peers: vec![
            Contestant::new("prometheus f64", batch, move || {
                for_prometheus
                    .iter()
                    .for_each(|value| black_box(&prometheus).observe(black_box(*value)));
            }),
            Contestant::new("prometheus-client f64", batch, move || {
                for_client.iter().for_each(|value| black_box(&client).observe(black_box(*value)));
            }),
            Contestant::new("fastmetrics f64", batch, move || {
                for_fast.iter().for_each(|value| black_box(&fast).observe(black_box(*value)));
            }),
        ],
    }
}

pub fn shared_histogram(registries: &Registries) -> Row {
    let Histograms { mapped, heap, prometheus, client, fast, values } =
        Histograms::new(registries, "histogram_shared");
    let [for_mapped, for_heap, for_prometheus, for_client, for_fast] = values;
    let batch = for_mapped.len();
    Row {
        operation: "histogram, two threads",
        own: vec![
            Contestant::on_two_threads("mapped", batch, move || {
                for_mapped.iter().for_each(|value| black_box(&mapped).observe(black_box(*value)));
            }),
            Contestant::on_two_threads("heap", batch, move || {
                for_heap.iter().for_each(|value| black_box(&heap).observe(black_box(*value)));
            }),
        ],
        peers: vec![
            Contestant::on_two_threads("prometheus f64", batch, move || {
                for_prometheus
                    .iter()
                    .for_each(|value| black_box(&prometheus).observe(black_box(*value)));
            }),
            Contestant::on_two_threads("prometheus-client f64", batch, move || {
                for_client.iter().for_each(|value| black_box(&client).observe(black_box(*value)));
            }),
            Contestant::on_two_threads("fastmetrics f64", batch, move || {
                for_fast.iter().for_each(|value| black_box(&fast).observe(black_box(*value)));
            }),
        ],
    }
}
