//! Clients that read slowly or not at all, send half of a request, or only connect do not block other clients.
//!
//! The limit for a scrape grows with the time of scrapes without slow clients in the same run, so that it does not depend on
//! the load of the machine. `docs/reliability.md` has measured values.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiprom::{Backend, Counter, Registry};

use crate::support::http::{Connection, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::{SetOnDrop, TestDir, multiprom, wait_for};

/// Limit for a scrape, in addition to [`MAX_RATIO`]. Without the limits of the server, scrapes took 12 s to 75 s in these
/// tests.
const MAX_TIME: Duration = Duration::from_secs(5);
/// How many times longer than without slow clients a scrape may take.
const MAX_RATIO: u32 = 8;
/// Limit for the growth of the exporter's memory, in KiB.
const MAX_GROWTH: u64 = 32 * 1024;
/// About 20 MB of text.
const SERIES: usize = 2_000;
/// About 60 MB of text, several times the memory limit of all responses together.
const MANY_SERIES: usize = 6_000;
const FILLER_LEN: usize = 10_000;
const REQUEST_AND_CLOSE: &[u8] =
    b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
const OLD_REQUEST: &[u8] = b"GET /metrics HTTP/1.0\r\nHost: test\r\n\r\n";
const HALF_HEAD: &[u8] = b"GET /metrics HTTP/1.1\r\nHo";

/// A server of series with about 10 KB of text each.
struct Served {
    _dir: TestDir,
    server: Running,
    url: String,
    series: usize,
    /// The longest time of a scrape without slow clients.
    unloaded: Duration,
    /// Peak memory before the test, in KiB.
    memory: u64,
}

impl Served {
    fn start(name: &str, series: usize) -> Served {
        let dir = TestDir::in_memory(name);
        let backend = Backend::directory(dir.path()).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        let family = Counter::builder("jobs", "Jobs.").labels(["number"]);
        let family = family.register(&registry).unwrap();
        for number in 0..series {
            family.with([&number.to_string()]).inc();
        }
        registry.close();
        let mut command = multiprom();
        command.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0", "--dir"]);
        // Few series with long lines, as merging many series is slow in a debug build.
        command.arg(dir.path()).args(["--label", &format!("filler={}", "x".repeat(FILLER_LEN))]);
        let mut server = Running::start(&mut command);
        let url = server.url();
        let unloaded = Duration::ZERO;
        let mut served = Served { _dir: dir, server, url, series, unloaded, memory: 0 };
        for _ in 0..2 {
            let start = Instant::now();
            served.scrape();
            served.unloaded = served.unloaded.max(start.elapsed());
        }
        fs::write(served.proc("clear_refs"), "5").unwrap();
        served.memory = served.peak();
        served
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.server.id())
    }

    /// Peak memory since it was reset, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Scrapes on a new connection.
    fn scrape(&self) -> String {
        let body = Connection::open(&self.url).unwrap().request("GET", "/metrics", "").body;
        assert_eq!(sum_of(&body, "jobs_total"), self.series as f64);
        body
    }

    /// Opens connections and sends `sent` on each.
    fn connect(&self, count: usize, sent: &[u8]) -> Vec<TcpStream> {
        let address = self.url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
        let client = |_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(sent).unwrap();
            stream
        };
        (0..count).map(client).collect()
    }

    /// Limit for a scrape.
    fn limit(&self) -> Duration {
        MAX_TIME + self.unloaded * MAX_RATIO
    }

    /// Asserts that scrapes are served within the limits of time and memory.
    fn assert_serves(&self) {
        let limit = self.limit();
        for _ in 0..2 {
            let start = Instant::now();
            let mut stream = self.connect(1, REQUEST_AND_CLOSE).pop().unwrap();
            stream.set_read_timeout(Some(2 * limit)).unwrap();
            let mut response = Vec::new();
            stream.read_to_end(&mut response).unwrap();
            let time = start.elapsed();
            assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
            // The last line of the page, or of the chunks.
            assert!(response.ends_with(b" 0\n") || response.ends_with(b"\r\n0\r\n\r\n"));
            assert!(response.len() > self.series * FILLER_LEN);
            assert!(
                time < limit,
                "a scrape took {time:?}, {:?} without slow clients",
                self.unloaded
            );
        }
        let grown = self.peak().saturating_sub(self.memory);
        assert!(grown < MAX_GROWTH, "memory grew by {grown} KiB");
    }

    /// The number of connections dropped for a reason.
    fn dropped(&self, reason: &str) -> f64 {
        let name = format!("multiprom_http_connections_dropped_total{{reason=\"{reason}\"}}");
        sum_of(&self.scrape(), &name)
    }
}

#[test]
fn clients_that_read_a_byte_a_second_do_not_block_others() {
    let served = Served::start("trickle", SERIES);
    let mut trickling = served.connect(60, REQUEST);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ending = SetOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for stream in &mut trickling {
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.read(&mut [0]);
                }
                std::thread::park_timeout(Duration::from_secs(1));
            }
        });
        served.assert_serves();
    });
}

#[test]
fn clients_that_do_not_read_do_not_block_others_at_any_length() {
    for (series, request) in [(SERIES, REQUEST), (MANY_SERIES, REQUEST), (SERIES, OLD_REQUEST)] {
        let served = Served::start("unread", series);
        let _clients = served.connect(64, request);
        served.assert_serves();
    }
}

#[test]
fn connections_without_a_complete_request_do_not_block_others() {
    for sent in [&b""[..], HALF_HEAD] {
        let served = Served::start("incomplete", 10);
        let _clients = served.connect(300, sent);
        served.assert_serves();
        assert!(served.dropped("limit") >= 300.0 - 256.0);
    }
}

#[test]
fn all_slow_clients_together_do_not_block_others() {
    let served = Served::start("together", SERIES);
    let _half = served.connect(256, HALF_HEAD);
    let _unread = served.connect(64, REQUEST);
    let _idle = served.connect(64, b"");
    served.assert_serves();
}

#[test]
fn the_longest_idle_connection_is_closed_for_a_new_one() {
    let served = Served::start("idle", 10);
    let mut first = Connection::open(&served.url).unwrap();
    assert_eq!(first.request("GET", "/-/healthy", "").status, 200);
    let mut second = Connection::open(&served.url).unwrap();
    assert_eq!(second.request("GET", "/-/healthy", "").status, 200);
    let _others = served.connect(254, b"");
    served.scrape();
    assert!(first.is_closed());
    assert_eq!(second.request("GET", "/-/healthy", "").status, 200);
}

#[test]
fn an_aborted_response_never_looks_complete() {
    let served = Served::start("broken", MANY_SERIES);
    let mut slow = Connection::open(&served.url).unwrap();
    slow.send(REQUEST).unwrap();
    // Its body exceeds the memory limit, so the response is aborted when another client needs memory.
    wait_for("response", PATIENCE, || (served.dropped("memory") > 0.0).then_some(()));
    assert!(slow.response(false).is_err());
}

#[test]
fn a_too_long_http_1_0_body_is_refused_with_the_reason() {
    let served = Served::start("old", MANY_SERIES);
    let mut old = Connection::open(&served.url).unwrap();
    old.send(OLD_REQUEST).unwrap();
    let response = old.response(false).unwrap();
    assert_eq!(response.status, 503);
    let expected =
        "the exposition has more than 16777216 bytes, the limit for HTTP/1.0: use HTTP/1.1\n";
    assert_eq!(response.body, expected);
    served.scrape();
}
