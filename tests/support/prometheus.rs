//! A real Prometheus server and queries to it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::http::get;
use super::process::{PATIENCE, Running};
use super::services::free_address;
use super::{skip, wait_for};

/// Whether a program is installed. If it is not, the test is counted as skipped.
pub fn is_installed(program: &str) -> bool {
    is_installed_as(program, "--version")
}

/// As [`is_installed`], for a program that prints its version by another argument.
pub fn is_installed_as(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).output().is_ok();
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Starts a Prometheus that scrapes each target every second as a job of its own; returns it and its address.
pub fn prometheus(dir: &Path, targets: &[(&str, &str)], flags: &[&str]) -> (Running, String) {
    let job = |(name, target): &(&str, &str)| {
        format!("{{job_name: {name}, static_configs: [{{targets: [\"{target}\"]}}]}}")
    };
    let jobs: Vec<String> = targets.iter().map(job).collect();
    scraping(dir, &jobs.join(", "), flags)
}

/// Starts a Prometheus that scrapes `jobs` every second; returns it and its address.
///
/// Prometheus does not report its port if it listens on port 0, so it gets a free one.
pub fn scraping(dir: &Path, jobs: &str, flags: &[&str]) -> (Running, String) {
    let config = dir.join("prometheus.yml");
    let text =
        format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{jobs}]\n");
    fs::write(&config, text).unwrap();
    let free = free_address();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
    command.arg(format!("--web.listen-address={free}")).args(flags);
    let mut running = Running::start(command.current_dir(dir));
    let url = format!("http://{free}");
    wait_for("Prometheus", PATIENCE, || {
        assert!(running.is_running(), "{}", running.stderr());
        get(&format!("{url}/-/ready")).ok().filter(|response| response.status == 200)
    });
    (running, url)
}

pub fn api(url: &str, path: &str) -> serde_json::Value {
    let response = get(&format!("{url}/api/v1/{path}")).unwrap();
    assert_eq!(response.status, 200, "{}", response.body);
    serde_json::from_str(&response.body).unwrap()
}

/// The first value of a query, if there is one. On a busy machine a scrape may exceed its timeout of a second: the series of
/// the target then have no value until the next scrape.
pub fn value(url: &str, query: &str) -> Option<f64> {
    let response = api(url, &format!("query?query={}", percent_encoded(query)));
    let value = response["data"]["result"][0]["value"][1].as_str()?;
    Some(value.parse().unwrap())
}

/// Waits until a query has a value.
pub fn wait_for_value(url: &str, query: &str) -> f64 {
    wait_for(query, PATIENCE, || value(url, query))
}

/// Percent-encodes text for a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
