//! A Celery worker with a pool of forked processes, which are replaced after some tasks.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::{WORKERS, is_whole_matrix, launcher};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, children, is_alive, signal};
use crate::support::sites::{programs, python_environment};
use crate::support::{TestDir, output_of, root, wait_for};

/// Sends tasks and waits for their results; returns the pids that ran them.
fn work(programs: &Path, home: &Path, tasks: u32) -> Vec<u32> {
    let mut command = Command::new(programs.join("python"));
    python_environment(&mut command, &[programs]).current_dir(root().join("tests/python"));
    command.args(["-c", "import celery_app; celery_app.main()", &tasks.to_string()]);
    let output = output_of(command.env("CELERY_DIR", home));
    let pids: Vec<u32> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), tasks as usize);
    pids
}

/// Tasks per batch. It is not a multiple of 8, after which processes exit, so that one stays alive.
const BATCH: u32 = 21;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Terminated,
    /// A process of the pool is killed, and then the worker.
    Killed,
}

fn run_scenario(flags: &[&str], batches: u32, end: End) {
    let Some(programs) = programs("sites") else { return };
    let home = TestDir::new("celery");
    for name in ["queue", "control", "results"] {
        std::fs::create_dir(home.path().join(name)).unwrap();
    }
    let mut command = launcher(&programs);
    command.args(["celery", "-A", "celery_app", "worker", "--pool", "prefork"]).args(flags);
    command.args(["--concurrency", &WORKERS.to_string(), "--loglevel", "INFO"]);
    command.args(["--without-gossip", "--without-mingle", "--without-heartbeat"]);
    let mut site = Running::start(command.env("CELERY_DIR", home.path()));
    let metrics = site.url();
    let mut pids = BTreeSet::new();
    let assert_exact = |done: u32, pids: &BTreeSet<u32>| {
        let text = scrape(&metrics);
        assert_eq!(sum_of(&text, "celery_tasks_total"), f64::from(done), "{text}");
        assert_eq!(sum_of(&text, "celery_task_duration_seconds_count"), f64::from(done), "{text}");
        assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
        wait_for("live gauges of the living processes", PATIENCE, || {
            let living = pids.iter().filter(|pid| is_alive(**pid)).count();
            (sum_of(&scrape(&metrics), "celery_alive") == living as f64).then_some(())
        });
    };
    for batch in 1..=batches {
        pids.extend(work(&programs, home.path(), BATCH));
        assert_exact(BATCH * batch, &pids);
    }
    if end == End::Terminated {
        site.signal("TERM");
        assert_eq!(site.end().status.code(), Some(0));
        return;
    }
    let worker = children(site.id())[0];
    let idle = *pids.iter().find(|pid| is_alive(**pid)).unwrap();
    // NOTE: Celery may lose tasks, or stop distributing them, after a process of its pool was killed.
    signal(idle, "KILL");
    wait_for("end of the process", PATIENCE, || (!is_alive(idle)).then_some(()));
    assert_exact(BATCH * batches, &pids);
    // The launcher exits when the last process of the pool has exited.
    signal(worker, "KILL");
    site.signal("TERM");
    assert_eq!(site.end().status.code(), Some(137));
}

#[test]
fn counters_are_exact_when_processes_are_replaced_and_killed() {
    run_scenario(&["--max-tasks-per-child", "8"], 1, End::Killed);
    if is_whole_matrix() {
        run_scenario(&[], 3, End::Killed);
        run_scenario(&["--max-tasks-per-child", "1"], 3, End::Terminated);
        run_scenario(&["--max-tasks-per-child", "8", "-O", "fair"], 3, End::Terminated);
    }
}
