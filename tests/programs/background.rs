//! A host with exporters, a compactor and a periodic textfile in the background, which forks on command.
//!
//! usage: test-background DIR HOST
//!
//! It serves on a TCP port of HOST and on the Unix socket DIR/metrics.sock, compacts DIR in one thread that pauses between passes
//! and in one that does not, writes DIR/page.prom once an hour, and prints `serving URL`. Then it reads commands, one per line:
//!
//! - `fork N`: forks N children that wait for the test to end them and outlive this process; prints `children PID...`.
//! - `end`: forks such a child, which prints `children PID` and kills this process at once.
//! - `drop`: forks a child that drops all of these; prints `dropped STATUS`.
//! - `compact N`: forks up to N children, one after the other, until one hangs or fails; each makes one pass. Prints
//!   `compacted COUNT`.
#![allow(clippy::print_stdout, reason = "a program")]
#![expect(unsafe_code, reason = "kill")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use multiprom::bridge::Textfile;
use multiprom::compact::Compactor;
use multiprom::http::{Endpoint, Exporter};
use multiprom::{MultiProcessCollector, Registry};

use super::fork::{in_child, limit_time, wait_status};

/// How long a child waits for the test to end it, in seconds.
const MAX_WAIT: u32 = 600;
/// Limit for the work of a child, in seconds. On a busy machine a child may wait for seconds before it runs.
const MAX_WORK: u32 = 50;

/// Forks a child that runs `work` and exits. A child that takes longer than `seconds` is ended by a signal.
fn fork(seconds: u32, work: impl FnOnce()) -> libc::pid_t {
    in_child(|| {
        limit_time(seconds);
        work();
    })
}

fn pause() {
    loop {
        thread::park();
    }
}

fn exporter(dir: &Path, listen: &str) -> multiprom::Result<Exporter> {
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(dir)?)?;
    let owner = std::process::id();
    // Makes the child of `drop` fail.
    let stop = move |_: &[Endpoint]| {
        if std::process::id() != owner {
            std::process::abort();
        }
    };
    Exporter::builder(registry).listen(listen.parse()?).on_stop(stop).start()
}

pub fn main() -> multiprom::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, host] = &arguments[..] else { panic!("usage: test-background DIR HOST") };
    let dir = Path::new(dir);
    let tcp = exporter(dir, &format!("{host}:0"))?;
    let unix = exporter(dir, &format!("unix:{}", dir.join("metrics.sock").display()))?;
    let compactor = Compactor::builder().directory(dir).build()?;
    let compacting = compactor.start()?;
    let hour = Duration::from_secs(3600);
    let writing = Textfile::new(dir.join("page.prom")).start(Registry::new(), hour)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let busy = {
        let (is_over, compactor) = (Arc::clone(&is_over), compactor.clone());
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                compactor.run().expect("a pass");
            }
        })
    };
    println!("serving {}", tcp.url());
    let mut background = Some((tcp, unix, compacting, writing));
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let (command, count) = line.split_once(' ').unwrap_or((&line, "1"));
        let count: usize = count.parse().expect("a number");
        match command {
            "fork" => {
                let children = (0..count).map(|_| fork(MAX_WAIT, pause).to_string());
                println!("children {}", children.collect::<Vec<_>>().join(" "));
            }
            "end" => {
                let end = || {
                    println!("children {}", std::process::id());
                    // SAFETY: takes numbers only.
                    let parent = unsafe { libc::getppid() };
                    // SAFETY: takes numbers only.
                    unsafe { libc::kill(parent, libc::SIGKILL) };
                    pause();
                };
                wait_status(fork(MAX_WAIT, end));
            }
            "drop" => {
                let status = wait_status(fork(MAX_WORK, || drop(background.take())));
                println!("dropped {status}");
            }
            "compact" => {
                let pass = || assert!(compactor.run().is_ok());
                let done =
                    (0..count).take_while(|_| wait_status(fork(MAX_WORK, pass)) == 0).count();
                println!("compacted {done}");
            }
            other => panic!("unknown command `{other}`"),
        }
    }
    is_over.store(true, Ordering::Relaxed);
    busy.join().expect("the compacting thread ends");
    drop(background);
    Ok(())
}
