//! Counters of which the handle is held.

use std::hint::black_box;
use std::sync::{Arc, mpsc};
use std::thread;

use fastmetrics::metrics::counter::Counter as FastCounter;
use metrics_util::registry::{AtomicStorage, Registry as FacadeRegistry};
use multiprom::{Counter, Family, Registry, Static};
use prometheus::core::{Atomic, GenericCounter};
use prometheus_client::metrics::counter::Counter as ClientCounter;

use super::{ClientFloatCounter, Registries, Row};
use crate::rounds::Contestant;

/// Number of counters that are incremented in turn.
const IN_TURN: usize = 32;
/// Number of counters of the row that jumps, and how far it jumps: through all of them, and never to a neighbor.
const JUMPED: usize = 1_000;
const STRIDE: usize = 617;

static STATIC_COUNTER: Static<Counter> = Counter::declare("static_total", "A static.");

/// A counter of each client.
struct Counters {
    mapped: Counter,
    heap: Counter,
    int: GenericCounter<prometheus::core::AtomicU64>,
    float: GenericCounter<prometheus::core::AtomicF64>,
    client_int: ClientCounter<u64>,
    client_float: ClientFloatCounter,
    fast_int: FastCounter<u64>,
    fast_float: FastCounter<f64>,
    /// Of the `metrics` facade, with atomic storage.
    facade: metrics::Counter,
}

impl Counters {
    fn new(registries: &Registries, name: &str) -> Counters {
        let own_name = format!("{name}_total");
        Counters {
            mapped: own_counter(&registries.mapped, &own_name),
            heap: own_counter(&registries.heap, &own_name),
            int: peer_counter(&format!("{name}_int")),
            float: peer_counter(&format!("{name}_float")),
            client_int: ClientCounter::default(),
            client_float: ClientFloatCounter::default(),
            fast_int: FastCounter::default(),
            fast_float: FastCounter::default(),
            facade: facade_counters(1).swap_remove(0),
        }
    }
}

pub fn held_counter(registries: &Registries) -> Row {
    let counters = Counters::new(registries, "held");
    let measured = measured::Counter::default();
    Row {
        operation: "counter, held handle",
        own: vec![
            Contestant::new("mapped", 1, move || black_box(&counters.mapped).inc()),
            Contestant::new("heap", 1, move || black_box(&counters.heap).inc()),
            Contestant::new("mapped static", 1, || black_box(&STATIC_COUNTER).inc()),
        ],
        peers: vec![
            Contestant::new("prometheus f64", 1, move || black_box(&counters.float).inc()),
            Contestant::new("prometheus-client f64", 1, move || {
                black_box(&counters.client_float).inc();
            }),
            Contestant::new("fastmetrics f64", 1, move || black_box(&counters.fast_float).inc()),
            Contestant::new("prometheus u64", 1, move || black_box(&counters.int).inc()),
            Contestant::new("fastmetrics u64", 1, move || black_box(&counters.fast_int).inc()),
            Contestant::new("prometheus-client u64", 1, move || {
                black_box(&counters.client_int).inc();
            }),
            Contestant::new("metrics u64", 1, move || black_box(&counters.facade).increment(1)),
            Contestant::new("measured u64", 1, move || black_box(&measured).inc()),
        ],
    }
}

pub fn counters_in_turn(registries: &Registries) -> Row {
    let own_counters = |registry| -> Vec<Counter> {
        (0..IN_TURN).map(|at| own_counter(registry, &format!("turn_{at}_total"))).collect()
    };
    let mapped = own_counters(&registries.mapped);
    let heap = own_counters(&registries.heap);
    let float: Vec<_> =
        (0..IN_TURN).map(|_| peer_counter::<prometheus::core::AtomicF64>("turn")).collect();
    let client: Vec<_> = (0..IN_TURN).map(|_| ClientFloatCounter::default()).collect();
    let fast: Vec<_> = (0..IN_TURN).map(|_| FastCounter::<f64>::default()).collect();
    Row {
        operation: "32 counters in turn",
        own: vec![
            Contestant::new("mapped", IN_TURN, move || {
                black_box(&mapped).iter().for_each(|counter| black_box(counter).inc());
            }),
            Contestant::new("heap", IN_TURN, move || {
                black_box(&heap).iter().for_each(|counter| black_box(counter).inc());
            }),
        ],
        peers: vec![
            Contestant::new("prometheus f64", IN_TURN, move || {
                black_box(&float).iter().for_each(|counter| black_box(counter).inc());
            }),
            Contestant::new("prometheus-client f64", IN_TURN, move || {
                black_box(&client).iter().for_each(|counter| {
                    black_box(counter).inc();
                });
            }),
            Contestant::new("fastmetrics f64", IN_TURN, move || {
                black_box(&fast).iter().for_each(|counter| black_box(counter).inc());
            }),
        ],
    }
}

/// More counters than the first-level cache holds.
pub fn counters_with_stride(registries: &Registries) -> Row {
    let own_counters = |registry| -> Vec<Counter> {
        let builder = Counter::builder("jumped_total", "Counters.").labels(["number"]);
        let family: Family<Counter> = builder.register(registry).expect("the name is free");
        (0..JUMPED).map(|at| family.with([at])).collect()
    };
    let mapped = own_counters(&registries.mapped);
    let heap = own_counters(&registries.heap);
    let int: Vec<_> = many(peer_counter::<prometheus::core::AtomicU64>);
    let float: Vec<_> = many(peer_counter::<prometheus::core::AtomicF64>);
    let client_int: Vec<_> = many(|_| ClientCounter::<u64>::default());
    let client_float: Vec<_> = many(|_| ClientFloatCounter::default());
    let fast_int: Vec<_> = many(|_| FastCounter::<u64>::default());
    let fast_float: Vec<_> = many(|_| FastCounter::<f64>::default());
    let facade: Vec<_> = facade_counters(JUMPED);
    let measured: Vec<_> = many(|_| measured::Counter::default());
    Row {
        operation: "1,000 counters, stride 617",
        own: vec![
            jumping("mapped", mapped, |counter| counter.inc()),
            jumping("heap", heap, |counter| counter.inc()),
        ],
        peers: vec![
            jumping("prometheus f64", float, |counter| counter.inc()),
            jumping("prometheus-client f64", client_float, |counter| {
                counter.inc();
            }),
            jumping("fastmetrics f64", fast_float, |counter| counter.inc()),
            jumping("prometheus u64", int, |counter| counter.inc()),
            jumping("prometheus-client u64", client_int, |counter| {
                counter.inc();
            }),
            jumping("fastmetrics u64", fast_int, |counter| counter.inc()),
            jumping("metrics u64", facade, |counter| counter.increment(1)),
            jumping("measured u64", measured, |counter| counter.inc()),
        ],
    }
}

fn many<C>(create: impl Fn(&str) -> C) -> Vec<C> {
    (0..JUMPED).map(|at| create(&format!("jumped_{at}"))).collect()
}

fn jumping<C: 'static>(
    name: &'static str,
    counters: Vec<C>,
    record: impl Fn(&C) + Copy + 'static,
) -> Contestant {
    Contestant::new(name, JUMPED, move || {
        let counters = black_box(&*counters);
        let mut at = 0;
        for _ in 0..counters.len() {
            record(black_box(&counters[at]));
            at += STRIDE;
            if at >= counters.len() {
                at -= counters.len();
            }
        }
    })
}

/// A counter that another living thread has used before, and does not use any more.
pub fn second_user(registries: &Registries) -> Row {
    let counters = Counters::new(registries, "second");
    Row {
        operation: "counter, second thread",
        own: vec![
            second("mapped", counters.mapped, |counter| counter.inc()),
            second("heap", counters.heap, |counter| counter.inc()),
        ],
        peers: vec![
            second("prometheus f64", counters.float, |counter| counter.inc()),
            second("prometheus-client f64", counters.client_float, |counter| {
                counter.inc();
            }),
            second("fastmetrics f64", counters.fast_float, |counter| counter.inc()),
            second("prometheus u64", counters.int, |counter| counter.inc()),
            second("prometheus-client u64", counters.client_int, |counter| {
                counter.inc();
            }),
            second("fastmetrics u64", counters.fast_int, |counter| counter.inc()),
            second("metrics u64", counters.facade, |counter| counter.increment(1)),
        ],
    }
}

/// Records in the counter from a thread that lives as long as the contestant, before the contestant does.
fn second<C: Clone + Send + 'static>(
    name: &'static str,
    counter: C,
    record: impl Fn(&C) + Copy + Send + 'static,
) -> Contestant {
    let first = counter.clone();
    let (used, wait) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    thread::spawn(move || {
        record(&first);
        used.send(()).expect("the receiver waits");
        // Returns when `stop` is dropped.
        let _ = stopped.recv();
    });
    wait.recv().expect("recording does not panic");
    Contestant::new(name, 1, move || {
        let _stop = &stop;
        record(black_box(&counter));
    })
}

pub fn shared_counter(registries: &Registries) -> Row {
    let counters = Counters::new(registries, "shared");
    Row {
        operation: "counter, two threads",
        own: vec![
            Contestant::on_two_threads("mapped", 1, move || black_box(&counters.mapped).inc()),
            Contestant::on_two_threads("heap", 1, move || black_box(&counters.heap).inc()),
        ],
        peers: vec![
            Contestant::on_two_threads("prometheus f64", 1, move || {
                black_box(&counters.float).inc()
            }),
            Contestant::on_two_threads("prometheus-client f64", 1, move || {
                black_box(&counters.client_float).inc();
            }),
            Contestant::on_two_threads("fastmetrics f64", 1, move || {
                black_box(&counters.fast_float).inc()
            }),
            Contestant::on_two_threads("prometheus u64", 1, move || black_box(&counters.int).inc()),
            Contestant::on_two_threads("fastmetrics u64", 1, move || {
                black_box(&counters.fast_int).inc()
            }),
            Contestant::on_two_threads("prometheus-client u64", 1, move || {
                black_box(&counters.client_int).inc();
            }),
            Contestant::on_two_threads("metrics u64", 1, move || {
                black_box(&counters.facade).increment(1)
            }),
        ],
    }
}

fn own_counter(registry: &Registry, name: &str) -> Counter {
    Counter::builder(name, "A counter.").register(registry).expect("the name is free")
}

fn peer_counter<P: Atomic>(name: &str) -> GenericCounter<P> {
    GenericCounter::new(name, "A counter.").expect("the name is valid")
}

/// Counters of the `metrics` facade, with atomic storage.
fn facade_counters(count: usize) -> Vec<metrics::Counter> {
    let registry = FacadeRegistry::new(AtomicStorage);
    let counter = |at: usize| {
        let key = metrics::Key::from_name(format!("counter_{at}"));
        metrics::Counter::from_arc(registry.get_or_create_counter(&key, Arc::clone))
    };
    (0..count).map(counter).collect()
}
