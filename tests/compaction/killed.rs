//! The compactor is killed at every system call that changes something, and each of its calls fails once.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use multiprom::inspect::inspect_archive;

use super::{
    UNITS, assert_only_archive, compact, copy_of, count, count_in_python, merged, names_in, units,
    value,
};
use crate::support::mount::succeeds;
use crate::support::samples::{Line, assert_same};
use crate::support::{TestDir, multiprom, skip};

/// The calls whose effects other processes can observe, and the calls that wait. A kill between two of them has the same
/// effect as a kill before the second. With `MULTIPROM_COMPACTION_CALLS=all` there is a kill at every call.
pub(super) const CALLS: &str = "?mkdirat,?fallocate,?ftruncate,?write,?fchmod,?fchown,?fsync,?fdatasync,?renameat,\
                     ?renameat2,?unlinkat,?flock,?clock_nanosleep";

/// The error of each call.
pub(super) const FAILURES: [(&str, &str); 15] = [
    ("openat", "EMFILE"),
    ("mkdirat", "ENOSPC"),
    ("fallocate", "ENOSPC"),
    ("ftruncate", "EFBIG"),
    ("write", "ENOSPC"),
    ("fchmod", "EPERM"),
    ("fchown", "EPERM"),
    ("fdatasync", "EIO"),
    ("fsync", "EIO"),
    ("renameat", "ENOSPC"),
    ("renameat2", "ENOSPC"),
    ("unlinkat", "EACCES"),
    ("flock", "ENOLCK"),
    ("read", "EIO"),
    ("getdents64", "EIO"),
];

/// Number of concurrent runs. Most runs wait until the grace period of retired files is over.
const AT_A_TIME: usize = 24;

/// A directory with work for every step of a pass, and its merged samples.
struct Scene {
    dir: TestDir,
    truth: Vec<Line>,
}

impl Scene {
    fn new() -> Scene {
        let dir = TestDir::new("scene");
        let path = dir.path();
        // An archive and some of its sources, as after a kill before all sources were removed.
        count(path, 3);
        let (_parent, before) = copy_of(path, "before");
        compact(path);
        for name in names_in(&before).iter().filter(|name| !name.starts_with("gauge_live")).take(3)
        {
            move_into(&before.join(name), path);
        }
        // A staging file, as after a kill while an archive was written.
        fs::write(path.join(".archive.0badcafe.new"), "MPARCH").unwrap();
        count(path, 4);
        let has_python = count_in_python(path, 8).is_some();
        if has_python {
            retire_one(path);
            count_in_python(path, 16);
        }
        let truth = merged(path);
        assert_eq!(value(&truth, "jobs_total"), 7.0);
        assert_eq!(value(&truth, "queue_mostrecent_ratio"), 4.0);
        if has_python {
            assert_eq!(value(&truth, "py_jobs_total"), 24.0);
        }
        Scene { dir, truth }
    }

    /// Runs the compactor on a copy and returns its output. Asserts that all totals are exact, and that the next pass
    /// completes the work.
    fn run(&self, what: &str, calls: &str, inject: &str, trace: &Path) -> Output {
        let (_parent, dir) = copy_of(self.dir.path(), "run");
        let output = traced(calls, inject, trace, &dir).output().unwrap();
        let at_once = format!("{what}, before another pass");
        assert_same(&at_once, &by_process(merged(&dir)), &by_process(self.truth.clone()));
        assert_eq!(units(&dir), UNITS, "{what}");
        assert_together(what, &dir);
        // If the pass was complete, there is nothing left to do.
        let is_done = output.status.success() && names_in(&dir) == ["archive.multiprom", "retired"];
        if !is_done || !names_in(&dir.join("retired")).is_empty() {
            compact(&dir);
            assert_same(&format!("{what}, completed"), &merged(&dir), &self.truth);
        }
        assert_only_archive(&dir);
        assert_eq!(units(&dir), UNITS, "{what}, completed");
        output
    }
}

/// Asserts that the archive lists all files of a writer that were read into it, or none: of each writer whose companion
/// exists and is listed no other file is unlisted, and of each whose companion is unlisted no other file is listed.
fn assert_together(what: &str, dir: &Path) {
    let sources = inspect_archive(dir).unwrap().map_or_else(Vec::new, |archive| archive.sources);
    let names = names_in(dir);
    let companions = names.iter().filter_map(|name| Some((name, id_of_companion(name)?)));
    for (companion, id) in companions {
        let is_listed = sources.contains(companion);
        let others = names.iter().filter(|name| name.contains(id) && *name != companion);
        // Live gauges are removed without a commit.
        for other in others.filter(|name| !name.starts_with("gauge_live")) {
            assert_eq!(sources.contains(other), is_listed, "{what}: {other} and {companion}");
        }
    }
}

fn id_of_companion(name: &str) -> Option<&str> {
    name.strip_prefix("companion_")?.strip_suffix(".mpx")
}

/// Replaces whole ids in the label `pid` by the pid. As long as one file of a dead process is in the archive and another
/// one could not be opened, its gauges are exported with the whole id.
pub(super) fn by_process(mut lines: Vec<Line>) -> Vec<Line> {
    for pid in lines.iter_mut().filter_map(|line| line.labels.get_mut("pid")) {
        pid.truncate(pid.find('-').unwrap_or(pid.len()));
    }
    lines.sort();
    lines
}

fn move_into(file: &Path, dir: &Path) {
    assert!(succeeds("mv", &[file.to_str().unwrap(), dir.to_str().unwrap()]));
}

/// Retires the counter file of the Python process, as a pass that was killed afterwards.
fn retire_one(dir: &Path) {
    let is_python = |name: &&String| name.starts_with("counter_") && !name.contains('-');
    let names = names_in(dir);
    let name = names.iter().find(is_python).unwrap();
    fs::create_dir(dir.join("retired")).unwrap();
    let unique = name.replace(".db", "-0badcafe.db");
    fs::rename(dir.join(name), dir.join("retired").join(unique)).unwrap();
}

/// The compactor under strace, which injects signals or errors and writes the calls to a file.
pub(super) fn traced(calls: &str, inject: &str, trace: &Path, dir: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(trace);
    command.arg("-e").arg(format!("trace={calls}"));
    command.arg("-e").arg(format!("inject={calls}:{inject}"));
    command.arg(multiprom().get_program()).arg("compact").arg("--dir").arg(dir);
    for variable in ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// The number of times that the compactor makes each call in [`FAILURES`] in a directory.
pub(super) fn counts_of_calls(dir: &Path, trace: &Path) -> [usize; FAILURES.len()] {
    // The injected failure never occurs.
    let output = traced("all", "error=EIO:when=65535", trace, dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(trace).unwrap();
    FAILURES.map(|(call, _)| {
        let begin = format!("{call}(");
        let calls = text.lines().filter_map(|line| line.split_whitespace().nth(1));
        calls.filter(|call| call.starts_with(&begin)).count()
    })
}

pub(super) fn can_trace() -> bool {
    let works = succeeds("strace", &["-f", "-o", "/dev/null", "true"]);
    if !works {
        skip("strace is not installed, or may not trace here");
    }
    works
}

/// Runs `job` with the numbers from 1 on, several at once, until one returns false. Returns the count of the jobs that
/// returned true.
pub(super) fn for_each_number(at_a_time: usize, job: impl Fn(usize) -> bool + Sync) -> usize {
    let (next, is_over) = (AtomicUsize::new(1), AtomicBool::new(false));
    let last = AtomicUsize::new(usize::MAX);
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !job(number) {
                        last.fetch_min(number, Ordering::Relaxed);
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    last.into_inner() - 1
}

#[test]
fn totals_are_exact_if_a_compactor_is_killed_at_any_call() {
    if !can_trace() {
        return;
    }
    let scene = Scene::new();
    let all = std::env::var_os("MULTIPROM_COMPACTION_CALLS").is_some_and(|calls| calls == "all");
    let calls = if all { "all" } else { CALLS };
    let kills = for_each_number(AT_A_TIME, |number| {
        let inject = format!("signal=KILL:when={number}");
        let what = format!("kill {number}");
        let output = scene.run(&what, calls, &inject, Path::new("/dev/null"));
        // strace exits in the same way as the traced process.
        let is_killed = output.status.code().is_none();
        assert!(is_killed || output.status.success(), "{output:?}");
        is_killed
    });

    assert!(kills >= 40, "{kills} kills");
}

#[test]
fn totals_are_exact_if_any_call_of_a_compactor_fails() {
    if !can_trace() {
        return;
    }
    let scene = Scene::new();
    let traces = TestDir::new("traces");
    let (_parent, dir) = copy_of(scene.dir.path(), "counts");
    let counts = counts_of_calls(&dir, &traces.path().join("counts"));
    let mut failures = Vec::new();
    for ((call, error), count) in FAILURES.into_iter().zip(counts) {
        assert!(count > 0, "{call} is never called");
        failures.extend((1..=count).map(|number| (call, error, number)));
    }
    let tried = for_each_number(AT_A_TIME, |job| {
        let Some((call, error, number)) = failures.get(job - 1) else {
            return false;
        };
        let trace = traces.path().join(job.to_string());
        let inject = format!("error={error}:when={number}");
        let what = format!("{call} {number} gives {error}");
        let output = scene.run(&what, call, &inject, &trace);
        // 127: the program could not be started.
        let status = output.status.code();
        assert!(matches!(status, Some(0 | 1 | 127)), "{what}: {output:?}");
        let is_injected = fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
        assert!(is_injected || *number > 1, "{what}: it did not fail");
        true
    });
    assert_eq!(tried, failures.len());
}
