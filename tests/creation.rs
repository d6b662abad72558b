//! The creation of files: no reader ever sees them empty, damaged or unlocked, and nothing is left of a failed creation.
//!
//! Files are created without a name and then linked through `/proc`. All supported file systems have unnamed files. So
//! these tests hide `/proc` to make workers use the other way, a hidden name that is renamed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiprom::inspect::{Liveness, list_files};

use crate::support::mount::{self, is_root, succeeds};
use crate::support::process::{PATIENCE, Running, processes_with_argument};
use crate::support::survivor::{ControlledWorker, log_lines, merged, printed, survivor, value};
use crate::support::{TestDir, assert_success, skip, wait_for};

/// Number of directories of one worker, with three files each.
const CREATIONS: usize = 200;

/// Counts of the observations.
#[derive(Default)]
struct Seen {
    /// Files that were read, the same one repeatedly.
    files: usize,
    rounds: usize,
}

#[test]
fn readers_never_see_a_file_that_is_empty_damaged_or_unlocked() {
    let mut seen = Seen::default();
    watch(&mut seen, creations);
    for mount in mount::each() {
        let dir = mount.directory("app");
        watch_one(&dir, &mut creations(&dir), &mut seen);
    }
    assert!(seen.files >= seen.rounds * CREATIONS, "{} files, {} rounds", seen.files, seen.rounds);
}

#[test]
fn without_proc_files_are_created_under_a_hidden_name() {
    if !can_hide_proc() {
        return skip("a mount namespace needs root");
    }
    let mut seen = Seen::default();
    watch(&mut seen, |dir| without_proc(&creations(dir)));
    assert!(seen.files >= seen.rounds * CREATIONS, "{} files, {} rounds", seen.files, seen.rounds);
}

#[test]
fn an_existing_file_is_not_replaced_and_another_name_is_used() {
    let mut ways = vec![survivor as fn(&str, &Path) -> Command];
    if can_hide_proc() {
        ways.push(|scenario, dir| without_proc(&survivor(scenario, dir)));
    } else {
        skip("a mount namespace needs root");
    }
    for way in ways {
        for (before, after) in [("histogram_", ".db"), (".histogram_", ".db.new")] {
            let dir = TestDir::new("taken");
            let mut worker = ControlledWorker::start(&mut way("commands", dir.path()));
            worker.execute("summary first");
            let id = list_files(dir.path()).unwrap().pop().unwrap().id;
            let taken = dir.path().join(format!("{before}{id}{after}"));
            fs::write(&taken, "mine").unwrap();
            worker.execute("record");
            assert_eq!(fs::read(&taken).unwrap(), b"mine");
            fs::remove_file(&taken).unwrap();
            let files = list_files(dir.path()).unwrap();
            assert!(files.iter().all(|file| file.liveness == Liveness::Alive), "{files:#?}");
            let count = fs::read_dir(dir.path()).unwrap().count();
            assert_eq!((files.len(), count), (8, 8), "{files:#?}");
            let merged = merged(dir.path());
            for series in ["first_count", "plain_total", "sizes_count", "level_sum"] {
                assert_eq!(value(&merged, series), 1.0, "{series}");
            }
            worker.end();
        }
    }
}

#[test]
fn if_links_are_denied_files_are_created_under_a_hidden_name() {
    for error in [libc::EACCES, libc::EPERM, libc::ENOSYS, libc::EXDEV] {
        let dir = TestDir::new("no-links");
        let output = denied(dir.path(), error, &["linkat"]);
        let merged = merged(dir.path());
        let recorded = printed(&output, "recorded");
        for series in ["plain_total", "labelled_total{label=\"old\"}", "sizes_count", "level_sum"] {
            assert_eq!(value(&merged, series), recorded, "{error}: {series}");
        }
        assert_eq!(merged.lines().filter(|line| line.starts_with("labelled_total{")).count(), 201);
        assert!(log_lines(&output).is_empty(), "{error}: {output:?}");
        // Counter, histogram, summary and five gauge modes, and nothing else.
        let files = list_files(dir.path()).unwrap();
        assert!(files.len() == 8 && files.iter().all(|file| file.error.is_none()), "{files:#?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8, "{error}");
    }
}

#[test]
fn failed_creations_leave_no_files_and_are_retried_once_a_second() {
    let dir = TestDir::new("no-names");
    let output = denied(dir.path(), libc::EACCES, &["linkat", "renameat2"]);
    // One attempt, and one more each second.
    assert!(printed(&output, "created") <= 1.0 + printed(&output, "seconds"), "{output:?}");
    // These are mappings of the allocator.
    assert!(printed(&output, "mappings") < 10.0, "{output:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let lines = log_lines(&output);
    assert!(lines.len() == 1 && lines[0].contains("Permission denied"), "{lines:#?}");
}

/// Runs a worker with 200 series, in which `calls` fail with `error`.
#[track_caller]
fn denied(dir: &Path, error: i32, calls: &[&str]) -> Output {
    let mut command = survivor("denied", dir);
    let output = command.arg("200").arg(error.to_string()).args(calls).output().unwrap();
    assert_success(&command, &output);
    output
}

fn creations(dir: &Path) -> Command {
    let mut command = survivor("creations", dir);
    command.arg(CREATIONS.to_string());
    command
}

fn can_hide_proc() -> bool {
    is_root() && succeeds("unshare", &["--mount", "mount", "-t", "tmpfs", "none", "/proc"])
}

/// The program in its own mount namespace, in which `/proc` is empty.
fn without_proc(program: &Command) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs none /proc && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    command
}

/// Watches workers for two seconds.
fn watch(seen: &mut Seen, worker: impl Fn(&Path) -> Command) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let dir = TestDir::new("creation");
        watch_one(dir.path(), &mut worker(dir.path()), seen);
    }
}

/// Watches one worker.
fn watch_one(dir: &Path, command: &mut Command, seen: &mut Seen) {
    let mut worker = Running::start(command);
    let done = AtomicBool::new(false);
    seen.rounds += 1;
    seen.files += std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut files = 0;
            let mut last = false;
            while !last {
                last = done.load(Ordering::Relaxed);
                let mut dirs: Vec<PathBuf> =
                    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
                dirs.sort();
                // Files are being created in the newest directories.
                let from = if last { 0 } else { dirs.len().saturating_sub(2) };
                for path in &dirs[from..] {
                    for file in list_files(path).unwrap() {
                        let is_well = file.error.is_none()
                            && file.len == 16 * 1024
                            && file.liveness == Liveness::Alive;
                        assert!(is_well, "{file:#?}");
                        files += 1;
                    }
                }
            }
            files
        });
        // The watcher must end even if the worker fails.
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            worker.line_after("finished ");
        }));
        done.store(true, Ordering::Relaxed);
        let files = watcher.join().unwrap();
        finished.unwrap();
        files
    });
    // The children of the worker were forked during creations and are still alive. They must have no descriptor of a file
    // with a name. A child that was just forked may not have closed its descriptors yet.
    wait_for("closed descriptors of children", PATIENCE, || {
        let files = inherited(dir, worker.id());
        files.iter().all(|(names, _)| *names == 0).then_some(())
    });
    // No child holds a lock either.
    let stdin = worker.stdin();
    worker.signal("KILL");
    worker.wait();
    let dirs: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let states = || -> Vec<multiprom::inspect::FileInfo> {
        dirs.iter().flat_map(|path| list_files(path).unwrap()).collect()
    };
    wait_for("death of all files", PATIENCE, || {
        states().iter().all(|file| file.liveness == Liveness::Dead).then_some(())
    });
    drop(stdin);
    for path in dirs {
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "{} has leftovers", path.display());
    }
}

/// The files below a directory of which children of the worker have descriptors: number of links, and path.
fn inherited(dir: &Path, worker: u32) -> Vec<(u64, String)> {
    let dir = dir.to_str().unwrap();
    let children = processes_with_argument(dir).into_iter().filter(|pid| *pid != worker);
    let descriptors = children.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap());
    let files = descriptors.filter_map(|entry| {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((metadata.nlink(), fs::read_link(&path).ok()?.to_str()?.to_owned()))
    });
    files.filter(|(_, link)| link.starts_with(dir)).collect()
}
