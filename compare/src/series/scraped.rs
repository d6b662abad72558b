//! Scrapes of processes by the number of threads that record in them.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use multiprom::{Backend, Histogram, MultiProcessCollector, Registry};

use crate::fork;
use crate::rounds::median;
use crate::scrape::Effort;
use crate::workload::TestDir;

const PROCESSES: usize = 4;
const THREADS: usize = 16;
/// Upper bounds of the histograms.
const BOUNDS: usize = 11;

pub fn compare(effort: Effort) -> io::Result<()> {
    let (series, rounds) = (effort.pick(1_000, 100), effort.pick(9, 3));
    println!(
        "Scrapes of {PROCESSES} living processes with {series} histograms of {BOUNDS} bounds, in each of which every thread of \
         a process has recorded, one thread after the other; medians of {rounds}:\n"
    );
    println!("| threads | cold, ms | / one thread | repeated, ms | / one thread |");
    println!("|---|---:|---:|---:|---:|");
    let (one, many) = (Workers::start(1, series)?, Workers::start(THREADS, series)?);
    // In turn, so that both meet the same load of the machine.
    let mut times = [const { (Vec::new(), Vec::new()) }; 2];
    for _ in 0..rounds {
        for (workers, (cold, repeated)) in [&one, &many].into_iter().zip(&mut times) {
            let (first, second) = workers.scrape().map_err(io::Error::other)?;
            cold.push(first);
            repeated.push(second);
        }
    }
    let medians = times.map(|(cold, repeated)| (median(cold), median(repeated)));
    for (threads, (cold, repeated)) in [1, THREADS].into_iter().zip(medians) {
        println!(
            "| {threads} | {cold:.2} | {:.2} | {repeated:.2} | {:.2} |",
            cold / medians[0].0,
            repeated / medians[0].1
        );
    }
    println!();
    Ok(())
}

/// Processes that have recorded and live until this is dropped.
struct Workers {
    dir: TestDir,
    processes: Vec<(libc::pid_t, UnixStream)>,
}

impl Workers {
    fn start(threads: usize, series: usize) -> io::Result<Workers> {
        let dir = TestDir::in_memory("compare-scraped");
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            let (mut own, mut other) = UnixStream::pair()?;
            let pid = fork::in_child(|| {
                record(&dir, threads, series).expect("a worker can record");
                other.write_all(b"1").expect("the parent lives");
                // Until the parent shuts the stream down.
                let _ = other.read(&mut [0]);
            });
            own.read_exact(&mut [0])?;
            processes.push((pid, own));
        }
        Ok(Workers { dir, processes })
    }

    /// The milliseconds of a scrape of a new collector and of its third one.
    fn scrape(&self) -> multiprom::Result<(f64, f64)> {
        let registry = Registry::builder().backend(Backend::in_memory()).build()?;
        registry.register(MultiProcessCollector::new(self.dir.path())?)?;
        let scrape = || {
            let start = Instant::now();
            std::hint::black_box(registry.render(None));
            start.elapsed().as_secs_f64() * 1e3
        };
        let cold = scrape();
        scrape();
        Ok((cold, scrape()))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (pid, stream) in self.processes.drain(..) {
            // Also ends the copies of the stream in the processes.
            stream.shutdown(Shutdown::Both).expect("the stream is connected");
            fork::wait(pid);
        }
    }
}

/// Records once in each series in each thread. The threads live at the same time.
fn record(dir: &TestDir, threads: usize, series: usize) -> multiprom::Result<()> {
    let registry = Registry::builder().backend(Backend::directory(dir.path())?).build()?;
    let bounds: Vec<f64> = (1..=BOUNDS).map(|at| at as f64).collect();
    let family = Histogram::builder("latency_seconds", "11 bounds.").buckets(bounds);
    let family = family.labels(["route"]).register(&registry)?;
    let routes: Vec<String> = (0..series).map(|at| format!("/api/v1/items/{at}")).collect();
    let (turns, ends): (Vec<_>, Vec<_>) =
        (0..threads).map(|_| std::sync::mpsc::channel::<()>()).unzip();
    let (finish, finished) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for end in ends {
            let (routes, finish) = (&routes, finish.clone());
            scope.spawn(move || {
                routes.iter().for_each(|route| family.with([route]).observe(3.0));
                finish.send(()).expect("the receiver lives");
                // Until the senders are dropped.
                let _ = end.recv();
            });
            finished.recv().expect("recording does not panic");
        }
        drop(turns);
    });
    Ok(())
}
