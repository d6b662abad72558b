//! A tour of the API: statics, metrics of a registry, label sets, a custom collector, and one page with everything.
//!
//! ```text
//! cargo run --example tour
//! mkdir /dev/shm/app
//! PROMETHEUS_MULTIPROC_DIR=/dev/shm/app cargo run --example tour
//! ```
//!
//! Both print the same samples: the program does not know whether its metrics are in memory or in a directory.

use std::time::Duration;

use multiprom::collector::MergeRule;
use multiprom::labels::LabelValue;
use multiprom::{
    Backend, Collector, Counter, Enum, Exposition, Family, FamilySink, Gauge, GaugeMode, Histogram,
    Info, ProcessCollector, Registry, Static, Unit, buckets, default_registry,
};

// Statics register themselves at their first use. A bad name or unsorted bounds fail the build.
static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
static BUSY: Static<Gauge> = Gauge::declare("busy", "Requests in flight.").mode(GaugeMode::LiveSum);
static LATENCY: Static<Family<Histogram>> =
    Histogram::declare("latency_seconds", "Latency by route.")
        .buckets(&buckets::GO_DEFAULT)
        .labels(["route"]);

// One state set for all live processes, with the states that any of them is in.
static STATE: Static<Enum> =
    Enum::declare("worker_state", "State.", &["idle", "busy"]).mode(GaugeMode::LiveMax);

/// Metrics whose names are known only at run time: fields have the types of the metrics.
struct Metrics {
    rows: Counter,
    size: Histogram,
    requests: Family<Counter, 2>,
}

impl Metrics {
    fn register(registry: &Registry, name: &str) -> multiprom::Result<Metrics> {
        Ok(Metrics {
            rows: Counter::builder(name, "Rows read.").register(registry)?,
            size: Histogram::builder("size", "Upload size.")
                .subsystem("upload")
                .unit(Unit::Bytes)
                .const_label("tier", "gold")
                .buckets(buckets::exponential(64.0, 4.0, 5)?)
                .get_or_register(registry)?,
            requests: Counter::builder("requests_total", "Requests.")
                .labels(["method", "code"])
                .register(registry)?,
        })
    }
}

/// A label value of the program's own type.
enum Method {
    Get,
    Post,
}

impl LabelValue for Method {
    type Buffer = ();

    fn text<'a>(&'a self, (): &'a mut ()) -> &'a str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// A collector, which is asked at every scrape.
struct Queue;

impl Collector for Queue {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.gauge("queue_depth", "Jobs waiting.").sample(&[("queue", "mail")], 3.0);
    }

    // In a directory, other processes see the queue too: it is added up over all live processes.
    fn merge_rule(&self, _: &str) -> MergeRule {
        MergeRule::Mode(GaugeMode::LiveSum)
    }
}

/// Takes a handle or a static.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`&HITS` is a reference")]
fn count(counter: &Counter) {
    counter.inc();
}

fn main() -> multiprom::Result<()> {
    // Optional: errors are returned now, and zeros are exported now.
    multiprom::register_statics(&[&HITS, &BUSY, &LATENCY, &STATE])?;
    HITS.inc();
    LATENCY.with(["/"]).observe(0.2);
    LATENCY.with(["/"]).observe(Duration::from_millis(300));
    let busy = BUSY.track_inprogress();

    STATE.set("busy")?;
    println!("{}", STATE.set("asleep").unwrap_err());

    // A registry of its own, with a prefix and a label for all its metrics.
    let registry = Registry::builder()
        .prefix("shop")
        .const_label("zone", "eu")
        .backend(Backend::from_env()?)
        .build()?;
    let metrics = Metrics::register(&registry, "rows")?;
    metrics.rows.inc_by(3.0);
    metrics.size.observe(512.0);
    count(&metrics.rows);
    count(&HITS);
    assert_eq!(registry.sample_value("shop_rows_total", &[("zone", "eu")]), Some(4.0));

    // The labels of a sample with the value 1, which `set` replaces.
    let build = Info::builder("build", "Build of the program.").register(&registry)?;
    build.set(&[("version", "1.2")]);

    // Label sets by position, of any types, and by name. A handle is `Copy`: keep it for hot paths.
    let ok: Counter = metrics.requests.with(["GET", "200"]);
    ok.inc();
    metrics.requests.with((Method::Get, 200)).inc();
    metrics.requests.with((Method::Post, 201)).inc();
    metrics.requests.with_names(&[("code", "200"), ("method", "GET")])?.inc();
    assert_eq!(ok.get(), 3.0);
    assert!(metrics.requests.get(["PUT", "200"]).is_none(), "a lookup creates nothing");
    let error = metrics.requests.with_names(&[("status", "200"), ("method", "GET")]).unwrap_err();
    println!("{error}");

    // One page: registries and collectors of the program, and the merged directory if there is one.
    default_registry().register(registry)?;
    default_registry().register(Queue)?;
    default_registry().register(ProcessCollector::current())?;
    let Exposition { content_type, .. } = multiprom::render(None);
    println!("{content_type}");
    let page = multiprom::render(None).to_string();
    // The values of `process_...` differ from run to run.
    let is_shown = |line: &&str| !line.starts_with(['#', 'm']) && !line.starts_with("process_");
    let mut samples: Vec<&str> = page.lines().filter(is_shown).collect();
    samples.sort_unstable();
    println!("{}", samples.join("\n"));
    drop(busy);
    Ok(())
}
