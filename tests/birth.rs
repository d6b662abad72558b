//! The birth of files, watched: they are never seen empty, damaged or unlocked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiprom::{Liveness, list_files};

use crate::support::TestDir;
use crate::support::mount;
use crate::support::process::{PATIENCE, Running};
use crate::support::survivor::survivor;
use crate::support::wait_for;

/// Directories of one worker, with three files each.
const BIRTHS: usize = 200;

#[test]
fn no_reader_ever_sees_a_file_that_is_empty_damaged_or_unlocked() {
    let start = Instant::now();
    let mut seen = 0;
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(2) {
        seen += watch_one(TestDir::new("birth").path());
        rounds += 1;
    }
    for mount in mount::each() {
        seen += watch_one(&mount.directory("app"));
        rounds += 1;
    }
    assert!(seen >= rounds * BIRTHS, "{seen} files seen in {rounds} rounds");
}

/// Watches one worker; gives how many files were looked at.
fn watch_one(dir: &Path) -> usize {
    let mut worker = Running::start(survivor("births", dir).arg(BIRTHS.to_string()));
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            let mut last = false;
            while !last {
                last = done.load(Ordering::Relaxed);
                let mut dirs: Vec<PathBuf> =
                    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
                dirs.sort();
                // The newest are where something is born.
                let from = if last { 0 } else { dirs.len().saturating_sub(2) };
                for path in &dirs[from..] {
                    for file in list_files(path).unwrap() {
                        let is_well = file.error.is_none()
                            && file.len == 16 * 1024
                            && file.liveness == Liveness::Alive;
                        assert!(is_well, "{file:#?}");
                        seen += 1;
                    }
                }
            }
            seen
        });
        // The watcher ends whatever becomes of the worker.
        let born = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            worker.line_after("born ");
        }));
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().unwrap();
        born.unwrap();
        seen
    });
    // Its children were forked in the middle of births, and live on: none keeps a lock.
    let stdin = worker.stdin();
    worker.signal("KILL");
    worker.wait();
    let states = || -> Vec<multiprom::FileInfo> {
        let dirs = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        dirs.flat_map(|path| list_files(&path).unwrap()).collect()
    };
    wait_for("death of all files", PATIENCE, || {
        states().iter().all(|file| file.liveness == Liveness::Dead).then_some(())
    });
    drop(stdin);
    seen
}
