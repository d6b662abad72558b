//! Service discovery: the file for Prometheus, the URLs and the hooks of an exporter.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multiprom::http::Exporter;
use multiprom::{ErrorKind, Registry};

use super::Served;
use super::stopping::status_after_signals_in_a_push;
use crate::support::http::{Connection, scrape};
use crate::support::process::{PATIENCE, Running, run};
use crate::support::prometheus::{api, is_installed, scraping, value};
use crate::support::services::own_host;
use crate::support::{SetOnDrop, TestDir, multiprom, skip, wait_for};

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn port(url: &str) -> &str {
    let address = url.split('/').nth(2).unwrap();
    address.rsplit(':').next().unwrap()
}

#[test]
fn prometheus_finds_an_exporter_by_its_file_and_drops_the_target_when_it_stops() {
    if !is_installed("prometheus") {
        return;
    }
    let home = TestDir::new("discovery");
    let (file, pattern) = (home.path().join("shop.json"), home.path().join("*.json"));
    let job = format!(
        "{{job_name: found, metrics_path: /wrong, file_sd_configs: [{{files: ['{}'], refresh_interval: 1s}}]}}",
        pattern.display()
    );
    let (_prometheus, url) = scraping(home.path(), &job, &[]);
    let flags = ["--discovery.file", file.to_str().unwrap(), "--web.telemetry-path", "/m"];
    let labels = ["--discovery.label", "team=a \"b\"", "--discovery.label", "job=shop"];
    let served = Served::start("discovered", &[&flags[..], &labels].concat());
    let target = format!("127.0.0.1:{}", port(&served.url));
    assert_eq!(
        read(&file),
        serde_json::json!([{
            "targets": [target],
            "labels": {"__metrics_path__": "/m", "__scheme__": "http", "job": "shop", "team": "a \"b\""},
        }])
    );
    let query = "sum(jobs_total{job=\"shop\",team=\"a \\\"b\\\"\"})";
    wait_for("the counts", PATIENCE, || (value(&url, query) == Some(5.0)).then_some(()));
    served.stop();
    assert!(!file.exists());
    wait_for("the end of the target", PATIENCE, || {
        let targets = api(&url, "targets");
        targets["data"]["activeTargets"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn the_file_of_a_launcher_has_a_reachable_host_and_is_removed_unless_another_one_replaced_it() {
    let home = TestDir::new("discovery-run");
    let file = home.path().join("a.json");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let start = |listen: &[&str], flags: &[&str]| {
        let mut command = multiprom();
        command.args(["run", "--discovery.file"]).arg(&file).args(flags);
        command.args(listen.iter().flat_map(|address| ["--listen", address]));
        let mut launcher =
            Running::start(command.args(["--", "sh", "-c", "echo ready; read line"]));
        launcher.line_after("ready");
        launcher
    };
    let target = || read(&file)[0]["targets"][0].as_str().unwrap().to_owned();
    let socket = format!("unix:{}", home.path().join("s").display());
    for (listen, flags, expected) in [
        (&["127.0.0.1:0", "[::]:0"][..], &[][..], host.trim()),
        (&[&socket, "[::1]:0"], &[], "[::1]"),
        (&["127.0.0.1:0"], &["--discovery.host", "shop.example"], "shop.example"),
        (&["127.0.0.1:0"], &["--discovery.host", "fd00::1"], "[fd00::1]"),
    ] {
        let mut launcher = start(listen, flags);
        let found = target();
        assert_eq!(found.rsplit_once(':').unwrap().0, expected);
        drop(launcher.stdin());
        launcher.end();
        assert!(!file.exists(), "{listen:?}");
    }
    let mut first = start(&["127.0.0.1:0"], &[]);
    let mut second = start(&["127.0.0.1:0"], &[]);
    drop(first.stdin());
    first.end();
    let found = target();
    assert!(found.ends_with(port(&second.url())), "{found}");
    drop(second.stdin());
    second.end();
    assert!(!file.exists());

    for (listen, file, status, message) in [
        (socket.as_str(), file.clone(), 2, "needs a TCP address"),
        ("127.0.0.1:0", home.path().join("missing/a.json"), 1, "missing/"),
    ] {
        let mut command = multiprom();
        command.args(["run", "--listen", listen, "--discovery.file"]).arg(&file);
        let outcome = run(command.args(["--", "echo", "started"]));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    }
    // A name need not be UTF-8.
    for (file, label, message) in [
        (&b"\xff.json"[..], "1=b", "`1` is not a label name"),
        (b"\xff", "b=1", "the name must end in .json"),
    ] {
        let mut command = multiprom();
        command.args(["serve", "--discovery.file"]).arg(OsStr::from_bytes(file));
        let outcome = run(command.args(["--discovery.label", label]));
        assert_eq!(outcome.status, 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    }
}

#[test]
fn the_file_is_removed_if_the_name_of_the_machine_changes_and_if_a_signal_ends_the_last_push() {
    let home = TestDir::new("discovery-end");
    let file = home.path().join("a.json");
    let mut command = Command::new("unshare");
    command.args(["--uts", "true"]);
    if command.status().is_ok_and(|status| status.success()) {
        let mut command = Command::new("unshare");
        command.arg("--uts").arg(multiprom().get_program());
        command.args(["run", "--listen", "0.0.0.0:0", "--discovery.file"]).arg(&file);
        let script = "test -s \"$0\" && echo renamed > /proc/sys/kernel/hostname";
        let outcome = run(command.args(["--", "sh", "-c", script]).arg(&file));
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        assert!(!file.exists());
    } else {
        skip("no UTS namespace can be created here");
    }

    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0", "--discovery.file"]).arg(&file);
    let status = status_after_signals_in_a_push(&mut command, &["--", "sh", "-c", "exit 3"]);
    assert_eq!(status, Some(3));
    assert!(!file.exists());
}

#[test]
fn hooks_are_called_at_the_start_and_the_stop_while_the_exporter_serves() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let log = Arc::clone(&log);
        move |url: &str| {
            let status = Connection::open(url).unwrap().request("GET", "/-/ready", "").status;
            log.lock().unwrap().push((what, status));
        }
    };
    let start = |name: &'static str| {
        let (started, stopped) = (note("start"), note(name));
        Exporter::builder(Registry::new())
            .listen("[::1]:0".parse().unwrap())
            .on_start(move |endpoints| {
                started(&endpoints[0].root_url());
                Ok::<(), multiprom::Error>(())
            })
            .on_stop(|_| panic!("the other hooks are called nevertheless"))
            .on_stop(move |endpoints| stopped(&endpoints[0].root_url()))
            .start()
            .unwrap()
    };
    let exporter = start("stop");
    let endpoint = exporter.endpoints()[0].clone();
    assert_eq!(exporter.url(), endpoint.metrics_url());
    exporter.stop();
    drop(start("drop"));
    assert_eq!(
        *log.lock().unwrap(),
        [("start", 200), ("stop", 200), ("start", 200), ("drop", 200)]
    );
    assert!(Connection::open(&endpoint.base_url()).is_err());
}

#[test]
fn an_error_of_a_hook_stops_the_exporter_and_is_returned() {
    let urls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&urls);
    let error = Exporter::builder(Registry::new())
        .listen(format!("{}:0", own_host()).parse().unwrap())
        .on_start(move |endpoints| {
            seen.lock().unwrap().push(endpoints[0].base_url());
            Err("the registry refuses it")
        })
        .on_stop(|_| panic!("it has not started"))
        .start()
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Io, "the registry refuses it")
    );
    assert!(Connection::open(&urls.lock().unwrap()[0]).is_err());
}

#[test]
fn a_program_waits_for_its_last_scrape() {
    let exporter = Exporter::builder(Registry::new());
    let exporter = exporter.listen("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let url = exporter.url().to_owned();
    scrape(&url);
    assert!(!exporter.wait_for_scrape(Duration::from_millis(20)));
    // Only a scrape that begins during the wait ends it.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ending = SetOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(50));
                scrape(&url);
            }
        });
        assert!(exporter.wait_for_scrape(PATIENCE));
    });
}
