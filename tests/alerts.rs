//! The alert rules of `docs/alerts.yml`: promtool accepts them, and their metrics are served when files are damaged or
//! deleted, although the status stays 200. The queries of `docs/dashboard.json`: promtool accepts them, and the exporter serves
//! their metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, run};
use crate::support::prometheus::is_installed;
use crate::support::{TestDir, example, multiprom, root, wait_for};

fn rules() -> PathBuf {
    root().join("docs/alerts.yml")
}

/// The names of multiprom's own metrics in a text.
fn own_metrics(text: &str) -> BTreeSet<String> {
    let names = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    names.filter(|name| name.starts_with("multiprom_")).map(str::to_owned).collect()
}

#[test]
fn promtool_accepts_the_rules_and_each_rule_fires_in_its_test() {
    if !is_installed("promtool") {
        return;
    }
    let outcome = run(Command::new("promtool").args(["check", "rules"]).arg(rules()));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let tests = root().join("tests/alerts.test.yml");
    let outcome = run(Command::new("promtool").args(["test", "rules"]).arg(&tests));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    // Each rule has a test.
    let (rules, tests) = (fs::read_to_string(rules()).unwrap(), fs::read_to_string(tests).unwrap());
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.split_once("alert: ")).map(|(_, it)| it).collect();
    assert!(alerts.len() >= 14);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is not tested");
    }
}

#[test]
fn metrics_of_the_rules_are_served_when_files_are_damaged_or_deleted() {
    let dir = TestDir::new("alerts");
    let mut worker = example("test-counting");
    let mut worker = Running::start(worker.arg(dir.path()).args(["5", "hold"]));
    worker.line_after("ready");
    let mut server = multiprom();
    server.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut server);
    let url = server.url();
    let scrape = || scrape(&url);
    let errors = |text: &str, reason: &str| {
        sum_of(text, &format!("multiprom_file_errors_total{{reason=\"{reason}\"}}"))
    };
    let living = |text: &str| {
        let state = |state: &str| sum_of(text, &format!("multiprom_files{{state=\"{state}\"}}"));
        state("alive") + state("unknown")
    };
    let text = scrape();
    assert!(living(&text) > 0.0 && errors(&text, "header") == 0.0, "{text}");
    // These two metrics exist only after such an event. The tests of lost files and full disks check them.
    let mut wanted = own_metrics(&fs::read_to_string(rules()).unwrap());
    assert!(wanted.remove("multiprom_files_lost_total"));
    assert!(wanted.remove("multiprom_dropped_series_total"));
    // This one exists if passwords are configured.
    assert!(wanted.remove("multiprom_http_authentication_failures_total"));
    wait_for("all metrics of the rules", PATIENCE, || {
        wanted.is_subset(&own_metrics(&scrape())).then_some(())
    });

    fs::write(dir.path().join("counter_1.db"), [9; 64]).unwrap();
    let (first, second) = (errors(&scrape(), "header"), errors(&scrape(), "header"));
    assert!(first > 0.0 && second > first, "{first} {second}");

    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    wait_for("no living file", PATIENCE, || (living(&scrape()) == 0.0).then_some(()));
    fs::remove_dir_all(dir.path()).unwrap();
    let (first, second) = (errors(&scrape(), "directory"), errors(&scrape(), "directory"));
    assert!(first > 0.0 && second > first, "{first} {second}");
    drop(worker.stdin());
    worker.end();
}

/// All queries of the Grafana dashboard, without its variables.
fn dashboard_queries() -> Vec<String> {
    fn add(value: &serde_json::Value, queries: &mut Vec<String>) {
        if let Some(query) = value.get("expr").and_then(|expr| expr.as_str()) {
            queries.push(query.replace("$__rate_interval", "5m").replace(['$'], ""));
        }
        let items = value.as_array().into_iter().flatten();
        let fields = value.as_object().into_iter().flat_map(|fields| fields.values());
        items.chain(fields).for_each(|value| add(value, queries));
    }
    let text = fs::read_to_string(root().join("docs/dashboard.json")).unwrap();
    let mut queries = Vec::new();
    add(&serde_json::from_str(&text).unwrap(), &mut queries);
    queries
}

#[test]
fn promtool_accepts_the_queries_of_the_dashboard() {
    if !is_installed("promtool") {
        return;
    }
    let queries = dashboard_queries();
    assert!(queries.len() >= 20);
    let dir = TestDir::new("dashboard");
    let file = dir.path().join("queries.yml");
    let rule = |(at, query): (usize, &String)| serde_json::json!({ "record": format!("query_{at}"), "expr": query });
    let rules: Vec<_> = queries.iter().enumerate().map(rule).collect();
    // JSON is YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).unwrap();
    let outcome = run(Command::new("promtool").args(["check", "rules"]).arg(&file));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn metrics_of_the_dashboard_are_served() {
    let dir = TestDir::new("dashboard-metrics");
    let mut worker = example("test-counting");
    let mut worker = Running::start(worker.arg(dir.path()).args(["5", "hold"]));
    worker.line_after("ready");
    let mut ended = example("test-counting");
    assert!(ended.arg(dir.path()).arg("5").status().unwrap().success());
    let mut server = multiprom();
    server.args(["serve", "--worker-metrics", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
    let mut server = Running::start(&mut server);
    let url = server.url();
    let mut wanted: BTreeSet<String> =
        dashboard_queries().iter().flat_map(|query| own_metrics(query)).collect();
    // These exist only after such an event, which other tests cause.
    for event in ["dropped_series", "recovered_series"] {
        assert!(wanted.remove(&format!("multiprom_{event}_total")));
    }
    assert!(wanted.remove("multiprom_http_authentication_failures_total"));
    wait_for("all metrics of the dashboard", PATIENCE, || {
        let served = own_metrics(&scrape(&url));
        wanted.is_subset(&served).then_some(())
    });
    drop(worker.stdin());
    worker.end();
}
