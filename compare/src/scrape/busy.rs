//! Scrapes while processes register and record.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use multiprom::{Counter, Family, Registry};

use super::{Answer, Effort};
use crate::programs::Programs;
use crate::rounds::Times;
use crate::served::{Served, TEXT};
use crate::workload::{self, ScratchDir, Shape};

/// The argument of this program as a living process, before directory, samples and number.
pub const LIVE: &str = "--live";

/// How often a process makes a new series, and increments [`RECORDED`] others.
const STEP: Duration = Duration::from_millis(20);
const RECORDED: usize = 100;

/// Between the scrapes.
const PAUSE: Duration = Duration::from_millis(200);

/// What a living process is told.
const RECORD: u8 = b'r';
const REST: u8 = b's';

/// Measures before, while and after living processes record.
pub fn compare(programs: &Programs, effort: Effort) -> io::Result<Vec<Answer>> {
    let shape = effort.shape(Shape::LARGE);
    let living = (shape.processes / 4).max(1);
    let dir = ScratchDir::new("compare-busy");
    workload::fill_part(dir.path(), &shape, 0..shape.processes - living)?;
    let numbers = shape.processes - living..shape.processes;
    let mut all = numbers
        .map(|number| Living::start(dir.path(), &shape, number))
        .collect::<io::Result<Vec<_>>>()?;
    let served = Served::start(programs, dir.path())?;
    let rounds = effort.pick(20, 3);
    scrapes(&served, 3)?;
    let before = scrapes(&served, rounds)?;
    all.iter_mut().try_for_each(|living| living.tell(RECORD))?;
    let during = scrapes(&served, rounds)?;
    all.iter_mut().try_for_each(|living| living.tell(REST))?;
    thread::sleep(PAUSE);
    scrapes(&served, 1)?;
    let after = scrapes(&served, rounds)?;
    println!(
        "Scrapes of {shape}, {living} processes alive. Each makes a new series every {STEP:?}, all the same, and increments \
         {RECORDED} others; scraped every {PAUSE:?}:\n"
    );
    println!("| processes | ms | / quiet before, median, lowest to highest |");
    println!("|---|---:|---:|");
    println!("| quiet, before | {:.2} | |", before.median() * 1e3);
    for (what, times) in [("record", &during), ("quiet, after", &after)] {
        println!("| {what} | {:.2} | {} |", times.median() * 1e3, times.ratio(&before));
    }
    println!();
    let what = format!("`serve` of {shape} while {living} processes register and record / quiet");
    Ok(vec![Answer::times(what, "at most 1.5", &during.ratio(&before))])
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

/// A process that has recorded its share of a shape. It ends when this is dropped.
struct Living {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Living {
    fn start(dir: &Path, shape: &Shape, number: usize) -> io::Result<Living> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(LIVE).arg(dir).args([shape.shared, number].map(|number| number.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let living = Living { child, stdin };
        let read = |mut stdout: ChildStdout| stdout.read_exact(&mut [0]);
        stdout.map_or(Ok(()), read)?;
        Ok(living)
    }

    fn tell(&mut self, what: u8) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&[what]))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.stdin = None;
        // OK because one that has ended already needs no waiting.
        let _ = self.child.wait();
    }
}

/// What this program does as a living process: records its share, and then as it is told by its standard
/// input, until that ends.
pub fn live(dir: &str, shared: &str, number: &str) -> Result<(), Box<dyn std::error::Error>> {
    let shape = Shape::mix("", 1, shared.parse()?);
    let registry = workload::record(Path::new(dir), &shape, number.parse()?)?;
    let recording = Recording::new(&registry)?;
    let mut stdout = io::stdout();
    stdout.write_all(b".")?;
    stdout.flush()?;
    let mut told = [0];
    let mut step = 0;
    while io::stdin().read(&mut told)? == 1 {
        while told == [RECORD] && !is_readable(STEP)? {
            recording.record(step);
            step += 1;
        }
    }
    Ok(())
}

struct Recording {
    known: Vec<[String; 3]>,
    requests: Family<Counter, 3>,
}

impl Recording {
    fn new(registry: &Registry) -> multiprom::Result<Recording> {
        let requests = Counter::builder("requests_total", "Requests.");
        let requests = requests.labels(["method", "route", "code"]).get_or_register(registry)?;
        Ok(Recording { known: (0..RECORDED).map(workload::request).collect(), requests })
    }

    fn record(&self, step: usize) {
        for [method, route, code] in &self.known {
            self.requests.with([method, route, code]).inc();
        }
        self.requests.with(["GET", &format!("/api/v1/new/{step}"), "200"]).inc();
    }
}

/// Whether the standard input can be read, at the latest after that time.
fn is_readable(timeout: Duration) -> io::Result<bool> {
    let mut wanted = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one structure, which is written.
    let count = unsafe { libc::poll(&raw mut wanted, 1, timeout.as_millis() as libc::c_int) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count > 0) }
}
