//! A real Prometheus scrapes multiprom, and promtool checks its text.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use multiprom::exposition::{Escaping, Exposition, Format, Negotiated};
use multiprom::http::Exporter;

use crate::support::http::serve_always;
use crate::support::process::{PATIENCE, Running};
use crate::support::prometheus::{api, is_installed, prometheus, value, wait_for_value};
use crate::support::{TestDir, example, multiprom, output_of, wait_for, zoo};

/// The number of jobs that each worker counts.
const JOBS: [u32; 4] = [5, 70, 1100, 13];

/// A server whose workers have counted `JOBS` concurrently.
fn served(dir: &Path) -> (Running, String) {
    let mut workers: Vec<_> = JOBS
        .iter()
        .map(|jobs| example("test-counting").arg(dir).arg(jobs.to_string()).spawn().unwrap())
        .collect();
    let mut command = multiprom();
    command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir);
    let mut server = Running::start(&mut command);
    let url = server.url();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    (server, url)
}

/// Whether the last scrape of a target has succeeded. Fails if the target was scraped in time, and was not accepted.
fn is_up(target: &serde_json::Value) -> bool {
    let is_late = target["lastError"].as_str().is_some_and(|it| it.contains("deadline exceeded"));
    assert!(target["health"] != "down" || is_late, "{target}");
    target["health"] == "up"
}

#[test]
fn prometheus_scrapes_the_exporter_and_sums_the_counts_of_all_workers() {
    if !is_installed("prometheus") {
        return;
    }
    let (dir, home) = (TestDir::new("scraped"), TestDir::new("prometheus"));
    let (_server, metrics) = served(dir.path());
    let target = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let (prometheus, url) = prometheus(home.path(), &[("test", target)], &[]);
    wait_for("a healthy target", PATIENCE, || {
        let response = api(&url, "targets");
        is_up(&response["data"]["activeTargets"][0]).then_some(())
    });
    let sum = f64::from(JOBS.iter().sum::<u32>());
    for (query, expected) in [
        ("sum(jobs_total)", sum),
        ("sum(jobs_by_parity_total)", sum),
        ("job_size_bytes_count", sum),
        ("job_size_bytes_bucket{le=\"+Inf\"}", sum),
        ("job_duration_seconds_sum", sum / 2.0),
        ("queue_max_ratio", 1100.0),
        ("count(queue_all_ratio)", JOBS.len() as f64),
        ("max_over_time(up[1h])", 1.0),
    ] {
        assert_eq!(wait_for_value(&url, query), expected, "{query}");
    }
    let types = api(&url, "metadata");
    for (name, wanted) in
        [("jobs", "counter"), ("job_size_bytes", "histogram"), ("queue_min_ratio", "gauge")]
    {
        let known = [name.to_owned(), format!("{name}_total")];
        let known = known.iter().find_map(|name| types["data"][name][0]["type"].as_str());
        assert_eq!(known, Some(wanted), "{types}");
    }

    // Later counts arrive with the next scrape.
    output_of(example("test-counting").arg(dir.path()).arg("100"));
    wait_for("the later sum", PATIENCE, || {
        let sum_now = value(&url, "sum(jobs_total)")?;
        assert!(sum_now == sum || sum_now == sum + 100.0, "{sum_now}");
        (sum_now > sum).then_some(())
    });
    prometheus.signal("TERM");
    assert!(prometheus.end().status.success());
}

/// Serves the zoo in a format; returns the address.
fn zoo_in(format: Format) -> String {
    let page =
        Exposition::encode(&zoo::registry(true), Negotiated::new(format, Escaping::Underscores));
    serve_always(page.content_type, page.body)
}

#[test]
fn prometheus_reads_the_same_samples_from_each_format() {
    if !is_installed("prometheus") {
        return;
    }
    // The first target negotiates: Prometheus requests protobuf if native histograms are enabled.
    let exporter = Exporter::builder(zoo::registry(true));
    let exporter = exporter.listen("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let negotiated =
        exporter.url().strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let (text, openmetrics) = (zoo_in(Format::Text), zoo_in(Format::OpenMetrics));
    let protobuf = zoo_in(Format::Protobuf);
    let targets = [
        ("negotiated", negotiated),
        ("protobuf", &protobuf),
        ("openmetrics", &openmetrics),
        ("text", &text),
    ];
    let home = TestDir::new("formats");
    let features = "--enable-feature=native-histograms,exemplar-storage";
    let (prometheus, url) = prometheus(home.path(), &targets, &[features]);
    wait_for("healthy targets", PATIENCE, || {
        let response = api(&url, "targets");
        let targets = response["data"]["activeTargets"].as_array().unwrap();
        (targets.iter().all(is_up) && targets.len() == 4).then_some(())
    });
    wait_for("stored samples", PATIENCE, || (value(&url, "sum(up)") == Some(4.0)).then_some(()));
    let wanted = [
        ("zoo_read_bytes_total{q=\"\"", 300.5),
        ("zoo_read_bytes_total{path=\"/\"", 1e21),
        ("zoo_temperature_celsius{place=\"c\"", f64::INFINITY),
        ("zoo_temperature_celsius{place=\"e\"", 1e-9),
        ("zoo_wait_seconds_bucket{route=\"/\",le=\"1.0\"", 5.0),
        ("zoo_wait_seconds_bucket{route=\"/\",le=\"+Inf\"", 8.0),
        ("zoo_wait_seconds_sum{route=\"/\"", 1234.5),
        ("zoo_size_count{kind=\"x\"", 17.0),
        ("zoo_size{kind=\"x\",quantile=\"0.99\"", 2.5),
        ("zoo_build_info{version=\"1.2.3\"", 1.0),
        ("zoo_mode{zoo_mode=\"on\"", 1.0),
        ("zoo_thing{", 5.0),
        ("zoo_hits_total{http_route=\"/\"", 2.0),
    ];
    for (job, _) in targets {
        for (selector, number) in wanted {
            let comma = if selector.ends_with('{') { "" } else { "," };
            let query = format!("{selector}{comma}job=\"{job}\"}}");
            assert_eq!(wait_for_value(&url, &query), number, "{query}");
        }
    }
    for job in ["negotiated", "protobuf"] {
        for (selector, count, sum) in [
            ("zoo_native{kind=\"one\",", 10.0, 3.5),
            ("zoo_native{kind=\"both\",", 18.0, 3.5),
            ("zoo_native{kind=\"empty\",", 0.0, 0.0),
            ("zoo_twofold{", 10.0, 3.5),
        ] {
            let series = format!("({selector}job=\"{job}\"}})");
            let value = |function: &str| wait_for_value(&url, &format!("{function}{series}"));
            assert_eq!(value("histogram_count"), count, "{series}");
            assert_eq!(value("histogram_sum"), sum, "{series}");
        }
        let native = format!("(zoo_native{{kind=\"one\",job=\"{job}\"}})");
        // The last 3 of 10 are in the bucket from 1 to the root of 2.
        let rank = wait_for_value(&url, &format!("histogram_quantile(0.95,{}", &native[1..]));
        assert!(rank > 1.0 && rank <= 2.0_f64.sqrt(), "{rank}");
    }
    let exemplars = api(&url, "query_exemplars?query=zoo_read_bytes_total&start=0&end=9999999999");
    let exemplars = exemplars["data"].as_array().unwrap();
    let has_exemplar = |job: &&str| {
        exemplars.iter().any(|series| {
            series["seriesLabels"]["job"] == **job
                && series["exemplars"][0]["labels"]["trace_id"] == "4bf9"
                && series["exemplars"][0]["value"] == "12"
        })
    };
    let jobs = targets.map(|(job, _)| job);
    let with_exemplar: Vec<&str> = jobs.into_iter().filter(has_exemplar).collect();
    assert_eq!(with_exemplar, ["negotiated", "protobuf", "openmetrics"]);
    let metadata = api(&url, "targets/metadata?metric=zoo_read_bytes");
    let units = metadata["data"].as_array().unwrap().iter().map(|target| &target["unit"]);
    assert!(units.into_iter().any(|unit| unit == "bytes"), "{metadata}");
    prometheus.signal("TERM");
    assert!(prometheus.end().status.success());
    exporter.stop();
}

#[test]
fn promtool_accepts_the_text_of_multiprom() {
    if !is_installed("promtool") {
        return;
    }
    let dir = TestDir::new("promtool");
    for jobs in JOBS {
        output_of(example("test-counting").arg(dir.path()).arg(jobs.to_string()));
    }
    let text = output_of(multiprom().arg("dump").arg("--dir").arg(dir.path()));
    assert_eq!(text.matches("# TYPE ").count(), 19, "{text}");
    assert_eq!(promtool(text.as_bytes()), (Some(0), String::new()));
}

/// Exit status and output of `promtool check metrics`. Status 1 reports input that it cannot parse, status 3 names that
/// it does not recommend.
pub(crate) fn promtool(text: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut tool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(text).unwrap();
    let output = tool.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn promtool_reads_every_type_in_every_escaping_that_it_supports() {
    if !is_installed("promtool") {
        return;
    }
    let registry = zoo::registry(true);
    for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
        let text = Exposition::encode(&registry, Negotiated::new(Format::Text, escaping)).body;
        let (status, report) = promtool(&text);
        assert_eq!(status, Some(3), "{report}");
        let is_about_names = |line: &str| !line.contains("error") && !line.contains("duplicate");
        assert!(report.lines().all(is_about_names), "{report}");
    }
}
