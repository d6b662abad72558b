//! Counters that are looked up by three labels.

use std::hint::black_box;

use fastmetrics::metrics::counter::Counter as FastCounter;
use fastmetrics::metrics::family::Family as FastFamily;
use metrics_util::registry::{AtomicStorage, Registry as FacadeRegistry};
use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::{Counter, Family, LabelSet};
use prometheus::core::GenericCounterVec;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family as ClientFamily;

use super::{ClientFloatCounter, Registries, Row};
use crate::rounds::Contestant;
use crate::workload;

const LABELLED: usize = 100;
const LABELS: [&str; 3] = ["method", "route", "code"];

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

pub fn labelled(registries: &Registries) -> Row {
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

pub fn shared_labelled(registries: &Registries) -> Row {
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
