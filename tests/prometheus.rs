//! A real Prometheus scrapes us, and its tool judges our text.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::process::{PATIENCE, Running};
use crate::support::prometheus::{api, is_installed, prometheus, value};
use crate::support::{TestDir, example, multiprom, output_of, wait_for};

/// What each worker counts.
const JOBS: [u32; 4] = [5, 70, 1100, 13];

/// A server whose workers have counted `JOBS`, all at the same time.
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

#[test]
fn prometheus_finds_us_up_and_sums_exactly_what_the_workers_counted() {
    if !is_installed("prometheus") {
        return;
    }
    let (dir, home) = (TestDir::new("scraped"), TestDir::new("prometheus"));
    let (_server, metrics) = served(dir.path());
    let target = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let (prometheus, url) = prometheus(home.path(), target);
    wait_for("a healthy target", PATIENCE, || {
        let answer = api(&url, "targets");
        let target = &answer["data"]["activeTargets"][0];
        assert_ne!(target["health"], "down", "{target}");
        (target["health"] == "up").then_some(())
    });
    let sum = f64::from(JOBS.iter().sum::<u32>());
    let wanted = wait_for("the exact sum", PATIENCE, || value(&url, "sum(jobs_total)"));
    assert_eq!(wanted, sum);
    assert_eq!(value(&url, "sum(jobs_by_parity_total)"), Some(sum));
    assert_eq!(value(&url, "job_size_bytes_count"), Some(sum));
    assert_eq!(value(&url, "job_size_bytes_bucket{le=\"+Inf\"}"), Some(sum));
    assert_eq!(value(&url, "job_duration_seconds_sum"), Some(sum / 2.0));
    assert_eq!(value(&url, "queue_max_ratio"), Some(1100.0));
    assert_eq!(value(&url, "count(queue_all_ratio)"), Some(JOBS.len() as f64));
    assert_eq!(value(&url, "up"), Some(1.0));
    let types = api(&url, "metadata");
    for (name, wanted) in
        [("jobs", "counter"), ("job_size_bytes", "histogram"), ("queue_min_ratio", "gauge")]
    {
        let known = [name.to_owned(), format!("{name}_total")];
        let known = known.iter().find_map(|name| types["data"][name][0]["type"].as_str());
        assert_eq!(known, Some(wanted), "{types}");
    }

    // What is counted later arrives with the next scrape.
    output_of(example("test-counting").arg(dir.path()).arg("100"));
    wait_for("the later sum", PATIENCE, || {
        let sum_now = value(&url, "sum(jobs_total)").unwrap();
        assert!(sum_now == sum || sum_now == sum + 100.0, "{sum_now}");
        (sum_now > sum).then_some(())
    });
    prometheus.signal("TERM");
    assert!(prometheus.end().status.success());
}

#[test]
fn promtool_has_nothing_to_say_about_our_text() {
    if !is_installed("promtool") {
        return;
    }
    let dir = TestDir::new("promtool");
    for jobs in JOBS {
        output_of(example("test-counting").arg(dir.path()).arg(jobs.to_string()));
    }
    let text = output_of(multiprom().arg("dump").arg("--dir").arg(dir.path()));
    assert_eq!(text.matches("# TYPE ").count(), 14, "{text}");
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut tool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!((output.status.code(), String::from_utf8(said).unwrap().as_str()), (Some(0), ""));
}
