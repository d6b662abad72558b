//! Scrapes of a directory with 64 processes of 2,000 series each.

mod workload;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group};
use multiprom::exposition::{Exposition, Format};
use multiprom::{MultiProcessCollector, Registry};

use workload::{Shape, TestDir};

fn scrape(criterion: &mut Criterion) {
    let dir = TestDir::in_memory("scrape");
    workload::fill(dir.path(), &Shape::MEDIUM).expect("workers can record");

    let mut group = criterion.benchmark_group("scrape of 64 processes");
    for (name, format) in [("text", Format::Text), ("OpenMetrics", Format::OpenMetrics)] {
        group.bench_function(BenchmarkId::new("cold", name), |bencher| {
            bencher.iter(|| {
                let merged = merged(black_box(dir.path()));
                black_box(Exposition::encode(&merged, format).body.len())
            });
        });
        let merged = merged(dir.path());
        group.bench_function(BenchmarkId::new("repeated", name), |bencher| {
            bencher.iter(|| black_box(Exposition::encode(&merged, format).body.len()));
        });
    }
    group.finish();
}

/// A registry with a new collector, which has cached nothing.
fn merged(dir: &Path) -> Registry {
    let merged = Registry::new();
    let collector = MultiProcessCollector::new(dir).expect("the directory exists");
    merged.register(collector).expect("a new registry accepts the collector");
    merged
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    targets = scrape
}

fn main() {
    workload::become_worker_if_asked();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
