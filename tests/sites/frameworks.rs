//! Exporters of web frameworks: multiprom serves the same series, values, types and help texts as the Python client's
//! own collector.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use super::WORKERS;
use crate::support::http::{get, scrape};
use crate::support::process::{PATIENCE, Running, is_alive, signal};
use crate::support::samples::{Line, assert_same, python_samples, rounded_once};
use crate::support::sites::{Requests, programs, python_environment};
use crate::support::{TestDir, multiprom, output_of, python, root, wait_for};

/// The samples of a page in the text format, as parsed by the Python client.
fn parsed(page: &str) -> Vec<Line> {
    let dir = TestDir::new("page");
    let file = dir.path().join("page");
    fs::write(&file, page).unwrap();
    let mut parse = python("sites").unwrap();
    parse.arg(root().join("tests/python/parse.py")).arg("text");
    parse.stdin(Stdio::from(fs::File::open(file).unwrap()));
    let (lines, _) = python_samples(&output_of(&mut parse));
    lines.into_iter().filter(|line| !line.family.starts_with("multiprom_")).collect()
}

/// Starts a server, sends requests of every kind, kills a worker, and compares the two collectors.
///
/// `families` are some that the exporter of the framework must have.
fn compare(server: &[&str], below: &str, mark: &str, families: &[&str]) {
    let Some(programs) = programs("sites") else { return };
    let dir = TestDir::in_memory("framework");
    let mut command = Command::new(programs.join(server[0]));
    python_environment(&mut command, &[&programs]).args(&server[1..]);
    command.env("PROMETHEUS_MULTIPROC_DIR", dir.path());
    command.args(["--workers", &WORKERS.to_string()]);
    let mut site = Running::start(command.current_dir(root().join("tests/python").join(below)));
    let line = site.line_after(mark);
    let url = format!("http://{}", line.split(' ').next().unwrap().trim_start_matches("http://"));
    let mut requests = Requests::default();
    let send_requests = || {
        let paths = ["/items/1", "/items/2", "/missing", "/fail", "/metrics"];
        let responses = paths.map(|path| get(&format!("{url}{path}")).unwrap().status);
        assert_eq!(responses, [200, 200, 404, 500, 200]);
    };
    requests.send_until(&url, WORKERS, &BTreeSet::new());
    send_requests();
    let killed = *requests.pids.first().unwrap();
    signal(killed, "KILL");
    wait_for("end of the worker", PATIENCE, || (!is_alive(killed)).then_some(()));
    let before = requests.pids.clone();
    requests.send_until(&url, 1, &before);
    send_requests();
    // Until then, the Python client's collector exports the live gauges of the worker.
    let mut mark_dead = multiprom();
    output_of(
        mark_dead.arg("mark-process-dead").arg(killed.to_string()).arg("--dir").arg(dir.path()),
    );

    let mut exporter = multiprom();
    exporter.args(["serve", "--listen", "127.0.0.1:0", "--compact", "off"]);
    exporter.args(["--exclude", "process_.*", "--dir"]);
    let mut exporter = Running::start(exporter.arg(dir.path()));
    let own = parsed(&scrape(&exporter.url()));
    let mut collect = python("sites").unwrap();
    collect.arg(root().join("tests/python/collect.py")).arg(dir.path()).arg("text");
    let reference = rounded_once(parsed(&output_of(&mut collect)), &own);
    assert_same(server[0], &own, &reference);
    for family in families {
        let values = own.iter().filter(|line| line.family == *family && line.value() > 0.0);
        assert!(values.count() > 0, "{family} has no samples: {own:#?}");
    }
    exporter.signal("TERM");
    exporter.end();
    site.signal("TERM");
    site.end();
}

const GUNICORN: &str = "Listening at: ";
const UVICORN: &str = "Uvicorn running on ";

#[test]
fn prometheus_flask_exporter_is_merged_like_by_the_python_client() {
    let server = ["gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "flask_app:app"];
    let families = ["flask_http_request_duration_seconds", "app_info", "items_latency_seconds"];
    compare(&server, "", GUNICORN, &families);
}

#[test]
fn django_prometheus_is_merged_like_by_the_python_client() {
    let server = ["gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "wsgi:application"];
    let families = ["django_http_requests_latency_seconds_by_view_method", "site_requests"];
    compare(&server, "django_site", GUNICORN, &families);
}

#[test]
fn prometheus_fastapi_instrumentator_is_merged_like_by_the_python_client() {
    let server = ["uvicorn", "--port", "0", "fastapi_app:app"];
    let families = ["http_request_duration_seconds", "http_requests"];
    compare(&server, "", UVICORN, &families);
}

#[test]
fn starlette_exporter_is_merged_like_by_the_python_client() {
    let server = ["uvicorn", "--port", "0", "starlette_app:app"];
    compare(&server, "", UVICORN, &["web_request_duration_seconds", "web_requests"]);
}
