//! Responses that are sent while they are gathered.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use multiprom::FamilySink;
use multiprom::collector::Gatherer;
use multiprom::exposition::{Exposition, Format};
use multiprom::http::Exporter;

use crate::support::http::{Connection, Response, get};
use crate::support::process::{PATIENCE, Running};
use crate::support::{example, wait_for};

/// Samples whose text exceeds the buffers of sockets.
const HUGE: usize = 20_000;
/// Longer bodies are sent in chunks.
const MAX_WHOLE_LEN: usize = 320 * 1024;
/// Limit for a test that would otherwise hang, of many responses.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(300);

/// Gathers many samples under a lock, as a collector may.
#[derive(Clone, Default)]
struct Samples(Arc<State>);

#[derive(Default)]
struct State {
    lock: Mutex<()>,
    /// Number of scrapes that have begun.
    begun: AtomicUsize,
    count: AtomicUsize,
    /// Whether to panic after the last sample.
    is_failing: AtomicBool,
}

impl Samples {
    fn new(count: usize) -> Samples {
        let samples = Samples::default();
        samples.0.count.store(count, Ordering::Relaxed);
        samples
    }

    fn wait_for_scrape(&self) {
        let has_begun = || self.0.begun.load(Ordering::Relaxed) > 0;
        wait_for("scrape", PATIENCE, || has_begun().then_some(()));
    }

    fn start(&self) -> Exporter {
        let listen = "127.0.0.1:0".parse().unwrap();
        Exporter::builder(self.clone()).listen(listen).start().unwrap()
    }
}

impl Gatherer for Samples {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        let _lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let filler = "x".repeat(1000);
        let mut family = out.gauge("samples", "Of about 1000 bytes each.");
        for number in 0..self.0.count.load(Ordering::Relaxed) {
            let label = format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            family.sample(&[("number", &label), ("filler", &filler)], number as f64);
        }
        if self.0.is_failing.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("a gatherer fails"));
        }
    }
}

fn open(exporter: &Exporter) -> Connection {
    Connection::open(exporter.url()).unwrap()
}

fn decompressed(response: &Response) -> Vec<u8> {
    let mut plain = Vec::new();
    match response.header("content-encoding") {
        None => return response.bytes.clone(),
        Some("gzip") => flate2::read::MultiGzDecoder::new(&*response.bytes).read_to_end(&mut plain),
        Some(_) => {
            zstd::stream::read::Decoder::new(&*response.bytes).unwrap().read_to_end(&mut plain)
        }
    }
    .unwrap();
    plain
}

#[test]
fn bodies_of_every_length_arrive_complete_in_every_coding() {
    let samples = Samples::new(0);
    let exporter = samples.start();
    let mut connection = open(&exporter);
    for count in [0, 1, 300, 350, HUGE, 3] {
        samples.0.count.store(count, Ordering::Relaxed);
        let whole = Exposition::encode(&samples, Format::Text).body;
        for coding in ["identity", "gzip", "zstd"] {
            let header = format!("Accept-Encoding: {coding}\r\n");
            let response = connection.request("GET", "/metrics", &header);
            assert_eq!(response.status, 200);
            assert!(decompressed(&response) == whole, "{count} samples, {coding}");
            let is_streamed = response.header("transfer-encoding").is_some();
            assert_eq!(is_streamed, response.header("content-length").is_none());
            assert_eq!(
                is_streamed,
                response.bytes.len() > MAX_WHOLE_LEN,
                "{count} samples, {coding}"
            );
        }
    }
}

#[test]
fn clients_without_chunked_coding_get_a_content_length() {
    let samples = Samples::new(5000);
    let exporter = samples.start();
    let response = get(exporter.url()).unwrap();
    let whole = Exposition::encode(&samples, Format::Text).body;
    assert_eq!(response.header("content-length"), Some(response.bytes.len().to_string().as_str()));
    assert!(response.bytes == whole);
}

#[test]
fn head_sends_the_headers_of_get_without_a_body() {
    let exporter = Samples::new(HUGE).start();
    let mut connection = open(&exporter);
    for coding in ["identity", "gzip"] {
        let header = format!("Accept-Encoding: {coding}\r\n");
        let head = connection.request("HEAD", "/metrics", &header);
        assert_eq!((head.status, head.bytes.len()), (200, 0));
        // The next response follows on the connection.
        let response = connection.request("GET", "/metrics", &header);
        for name in ["content-type", "content-encoding", "vary"] {
            assert_eq!(head.header(name), response.header(name), "{name}");
        }
        assert_eq!(head.header("content-length"), None);
    }
}

#[test]
fn a_client_that_does_not_read_blocks_no_other_and_gets_the_whole_body_later() {
    // The part that does not fit into socket buffers fits into the memory limit.
    let samples = Samples::new(HUGE / 2);
    let exporter = samples.start();
    let mut slow = open(&exporter);
    slow.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    samples.wait_for_scrape();
    let quick = open(&exporter).request("GET", "/metrics", "");
    let late = slow.response(false).unwrap();
    let whole = Exposition::encode(&samples, Format::Text).body;
    assert!(quick.bytes == whole);
    assert!(late.bytes == whole);
}

#[test]
fn clients_that_disconnect_during_the_body_do_not_block_the_exporter() {
    // In a thread, as an exporter that is blocked also blocks its `stop` and `drop`.
    let scenario = std::thread::spawn(|| {
        let samples = Samples::new(HUGE);
        let exporter = samples.start();
        for _ in 0..20 {
            let mut leaving = open(&exporter);
            leaving.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            assert_eq!(leaving.response(true).unwrap().status, 200);
            leaving.chunk(&mut Vec::new()).unwrap();
        }
        samples.0.count.store(1, Ordering::Relaxed);
        assert_eq!(open(&exporter).request("GET", "/metrics", "").status, 200);
        exporter.stop();
    });
    wait_for("end of the exporter", SCENARIO_TIMEOUT, || scenario.is_finished().then_some(()));
    scenario.join().unwrap();
}

#[test]
fn a_failed_gatherer_never_yields_a_complete_response() {
    let samples = Samples::new(1);
    samples.0.is_failing.store(true, Ordering::Relaxed);
    let exporter = samples.start();
    for coding in ["identity", "gzip", "zstd"] {
        let header = format!("Host: test\r\nAccept-Encoding: {coding}\r\n\r\n");
        // Before any byte is sent, the response has status 500.
        samples.0.count.store(1, Ordering::Relaxed);
        let mut connection = open(&exporter);
        connection.send(format!("GET /metrics HTTP/1.1\r\n{header}").as_bytes()).unwrap();
        assert_eq!(connection.response(false).unwrap().status, 500, "{coding}");
        samples.0.count.store(2 * HUGE, Ordering::Relaxed);
        connection.send(format!("GET /metrics HTTP/1.1\r\n{header}").as_bytes()).unwrap();
        assert!(connection.response(false).is_err(), "{coding}");
        // If the end of the connection is the end of the body, nothing is sent before the body is complete.
        let mut connection = open(&exporter);
        connection.send(format!("GET /metrics HTTP/1.0\r\n{header}").as_bytes()).unwrap();
        assert_eq!(connection.response(false).unwrap().status, 500, "{coding}");
    }
}

#[test]
fn a_gatherer_that_hangs_blocks_no_later_request() {
    /// Hangs in the first scrape, until the lock is released.
    struct Hanging(AtomicUsize, Mutex<()>);

    impl Gatherer for &Hanging {
        fn gather(&self, out: &mut dyn FamilySink) {
            let scrape = self.0.fetch_add(1, Ordering::Relaxed);
            let _lock = (scrape == 0).then(|| self.1.lock().unwrap());
            out.gauge("scrape", "").sample(&[], scrape as f64);
        }
    }

    let source: &Hanging = Box::leak(Box::new(Hanging(AtomicUsize::new(0), Mutex::new(()))));
    let listen = "127.0.0.1:0".parse().unwrap();
    let exporter = Exporter::builder(source).listen(listen).start().unwrap();
    let lock = source.1.lock().unwrap();
    let mut first = open(&exporter);
    first.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    wait_for("scrape", PATIENCE, || (source.0.load(Ordering::Relaxed) > 0).then_some(()));
    for scrape in 1..3 {
        let body = open(&exporter).request("GET", "/metrics", "").body;
        assert!(body.contains(&format!("\nscrape {scrape}\n")), "{body}");
    }
    drop(lock);
    assert!(first.response(false).unwrap().body.contains("\nscrape 0\n"));
}

#[test]
fn a_gathering_that_takes_longer_than_the_announced_timeout_ends_with_503() {
    let samples = Samples::new(1);
    let exporter = samples.start();
    let lock = samples.0.lock.lock().unwrap();
    for (seconds, limit) in [("0.2", 0.1), ("1", 0.5)] {
        let begin = Instant::now();
        let header = format!("X-Prometheus-Scrape-Timeout-Seconds: {seconds}\r\n");
        let response = open(&exporter).request("GET", "/metrics", &header);
        assert_eq!(response.status, 503, "{}", response.body);
        assert!(response.body.contains("X-Prometheus-Scrape-Timeout-Seconds"));
        let time = begin.elapsed().as_secs_f64();
        assert!(time >= limit && time < PATIENCE.as_secs_f64(), "{seconds}: {time}");
    }
    drop(lock);
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 10\r\n";
    assert_eq!(open(&exporter).request("GET", "/metrics", header).status, 200);
}

#[test]
fn a_body_is_aborted_at_the_announced_timeout() {
    /// Hangs after a part of the body, until the lock is released.
    struct Stalling(Mutex<()>);

    impl Gatherer for &Stalling {
        fn gather(&self, out: &mut dyn FamilySink) {
            let filler = "x".repeat(1000);
            for part in 0..2 {
                let _lock = (part == 1).then(|| self.0.lock().unwrap());
                let mut family = out.gauge(&format!("part_{part}"), "");
                for number in 0..1000 {
                    family.sample(&[("number", &format!("{filler}{number}"))], 0.0);
                }
            }
        }
    }

    let source: &Stalling = Box::leak(Box::new(Stalling(Mutex::new(()))));
    let listen = "127.0.0.1:0".parse().unwrap();
    let exporter = Exporter::builder(source).listen(listen).start().unwrap();
    let lock = source.0.lock().unwrap();
    let mut connection = open(&exporter);
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 0.6\r\n";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: test\r\n{header}\r\n");
    connection.send(request.as_bytes()).unwrap();
    let begin = Instant::now();
    let error = connection.response(false).err().expect("the last chunk is missing");
    assert!(begin.elapsed().as_secs_f64() > 0.5, "{error}");
    drop(lock);
}

#[test]
fn an_exporter_that_stops_completes_responses_in_progress() {
    // A body that is sent in chunks, and is gathered quickly: both together have five seconds.
    let samples = Samples::new(400);
    let exporter = samples.start();
    let whole = Exposition::encode(&samples, Format::Text).body;
    assert!(whole.len() > MAX_WHOLE_LEN);
    let lock = samples.0.lock.lock().unwrap();
    samples.0.begun.store(0, Ordering::Relaxed);
    let mut connection = open(&exporter);
    connection.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    samples.wait_for_scrape();
    let stopping = std::thread::spawn(move || exporter.stop());
    // Longer than the limit for sending a gathered body, shorter than the limit for gathering.
    std::thread::park_timeout(Duration::from_millis(1500));
    drop(lock);
    assert!(connection.response(false).unwrap().bytes == whole);
    stopping.join().unwrap();
}

/// Memory of eight scrapes of 65,000 series, each of which has 4.4 MB of text.
#[test]
fn a_scrape_takes_about_a_megabyte_whatever_its_length() {
    const SCRAPES: u64 = 8;
    for coding in ["identity", "gzip", "zstd"] {
        let mut command = example("test-streaming");
        let mut server = Running::start(command.args(["65000", &SCRAPES.to_string()]));
        let url = server.line_after("serving ");
        let header = format!("Accept-Encoding: {coding}\r\n");
        let bodies = std::thread::scope(|scope| {
            // Equal requests would share one gathering.
            let (url, header) = (&url, &header);
            let scrape = |number| {
                let path = format!("/metrics?name[]=series&name[]={number}");
                let response = Connection::open(url).unwrap().request("GET", &path, header);
                decompressed(&response).len()
            };
            let scrapes: Vec<_> =
                (0..SCRAPES).map(|number| scope.spawn(move || scrape(number))).collect();
            scrapes.into_iter().map(|scrape| scrape.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(bodies.iter().all(|len| *len > 4_000_000), "{bodies:?}");
        let grown: u64 = server.line_after("bytes ").parse().unwrap();
        // A quarter more, for the threads that gather and for memory that allocators keep.
        assert!(grown < SCRAPES * 5 * 256 * 1024, "{coding}: {grown} bytes");
        drop(server.stdin());
        assert!(server.end().status.success());
    }
}
