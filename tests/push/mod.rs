//! Pushes to a real Pushgateway, and to servers that fail.

mod command;
mod examples;
mod faults;
mod gateway;
mod tls;

use std::path::Path;

use multiprom::collector::Gatherer;
use multiprom::{FamilySink, MultiProcessCollector, Registry};

use crate::support::http::scrape;
use crate::support::services::{Series, series_of};
use crate::support::{example, output_of};

/// A gauge with this name and value.
struct One(&'static str, f64);

impl Gatherer for One {
    fn gather(&self, out: &mut dyn FamilySink) {
        out.gauge(self.0, "A value.").sample(&[("kind", "x")], self.1);
    }
}

/// A directory in which processes have recorded every type and mode, with unusual labels and values.
fn record_everything(dir: &Path) {
    for index in ["0", "1"] {
        output_of(example("test-worker").arg(dir).arg(index));
    }
}

fn merged(dir: &Path) -> Registry {
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(dir).unwrap()).unwrap();
    registry
}

/// The series that a gateway has for a job, without the labels of the group, and without its own.
fn series_of_job(address: &str, job: &str) -> Series {
    let label = format!("(\"job\", \"{job}\")");
    let found = series_of(&scrape(&format!("http://{address}/metrics")));
    let of_job = found.into_iter().filter(|(name, _)| name.contains(&label));
    let own = ["push_time_seconds[", "push_failure_time_seconds["];
    let others = of_job.filter(|(name, _)| !own.iter().any(|own| name.starts_with(own)));
    others.map(|(name, value)| (without(&name, &label), value)).collect()
}

fn without(name: &str, label: &str) -> String {
    let name = name.replace(&format!(", {label}"), "");
    name.replace(&format!("{label}, "), "").replace(label, "")
}
