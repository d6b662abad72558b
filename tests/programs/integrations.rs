//! Records with the crates `prometheus` and `prometheus-client`, whose registries are shown by collectors.
//!
//! usage: `test-integrations DIR N`. It counts N jobs, prints `ready` when the files have them, and lives until its standard
//! input ends.

use std::io::Read as _;

use multiprom::integrations::{PrometheusClientCollector, PrometheusCollector};
use multiprom::{Backend, Registry};
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry as ClientRegistry;

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, jobs] = arguments.as_slice() else { panic!("usage: DIR N") };
    let jobs: u32 = jobs.parse().expect("N is a number");

    let theirs = prometheus::Registry::new();
    let done = IntCounter::new("done", "Jobs done.")?;
    let busy = Gauge::new("busy", "Jobs in progress.")?;
    let options = HistogramOpts::new("job_seconds", "Durations.").buckets(vec![1.0]);
    let seconds = Histogram::with_opts(options)?;
    theirs.register(Box::new(done.clone()))?;
    theirs.register(Box::new(busy.clone()))?;
    theirs.register(Box::new(seconds.clone()))?;

    let mut client = ClientRegistry::default();
    let sent = Counter::<u64>::default();
    client.register("sent", "Mails sent", sent.clone());
    client.register("build", "Build", Info::new(vec![("version", "1.2")]));

    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    registry.register(PrometheusCollector::new(theirs))?;
    registry.register(PrometheusClientCollector::new(client))?;
    for _ in 0..jobs {
        done.inc();
        seconds.observe(0.5);
        sent.inc();
    }
    busy.set(f64::from(jobs));
    registry.flush();
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
