//! Scrapes while processes register and record.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use multiprom::{Counter, Family, Registry};

use super::{Effort, Measurement};
use crate::programs::Programs;
use crate::rounds::Times;
use crate::served::{Served, TEXT};
use crate::workload::{self, Shape, TestDir};

/// First argument of this program when it runs as a living process; directory, samples and number follow.
pub const LIVE: &str = "--live";

/// How often a process creates a new series and increments [`RECORDED`] others.
const STEP: Duration = Duration::from_millis(20);
const RECORDED: usize = 100;

/// Pause between scrapes.
const PAUSE: Duration = Duration::from_millis(200);

/// Commands to a living process.
const RECORD: u8 = b'r';
const REST: u8 = b's';

/// Measures scrapes before, while and after living processes record.
pub fn compare(programs: &Programs, effort: Effort) -> io::Result<Vec<Measurement>> {
    let shape = effort.shape(Shape::LARGE);
    let living = (shape.processes / 4).max(1);
    let dir = TestDir::in_memory("compare-busy");
    workload::fill_part(dir.path(), &shape, 0..shape.processes - living)?;
    let numbers = shape.processes - living..shape.processes;
    let mut all = numbers
        .map(|number| Living::start(dir.path(), &shape, number))
        .collect::<io::Result<Vec<_>>>()?;
    let served = Served::start(programs, dir.path())?;
    let rounds = effort.pick(20, 3);
    scrapes(&served, 3)?;
    let before = scrapes(&served, rounds)?;
    all.iter_mut().try_for_each(|living| living.send(RECORD))?;
    let during = scrapes(&served, rounds)?;
    all.iter_mut().try_for_each(|living| living.send(REST))?;
    thread::sleep(PAUSE);
    scrapes(&served, 1)?;
    let after = scrapes(&served, rounds)?;
    println!(
        "Scrapes of {shape}, {living} processes alive. Each of them creates a new series every {STEP:?}, the same ones in \
         all processes, and increments {RECORDED} others; the exporter is scraped every {PAUSE:?}:\n"
    );
    println!("| processes | ms | / quiet before, median, lowest to highest |");
    println!("|---|---:|---:|");
    println!("| quiet, before | {:.2} | |", before.median() * 1e3);
    for (what, times) in [("record", &during), ("quiet, after", &after)] {
        println!("| {what} | {:.2} | {} |", times.median() * 1e3, times.ratio(&before));
    }
    println!();
    let what = format!("`serve` of {shape} while {living} processes register and record / quiet");
    Ok(vec![Measurement::new(what, during.ratio(&before))])
}

fn scrapes(served: &Served, rounds: usize) -> io::Result<Times> {
    let mut connection = served.connect()?;
    let mut times = Times::new("scrape");
    connection.get(TEXT)?;
    for _ in 0..rounds {
        thread::sleep(PAUSE);
        times.push(served.time_of(&mut connection, 1)?);
    }
    Ok(times)
}

/// A process that has recorded its share of a shape. It exits when this is dropped.
pub(super) struct Living {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Living {
    fn start(dir: &Path, shape: &Shape, number: usize) -> io::Result<Living> {
        let [shared, number] = [shape.shared, number].map(|number| number.to_string().into());
        Living::run([LIVE.into(), dir.into(), shared, number])
    }

    /// Runs this program with these arguments, and waits until it writes a byte.
    pub(super) fn run<const N: usize>(arguments: [OsString; N]) -> io::Result<Living> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let living = Living { child, stdin };
        let read = |mut stdout: ChildStdout| stdout.read_exact(&mut [0]);
        stdout.map_or(Ok(()), read)?;
        Ok(living)
    }

    fn send(&mut self, command: u8) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&[command]))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.stdin = None;
        // OK because the process may have exited already.
        let _ = self.child.wait();
    }
}

/// Runs this program as a living process: records its share, then follows the commands on standard input until its
/// end.
pub fn live(dir: &str, shared: &str, number: &str) -> Result<(), Box<dyn std::error::Error>> {
    let shape = Shape::mix("", 1, shared.parse()?);
    let registry = workload::record(Path::new(dir), &shape, number.parse()?)?;
    let recording = Recording::new(&registry)?;
    let mut stdout = io::stdout();
    stdout.write_all(b".")?;
    stdout.flush()?;
    let mut command = [0];
    let mut step = 0;
    while io::stdin().read(&mut command)? == 1 {
        while command == [RECORD] && !is_readable(STEP)? {
            recording.record(step);
            step += 1;
        }
    }
    Ok(())
}

struct Recording {
    recorded: Vec<[String; 3]>,
    requests: Family<Counter, 3>,
}

impl Recording {
    fn new(registry: &Registry) -> multiprom::Result<Recording> {
        let requests = Counter::builder("requests_total", "Requests.");
        let requests = requests.labels(["method", "route", "code"]).get_or_register(registry)?;
        Ok(Recording { recorded: (0..RECORDED).map(workload::request).collect(), requests })
    }

    fn record(&self, step: usize) {
        for [method, route, code] in &self.recorded {
            self.requests.with([method, route, code]).inc();
        }
        self.requests.with(["GET", &format!("/api/v1/new/{step}"), "200"]).inc();
    }
}

/// Waits up to `timeout`; returns whether standard input is readable.
fn is_readable(timeout: Duration) -> io::Result<bool> {
    let mut wanted = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one structure, which is written.
    let count = unsafe { libc::poll(&raw mut wanted, 1, timeout.as_millis() as libc::c_int) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count > 0) }
}
