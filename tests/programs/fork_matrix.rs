//! Creates children in one way of forking and in one state of the parent.
//!
//! usage: `test-fork-matrix DIR WAY STATE MOMENT`
//!
//! Records 1; creates a child that records [`CHILD`] and exits, and a second child that records the same and lives until
//! its standard input ends; records 1 again; prints `ready PID LATE CHILD BUSY` and waits for the end of its standard
//! input. LATE is the pid of the second child, CHILD the amount that each child has recorded, BUSY the number of
//! operations of the busy thread. Children are created when the busy thread has done MOMENT operations.
#![expect(unsafe_code, reason = "exec, pipes and descriptors")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

use super::fork::{exit, fork, in_child, raw_clone, wait};

/// The amount that a child records.
const CHILD: f64 = 10.0;
/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The most operations of a busy thread.
const MAX_BUSY: u32 = 3_000;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Fork,
    /// The system call, so that no handler of `pthread_atfork` runs.
    Clone,
    /// `posix_spawn`: the child shares its parent's memory until it executes a program.
    Spawn,
    /// A fork that records and executes a program.
    Exec,
    /// A fork of a fork whose parent has exited.
    Daemon,
    /// A fork from a second thread, which has recorded.
    Thread,
}

impl Way {
    fn parse(text: &str) -> Way {
        match text {
            "fork" => Way::Fork,
            "clone" => Way::Clone,
            "spawn" => Way::Spawn,
            "exec" => Way::Exec,
            "daemon" => Way::Daemon,
            "thread" => Way::Thread,
            other => panic!("unknown way {other}"),
        }
    }
}

/// What a child does after it has recorded.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    End,
    Wait,
}

struct Parent {
    registry: Registry,
    counted: Family<Counter>,
}

impl Parent {
    fn record(&self, amount: f64) {
        self.counted.with(["x"]).inc_by(amount);
    }

    /// Runs a forked child: records, and then writes its pid to `report`.
    fn be_child(&self, mut report: &File, way: Way, then: Then) -> ! {
        assert_eq!(self.counted.with(["x"]).get(), 0.0, "a child starts from zero");
        self.record(CHILD);
        assert_eq!(self.counted.with(["x"]).get(), CHILD);
        report.write_all(&std::process::id().to_le_bytes()).expect("the parent reads");
        if way == Way::Exec {
            exec(then);
        }
        if then == Then::Wait {
            let _ = std::io::stdin().read(&mut [0]);
        }
        exit();
    }

    /// Creates a child, waits until it has recorded, and returns its pid. A child that exits is reaped.
    #[expect(clippy::zombie_processes, reason = "a child that stays outlives this process")]
    fn make_child(&self, way: Way, then: Then) -> u32 {
        if way == Way::Spawn {
            let mut child = program(then).spawn().expect("a program");
            if then == Then::End {
                assert!(child.wait().expect("the status of a child").success());
            }
            return child.id();
        }
        let (reports, report) = pipe();
        let forked = match way {
            Way::Clone => raw_clone(),
            _ => fork(),
        };
        if forked == 0 {
            if way != Way::Daemon {
                self.be_child(&report, way, then);
            }
            // SAFETY: has no arguments.
            unsafe { libc::setsid() };
            in_child(|| self.be_child(&report, way, then));
            exit();
        }
        let pid = read_pid(reports);
        if then == Then::End || way == Way::Daemon {
            wait(forked);
        }
        pid
    }
}

/// A program that exits at once, or with its standard input.
fn program(then: Then) -> Command {
    let mut command = Command::new(if then == Then::End { "true" } else { "cat" });
    command.stdout(Stdio::null());
    command
}

/// Executes the program. It prints nothing, as nothing is written to its standard input.
fn exec(then: Then) -> ! {
    let name = if then == Then::End { c"true" } else { c"cat" };
    let arguments = [name.as_ptr(), std::ptr::null()];
    // SAFETY: a name, and a list that ends in null.
    unsafe { libc::execvp(name.as_ptr(), arguments.as_ptr()) };
    panic!("there is no such program");
}

fn pipe() -> (File, File) {
    let mut fds = [0; 2];
    // SAFETY: `fds` has two elements.
    let made = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    // SAFETY: the descriptor is new, and nothing else owns it.
    let end = |fd| unsafe { File::from_raw_fd(fd) };
    (end(fds[0]), end(fds[1]))
}

/// Reads the pid that a child reports; fails if that takes longer than [`LIMIT`].
fn read_pid(mut reports: File) -> u32 {
    use std::os::fd::AsRawFd as _;
    let mut ready = libc::pollfd { fd: reports.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, valid and writable.
    let count = unsafe { libc::poll(&raw mut ready, 1, LIMIT.as_millis() as libc::c_int) };
    assert_eq!(count, 1, "a child hangs");
    let mut pid = [0; 4];
    reports.read_exact(&mut pid).expect("a child reports its pid");
    u32::from_le_bytes(pid)
}

/// One operation of a busy thread, which adds 1 in total.
fn work(registry: &Registry, state: &str, turn: u32) {
    let register = |name: &str| {
        let counter = Counter::builder(name, "Of the busy thread.");
        counter.get_or_register(registry).expect("the name is free")
    };
    let with_set = |set: &str| {
        let family = Counter::builder("busy_sets", "Of the busy thread.").labels(["set"]);
        family.get_or_register(registry).expect("the name is free").with([set]).inc();
    };
    match state {
        "recording" => register("busy").inc(),
        "registering" => register(&format!("busy_{}", turn % 300)).inc(),
        "labels" => with_set(&turn.to_string()),
        "growing" => with_set(&format!("{}-{:x<8000}", turn % 400, "")),
        "creations" => {
            // Each type and mode has its own file; the first files are created while children are.
            register("busy").inc();
            let modes = GaugeMode::ALL;
            let mode = modes[turn as usize % modes.len()];
            let gauge = Gauge::builder(format!("busy_{mode}"), "Of the busy thread.").mode(mode);
            gauge.get_or_register(registry).expect("the name is free").set(1.0);
            let times = Summary::builder("busy_times", "Of the busy thread.");
            times.get_or_register(registry).expect("the name is free").observe(1.0);
        }
        other => panic!("unknown state {other}"),
    }
}

/// The bytes of the series files of this process.
fn own_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(dir).expect("the directory").filter_map(Result::ok);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mark = format!("_{}-", std::process::id());
    let mut files: Vec<_> = names
        .filter(|name| name.contains(&mark))
        .map(|name| (name.clone(), fs::read(dir.join(name)).expect("the file")))
        .collect();
    files.sort();
    files
}

pub fn main() -> multiprom::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, way, state, moment] = &arguments[..] else { panic!("usage: DIR WAY STATE MOMENT") };
    let (way, moment) = (Way::parse(way), moment.parse::<u32>().expect("MOMENT is a number"));
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let counted = Counter::builder("counted", "Counted.").labels(["x"]).register(&registry)?;
    let parent = Parent { registry, counted };
    let (is_new, is_quiet) = (state == "nothing", state == "nothing" || state == "files");
    if !is_new && state != "creations" {
        parent.record(1.0);
        Histogram::builder("sizes", "Sizes.").register(&parent.registry)?.observe(1.0);
        Gauge::builder("level", "Level.").register(&parent.registry)?.set(1.0);
    }

    let (done, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let make_children = || {
        let before = own_files(Path::new(dir));
        parent.make_child(way, Then::End);
        let late = parent.make_child(way, Then::Wait);
        let is_same = !is_quiet || before == own_files(Path::new(dir));
        assert!(is_same, "a child has written to a file of its parent");
        late
    };
    let late = std::thread::scope(|scope| {
        if !is_quiet {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) < MAX_BUSY && !stop.load(Ordering::Relaxed) {
                    let turn = done.load(Ordering::Relaxed);
                    work(&parent.registry, state, turn);
                    done.store(turn + 1, Ordering::Relaxed);
                }
            });
            // This ends, as the thread does at least that many operations.
            while done.load(Ordering::Relaxed) < moment.min(MAX_BUSY) {
                std::hint::spin_loop();
            }
        }
        let late = if way == Way::Thread {
            let second = scope.spawn(|| {
                if !is_new {
                    parent.record(0.0);
                }
                make_children()
            });
            second.join().expect("the second thread")
        } else {
            make_children()
        };
        stop.store(true, Ordering::Relaxed);
        late
    });
    parent.record(if is_new || state == "creations" { 2.0 } else { 1.0 });
    let child = if way == Way::Spawn { 0.0 } else { CHILD };
    println!("ready {} {late} {child} {}", std::process::id(), done.into_inner());
    std::io::stdout().flush().expect("the test reads");
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}
