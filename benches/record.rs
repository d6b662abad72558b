//! Recording on the heap and in a mapped series file.

mod workload;

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use multiprom::{
    Backend, Counter, Gauge, GaugeMode, Histogram, Registry, Static, Summary, buckets,
};

use workload::TestDir;

const IN_TURN: u64 = 32;
const LABELLED: u64 = 100;

static STATIC_COUNTER: Static<Counter> = Counter::declare("static_total", "A static.");

fn counters(criterion: &mut Criterion, backends: &[(&str, Registry)]) {
    let mut group = criterion.benchmark_group("counter");
    for (backend, registry) in backends {
        let counter = counter(registry, "held_total");
        group.bench_function(BenchmarkId::new("held handle", backend), |bencher| {
            bencher.iter(|| black_box(&counter).inc());
        });
    }
    group.bench_function("static", |bencher| bencher.iter(|| STATIC_COUNTER.inc()));
    for (backend, registry) in backends {
        let counter = counter(registry, "shared_total");
        group.bench_function(BenchmarkId::new("two threads", backend), |bencher| {
            bencher.iter_custom(|count| on_two_threads(count, || black_box(&counter).inc()));
        });
    }
    group.throughput(Throughput::Elements(IN_TURN));
    for (backend, registry) in backends {
        let counters: Vec<Counter> =
            (0..IN_TURN).map(|at| counter(registry, &format!("turn_{at}_total"))).collect();
        group.bench_function(BenchmarkId::new("32 in turn", backend), |bencher| {
            bencher.iter(|| black_box(&counters).iter().for_each(Counter::inc));
        });
    }
    group.throughput(Throughput::Elements(LABELLED));
    for (backend, registry) in backends {
        let family = Counter::builder("labelled_total", "Requests.")
            .labels(["method", "route", "code"])
            .register(registry)
            .expect("the name is free");
        let requests: Vec<_> = (0..LABELLED as usize).map(workload::request).collect();
        let values: Vec<[&str; 3]> =
            requests.iter().map(|request| request.each_ref().map(String::as_str)).collect();
        group.bench_function(BenchmarkId::new("three labels, 100 series", backend), |bencher| {
            bencher.iter(|| values.iter().for_each(|values| family.with(black_box(*values)).inc()));
        });
    }
    group.finish();
}

fn others(criterion: &mut Criterion, backends: &[(&str, Registry)]) {
    let mut group = criterion.benchmark_group("other types");
    for (backend, registry) in backends {
        let gauge = Gauge::builder("gauge", "A gauge.").mode(GaugeMode::LiveSum);
        let gauge = gauge.register(registry).expect("the name is free");
        group.bench_function(BenchmarkId::new("gauge set", backend), |bencher| {
            bencher.iter(|| black_box(&gauge).set(black_box(2.5)));
        });
    }
    let values = workload::observations();
    group.throughput(Throughput::Elements(values.len() as u64));
    for (backend, registry) in backends {
        let histogram = Histogram::builder("histogram", "14 bounds.").buckets(buckets::DEFAULT);
        let histogram = histogram.register(registry).expect("the name is free");
        group.bench_function(BenchmarkId::new("histogram observe", backend), |bencher| {
            bencher.iter(|| values.iter().for_each(|value| histogram.observe(black_box(*value))));
        });
        let summary = Summary::builder("summary", "Count and sum.");
        let summary = summary.register(registry).expect("the name is free");
        group.bench_function(BenchmarkId::new("summary observe", backend), |bencher| {
            bencher.iter(|| values.iter().for_each(|value| summary.observe(black_box(*value))));
        });
    }
    group.finish();
}

fn counter(registry: &Registry, name: &str) -> Counter {
    Counter::builder(name, "A counter.").register(registry).expect("the name is free")
}

/// Records `count` times in each of two threads; returns the time of the slower thread.
fn on_two_threads(count: u64, record: impl Fn() + Sync) -> Duration {
    let start = Barrier::new(2);
    let timed = || {
        start.wait();
        let begin = Instant::now();
        (0..count).for_each(|_| record());
        begin.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(timed);
        let own = timed();
        own.max(other.join().expect("recording does not panic"))
    })
}

fn record(criterion: &mut Criterion) {
    let dir = TestDir::in_memory("record");
    let mapped = Backend::directory(dir.path()).expect("the directory exists");
    multiprom::set_default_backend(mapped).expect("nothing is registered yet");
    let backends = [("heap", Backend::in_memory()), ("mapped", mapped)].map(|(name, backend)| {
        let registry = Registry::builder().backend(backend).build();
        (name, registry.expect("a registry without prefix and labels is valid"))
    });
    counters(criterion, &backends);
    others(criterion, &backends);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = record
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
