//! Bytes in series files by the number of threads that record.

use std::io;
use std::sync::{Barrier, mpsc};
use std::thread;

use multiprom::inspect::list_files;
use multiprom::{Backend, Counter, Histogram, Registry, buckets};

use crate::scrape::Effort;
use crate::workload::TestDir;

/// Series of each type.
const SERIES: usize = 500;
const THREADS: usize = 16;

/// When threads record. All of them live until the files have been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Each when the previous one has recorded.
    InTurn,
    AtOnce,
}

struct Used {
    bytes: u64,
    entries: usize,
}

pub fn compare(effort: Effort) -> io::Result<()> {
    let passes = effort.pick(100, 10);
    println!(
        "Bytes in use by {SERIES} histograms with 14 bounds and {SERIES} counters, after threads have recorded in all of \
         them:\n"
    );
    println!("| threads | KiB | entries | bytes / one thread |");
    println!("|---|---:|---:|---:|");
    let mut one = None;
    for (what, threads, start, passes) in [
        ("1".to_owned(), 1, Start::InTurn, 1),
        (format!("{THREADS}, one after the other, once"), THREADS, Start::InTurn, 1),
        (format!("{THREADS}, at once, {passes} times"), THREADS, Start::AtOnce, passes),
    ] {
        let Used { bytes, entries } = record(threads, start, passes)?;
        let bytes = bytes as f64;
        let ratio = bytes / *one.get_or_insert(bytes);
        println!("| {what} | {:.0} | {entries} | {ratio:.2} |", bytes / 1024.0);
    }
    println!();
    Ok(())
}

/// Records in a new directory, and sums up its files.
fn record(threads: usize, start: Start, passes: usize) -> io::Result<Used> {
    let dir = TestDir::in_memory("compare-bytes");
    let touch = recorder(&dir).map_err(io::Error::other)?;
    let barrier = Barrier::new(threads);
    let (finish, finished) = mpsc::channel();
    thread::scope(|scope| {
        // A thread ends when its sender is dropped.
        let mut stops = Vec::new();
        for _ in 0..threads {
            let (stop, stopped) = mpsc::channel::<()>();
            stops.push(stop);
            let (finish, touch, barrier) = (finish.clone(), &touch, &barrier);
            scope.spawn(move || {
                if start == Start::AtOnce {
                    barrier.wait();
                }
                (0..passes).for_each(|_| touch());
                finish.send(()).expect("the receiver lives");
                let _ = stopped.recv();
            });
            if start == Start::InTurn {
                finished.recv().expect("recording does not panic");
            }
        }
        if start == Start::AtOnce {
            (0..threads).for_each(|_| finished.recv().expect("recording does not panic"));
        }
        let files = list_files(dir.path()).map_err(io::Error::other)?;
        let files = || files.iter().filter(|file| !file.is_companion);
        let bytes = files().map(|file| file.used).sum();
        Ok(Used { bytes, entries: files().map(|file| file.entries).sum() })
    })
}

/// Registers the series; returns what records once in each.
fn recorder(dir: &TestDir) -> multiprom::Result<impl Fn() + Sync> {
    let backend = Backend::directory(dir.path())?;
    let registry = Registry::builder().backend(backend).build()?;
    let latency = Histogram::builder("latency_seconds", "14 bounds.").buckets(buckets::DEFAULT);
    let latency = latency.labels(["route"]).register(&registry)?;
    let requests = Counter::builder("requests_total", "Requests.").labels(["route"]);
    let requests = requests.register(&registry)?;
    let routes: Vec<String> = (0..SERIES).map(|at| format!("/api/v1/items/{at}")).collect();
    Ok(move || {
        let _registry = &registry;
        for route in &routes {
            latency.with([route]).observe(0.3);
            requests.with([route]).inc();
        }
    })
}
