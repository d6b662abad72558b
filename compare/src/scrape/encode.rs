//! Text output of many counters in memory, in multiprom and in other clients.
//!
//! `measured` uses its fastest form: an array with an element for each pair of label values.

use std::cell::RefCell;
use std::hint::black_box;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use fastmetrics::encoder::{EncodeLabelSet as EncodeFastLabelSet, LabelSetEncoder};
use fastmetrics::format::text::{self, TextProfile};
use fastmetrics::metrics::counter::Counter as FastCounter;
use fastmetrics::metrics::family::Family as FastFamily;
use fastmetrics::raw::LabelSetSchema;
use fastmetrics::registry::Registry as FastRegistry;
use measured::label::{LabelValue, LabelVisitor};
use measured::metric::MetricFamilyEncoding as _;
use measured::metric::group::Encoding as _;
use measured::metric::name::MetricName;
use measured::text::BufferedTextEncoder;
use measured::{CounterVec, FixedCardinalityLabel, LabelGroup};
use multiprom::exposition::{Exposition, Format};
use multiprom::{Backend, Counter, Registry};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter as ClientCounter;
use prometheus_client::metrics::family::Family as ClientFamily;
use prometheus_client::registry::Registry as ClientRegistry;

use super::{Effort, Measurement};
use crate::rounds::{self, Contestant};

const ROUTES: usize = 100;
const TENANTS: usize = 1_000;
const NAME: &str = "requests_total";
const HELP: &str = "Requests";

pub fn compare(effort: Effort) -> io::Result<Vec<Measurement>> {
    let tenants = effort.pick(TENANTS, TENANTS / 10);
    let lines = ROUTES * tenants;
    let contestants = [
        own(tenants).map_err(io::Error::other)?,
        client(tenants),
        fast(tenants),
        of_measured(tenants),
    ];
    let (rounds, slice) = (effort.pick(15, 3), Duration::from_millis(30));
    let times = rounds::measure(&contestants.each_ref(), rounds::Effort { rounds, slice });
    println!("Repeated text output of {lines} counters with two labels:\n");
    println!("| client | ns per line | / multiprom, median, lowest to highest |");
    println!("|---|---:|---:|");
    let mut rows = Vec::new();
    let [own, peers @ ..] = &times[..] else { unreachable!("each contestant has a time") };
    println!("| {} | {:.1} | |", own.name, own.median() * 1e9);
    for peer in peers {
        let ratio = peer.ratio(own);
        println!("| {} | {:.1} | {ratio} |", peer.name, peer.median() * 1e9);
        let what = format!("text of {lines} counters, {} / multiprom", peer.name);
        rows.push(Measurement::new(what, ratio));
    }
    println!();
    Ok(rows)
}

/// All pairs of route and tenant, with the count of their requests.
fn requests(tenants: usize) -> impl Iterator<Item = (Route, Tenant, u64)> {
    let all = (0..ROUTES).flat_map(move |route| (0..tenants).map(move |tenant| (route, tenant)));
    all.map(|(route, tenant)| (Route(route), Tenant(tenant), (route * tenant + 1) as u64))
}

fn own(tenants: usize) -> multiprom::Result<Contestant> {
    let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    let family = Counter::builder(NAME, HELP).labels(["route", "tenant"]).register(&registry)?;
    for (route, tenant, count) in requests(tenants) {
        family.with([route.text(), tenant.text()]).inc_by(count as f64);
    }
    let encode = move || {
        black_box(Exposition::encode(&registry, Format::Text).body.len());
    };
    Ok(Contestant::new("multiprom", ROUTES * tenants, encode))
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    route: String,
    tenant: String,
}

fn client(tenants: usize) -> Contestant {
    let family = ClientFamily::<Labels, ClientCounter>::default();
    for (route, tenant, count) in requests(tenants) {
        let (route, tenant) = (route.text().to_owned(), tenant.text().to_owned());
        family.get_or_create(&Labels { route, tenant }).inc_by(count);
    }
    let mut registry = ClientRegistry::default();
    registry.register("requests", HELP, family);
    let encode = move || {
        let mut text = String::new();
        let result = prometheus_client::encoding::text::encode(&mut text, &registry);
        result.expect("writing to a string does not fail");
        black_box(text.len());
    };
    Contestant::new("prometheus-client", ROUTES * tenants, encode)
}

impl LabelSetSchema for Labels {
    fn names() -> Option<&'static [&'static str]> {
        Some(&["route", "tenant"])
    }
}

impl EncodeFastLabelSet for Labels {
    fn encode(&self, encoder: &mut dyn LabelSetEncoder) -> fastmetrics::error::Result<()> {
        encoder.encode(&("route", &self.route))?;
        encoder.encode(&("tenant", &self.tenant))
    }
}

fn fast(tenants: usize) -> Contestant {
    let family = FastFamily::<Labels, FastCounter>::default();
    for (route, tenant, count) in requests(tenants) {
        let (route, tenant) = (route.text().to_owned(), tenant.text().to_owned());
        family.with_or_new(&Labels { route, tenant }, |counter| counter.inc_by(count));
    }
    let mut registry = FastRegistry::default();
    registry.register("requests", HELP, family).expect("the name is free");
    let encode = move || {
        let mut text = String::new();
        let result = text::encode(&mut text, &registry, TextProfile::PrometheusV0_0_4);
        result.expect("writing to a string does not fail");
        black_box(text.len());
    };
    Contestant::new("fastmetrics", ROUTES * tenants, encode)
}

fn of_measured(tenants: usize) -> Contestant {
    let counters = CounterVec::dense_with_label_set(LabelPairSet::new());
    for (route, tenant, count) in requests(tenants) {
        counters.inc_by(LabelPair { route, tenant }, count);
    }
    let encoder = RefCell::new(BufferedTextEncoder::new());
    let encode = move || {
        let mut encoder = encoder.borrow_mut();
        let name = MetricName::from_str(NAME);
        let written = encoder.write_help(name, HELP);
        let Ok(()) = written.and_then(|()| counters.collect_family_into(name, &mut *encoder));
        black_box(encoder.finish().len());
    };
    Contestant::new("measured", ROUTES * tenants, encode)
}

#[derive(Clone, Copy, LabelGroup)]
#[label(set = LabelPairSet)]
struct LabelPair {
    route: Route,
    tenant: Tenant,
}

#[derive(Clone, Copy)]
struct Route(usize);

#[derive(Clone, Copy)]
struct Tenant(usize);

impl Route {
    fn text(self) -> &'static str {
        static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
        let all = || (0..ROUTES).map(|at| format!("/api/v1/items/{at}")).collect();
        &TEXTS.get_or_init(all)[self.0]
    }
}

impl Tenant {
    fn text(self) -> &'static str {
        static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
        let all = || (0..TENANTS).map(|at| format!("tenant-{at}")).collect();
        &TEXTS.get_or_init(all)[self.0]
    }
}

impl LabelValue for Route {
    fn visit<V: LabelVisitor>(&self, visitor: V) -> V::Output {
        visitor.write_str(self.text())
    }
}

impl LabelValue for Tenant {
    fn visit<V: LabelVisitor>(&self, visitor: V) -> V::Output {
        visitor.write_str(self.text())
    }
}

impl FixedCardinalityLabel for Route {
    fn cardinality() -> usize {
        ROUTES
    }

    fn encode(&self) -> usize {
        self.0
    }

    fn decode(value: usize) -> Route {
        Route(value)
    }
}

impl FixedCardinalityLabel for Tenant {
    fn cardinality() -> usize {
        TENANTS
    }

    fn encode(&self) -> usize {
        self.0
    }

    fn decode(value: usize) -> Tenant {
        Tenant(value)
    }
}
