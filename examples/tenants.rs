//! A label whose values come from outside: a limit of series, removal of idle series, and of those of a tenant that leaves.
//!
//! ```text
//! cargo run --example tenants
//! ```

use std::time::Duration;

use multiprom::{Counter, Family, Gauge, GaugeMode, Static};

// Three tenants have series of their own; the others share the series `other`.
static JOBS: Static<Family<Counter>> =
    Counter::declare("jobs", "Jobs done.").max_series(3).labels(["tenant"]);
static WAITING: Static<Family<Gauge>> = Gauge::declare("waiting", "Jobs waiting.")
    .mode(GaugeMode::LiveSum)
    .max_series(3)
    .labels(["tenant"]);

/// The time without jobs after which the series of a tenant are removed: an hour, for example. Here each tenant is idle that
/// had no job since the last sweep.
const IDLE: Duration = Duration::ZERO;

/// Looks the series up at each use: a handle records nothing once its series is removed.
fn count_job(tenant: &str) {
    JOBS.with([tenant]).inc();
    WAITING.with([tenant]).set(1.0);
}

/// A server calls this regularly, several times in the time `IDLE`.
fn remove_idle_tenants() -> usize {
    let removed = JOBS.remove_idle(IDLE);
    // A gauge is never idle, because it may be set to one value again and again.
    WAITING.remove_where(|labels| {
        labels.get("tenant").is_none_or(|tenant| JOBS.get([tenant]).is_none())
    });
    removed
}

fn remove_tenant(tenant: &str) {
    JOBS.remove([tenant]);
    WAITING.remove([tenant]);
}

fn show(title: &str) {
    println!("{title}");
    let page = multiprom::render(None).to_string();
    let is_sample = |line: &&str| line.starts_with("jobs") || line.starts_with("waiting");
    page.lines().filter(is_sample).for_each(|line| println!("  {line}"));
}

fn main() {
    for tenant in ["ann", "bob", "cid", "dee", "eve"] {
        count_job(tenant);
    }
    show("five tenants, a limit of three:");

    assert_eq!(remove_idle_tenants(), 0, "the first sweep only reads the values");
    count_job("ann");
    count_job("bob");
    assert_eq!(remove_idle_tenants(), 2, "`cid` and `other`");
    count_job("dee");
    show("idle series are removed, so that there is a place again:");

    remove_tenant("bob");
    show("a tenant has left:");
}
