//! The recorder for the crate `metrics`.

use multiprom::facade::Recorder;
use multiprom::{ErrorKind, testing};

use crate::support::http::scrape;
use crate::support::process::Running;
use crate::support::registries::in_memory;
use crate::support::{TestDir, assert_success, example, multiprom};

#[test]
fn four_processes_that_use_the_facade_are_scraped_exactly_whoever_describes_the_metrics() {
    let dir = TestDir::new("facade");
    let workers = (0..4).map(|number| {
        let mut worker = example("test-facade");
        worker.arg(number.to_string()).env("PROMETHEUS_MULTIPROC_DIR", dir.path());
        worker.stderr(std::process::Stdio::piped());
        let child = worker.spawn().unwrap();
        (worker, child)
    });
    for (worker, child) in workers.collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        assert_success(&worker, &output);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let logged = |text: &str| stderr.lines().filter(|line| line.contains(text)).count();
        assert_eq!(logged("`requests` is not exported: metric name"), 1, "{stderr}");
        assert_eq!(logged("`wait_seconds` is not exported: metric `wait_seconds`"), 1, "{stderr}");
    }
    let mut serve = multiprom();
    serve.args(["serve", "--listen=127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut serve = Running::start(&mut serve);
    let page = scrape(&serve.url());
    let mut samples: Vec<&str> = page
        .lines()
        .filter(|line| !["#", "multiprom_", "process_"].iter().any(|it| line.starts_with(it)))
        .collect();
    samples.sort_unstable();
    assert_eq!(
        samples,
        [
            "absolute_total 40",
            "highest 3",
            "queue_depth 16",
            "requests_total{code=\"200\",method=\"GET\",user_id=\"7\"} 4",
            "requests_total{code=\"200\",method=\"GET\"} 14",
            "requests_total{code=\"500\",method=\"GET\"} 10",
            "wait_seconds_bucket{le=\"+Inf\"} 12",
            "wait_seconds_bucket{le=\"1.0\"} 4",
            "wait_seconds_count 12",
            "wait_seconds_sum 18",
        ]
    );
    for metric in ["requests_total counter", "queue_depth gauge", "wait_seconds histogram"] {
        assert_eq!(page.matches(&format!("# TYPE {metric}\n")).count(), 1, "{page}");
    }
}

#[test]
fn the_recorder_in_memory_exports_descriptions_units_and_buckets() {
    let registry = in_memory();
    let recorder = Recorder::builder().registry(&registry).buckets("sizes*", [1.0, 2.0]);
    let recorder = recorder.build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        metrics::describe_histogram!("sizes.bytes", metrics::Unit::Bytes, "Old.");
        metrics::describe_histogram!("sizes.bytes", metrics::Unit::Bytes, "Sizes.");
        metrics::histogram!("sizes.bytes", "a-b" => "x", "a.b" => "y").record(1.5);
        metrics::describe_histogram!("sizes.bytes", "Too late.");
        metrics::counter!("nine lives", "empty" => "").increment(1);
    });
    testing::assert_exposition(
        &registry,
        "# TYPE sizes_bytes histogram
         # UNIT sizes_bytes bytes
         # HELP sizes_bytes Sizes.
         sizes_bytes_bucket{a_b=\"y\",le=\"1.0\"} 0
         sizes_bytes_bucket{a_b=\"y\",le=\"2.0\"} 1
         sizes_bytes_bucket{a_b=\"y\",le=\"+Inf\"} 1
         sizes_bytes_sum{a_b=\"y\"} 1.5
         sizes_bytes_count{a_b=\"y\"} 1
         # TYPE nine_lives counter
         nine_lives_total 1.0
         # EOF",
    );
}

#[test]
fn buckets_of_the_recorder_are_checked_when_it_is_created() {
    let error = Recorder::builder().buckets("*", [2.0, 1.0]).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidBuckets);
}
