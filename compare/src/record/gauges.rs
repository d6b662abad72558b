//! Gauges.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use fastmetrics::metrics::gauge::Gauge as FastGauge;
use multiprom::{Gauge, GaugeMode};
use prometheus_client::metrics::gauge::Gauge as ClientGauge;

use super::{Registries, Row};
use crate::rounds::Contestant;

pub fn gauge(registries: &Registries) -> Row {
    let own_gauge = |registry, mode| -> Gauge {
        let builder = Gauge::builder(format!("gauge_{mode:?}"), "A gauge.").mode(mode);
        builder.register(registry).expect("the name is free")
    };
    let mapped = own_gauge(&registries.mapped, GaugeMode::LiveSum);
    let heap = own_gauge(&registries.heap, GaugeMode::LiveSum);
    let most_recent = own_gauge(&registries.mapped, GaugeMode::MostRecent);
    let float = prometheus::Gauge::new("gauge", "A gauge.").expect("the name is valid");
    let client = ClientGauge::<f64, AtomicU64>::default();
    let fast = FastGauge::<f64>::default();
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
    let own_gauge = |registry| -> Gauge {
        let builder = Gauge::builder("gauge_add", "A gauge.").mode(GaugeMode::LiveSum);
        builder.register(registry).expect("the name is free")
    };
    let mapped = own_gauge(&registries.mapped);
    let heap = own_gauge(&registries.heap);
    let float = prometheus::Gauge::new("gauge", "A gauge.").expect("the name is valid");
    let client = ClientGauge::<f64, AtomicU64>::default();
    let fast = FastGauge::<f64>::default();
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
