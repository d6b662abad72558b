//! One worker of the demo: responds to HTTP requests on a socket that all workers share, and records metrics.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::DemoWorkerArguments;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Counter, Family, Gauge, Histogram, Static, Summary, buckets};
use crate::model::GaugeMode;
use crate::registry::{Backend, set_default_backend};

/// The routes that the demo serves.
pub(super) const ROUTES: [&str; 4] = ["/", "/cart", "/search", "/missing"];

/// Threads of a worker.
const THREADS: usize = 2;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

static REQUESTS: Static<Family<Counter, 2>> =
    Counter::declare("demo_requests_total", "Requests served.").labels(["route", "code"]);
static LATENCY: Static<Family<Histogram>> =
    Histogram::declare("demo_request_seconds", "Time to serve a request.")
        .buckets(&buckets::GO_DEFAULT)
        .labels(["route"]);
static SIZE: Static<Summary> = Summary::declare("demo_response_bytes", "Size of responses.");
static BUSY: Static<Gauge> =
    Gauge::declare("demo_inprogress", "Requests in progress.").mode(GaugeMode::LiveSum);
static LAST: Static<Gauge> =
    Gauge::declare("demo_last_request_timestamp_seconds", "Time of the last request.")
        .mode(GaugeMode::MostRecent);
static START: Static<Gauge> =
    Gauge::declare("demo_worker_start_time_seconds", "Start time of each worker.")
        .mode(GaugeMode::LiveAll);

pub(super) fn run(arguments: &DemoWorkerArguments) -> Result<ExitCode> {
    set_default_backend(Backend::directory(&arguments.dir)?)?;
    let socket = io::stdin().as_fd().try_clone_to_owned();
    let listener = TcpListener::from(socket.map_err(|error| Error::new(ErrorKind::Io, error))?);
    START.set_to_current_time();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| serve(&listener));
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn serve(listener: &TcpListener) {
    let mut random = Random::new();
    // The listener is closed when the process ends.
    while let Ok((stream, _)) = listener.accept() {
        // OK because a disconnected client affects no other request.
        let _ = respond(stream, &mut random);
    }
}

fn respond(mut stream: TcpStream, random: &mut Random) -> io::Result<()> {
    let _busy = BUSY.track_inprogress();
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let mut line = String::new();
    let mut reader = BufReader::new(&stream);
    reader.read_line(&mut line)?;
    // If the connection were closed before the whole request is read, the client could see a reset.
    while reader.read_line(&mut String::new())? > 2 {}
    let route = line.split(' ').nth(1).unwrap_or_default();
    let route = ROUTES.into_iter().find(|known| *known == route).unwrap_or("/missing");
    let timer = LATENCY.with([route]).start_timer();
    std::thread::sleep(Duration::from_millis(1 + random.below(12)));
    let code = match random.below(50) {
        0 => "500",
        _ if route == "/missing" => "404",
        _ => "200",
    };
    let body = "x".repeat(64 + random.below(2048) as usize);
    timer.stop();
    SIZE.observe(body.len() as f64);
    LAST.set_to_current_time();
    REQUESTS.with([route, code]).inc();
    write!(stream, "HTTP/1.0 {code} demo\r\nContent-Length: {}\r\n\r\n{body}\n", body.len() + 1)
}

/// Pseudo-random numbers: xorshift.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Random(u64::from(time.subsec_nanos()) << 20 | u64::from(std::process::id()) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
