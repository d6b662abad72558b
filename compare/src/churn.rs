//! The cost of processes that have ended: scrapes before and after their compaction, the compaction itself, and
//! how long an `open` of the Python client waits while another process checks liveness.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use multiprom::compact::Compactor;
use multiprom::exposition::{Exposition, Format};
use multiprom::inspect::list_files;
use multiprom::{Backend, Counter, Gauge, GaugeMode, Histogram, MultiProcessCollector, Registry};

use crate::clocks;
use crate::fork;
use crate::rounds::Times;
use crate::workload::{self, Shape, TestDir};

/// The living processes.
const LIVING: Shape = Shape::mix("living", 16, 2_000);

/// The amount of work.
#[derive(Clone, Copy)]
pub struct Effort {
    pub dead: usize,
    pub rounds: usize,
    pub opens: usize,
}

/// Measures and prints everything.
pub fn compare(effort: Effort) -> io::Result<()> {
    let dir = TestDir::in_memory("compare-churn");
    let living = Living::start(dir.path())?;
    let none = scrapes(dir.path(), effort.rounds)?;
    for _ in 0..effort.dead {
        fork::wait(fork::in_child(|| record_little(dir.path()).expect("a worker can record")));
    }
    let before = scrapes(dir.path(), 3)?;
    let compactor = Compactor::builder().directory(dir.path()).build().map_err(io::Error::other)?;
    let (first, files) = timed(|| compactor.run().map(|done| done.files))?;
    let (second, nothing) = timed(|| compactor.run().map(|done| done.files))?;
    assert_eq!(nothing, 0, "one pass compacts all files of multiprom");
    let (again, _) = timed(|| compactor.run())?;
    let after = scrapes(dir.path(), effort.rounds)?;
    let none_again = {
        // Only the archive is removed.
        std::fs::remove_file(dir.path().join("archive.multiprom"))?;
        scrapes(dir.path(), effort.rounds)?
    };
    drop(living);

    let Effort { dead, .. } = effort;
    println!(
        "Scrapes of {} living processes x {} series, wall-clock time, without and with {dead} ended processes:\n",
        LIVING.processes,
        LIVING.series()
    );
    println!("| scrape | ms, median | / without, median, lowest to highest |");
    println!("|---|---:|---:|");
    println!("| without ended processes | {:.1} | |", none.median() * 1e3);
    for (what, times) in [
        (format!("{dead} have ended, not compacted"), &before),
        (format!("{dead} have ended, compacted"), &after),
        ("without ended processes, again".to_owned(), &none_again),
    ] {
        println!("| {what} | {:.1} | {} |", times.median() * 1e3, times.ratio(&none));
    }
    println!("\n| pass of a compactor | files | ms | ms of processor time |");
    println!("|---|---:|---:|---:|");
    for (what, files, (wall, cpu)) in [
        ("first", files, first),
        ("second, which shortens the archive's list", 0, second),
        ("again, with nothing to do", 0, again),
    ] {
        println!("| {what} | {files} | {:.1} | {:.1} |", wall * 1e3, cpu * 1e3);
    }
    println!();
    compare_opens(effort.opens)
}

/// A forked child.
struct Forked(libc::pid_t);

impl Forked {
    fn kill(self) {
        // SAFETY: takes numbers only; the child has not been waited for, so its pid is not reused.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        fork::wait_status(self.0);
    }
}

/// Runs `work` in a forked child, which then exits.
fn in_child(work: impl FnOnce() -> io::Result<()>) -> Forked {
    Forked(fork::in_child(|| work().expect("the work of a child")))
}

/// Processes that have recorded, and live until this is dropped.
struct Living(Vec<Forked>);

impl Living {
    fn start(dir: &Path) -> io::Result<Living> {
        let mut living = Vec::new();
        for number in 0..LIVING.processes {
            let mut ends = [0; 2];
            // SAFETY: the pointer is to two numbers that are written.
            if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call has created both descriptors, and nothing else owns them.
            let [mut read, mut write] = ends.map(|end| unsafe { std::fs::File::from_raw_fd(end) });
            living.push(in_child(|| {
                let _registry = workload::record(dir, &LIVING, number).map_err(io::Error::other)?;
                write.write_all(b".")?;
                loop {
                    std::thread::park();
                }
            }));
            read.read_exact(&mut [0])?;
        }
        Ok(Living(living))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Forked::kill);
    }
}

/// Records what a short-lived worker has: 100 series that the living processes also have, a histogram and a live
/// gauge.
fn record_little(dir: &Path) -> multiprom::Result<()> {
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let labels = ["method", "route", "code"];
    let requests =
        Counter::builder("requests_total", "Requests.").labels(labels).register(&registry)?;
    for at in 0..100 {
        requests.with(workload::request(at).each_ref().map(String::as_str)).inc();
    }
    let latency = Histogram::builder("latency_seconds", "Latency by route.");
    latency.labels(["route"]).register(&registry)?.with(["/api/v1/items/1"]).observe(0.3);
    let gauge = Gauge::builder("in_flight", "Something that goes up and down.");
    let gauge = gauge.mode(GaugeMode::LiveSum).labels(["queue"]).register(&registry)?;
    gauge.with(["queue-1"]).set(1.0);
    Ok(())
}

/// Times repeated scrapes of one collector, after a warm-up.
fn scrapes(dir: &Path, rounds: usize) -> io::Result<Times> {
    let merged = Registry::new();
    let collector = MultiProcessCollector::new(dir).map_err(io::Error::other)?;
    merged.register(collector).map_err(io::Error::other)?;
    let mut times = Times::new("scrape");
    for round in 0..=rounds {
        let begin = Instant::now();
        std::hint::black_box(Exposition::encode(&merged, Format::Text).body.len());
        if round > 0 {
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    Ok(times)
}

/// Runs `work`; returns wall-clock and processor time in seconds, and the result.
fn timed<T>(work: impl FnOnce() -> multiprom::Result<T>) -> io::Result<((f64, f64), T)> {
    let (begin, cpu) = (Instant::now(), clocks::own()?);
    let result = work().map_err(io::Error::other)?;
    Ok(((begin.elapsed().as_secs_f64(), clocks::own()? - cpu), result))
}

fn compare_opens(opens: usize) -> io::Result<()> {
    let dir = TestDir::in_memory("compare-opens");
    let path = dir.path().join("counter_7.db");
    let mut file = vec![0; 1 << 16];
    file[0] = 8;
    std::fs::write(&path, file)?;
    println!(
        "Opening a file for writing {opens} times, as the Python client does, in microseconds:\n"
    );
    println!("| concurrent load | median | p99.9 | maximum | over 1 ms |");
    println!("|---|---:|---:|---:|---:|");
    print_opens("nothing", &open_often(&path, opens)?);
    for (what, is_probing) in [
        ("a process that only computes", false),
        ("a process that checks liveness in a loop", true),
    ] {
        let beside = in_child(|| {
            loop {
                if is_probing {
                    list_files(dir.path()).map_err(io::Error::other)?;
                } else {
                    std::hint::spin_loop();
                }
            }
        });
        let times = open_often(&path, opens);
        beside.kill();
        print_opens(what, &times?);
    }
    Ok(())
}

/// Opens the file repeatedly; returns the sorted durations.
fn open_often(path: &Path, opens: usize) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(opens);
    for _ in 0..opens {
        let begin = Instant::now();
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        times.push(begin.elapsed());
        drop(file);
    }
    times.sort_unstable();
    Ok(times)
}

fn print_opens(what: &str, times: &[Duration]) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let slow = times.iter().filter(|time| **time > Duration::from_millis(1)).count();
    println!("| {what} | {:.1} | {:.1} | {:.0} | {slow} |", at(0.5), at(0.999), at(1.0));
}
