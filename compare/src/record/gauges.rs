//! Gauges.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use fastmetrics::metrics::gauge::Gauge as FastGauge;
use multiprom::{Gauge, GaugeMode, Registry};
use prometheus_client::metrics::gauge::Gauge as ClientGauge;

use super::{Registries, Row};
use crate::rounds::Contestant;

/// A gauge of each client.
struct Gauges {
    mapped: Gauge,
    heap: Gauge,
    float: prometheus::Gauge,
    client: ClientGauge<f64, AtomicU64>,
    fast: FastGauge<f64>,
}

impl Gauges {
    fn new(registries: &Registries, name: &str) -> Gauges {
        Gauges {
            mapped: own_gauge(&registries.mapped, name, GaugeMode::LiveSum),
            heap: own_gauge(&registries.heap, name, GaugeMode::LiveSum),
            float: prometheus::Gauge::new("gauge", "A gauge.").expect("the name is valid"),
            client: ClientGauge::default(),
            fast: FastGauge::default(),
        }
    }
}

fn own_gauge(registry: &Registry, name: &str, mode: GaugeMode) -> Gauge {
    Gauge::builder(name, "A gauge.").mode(mode).register(registry).expect("the name is free")
}

pub fn gauge(registries: &Registries) -> Row {
    let Gauges { mapped, heap, float, client, fast } = Gauges::new(registries, "gauge_set");
    let most_recent = own_gauge(&registries.mapped, "gauge_recent", GaugeMode::MostRecent);
    Row {
        operation: "gauge, set",
        own: vec![
            Contestant::new("mapped", 1, move || black_box(&mapped).set(black_box(2.5))),
            Contestant::new("heap", 1, move || black_box(&heap).set(black_box(2.5))),
            Contestant::new("mapped, mostrecent", 1, move || {
                black_box(&most_recent).set(black_box(2.5));
            }),
        ],
        peers: vec![
            Contestant::new("prometheus f64", 1, move || black_box(&float).set(black_box(2.5))),
            Contestant::new("prometheus-client f64", 1, move || {
                black_box(&client).set(black_box(2.5));
            }),
            Contestant::new("fastmetrics f64", 1, move || black_box(&fast).set(black_box(2.5))),
        ],
    }
}

pub fn gauge_add(registries: &Registries) -> Row {
    let Gauges { mapped, heap, float, client, fast } = Gauges::new(registries, "gauge_add");
    Row {
        operation: "gauge, add",
        own: vec![
            Contestant::new("mapped", 1, move || black_box(&mapped).add(black_box(2.5))),
            Contestant::new("heap", 1, move || black_box(&heap).add(black_box(2.5))),
        ],
        peers: vec![
            Contestant::new("prometheus f64", 1, move || black_box(&float).add(black_box(2.5))),
            Contestant::new("prometheus-client f64", 1, move || {
                black_box(&client).inc_by(black_box(2.5));
            }),
            Contestant::new("fastmetrics f64", 1, move || black_box(&fast).inc_by(black_box(2.5))),
        ],
    }
}
