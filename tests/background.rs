//! Exporters and compactors in the background of a host that forks and handles signals.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};

use multiprom::compact::Compactor;

use crate::support::http::{Connection, scrape};
use crate::support::process::{PATIENCE, Running, is_alive, signal};
use crate::support::services::own_host;
use crate::support::{SetOnDrop, TestDir, example, output_of, wait_for};

/// A running `test-background`.
struct Host {
    dir: TestDir,
    program: Running,
    commands: ChildStdin,
    url: String,
    /// Waiting children.
    children: Vec<u32>,
}

impl Host {
    fn start(name: &str) -> Host {
        let dir = TestDir::in_memory(name);
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        let host = own_host().to_string();
        let mut program = Running::start(example("test-background").arg(dir.path()).arg(host));
        let (url, commands) = (program.line_after("serving "), program.stdin());
        Host { dir, program, commands, url, children: Vec::new() }
    }

    /// Sends a command; returns what the program prints after `mark`.
    fn command(&mut self, command: &str, mark: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.program.line_after(mark)
    }

    fn fork(&mut self, count: usize) {
        let pids = self.command(&format!("fork {count}"), "children ");
        self.children = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(self.children.len(), count);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in &self.children {
            signal(*child, "KILL");
        }
    }
}

/// The targets of the descriptors of a process.
fn descriptors(pid: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    targets.map(|target| target.display().to_string()).collect()
}

#[test]
fn dropping_inherited_exporters_and_compactors_in_a_child_stops_nothing() {
    let mut host = Host::start("drops");
    let page = host.dir.path().join("page.prom");
    let inode = wait_for("page", PATIENCE, || fs::metadata(&page).ok()).ino();
    for _ in 0..3 {
        assert_eq!(host.command("drop", "dropped "), "0");
    }
    // Only the host replaces the file at its end.
    assert_eq!(fs::metadata(&page).unwrap().ino(), inode);
    assert!(scrape(&host.url).contains("\njobs_total 5\n"));
    let unix = format!("unix:{}", host.dir.path().join("metrics.sock").display());
    let response = Connection::open(&unix).unwrap().request("GET", "/metrics", "");
    assert!(response.body.contains("\njobs_total 5\n"));
}

#[test]
fn children_close_the_sockets_of_an_exporter_and_outlive_it() {
    let mut host = Host::start("sockets");
    let mut idle = Connection::open(&host.url).unwrap();
    assert_eq!(idle.request("GET", "/metrics", "").status, 200);
    // Children are forked while connections are accepted and closed.
    let is_over = AtomicBool::new(false);
    let url = host.url.clone();
    std::thread::scope(|scope| {
        let _ending = SetOnDrop(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(
                        Connection::open(&url).unwrap().request("GET", "/-/healthy", "").status,
                        200
                    );
                }
            });
        }
        host.fork(40);
    });
    for child in &host.children {
        // A child may not have run its handlers yet.
        wait_for("child without sockets", PATIENCE, || {
            let kept = descriptors(*child);
            (!kept.iter().any(|file| file.starts_with("socket:"))).then_some(())
        });
    }
    host.program.signal("KILL");
    host.program.wait();
    assert!(host.children.iter().all(|child| is_alive(*child)));
    // The connection of the client is closed, and the port is free.
    assert!(idle.is_closed());
    let address = host.url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    drop(TcpListener::bind(address).unwrap());
}

#[test]
fn children_that_are_forked_during_a_pass_compact_without_waiting() {
    let mut host = Host::start("passes");
    assert_eq!(host.command("compact 20", "compacted "), "20");
}

#[test]
fn children_do_not_keep_the_lock_of_a_killed_compactor() {
    // Most hosts are killed during the pass in which the child was forked.
    for _ in 0..6 {
        let mut host = Host::start("lock");
        writeln!(host.commands, "end").unwrap();
        host.program.wait();
        let child = || host.program.stdout().split_once("children ")?.1.trim().parse().ok();
        host.children = vec![wait_for("child", PATIENCE, child)];
        assert!(is_alive(host.children[0]));
        let compactor = Compactor::builder().directory(host.dir.path()).build().unwrap();
        assert_eq!(compactor.run().unwrap().busy, 0);
    }
}

/// The signal mask of a thread. The lowest bit is signal 1.
fn blocked(task: &Path) -> u64 {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
fn background_threads_block_all_signals_except_faults_of_their_own() {
    let host = Host::start("signals");
    scrape(&host.url);
    let tasks = format!("/proc/{}/task", host.program.id());
    let named = |wanted: &str| {
        let tasks = fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path());
        let found: Vec<_> = tasks
            .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|n| n.trim() == wanted))
            .collect();
        (!found.is_empty()).then_some(found)
    };
    let raised =
        [libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];
    // Signals that the C library and the kernel do not allow a thread to block.
    let never = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    let bit = |signal: &i32| 1u64 << (signal - 1);
    let wanted = raised.iter().chain(&never).fold(u64::MAX, |set, signal| set & !bit(signal));
    // The kernel truncates names to 15 bytes.
    for name in ["multiprom-http", "multiprom-gathe", "multiprom-compa", "multiprom-text"] {
        for task in wait_for(name, PATIENCE, || named(name)) {
            let set = blocked(&task);
            assert_eq!(set, wanted, "{name}: {set:x} of {wanted:x}");
        }
    }
    // The mask of the host's own threads is unchanged.
    let main = Path::new(&tasks).join(host.program.id().to_string());
    assert_eq!(blocked(&main), 0);
}
