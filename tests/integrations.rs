//! Registries of other client libraries as collectors.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use multiprom::integrations::{PrometheusClientCollector, PrometheusCollector};
use multiprom::parse::{Families, Parser};
use multiprom::{Collector, MultiProcessCollector, Registry, set_log_hook};
use prometheus::core::Desc;
use prometheus::proto::{self, MetricFamily};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, TextEncoder,
};
use prometheus_client::collector::Collector as ClientCollector;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
use prometheus_client::metrics::{counter, family, gauge, histogram, info};
use prometheus_client::registry::{Registry as ClientRegistry, Unit};

use crate::support::process::Running;
use crate::support::registries::in_memory;
use crate::support::{TestDir, example};

fn registry(collector: impl Collector + 'static) -> Registry {
    let registry = in_memory();
    registry.register(collector).unwrap();
    registry
}

/// A collector of the crate `prometheus` with a summary and timestamps.
struct Custom(Desc);

impl prometheus::core::Collector for Custom {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut summary = proto::Summary::default();
        summary.set_sample_count(4);
        summary.set_sample_sum(2.5);
        let mut quantile = proto::Quantile::default();
        quantile.set_quantile(0.5);
        quantile.set_value(0.25);
        summary.set_quantile(vec![quantile]);
        let mut metric = proto::Metric::default();
        metric.set_summary(summary);
        metric.set_timestamp_ms(1_500);
        let mut family = MetricFamily::default();
        family.set_name("waits_seconds".to_owned());
        family.set_help("Waits.".to_owned());
        family.set_field_type(proto::MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

fn prometheus_registry() -> prometheus::Registry {
    let labels = HashMap::from([("zone".to_owned(), "eu".to_owned())]);
    let registry = prometheus::Registry::new_custom(Some("shop".into()), Some(labels)).unwrap();
    let sent = IntCounter::with_opts(Opts::new("mails_sent", "Mails \"sent\",\nC:\\x.")).unwrap();
    sent.inc_by(3);
    let requests = IntCounterVec::new(Opts::new("requests_total", "Requests."), &["path"]).unwrap();
    requests.with_label_values(&["/\"a\"\n\\"]).inc();
    let load = Gauge::with_opts(Opts::new("load", "Load.")).unwrap();
    load.set(f64::NEG_INFINITY);
    let size = GaugeVec::new(Opts::new("size_bytes", "Size."), &["disk"]).unwrap();
    size.with_label_values(&["a"]).set(0.1);
    size.with_label_values(&["b"]).set(f64::NAN);
    let options = HistogramOpts::new("latency_seconds", "Latency.").buckets(vec![0.5, 1.0]);
    let latency = Histogram::with_opts(options).unwrap();
    latency.observe(0.75);
    latency.observe(7.0);
    let desc = Desc::new("waits_seconds".into(), "Waits.".into(), Vec::new(), HashMap::new());
    registry.register(Box::new(sent)).unwrap();
    registry.register(Box::new(requests)).unwrap();
    registry.register(Box::new(load)).unwrap();
    registry.register(Box::new(size)).unwrap();
    registry.register(Box::new(latency)).unwrap();
    registry.register(Box::new(Custom(desc.unwrap()))).unwrap();
    registry
}

#[test]
fn all_types_of_prometheus_are_shown_with_help_texts_labels_and_timestamps() {
    let theirs = prometheus_registry();
    let page = registry(PrometheusCollector::new(theirs.clone())).render(None).to_string();
    let expected = TextEncoder::new().encode_to_string(&theirs.gather()).unwrap();
    // The samples of a counter end in `_total`, and numbers are formatted in another way.
    let expected = expected.replace("shop_mails_sent", "shop_mails_sent_total");
    let expected = expected.replace("le=\"1\"", "le=\"1.0\"").replace(" -inf\n", " -Inf\n");
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(&page), lines(&expected));
    for line in [
        "# HELP shop_mails_sent_total Mails \"sent\",\\nC:\\\\x.",
        "# TYPE shop_mails_sent_total counter",
        "shop_mails_sent_total{zone=\"eu\"} 3",
        "shop_requests_total{path=\"/\\\"a\\\"\\n\\\\\",zone=\"eu\"} 1",
        "shop_load{zone=\"eu\"} -Inf",
        "shop_size_bytes{disk=\"b\",zone=\"eu\"} NaN",
        "shop_latency_seconds_bucket{zone=\"eu\",le=\"1.0\"} 1",
        "# TYPE shop_waits_seconds summary",
        "shop_waits_seconds{zone=\"eu\",quantile=\"0.5\"} 0.25 1500",
        "shop_waits_seconds_count{zone=\"eu\"} 4 1500",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
}

#[test]
fn the_default_registry_of_prometheus_is_shown_beside_other_metrics() {
    let hits = prometheus::register_int_counter!("default_hits_total", "Hits.").unwrap();
    hits.inc();
    let registry = registry(PrometheusCollector::of_default_registry());
    let own = multiprom::Counter::builder("own_total", "Own.").register(&registry).unwrap();
    own.inc();
    hits.inc();
    assert_eq!(registry.sample_value("default_hits_total", &[]), Some(2.0));
    assert_eq!(registry.sample_value("own_total", &[]), Some(1.0));
}

/// A collector of `prometheus-client` whose values are computed at each scrape.
#[derive(Debug)]
struct Computed;

impl ClientCollector for Computed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(7u64);
        let kind = counter.metric_type();
        let metric = encoder.encode_descriptor("computed", "Computed.", None, kind)?;
        counter.encode(metric)
    }
}

type Labels = Vec<(String, String)>;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn client_registry() -> ClientRegistry {
    let mut registry = ClientRegistry::with_prefix("shop");
    let requests = family::Family::<Labels, counter::Counter>::default();
    requests.get_or_create(&labels(&[("path", "/\"a\"\n\\"), ("code", "200")])).inc();
    registry.register("requests", "Requests", requests);
    let load = gauge::Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    load.set(0.1);
    registry.register_with_unit("load", "Load", Unit::Ratios, load);
    let latency = histogram::Histogram::new([0.5, 1.0]);
    latency.observe(0.75);
    registry.register_with_unit("latency", "Latency", Unit::Seconds, latency);
    let version = info::Info::new(labels(&[("version", "1.2")]));
    registry.register("build", "Build", version);
    let sold = CounterWithExemplar::<Labels>::default();
    let at = UNIX_EPOCH + Duration::from_millis(1_500);
    sold.inc_by(2, Some(labels(&[("trace", "a")])), Some(at));
    registry.register("sold", "Sold", sold);
    let sizes = HistogramWithExemplars::<Labels>::new([10.0].into_iter());
    sizes.observe(3.0, Some(labels(&[("trace", "b")])), None);
    sizes.observe(30.0, Some(labels(&[("trace", "c")])), None);
    registry.register_with_unit("sizes", "Sizes", Unit::Bytes, sizes);
    // Two sub-registries have the same family, with other labels.
    for zone in ["eu", "us"] {
        let registry = registry.sub_registry_with_label(("zone".into(), zone.into()));
        let jobs = gauge::Gauge::<i64>::default();
        jobs.set(-4);
        registry.register("jobs", "Jobs", jobs);
    }
    registry.register_collector(Box::new(Computed));
    registry
}

#[test]
fn all_types_of_prometheus_client_are_shown_with_units_and_exemplars() {
    let theirs = Arc::new(client_registry());
    let ours = registry(PrometheusClientCollector::new(Arc::clone(&theirs)));
    let shown = Families::of_gatherer(&ours).unwrap();

    let mut text = String::new();
    encode(&mut text, &theirs).unwrap();
    // The other client repeats the family of the sub-registries.
    let repeated = "# HELP shop_jobs Jobs.\n# TYPE shop_jobs gauge\n";
    let (before, after) = text.rsplit_once(repeated).unwrap();
    let (jobs, rest) = after.split_once('\n').unwrap();
    let text = format!("{before}{rest}").replace(repeated, &format!("{repeated}{jobs}\n"));
    let expected = Parser::openmetrics(text.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let sorted = |families: Families| {
        let mut families = families.joined().0;
        for family in &mut families {
            family.samples.sort_by_key(|sample| (sample.labels.clone(), sample.kind.suffix()));
        }
        families.sort_by(|one, other| one.name.cmp(&other.name));
        families
    };
    assert_eq!(sorted(shown), sorted(Families(expected)));

    let page = ours.render(Some("application/openmetrics-text; version=1.0.0")).to_string();
    for line in [
        "# UNIT shop_latency_seconds seconds",
        "# TYPE shop_build info",
        "shop_build_info{version=\"1.2\"} 1",
        "shop_sold_total 2.0 # {trace=\"a\"} 2.0 1.5",
        "shop_sizes_bytes_bucket{le=\"+Inf\"} 2 # {trace=\"c\"} 30",
        "shop_jobs{zone=\"eu\"} -4",
        "shop_jobs{zone=\"us\"} -4",
        "shop_computed_total 7",
    ] {
        assert!(page.lines().any(|other| other.starts_with(line)), "{line}\n{page}");
    }
}

#[test]
fn registries_of_three_processes_are_merged_and_totals_stay_when_a_process_is_killed() {
    let dir = TestDir::in_memory("integrations");
    let start = |jobs: &str| {
        let mut command = example("test-integrations");
        let mut worker = Running::start(command.arg(dir.path()).arg(jobs));
        worker.line_after("ready");
        worker
    };
    let mut workers = [start("1"), start("2"), start("4")];
    let registry = registry(MultiProcessCollector::new(dir.path()).unwrap());
    let value = |name: &str| registry.sample_value(name, &[]);
    let busy = |worker: &Running| {
        registry.sample_value("busy", &[("pid", worker.id().to_string().as_str())])
    };
    let assert_totals = || {
        let totals = ["done_total", "sent_total", "job_seconds_count", "job_seconds_sum"];
        assert_eq!(totals.map(value), [7.0, 7.0, 7.0, 3.5].map(Some));
        assert_eq!(registry.sample_value("job_seconds_bucket", &[("le", "1.0")]), Some(7.0));
        assert_eq!(registry.sample_value("build_info", &[("version", "1.2")]), Some(1.0));
    };
    assert_totals();
    assert_eq!([0, 1, 2].map(|at| busy(&workers[at])), [1.0, 2.0, 4.0].map(Some));
    workers[2].signal("KILL");
    workers[2].wait();
    assert_totals();
    assert_eq!([0, 1, 2].map(|at| busy(&workers[at])), [Some(1.0), Some(2.0), None]);
}

#[test]
fn a_family_that_cannot_be_read_is_left_out_and_reported_once() {
    let mut theirs = ClientRegistry::default();
    let gauge = gauge::Gauge::<i64>::default();
    theirs.register("before", "Two\nlines and \"C:\\temp\"", gauge.clone());
    theirs.register("no name", "Malformed", gauge.clone());
    theirs.register("after", "After", gauge.clone());
    let theirs = Arc::new(Mutex::new(theirs));
    let locked = Arc::clone(&theirs);
    let registry = registry(PrometheusClientCollector::encoded_by(move |text| {
        encode_registry(text, &locked.lock().unwrap())
    }));
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let logged = Arc::clone(&lines);
    set_log_hook(move |line| logged.lock().unwrap().push(line.message.to_owned()));
    for _ in 0..2 {
        assert_eq!(
            registry.render(None).to_string(),
            "# HELP after After.\n# TYPE after gauge\nafter 0\n\
             # HELP before Two\\nlines and \"C:\\\\temp\".\n# TYPE before gauge\nbefore 0\n"
        );
    }
    let lines = lines.lock().unwrap();
    let own: Vec<_> = lines.iter().filter(|line| line.contains("`prometheus-client`")).collect();
    assert!(own.len() == 1 && own[0].contains("`# HELP no name Malformed.`"), "{lines:?}");
    // What is registered later is shown.
    theirs.lock().unwrap().register("later", "Later", gauge);
    assert_eq!(registry.sample_value("later", &[]), Some(0.0));
}
