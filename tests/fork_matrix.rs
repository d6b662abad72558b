//! Every way of forking in every state of the parent.
//!
//! `MULTIPROM_FORKS` sets the number of repetitions.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use multiprom::MultiProcessCollector;
use multiprom::inspect::{FileInfo, Liveness, list_files};

use crate::support::process::{PATIENCE, is_alive, processes_with_argument, signal};
use crate::support::samples::{own_samples, samples_of};
use crate::support::{TestDir, example};

const DEFAULT_REPETITIONS: u32 = 20;

const QUIET: [&str; 2] = ["nothing", "files"];
const BUSY: [&str; 5] = ["recording", "registering", "labels", "growing", "creations"];

/// A program and its forked children, which are ended on drop.
struct ProcessTree<'a> {
    parent: Child,
    dir: &'a TestDir,
}

impl Drop for ProcessTree<'_> {
    fn drop(&mut self) {
        drop(self.parent.stdin.take());
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        if std::thread::panicking() {
            // Forked children have the arguments of their parent.
            for pid in processes_with_argument(self.dir.path().to_str().unwrap()) {
                signal(pid, "KILL");
            }
        }
    }
}

/// Polls more often than `wait_for`, as it is called very often.
fn holds_in_time(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    false
}

/// The sums of the samples, by name.
fn sums(lines: Vec<crate::support::samples::Line>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        *sums.entry(line.name.clone()).or_default() += line.value();
    }
    sums
}

fn files_of(dir: &Path, pid: &str) -> Vec<FileInfo> {
    let mut files = list_files(dir).unwrap();
    files.retain(|file| file.id.split('-').next() == Some(pid));
    files
}

fn run(way: &str, state: &str, moment: u32) {
    let what = format!("{way} {state} {moment}");
    let dir = TestDir::new("matrix");
    let mut program = example("test-fork-matrix");
    program.arg(dir.path()).args([way, state, &moment.to_string()]);
    let parent = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut tree = ProcessTree { parent, dir: &dir };

    let stdout = tree.parent.stdout.take().unwrap();
    let (send, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = send.send(line);
    });
    let line = line.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: hangs"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["ready", pid, late, child, busy] = words[..] else { panic!("{what}: line `{line}`") };
    let (child, busy): (f64, f64) = (child.parse().unwrap(), busy.parse().unwrap());

    // The values in the files of each process, and the sum of the busy thread's counters.
    let (mut by_process, mut busy_found) = (BTreeMap::<String, f64>::new(), 0.0);
    for file in list_files(dir.path()).unwrap() {
        assert!(file.error.is_none(), "{what}: {file:?}");
        let collector = MultiProcessCollector::builder().file(&file.path).build().unwrap();
        let sums = sums(samples_of(&collector).0);
        let process = file.id.split('-').next().unwrap();
        *by_process.entry(process.to_owned()).or_default() +=
            sums.get("counted_total").copied().unwrap_or(0.0);
        let counters = sums.iter().filter(|(name, _)| name.starts_with("busy"));
        let counters = counters.filter(|(name, _)| name.ends_with("_total"));
        let found: f64 = counters.map(|(_, value)| value).sum();
        assert!(process == pid || found == 0.0, "{what}: a child has counts of its parent");
        busy_found += found;
    }
    assert_eq!(by_process.remove(pid), Some(2.0), "{what}: the parent");
    let children: Vec<f64> = by_process.values().copied().collect();
    let expected = if child > 0.0 { vec![child; 2] } else { Vec::new() };
    assert_eq!(children, expected, "{what}: {by_process:?}");
    assert_eq!(busy_found, busy, "{what}: the busy thread");
    let all = sums(own_samples(dir.path()).0);
    assert_eq!(all["counted_total"], 2.0 + 2.0 * child, "{what}");

    let is_dead = || files_of(dir.path(), pid).iter().all(|file| file.liveness == Liveness::Dead);
    assert!(
        files_of(dir.path(), pid).iter().all(|file| file.liveness == Liveness::Alive),
        "{what}"
    );
    tree.parent.kill().unwrap();
    let late = late.parse().unwrap();
    if way == "clone" && state == "files" {
        // No handler closes the descriptors in such a child, so that it keeps the locks.
        assert!(holds_in_time(|| !is_alive(tree.parent.id())), "{what}: the parent lives");
        assert!(!is_dead(), "{what}: dead while a child has the lock");
    } else {
        assert!(holds_in_time(is_dead), "{what}: the end of the parent is not detected");
    }
    assert!(is_alive(late), "{what}: the child exited early");
    drop(tree.parent.stdin.take());
    assert!(holds_in_time(|| !is_alive(late)), "{what}: the child does not exit");
    assert!(holds_in_time(is_dead), "{what}: the parent does not look dead");
}

/// Runs all ways of forking in all states of the parent, each at several moments.
fn run_all(ways: &[&str], states: &[&str]) {
    let repetitions = std::env::var("MULTIPROM_FORKS");
    let repetitions = repetitions.map_or(DEFAULT_REPETITIONS, |text| text.parse().unwrap());
    for way in ways {
        for state in states {
            // Only the first operations create files.
            let (step, end) = if *state == "creations" { (1, 13) } else { (7, 120) };
            (0..repetitions).for_each(|turn| run(way, state, turn * step % end));
        }
    }
}

#[test]
fn forks_of_a_quiet_parent_count_exactly_and_its_end_is_detected() {
    run_all(&["fork", "spawn", "exec", "daemon", "thread"], &QUIET);
}

#[test]
fn raw_clones_of_a_quiet_parent_count_exactly() {
    // If the parent has a busy second thread, such a child may inherit a locked allocator of the C library, which only
    // the C library could unlock.
    run_all(&["clone"], &QUIET);
}

#[test]
fn forks_of_a_parent_with_a_busy_thread_neither_hang_nor_miscount() {
    run_all(&["fork", "spawn", "exec"], &BUSY);
}

#[test]
fn daemons_and_forks_from_a_second_thread_neither_hang_nor_miscount() {
    run_all(&["daemon", "thread"], &BUSY);
}
