//! `demo`: worker processes that serve requests, clients, a kill every few seconds, and the merged metrics of all
//! workers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::args::{CompactMode, DemoArguments, Keep, KeepDeadArguments};
use super::compact;
use super::demo_worker::ROUTES;
use super::exporting::ExportedRegistry;
use super::merging::with_worker_metrics;
use super::new_dir::NewDir;
use super::output::print;
use super::private_dir::PrivateDir;
use super::signals::{Signal, Signals};
use super::terminal;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Collector as _, FamilyMetadata, FamilySink, Sample};
use crate::multiproc::{MultiProcessCollector, mark_process_dead};

/// Interval between kills of a worker.
const KILL_INTERVAL: Duration = Duration::from_secs(5);
/// Interval between lines of the summary.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);
/// How long gauges of killed workers are kept.
const KEEP_DEAD: Duration = Duration::from_secs(60);
/// Threads that send requests, and the pause of each between two requests.
const CLIENTS: u64 = 4;
const CLIENT_PAUSE: Duration = Duration::from_millis(20);
/// How long a client waits for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(arguments: &DemoArguments) -> Result<ExitCode> {
    let signals = Signals::block(&[Signal::INT, Signal::TERM])?;
    let (dir, _) = PrivateDir::create(&NewDir::default())?;
    let builder = MultiProcessCollector::builder();
    let builder = builder.labelled_directory(dir.path(), PrivateDir::LABEL);
    let builder = with_worker_metrics(builder, &arguments.worker_metrics);
    let dirs = [dir.path().to_owned()];
    let keep_dead = KeepDeadArguments { keep_dead: Keep(Some(KEEP_DEAD)) };
    let compactor = compact::beside_exporter(&dirs, None, CompactMode::Own, &keep_dead)?;
    let exporter = ExportedRegistry::new(builder, compactor.as_ref(), dirs.to_vec())?
        .listen(&arguments.listen)?;
    let _compacting = compactor.map(|compactor| compactor.start()).transpose()?;
    let failed = |error| Error::new(ErrorKind::Io, error);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    print(
        format!(
            "{} workers serve http://{address}/ and record into {}\n\
             merged metrics: {}\n",
            arguments.workers,
            dir.path().display(),
            exporter.url(),
        )
        .as_bytes(),
    )?;
    let mut workers = Workers::start_all(arguments.workers, listener, dir.path())?;
    let load = Load::begin(address);
    let result = workers.supervise(arguments, &signals, &load);
    load.end();
    let responses = load.responses.load(Ordering::Relaxed);
    workers.kill_all();
    let counted = counted_requests(dir.path());
    exporter.stop();
    result?;
    print(
        format!(
            "stopped: {responses} responses received, {counted} requests counted, {} workers killed\n",
            workers.killed
        )
        .as_bytes(),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The worker processes.
struct Workers<'a> {
    processes: Vec<Child>,
    listener: TcpListener,
    dir: &'a Path,
    killed: usize,
}

impl<'a> Workers<'a> {
    fn start_all(count: u32, listener: TcpListener, dir: &'a Path) -> Result<Workers<'a>> {
        let mut workers = Workers { processes: Vec::new(), listener, dir, killed: 0 };
        for _ in 0..count {
            let worker = workers.start()?;
            workers.processes.push(worker);
        }
        Ok(workers)
    }

    /// Starts a worker. Its standard input is the listening socket.
    fn start(&self) -> Result<Child> {
        let start = || {
            let socket = OwnedFd::from(self.listener.try_clone()?);
            let mut worker = Command::new(std::env::current_exe()?);
            worker.arg("demo-worker").arg("--dir").arg(self.dir).stdin(Stdio::from(socket));
            terminal::end_with_parent(&mut worker, Signal::KILL);
            worker.spawn()
        };
        start()
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start a worker: {error}")))
    }

    /// Kills a worker at each interval and replaces ended ones, until the duration has passed or a signal arrives.
    fn supervise(
        &mut self,
        arguments: &DemoArguments,
        signals: &Signals,
        load: &Load,
    ) -> Result<()> {
        let start = Instant::now();
        let end = arguments.duration.map(Duration::from_secs);
        let mut last_kill = start;
        loop {
            let left = end.map(|end| end.saturating_sub(start.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            let pause = left.unwrap_or(SUMMARY_INTERVAL).min(SUMMARY_INTERVAL);
            if signals.wait_for(pause).is_some() {
                return Ok(());
            }
            if last_kill.elapsed() >= KILL_INTERVAL {
                last_kill = Instant::now();
                let victim = self.killed % self.processes.len();
                let _ = self.processes[victim].kill();
                self.killed += 1;
            }
            self.replace_ended()?;
            print(
                format!(
                    "{:>4} s  {} requests counted, {} responses received, {} workers, {} killed\n",
                    start.elapsed().as_secs(),
                    counted_requests(self.dir),
                    load.responses.load(Ordering::Relaxed),
                    self.processes.len(),
                    self.killed,
                )
                .as_bytes(),
            )?;
        }
    }

    fn replace_ended(&mut self) -> Result<()> {
        for at in 0..self.processes.len() {
            let worker = &mut self.processes[at];
            if matches!(worker.try_wait(), Ok(None)) {
                continue;
            }
            mark_process_dead(self.dir, worker.id())?;
            self.processes[at] = self.start()?;
        }
        Ok(())
    }

    fn kill_all(&mut self) {
        for worker in &mut self.processes {
            // OK because the call fails only for a worker that has already ended.
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Threads that send requests to the workers.
struct Load {
    responses: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: std::cell::RefCell<Vec<JoinHandle<()>>>,
}

impl Load {
    fn begin(address: SocketAddr) -> Load {
        let responses = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: u64| {
            let (responses, stop) = (Arc::clone(&responses), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut turn = number as usize;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    if request(address, ROUTES[turn % ROUTES.len()]).is_ok() {
                        responses.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::park_timeout(CLIENT_PAUSE);
                }
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load { responses, stop, clients: std::cell::RefCell::new(clients) }
    }

    fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.take() {
            client.thread().unpark();
            let _ = client.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn request(address: SocketAddr, route: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT)?;
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    write!(stream, "GET {route} HTTP/1.0\r\n\r\n")?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    if response.starts_with(b"HTTP/1.0 ") {
        Ok(())
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

/// The sum of the requests that all workers, living and dead, have counted.
fn counted_requests(dir: &Path) -> f64 {
    #[derive(Default)]
    struct RequestSum {
        is_requested: bool,
        total: f64,
    }

    impl FamilySink for RequestSum {
        fn family(&mut self, head: &FamilyMetadata<'_>) {
            self.is_requested = head.name == "demo_requests";
        }

        fn sample(&mut self, sample: &Sample<'_>) {
            if self.is_requested {
                self.total += sample.value;
            }
        }
    }

    let mut sum = RequestSum::default();
    if let Ok(collector) = MultiProcessCollector::new(dir) {
        collector.collect(&mut sum);
    }
    sum.total
}
