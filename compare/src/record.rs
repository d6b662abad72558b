//! Recording in multiprom and in other clients.
//!
//! Every contestant accesses its metric through `black_box`, so that none keeps an address or a value in a
//! register between operations. If operations differ in the series or the value, a batch performs all of them
//! in turn, the same for every contestant.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread;

use fastmetrics::metrics::counter::Counter as FastCounter;
use fastmetrics::metrics::family::Family as FastFamily;
use fastmetrics::metrics::gauge::Gauge as FastGauge;
use fastmetrics::metrics::histogram::Histogram as FastHistogram;
use metrics_util::registry::{AtomicStorage, Registry as FacadeRegistry};
use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::{
    Backend, Counter, Family, Gauge, GaugeMode, Histogram, LabelSet, Registry, Static, buckets,
};
use prometheus::core::{Atomic, GenericCounter, GenericCounterVec};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter as ClientCounter;
use prometheus_client::metrics::family::Family as ClientFamily;
use prometheus_client::metrics::gauge::Gauge as ClientGauge;
use prometheus_client::metrics::histogram::Histogram as ClientHistogram;

use crate::rounds::Contestant;
use crate::workload;

/// The contestants of other clients, in the order of the columns. An operation may lack some of them.
pub const PEERS: [&str; 8] = [
    "prometheus f64",
    "prometheus-client f64",
    "fastmetrics f64",
    "prometheus u64",
    "prometheus-client u64",
    "fastmetrics u64",
    "metrics u64",
    "measured u64",
];

type ClientFloatCounter = ClientCounter<f64, AtomicU64>;

/// Number of counters that are incremented in turn.
const IN_TURN: usize = 32;
const LABELLED: usize = 100;
const LABELS: [&str; 3] = ["method", "route", "code"];

static STATIC_COUNTER: Static<Counter> = Counter::declare("static_total", "A static.");

/// One operation: the contestants of multiprom and those of other clients.
pub struct Row {
    pub operation: &'static str,
    pub own: Vec<Contestant>,
    pub peers: Vec<Contestant>,
}

impl Row {
    /// All contestants, those of multiprom first.
    pub fn contestants(&self) -> impl Iterator<Item = &Contestant> {
        self.own.iter().chain(&self.peers)
    }
}

/// The registries that multiprom's contestants record into.
pub struct Registries {
    mapped: Registry,
    heap: Registry,
}

impl Registries {
    /// Also sets the backend of the default registry to `dir`.
    pub fn new(dir: &std::path::Path) -> multiprom::Result<Registries> {
        let mapped = Backend::directory(dir)?;
        multiprom::set_default_backend(mapped)?;
        Ok(Registries {
            mapped: Registry::builder().backend(mapped).build()?,
            heap: Registry::builder().backend(Backend::in_memory()).build()?,
        })
    }
}

/// All operations.
pub fn rows(registries: &Registries) -> Vec<Row> {
    let mut rows = quiet_rows(registries);
    rows.insert(2, second_user(registries));
    rows
}

/// The operations that start no thread before they are measured: the instructions of other threads would be counted too.
pub fn quiet_rows(registries: &Registries) -> Vec<Row> {
    vec![
        held_counter(registries),
        counters_in_turn(registries),
        shared_counter(registries),
        gauge(registries),
        histogram(registries),
        shared_histogram(registries),
        labelled(registries),
        shared_labelled(registries),
    ]
}

fn held_counter(registries: &Registries) -> Row {
    let mapped = own_counter(&registries.mapped, "held_total");
    let heap = own_counter(&registries.heap, "held_total");
    let int = peer_counter::<prometheus::core::AtomicU64>("held_int");
    let float = peer_counter::<prometheus::core::AtomicF64>("held_float");
    let client_int = ClientCounter::<u64>::default();
    let client_float = ClientFloatCounter::default();
    let fast_int = FastCounter::<u64>::default();
    let fast_float = FastCounter::<f64>::default();
    let facade = facade_counter();
    let measured = measured::Counter::default();
    Row {
        operation: "counter, held handle",
        own: vec![
            Contestant::new("mapped", 1, move || black_box(&mapped).inc()),
            Contestant::new("heap", 1, move || black_box(&heap).inc()),
            Contestant::new("mapped static", 1, || black_box(&STATIC_COUNTER).inc()),
        ],
        peers: vec![
            Contestant::new("prometheus f64", 1, move || black_box(&float).inc()),
            Contestant::new("prometheus-client f64", 1, move || {
                black_box(&client_float).inc();
            }),
            Contestant::new("fastmetrics f64", 1, move || black_box(&fast_float).inc()),
            Contestant::new("prometheus u64", 1, move || black_box(&int).inc()),
            Contestant::new("fastmetrics u64", 1, move || black_box(&fast_int).inc()),
            Contestant::new("prometheus-client u64", 1, move || {
                black_box(&client_int).inc();
            }),
            Contestant::new("metrics u64", 1, move || black_box(&facade).increment(1)),
            Contestant::new("measured u64", 1, move || black_box(&measured).inc()),
        ],
    }
}

fn counters_in_turn(registries: &Registries) -> Row {
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

/// A counter that another living thread has used before, and does not use any more.
fn second_user(registries: &Registries) -> Row {
    let mapped = own_counter(&registries.mapped, "second_total");
    let heap = own_counter(&registries.heap, "second_total");
    let int = peer_counter::<prometheus::core::AtomicU64>("second_int");
    let float = peer_counter::<prometheus::core::AtomicF64>("second_float");
    let client_int = ClientCounter::<u64>::default();
    let client_float = ClientFloatCounter::default();
    let fast_int = FastCounter::<u64>::default();
    let fast_float = FastCounter::<f64>::default();
    let facade = facade_counter();
    Row {
        operation: "counter, second thread",
        own: vec![
            second("mapped", mapped, |counter| counter.inc()),
            second("heap", heap, |counter| counter.inc()),
        ],
        peers: vec![
            second("prometheus f64", float, |counter| counter.inc()),
            second("prometheus-client f64", client_float, |counter| {
                counter.inc();
            }),
            second("fastmetrics f64", fast_float, |counter| counter.inc()),
            second("prometheus u64", int, |counter| counter.inc()),
            second("prometheus-client u64", client_int, |counter| {
                counter.inc();
            }),
            second("fastmetrics u64", fast_int, |counter| counter.inc()),
            second("metrics u64", facade, |counter| counter.increment(1)),
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

fn shared_counter(registries: &Registries) -> Row {
    let mapped = own_counter(&registries.mapped, "shared_total");
    let heap = own_counter(&registries.heap, "shared_total");
    let int = peer_counter::<prometheus::core::AtomicU64>("shared_int");
    let float = peer_counter::<prometheus::core::AtomicF64>("shared_float");
    let client_int = ClientCounter::<u64>::default();
    let client_float = ClientFloatCounter::default();
    let fast_int = FastCounter::<u64>::default();
    let fast_float = FastCounter::<f64>::default();
    let facade = facade_counter();
    Row {
        operation: "counter, two threads",
        own: vec![
            Contestant::on_two_threads("mapped", 1, move || black_box(&mapped).inc()),
            Contestant::on_two_threads("heap", 1, move || black_box(&heap).inc()),
        ],
        peers: vec![
            Contestant::on_two_threads("prometheus f64", 1, move || black_box(&float).inc()),
            Contestant::on_two_threads("prometheus-client f64", 1, move || {
                black_box(&client_float).inc();
            }),
            Contestant::on_two_threads("fastmetrics f64", 1, move || black_box(&fast_float).inc()),
            Contestant::on_two_threads("prometheus u64", 1, move || black_box(&int).inc()),
            Contestant::on_two_threads("fastmetrics u64", 1, move || black_box(&fast_int).inc()),
            Contestant::on_two_threads("prometheus-client u64", 1, move || {
                black_box(&client_int).inc();
            }),
            Contestant::on_two_threads("metrics u64", 1, move || black_box(&facade).increment(1)),
        ],
    }
}

fn gauge(registries: &Registries) -> Row {
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

fn histogram(registries: &Registries) -> Row {
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

fn shared_histogram(registries: &Registries) -> Row {
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

/// Labels of a family of `prometheus-client` or `fastmetrics`, which take an owned label set.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    code: String,
}

/// The same labels for multiprom, which borrows them.
#[derive(LabelSet)]
struct Borrowed<'a> {
    method: &'a str,
    route: &'a str,
    code: &'a str,
}

/// Families with three labels, and the label values of 100 series.
struct Families {
    mapped: Family<Counter, 3>,
    heap: Family<Counter, 3>,
    typed: TypedFamily<Counter, Borrowed<'static>>,
    open: OpenFamily<Counter>,
    facade: FacadeRegistry<metrics::Key, AtomicStorage>,
    prometheus: prometheus::CounterVec,
    client: ClientFamily<Request, ClientFloatCounter>,
    fast: FastFamily<Request, FastCounter<f64>>,
    requests: &'static [[String; 3]],
    owned: &'static [Request],
}

impl Families {
    fn new(registries: &Registries, name: &str) -> Families {
        let own_family = |registry| {
            let builder = Counter::builder(name, "Requests.").labels(LABELS);
            builder.register(registry).expect("the name is free")
        };
        let options = prometheus::Opts::new("requests", "Requests.");
        let requests: Vec<[String; 3]> = (0..LABELLED).map(workload::request).collect();
        let owned = requests.iter().cloned();
        let owned: Vec<_> =
            owned.map(|[method, route, code]| Request { method, route, code }).collect();
        let typed = Counter::builder(format!("{name}_typed"), "Requests.");
        let open = Counter::builder(format!("{name}_open"), "Requests.");
        Families {
            mapped: own_family(&registries.mapped),
            heap: own_family(&registries.heap),
            typed: typed
                .label_set::<Borrowed>()
                .register(&registries.mapped)
                .expect("the name is free"),
            open: open.open_labels().register(&registries.mapped).expect("the name is free"),
            facade: FacadeRegistry::new(AtomicStorage),
            prometheus: GenericCounterVec::new(options, &LABELS).expect("the options are valid"),
            client: ClientFamily::default(),
            fast: FastFamily::default(),
            requests: requests.leak(),
            owned: owned.leak(),
        }
    }
}

fn labelled(registries: &Registries) -> Row {
    let Families { mapped, heap, typed, open, facade, prometheus, client, fast, requests, owned } =
        Families::new(registries, "labelled_alone");
    Row {
        operation: "counter, three labels, 100 series",
        own: vec![
            Contestant::new("mapped", LABELLED, move || count(&mapped, requests)),
            Contestant::new("heap", LABELLED, move || count(&heap, requests)),
            Contestant::new("mapped, struct", LABELLED, move || count_typed(&typed, requests)),
            Contestant::new("mapped, open set", LABELLED, move || count_open(&open, requests)),
        ],
        peers: vec![
            Contestant::new("prometheus f64", LABELLED, move || {
                count_in_vec(&prometheus, requests);
            }),
            Contestant::new("prometheus-client f64", LABELLED, move || {
                count_in_family(&client, owned);
            }),
            Contestant::new("fastmetrics f64", LABELLED, move || {
                count_in_fast(&fast, owned);
            }),
            Contestant::new("metrics u64", LABELLED, move || count_in_facade(&facade, requests)),
        ],
    }
}

fn shared_labelled(registries: &Registries) -> Row {
    let Families { mapped, heap, prometheus, client, fast, requests, owned, .. } =
        Families::new(registries, "labelled_shared");
    Row {
        operation: "counter, three labels, two threads",
        own: vec![
            Contestant::on_two_threads("mapped", LABELLED, move || count(&mapped, requests)),
            Contestant::on_two_threads("heap", LABELLED, move || count(&heap, requests)),
        ],
        peers: vec![
            Contestant::on_two_threads("prometheus f64", LABELLED, move || {
                count_in_vec(&prometheus, requests);
            }),
            Contestant::on_two_threads("prometheus-client f64", LABELLED, move || {
                count_in_family(&client, owned);
            }),
            Contestant::on_two_threads("fastmetrics f64", LABELLED, move || {
                count_in_fast(&fast, owned);
            }),
        ],
    }
}

#[inline]
fn count(family: &Family<Counter, 3>, requests: &[[String; 3]]) {
    for request in requests {
        let [method, route, code] = black_box(request);
        black_box(family).with([method, route, code]).inc();
    }
}

#[inline]
fn count_typed(family: &TypedFamily<Counter, Borrowed<'static>>, requests: &[[String; 3]]) {
    for request in requests {
        let [method, route, code] = black_box(request);
        black_box(family).with(&Borrowed { method, route, code }).inc();
    }
}

#[inline]
fn count_open(family: &OpenFamily<Counter>, requests: &[[String; 3]]) {
    for request in requests {
        let [method, route, code] = black_box(request);
        let labels: [(&str, &str); 3] = [("method", method), ("route", route), ("code", code)];
        black_box(family).with(&labels).expect("the names are valid").inc();
    }
}

/// As the macro `counter!` with three labels whose values are static text.
#[inline]
fn count_in_facade(
    registry: &FacadeRegistry<metrics::Key, AtomicStorage>,
    requests: &'static [[String; 3]],
) {
    for request in requests {
        let [method, route, code] = black_box(request);
        let labels = vec![
            metrics::Label::new("method", method.as_str()),
            metrics::Label::new("route", route.as_str()),
            metrics::Label::new("code", code.as_str()),
        ];
        let key = metrics::Key::from_parts("requests", labels);
        black_box(registry).get_or_create_counter(&key, |counter| {
            metrics::CounterFn::increment(counter, 1);
        });
    }
}

#[inline]
fn count_in_vec(family: &prometheus::CounterVec, requests: &[[String; 3]]) {
    for request in requests {
        let [method, route, code] = black_box(request);
        black_box(family).with_label_values(&[method, route, code]).inc();
    }
}

#[inline]
fn count_in_family(family: &ClientFamily<Request, ClientFloatCounter>, requests: &[Request]) {
    for request in requests {
        black_box(family).get_or_create(black_box(request)).inc();
    }
}

#[inline]
fn count_in_fast(family: &FastFamily<Request, FastCounter<f64>>, requests: &[Request]) {
    for request in requests {
        black_box(family).with_or_new(black_box(request), FastCounter::inc);
    }
}

fn own_counter(registry: &Registry, name: &str) -> Counter {
    Counter::builder(name, "A counter.").register(registry).expect("the name is free")
}

fn peer_counter<P: Atomic>(name: &str) -> GenericCounter<P> {
    GenericCounter::new(name, "A counter.").expect("the name is valid")
}

/// A counter of the `metrics` facade with atomic storage.
fn facade_counter() -> metrics::Counter {
    let registry = FacadeRegistry::new(AtomicStorage);
    let key = metrics::Key::from_static_name("held");
    let counter = registry.get_or_create_counter(&key, Arc::clone);
    metrics::Counter::from_arc(counter)
}
