//! Graphite: a real carbon, and receivers that fail.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use multiprom::bridge::Graphite;
use multiprom::collector::Gatherer;
use multiprom::{ErrorKind, FamilySink, Gauge, Registry};

use crate::support::process::{PATIENCE, Running, run};
use crate::support::services::{free_address, listen, refusing, reset};
use crate::support::{TestDir, example, multiprom, output_of, python, wait_for};

/// A carbon-cache that stores each metric with a resolution of a second.
struct Carbon {
    dir: TestDir,
    address: String,
    python: PathBuf,
    _running: Running,
}

impl Carbon {
    /// Starts it on a free port. It does not report a port that the kernel selects.
    fn start() -> Option<Carbon> {
        let python = PathBuf::from(python("carbon")?.get_program());
        let dir = TestDir::new("carbon");
        let schemas = "[all]\npattern = .*\nretentions = 1s:1h\n";
        fs::write(dir.path().join("storage-schemas.conf"), schemas).unwrap();
        let address = free_address();
        let (host, port) = (address.ip(), address.port());
        let config = format!(
            "[cache]\nLINE_RECEIVER_INTERFACE = {host}\nLINE_RECEIVER_PORT = {port}\nPICKLE_RECEIVER_PORT = 0\n\
             CACHE_QUERY_INTERFACE = 127.0.0.1\nCACHE_QUERY_PORT = 0\nENABLE_TAGS = False\nUSER =\n\
             MAX_CREATES_PER_MINUTE = inf\nMAX_UPDATES_PER_SECOND = inf\n"
        );
        fs::write(dir.path().join("carbon.conf"), config).unwrap();
        let mut command = Command::new(&python);
        command.arg(python.with_file_name("carbon-cache.py"));
        command.args(["--nodaemon", "--config"]).arg(dir.path().join("carbon.conf"));
        command.arg("--pidfile").arg(dir.path().join("pid")).arg("start");
        command.env("GRAPHITE_ROOT", dir.path()).env("GRAPHITE_CONF_DIR", dir.path());
        command.env("GRAPHITE_STORAGE_DIR", dir.path());
        let mut running = Running::start(&mut command);
        wait_for("carbon", PATIENCE, || {
            assert!(running.is_running(), "{}", running.stderr());
            TcpStream::connect(address).ok()
        });
        Some(Carbon { dir, address: address.to_string(), python, _running: running })
    }

    /// The last value in a file of whisper, carbon's format.
    fn value(&self, path: &Path) -> Option<f64> {
        let program = "import sys, whisper\n\
                       values = whisper.fetch(sys.argv[1], 0)[1]\n\
                       print([value for value in values if value is not None][-1])";
        let mut command = Command::new(&self.python);
        let output = command.args(["-c", program]).arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().ok()
    }

    /// Waits until a path has a value.
    fn wait_until(&self, path: &str, value: f64) {
        let path = self.dir.path().join("whisper").join(path.replace('.', "/") + ".wsp");
        wait_for(&format!("{value} in {}", path.display()), PATIENCE, || {
            (path.exists() && self.value(&path) == Some(value)).then_some(())
        });
    }
}

#[test]
fn carbon_stores_what_was_recorded_once_and_periodically() {
    let Some(carbon) = Carbon::start() else { return };
    let registry = Registry::new();
    let jobs = multiprom::Counter::builder("jobs_total", "").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    let gauge = Gauge::builder("depth", "").register(&registry).unwrap();
    jobs.with(["a.b c"]).inc_by(3.0);
    gauge.set(-1.5);
    let graphite = Graphite::new(&carbon.address).unwrap();
    graphite.clone().prefix("shop.web1").push(&registry).unwrap();
    carbon.wait_until("shop.web1.jobs_total.queue.a_b_c", 3.0);
    carbon.wait_until("shop.web1.depth", -1.5);
    let periodic = graphite.start(registry, Duration::from_secs(3600)).unwrap();
    carbon.wait_until("depth", -1.5);
    gauge.set(2.0);
    // Carbon keeps the last value of each second.
    periodic.stop();
    carbon.wait_until("depth", 2.0);

    let dir = TestDir::new("graphite");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let mut command = multiprom();
    command.args(["graphite", "--dir"]).arg(dir.path()).args(["--address", &carbon.address]);
    output_of(command.args(["--prefix", "cli", "--include", "jobs", "--timeout", "20s"]));
    carbon.wait_until("cli.jobs_total", 5.0);
    // Tags: carbon stores the series under a hash of its name.
    output_of(command.arg("--tags"));
    let tagged = carbon.dir.path().join("whisper/_tagged");
    wait_for("tagged series", PATIENCE, || tagged.exists().then_some(()));
}

/// A receiver that stores what it gets.
fn receiver() -> (String, Arc<Mutex<String>>) {
    let text: Arc<Mutex<String>> = Arc::default();
    let taken = Arc::clone(&text);
    let address = listen(move |mut stream| {
        let mut lines = String::new();
        stream.read_to_string(&mut lines).unwrap();
        taken.lock().unwrap().push_str(&lines);
    });
    (address, text)
}

#[test]
fn the_command_sends_periodically_and_reconnects() {
    let dir = TestDir::new("graphite");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let (address, text) = receiver();
    let mut command = multiprom();
    command.args(["graphite", "--dir"]).arg(dir.path()).args(["--address", &address]);
    command.args(["--interval", "20ms", "--tags", "--prefix", "shop"]);
    let mut running = Running::start(&mut command);
    let lines = || {
        let text = text.lock().unwrap();
        text.lines().filter(|line| line.starts_with("shop.jobs_total")).count()
    };
    wait_for("three connections", PATIENCE, || (lines() >= 3).then_some(()));
    running.signal("TERM");
    assert!(running.wait().success(), "{}", running.stderr());
    let text = text.lock().unwrap();
    let line = text.lines().find(|line| line.starts_with("shop.jobs_total")).unwrap();
    assert!(
        line.starts_with("shop.jobs_total;") || line.starts_with("shop.jobs_total 5 "),
        "{line}"
    );

    let outcome = run(multiprom().args(["graphite", "--address", "a/b", "--dir"]).arg(dir.path()));
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
}

/// Samples that do not fit into the buffers of a socket.
struct Many;

impl Gatherer for Many {
    fn gather(&self, out: &mut dyn FamilySink) {
        for number in 0..200_000 {
            out.gauge(&format!("a_gauge_with_a_long_name_number_{number}"), "").sample(&[], 1.0);
        }
    }
}

#[test]
fn receivers_that_refuse_reset_or_do_not_read_are_errors_in_bounded_time() {
    // Each step begins within the short timeout also on a busy machine.
    const TIMEOUT: Duration = Duration::from_secs(1);
    let registry = Registry::new();
    Gauge::builder("g", "").register(&registry).unwrap().set(1.0);
    let error_of = |address: &str, source: &dyn Gatherer, timeout: Duration| {
        let graphite = Graphite::new(address).unwrap().timeout(timeout);
        let begin = Instant::now();
        let error = graphite.push(source).unwrap_err();
        assert!(begin.elapsed() < timeout + PATIENCE, "{:?}", begin.elapsed());
        assert_eq!(error.kind(), ErrorKind::Push);
        let text = format!("{error:#}");
        let begin = format!("cannot send to Graphite at {address}: ");
        text.strip_prefix(&begin).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let refused = refusing();
    let cause = format!("cannot connect to {refused}: Connection refused (os error 111)");
    assert_eq!(error_of(&refused, &registry, PATIENCE), cause);
    let error = error_of(&listen(reset), &registry, PATIENCE);
    assert!(error.starts_with("Connection reset by peer"), "{error}");
    // One that reads and does not end the connection, and one that does not read.
    let holding = listen(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        std::thread::park_timeout(2 * PATIENCE);
    });
    assert_eq!(
        error_of(&holding, &registry, TIMEOUT),
        "the receiver has not confirmed the samples in 1s"
    );
    let blocked = listen(|_stream| std::thread::park_timeout(2 * PATIENCE));
    assert_eq!(error_of(&blocked, &Many, TIMEOUT), "the receiver has not taken the samples in 1s");
}
