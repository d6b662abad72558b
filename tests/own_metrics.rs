//! Metrics of the exporter about itself: states of files, scrapes, requests, connections, authentication, its process.

use std::fs;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use multiprom::compact::{CompactFiles, Compactor};
use multiprom::http::{Exporter, ExporterMetrics, Handler, Request};
use multiprom::{Collector, FamilySink, MultiProcessCollector, Registry};

use crate::prometheus::promtool;
use crate::support::http::{Connection, get, scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::prometheus::is_installed;
use crate::support::{TestDir, example, multiprom, output_of, python, root, wait_for};

fn serve(dirs: &[&str], flags: &[&str]) -> (Running, String) {
    let mut command = multiprom();
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
    for dir in dirs {
        command.args(["--dir", dir]);
    }
    let mut server = Running::start(&mut command);
    let url = server.url();
    (server, url)
}

fn files(page: &str, state: &str) -> f64 {
    sum_of(page, &format!("multiprom_files{{state=\"{state}\"}}"))
}

fn worker(dir: &TestDir) -> Running {
    let mut worker = example("test-counting");
    let mut worker = Running::start(worker.arg(dir.path()).args(["5", "hold"]));
    worker.line_after("ready");
    worker
}

/// `other_uid` tests the state `unknown`.
#[test]
fn files_are_counted_by_state_with_their_entries_and_bytes() {
    let dir = TestDir::in_memory("own-states");
    let path = dir.path().to_str().unwrap();
    let (_server, url) = serve(&[path], &["--compact", "off"]);
    let page = scrape(&url);
    assert_eq!(["alive", "dead", "unknown", "retired"].map(|it| files(&page, it)), [0.0; 4]);
    assert_eq!(
        (sum_of(&page, "multiprom_series"), sum_of(&page, "multiprom_files_entries")),
        (0.0, 0.0)
    );
    let (living, mut killed) = (worker(&dir), worker(&dir));
    let each = files(&scrape(&url), "alive") / 2.0;
    assert!(each >= 3.0, "{each}");
    killed.signal("KILL");
    killed.wait();
    let page = wait_for("a dead writer", PATIENCE, || {
        Some(scrape(&url)).filter(|page| files(page, "dead") == each)
    });
    assert_eq!([files(&page, "alive"), files(&page, "retired")], [each, 0.0]);

    let db = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|it| it == "db");
    let len = |entry: fs::DirEntry| entry.metadata().unwrap().len();
    let sizes: u64 =
        fs::read_dir(dir.path()).unwrap().map(Result::unwrap).filter(db).map(len).sum();
    let label = format!("{{directory=\"{path}\"}}");
    assert_eq!(sum_of(&page, &format!("multiprom_files_bytes{label}")), sizes as f64);
    let entries = sum_of(&page, &format!("multiprom_files_entries{label}"));
    // Each series is an entry of at least one process.
    let series = sum_of(&page, "multiprom_series");
    assert!(series > 10.0 && entries >= series, "{entries} {series}");

    // A file of the Python client is archived by the second pass after its writer has ended.
    let Some(mut python) = python("newest") else { return };
    output_of(python.arg(root().join("tests/python/counting.py")).arg(dir.path()).arg("2"));
    let compactor = Compactor::builder().directory(dir.path()).files(CompactFiles::All);
    let compactor = compactor.build().unwrap();
    let done = compactor.run().unwrap();
    assert!(done.files > 0 && done.retired > 0, "{done:?}");
    let page = scrape(&url);
    assert_eq!([files(&page, "alive"), files(&page, "dead")], [each, 0.0]);
    assert_eq!(files(&page, "retired"), done.retired as f64);
    compactor.run_to_end().unwrap();
    let page = scrape(&url);
    assert_eq!((files(&page, "retired"), files(&page, "alive")), (0.0, each));
    assert!(sum_of(&page, "multiprom_archive_series") > 0.0);
    drop(living);
}

/// A collector that waits until it is released.
#[derive(Default)]
struct Waiting {
    is_released: Mutex<bool>,
    released: Condvar,
}

impl Waiting {
    fn release(&self) {
        *self.is_released.lock().unwrap() = true;
        self.released.notify_all();
    }
}

impl Collector for &'static Waiting {
    fn collect(&self, _: &mut dyn FamilySink) {
        let is_released = self.is_released.lock().unwrap();
        drop(self.released.wait_while(is_released, |is_released| !*is_released).unwrap());
    }
}

#[test]
fn requests_in_flight_are_counted_and_a_scrape_that_clients_share_is_one() {
    const CLIENTS: usize = 8;
    let dir = TestDir::new("own-shared");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let waiting: &'static Waiting = Box::leak(Box::default());
    let (slow, own, metrics) = (Registry::new(), Registry::new(), ExporterMetrics::default());
    slow.register(waiting).unwrap();
    slow.register(MultiProcessCollector::new(dir.path()).unwrap()).unwrap();
    own.register(metrics.clone()).unwrap();
    let exporter = Exporter::builder(slow).target("/own", own).metrics(&metrics);
    let exporter = exporter.listen("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let own = exporter.url().replace("/metrics", "/own");
    let send = || {
        let mut client = Connection::open(exporter.url()).unwrap();
        client.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        client
    };
    let in_flight = |count: usize| {
        wait_for("requests in flight", PATIENCE, || {
            // The request for this page is one of them.
            let found = sum_of(&scrape(&own), "multiprom_http_requests_in_flight");
            (found == (count + 1) as f64).then_some(())
        });
    };
    in_flight(0);
    let mut first = send();
    in_flight(1);
    let mut others: Vec<Connection> = (0..CLIENTS).map(|_| send()).collect();
    in_flight(1 + CLIENTS);
    // The server may notice later that the connections of the scrapes before are closed.
    wait_for("open connections", PATIENCE, || {
        let open = sum_of(&scrape(&own), "multiprom_http_connections_open");
        (open == (2 + CLIENTS) as f64).then_some(())
    });
    waiting.release();
    for client in std::iter::once(&mut first).chain(&mut others) {
        assert_eq!(client.response(false).unwrap().status, 200);
    }
    in_flight(0);
    let page = scrape(exporter.url());
    for phase in ["read", "write"] {
        let name = format!("multiprom_scrape_duration_seconds_count{{phase=\"{phase}\"}}");
        assert_eq!(sum_of(&page, &name), 3.0, "{page}");
    }
    drop((first, others));
    wait_for("closed connections", PATIENCE, || {
        (sum_of(&scrape(&own), "multiprom_http_connections_open") == 1.0).then_some(())
    });
    // A page of the library has these metrics only if they are registered.
    assert!(!page.contains("multiprom_http_"), "{page}");
    exporter.stop();
}

#[test]
fn requests_of_all_paths_and_listeners_are_counted_by_code() {
    let dir = TestDir::new("own-codes");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let path = dir.path().to_str().unwrap();
    let target = format!("/shop={path}");
    let socket = dir.path().join("socket");
    let socket = format!("unix:{}", socket.display());
    let (_server, url) = serve(&[path], &["--target", &target, "--listen", &socket]);
    let mut tcp = Connection::open(&url).unwrap();
    let mut unix = Connection::open(&socket).unwrap();
    let statuses = [
        tcp.request("GET", "/metrics", "").status,
        unix.request("GET", "/shop", "").status,
        unix.request("GET", "/none", "").status,
        tcp.request("GET", "/none", "").status,
        tcp.request("POST", "/metrics", "").status,
        tcp.request("OPTIONS", "/metrics", "").status,
    ];
    assert_eq!(statuses, [200, 200, 404, 404, 405, 204]);
    assert_eq!(tcp.request("GET", "/metrics", "Content-Length: 1\r\n").status, 413);
    let page = scrape(&url);
    let count = |code: &str| {
        let name = format!("multiprom_http_requests_total{{code=\"{code}\"}}");
        page.contains(&name).then(|| sum_of(&page, &name))
    };
    let counts = ["200", "500", "503", "404", "405", "204", "413", "401"].map(count);
    let expected = [2, 0, 0, 2, 1, 1, 1].map(|count| Some(f64::from(count)));
    assert_eq!((&counts[..7], counts[7]), (&expected[..], None), "{page}");
    assert_eq!(sum_of(&page, "multiprom_http_response_duration_seconds_count"), 7.0, "{page}");
    assert!(sum_of(&page, "multiprom_http_connections_total") >= 3.0, "{page}");
    assert!(!page.contains("multiprom_http_authentication_failures"), "{page}");
    // The other path has the metrics of its directory only.
    let shop = unix.request("GET", "/shop", "").body;
    assert!(shop.contains("\nmultiprom_files{") && !shop.contains("multiprom_http_"), "{shop}");
    assert!(!shop.contains("\nprocess_"), "{shop}");
}

#[test]
fn failed_authentications_are_counted_by_reason() {
    let dir = TestDir::new("own-users");
    let config = dir.path().join("web.yml");
    let hash = bcrypt::hash("secret", 4).unwrap();
    fs::write(&config, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
    let flags = ["--web.config.file", config.to_str().unwrap()];
    let (_server, url) = serve(&[dir.path().to_str().unwrap()], &flags);
    let mut client = Connection::open(&url).unwrap();
    // alice:secret and alice:wrong.
    let (right, wrong) = ("YWxpY2U6c2VjcmV0", "YWxpY2U6d3Jvbmc=");
    let mut request = |credentials: &str| {
        let header = format!("Authorization: Basic {credentials}\r\n");
        let header = if credentials.is_empty() { "" } else { &header };
        client.request("GET", "/metrics", header)
    };
    let failures = |page: &str, reason: &str| {
        sum_of(
            page,
            &format!("multiprom_http_authentication_failures_total{{reason=\"{reason}\"}}"),
        )
    };
    let page = request(right).body;
    assert!(
        page.contains("\nmultiprom_http_authentication_failures_total{reason=\"missing\"} 0\n")
    );
    assert_eq!([request("").status, request(wrong).status, request(wrong).status], [401; 3]);
    let page = request(right).body;
    assert_eq!(["missing", "invalid", "busy"].map(|it| failures(&page, it)), [1.0, 2.0, 0.0]);
    assert_eq!(sum_of(&page, "multiprom_http_requests_total{code=\"401\"}"), 3.0);
}

#[test]
fn a_handler_in_another_server_counts_requests_and_no_connections() {
    let (registry, metrics) = (Registry::new(), ExporterMetrics::default());
    registry.register(metrics.clone()).unwrap();
    let handler = Handler::builder(registry).metrics(&metrics).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let page = runtime.block_on(async {
        assert_eq!(handler.respond(&Request::new("GET", "/none")).await.status(), 404);
        let mut body = handler.respond(&Request::new("GET", "/metrics")).await.into_body();
        let mut page = Vec::new();
        while let Some(chunk) = body.chunk().await {
            page.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(page).unwrap()
    });
    assert_eq!(sum_of(&page, "multiprom_http_requests_total{code=\"404\"}"), 1.0, "{page}");
    assert_eq!(sum_of(&page, "multiprom_http_requests_in_flight"), 1.0, "{page}");
    assert!(!page.contains("multiprom_http_connections_open"), "{page}");
}

#[test]
fn only_reasons_that_occurred_are_exported() {
    let dir = TestDir::new("own-reasons");
    let (_server, url) = serve(&[dir.path().to_str().unwrap()], &[]);
    let reasons = || {
        let page = scrape(&url);
        let lines =
            page.lines().filter_map(|line| line.strip_prefix("multiprom_file_errors_total"));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(reasons(), ["{reason=\"directory\"} 0"]);
    fs::write(dir.path().join("counter_1.db"), [9; 64]).unwrap();
    assert_eq!(reasons(), ["{reason=\"directory\"} 0", "{reason=\"header\"} 1"]);
    fs::remove_file(dir.path().join("counter_1.db")).unwrap();
    assert_eq!(reasons(), ["{reason=\"directory\"} 0", "{reason=\"header\"} 1"]);
}

#[test]
fn the_label_of_a_directory_is_stable_across_restarts() {
    let dir = TestDir::new("own-labels");
    fs::create_dir(dir.path().join("shop")).unwrap();
    let labels = |command: &mut Command| {
        let mut running = Running::start(command.current_dir(dir.path()));
        let page = scrape(&running.url());
        let prefix = "multiprom_directory_free_bytes{directory=\"";
        let labels = page.lines().filter_map(|line| line.strip_prefix(prefix)?.split('"').next());
        labels.map(str::to_owned).collect::<Vec<String>>()
    };
    let listen = ["--listen", "127.0.0.1:0"];
    for _ in 0..2 {
        let mut serve = multiprom();
        serve.arg("serve").args(listen).args(["--dir", "shop", "--dir", "./shop/../shop"]);
        assert_eq!(labels(&mut serve), ["shop"]);
        let mut run = multiprom();
        let command = ["--", "sleep", "60"];
        assert_eq!(labels(run.arg("run").args(listen).args(command)), ["private"]);
        let mut run = multiprom();
        run.arg("run").args(listen).args(["--dir", "shop"]).args(command);
        assert_eq!(labels(&mut run), ["shop"]);
    }
}

#[test]
fn the_time_of_the_last_compaction_and_the_process_of_the_exporter_are_exported() {
    let dir = TestDir::in_memory("own-process");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let path = dir.path().to_str().unwrap();
    let (server, url) = serve(&[path], &["--include", "jobs_total"]);
    let page = wait_for("a compaction", PATIENCE, || {
        let page = scrape(&url);
        page.contains("\nmultiprom_archive_bytes{").then_some(page)
    });
    let name = "multiprom_compaction_last_success_timestamp_seconds";
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = since.as_secs_f64() - sum_of(&page, name);
    assert!((-1.0..60.0).contains(&age), "{age}: {page}");
    assert_eq!(sum_of(&page, "multiprom_compactions_total{result=\"committed\"}"), 1.0);
    assert!(sum_of(&page, "process_resident_memory_bytes") > 0.0, "{page}");
    let started = sum_of(&page, "process_start_time_seconds");
    assert!((since.as_secs_f64() - started).abs() < 120.0, "{started}");
    let (_other, url) = serve(&[path], &["--exclude", "process_.*"]);
    assert!(!scrape(&url).contains("process_"));
    drop(server);
}

#[test]
fn promtool_accepts_the_page_of_an_exporter() {
    if !is_installed("promtool") {
        return;
    }
    let dir = TestDir::new("own-promtool");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    fs::write(dir.path().join("counter_1.db"), [9; 64]).unwrap();
    let config = dir.path().join("web.yml");
    // No users: the test sends no password.
    fs::write(&config, "rate_limit:\n  interval: 1ms\n  burst: 100\n").unwrap();
    let flags = ["--worker-metrics", "--web.config.file", config.to_str().unwrap()];
    let (_server, url) = serve(&[dir.path().to_str().unwrap()], &flags);
    get(&format!("{url}/none")).unwrap();
    let text = wait_for("an archive", PATIENCE, || {
        Some(scrape(&url)).filter(|text| text.contains("multiprom_archive_bytes"))
    });
    let (_, problems) = promtool(text.as_bytes());
    // Units of the workload itself.
    let own: Vec<&str> = problems
        .lines()
        .filter(|line| line.starts_with("multiprom_") || line.starts_with("process_"))
        .collect();
    assert_eq!(own, [""; 0], "{problems}");
}
