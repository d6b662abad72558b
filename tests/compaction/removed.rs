//! Removed series leave the archive, and no total falls, also if the compactor is killed or its calls fail.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use multiprom::inspect::{Liveness, list_files};
use multiprom::{Backend, Counter, Family, Registry};

use super::killed::{
    CALLS, FAILURES, by_process, can_trace, counts_of_calls, for_each_number, traced,
};
use super::{ARCHIVE, assert_only_archive, compact, copy_of, count, merged, value};
use crate::support::mount::{is_root, succeeds};
use crate::support::process::{PATIENCE, Running};
use crate::support::removal::{REMOVED, mark_in_files, records_in_archive};
use crate::support::samples::{Line, assert_same};
use crate::support::{TestDir, example, multiprom, output_of, skip, wait_for, wait_for_deaths};

/// The families of which one series is removed, and a part of the key of its lead sample.
const SERIES: [(&str, &str); 4] = [
    ("jobs_total", r#""jobs_total", {}"#),
    ("jobs_by_parity_total", r#"{"parity": "even"}"#),
    ("job_size_bytes", r#""job_size_bytes_sum""#),
    ("job_duration_seconds", r#""job_duration_seconds_sum""#),
];

/// The key of the counter begins so.
const JOBS: &str = r#"["jobs", "jobs_total""#;

/// Whether a line belongs to a removed series.
fn is_removed(line: &Line) -> bool {
    let is_odd = line.labels.get("parity").is_some_and(|parity| parity == "odd");
    SERIES.iter().any(|(family, _)| line.name.starts_with(family)) && !is_odd
}

/// The lines of the removed series of a family.
fn removed_of(lines: &[Line], family: &str) -> Vec<Line> {
    let is_it = |line: &&Line| is_removed(line) && line.name.starts_with(family);
    lines.iter().filter(is_it).cloned().collect()
}

fn without_removed(lines: &[Line]) -> Vec<Line> {
    lines.iter().filter(|line| !is_removed(line)).cloned().collect()
}

fn mark_all(dir: &Path) {
    for (_, sample) in SERIES {
        assert_eq!(mark_in_files(dir, sample, REMOVED), 1, "{sample}");
    }
}

/// A process with 2 jobs that lives until this is dropped.
fn living(dir: &Path) -> Running {
    let mut running = Running::start(example("test-counting").arg(dir).args(["2", "hold"]));
    running.line_after("ready");
    running
}

/// A step of a compactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A pass absorbs the files of a process that has removed series, and buries them.
    Bury,
    /// A pass drops buried series.
    Drop,
}

/// A directory before a step.
struct Scene {
    step: Step,
    dir: TestDir,
    /// What is exported if no living process has the removed series.
    hidden: Vec<Line>,
}

impl Scene {
    /// The removed series are in an archive, in the file of the process that has removed them, and in another one.
    fn new(step: Step) -> Scene {
        let dir = TestDir::new("removed");
        let path = dir.path();
        count(path, 3);
        compact(path);
        count(path, 4);
        let whole = merged(path);
        mark_all(path);
        count(path, 5);
        let hidden = merged(path);
        // The last process has a gauge of its own.
        assert_eq!(hidden.len(), without_removed(&whole).len() + 1);
        assert!(!hidden.iter().any(is_removed), "{hidden:?}");
        if step == Step::Drop {
            wait_for_deaths(path);
            compact(path);
            assert_eq!(records_in_archive(path, JOBS), (true, true));
            assert_same("buried", &merged(path), &hidden);
        }
        Scene { step, dir, hidden }
    }

    /// Runs the compactor on a copy. Asserts what is exported afterwards, and that the next passes complete the work.
    fn run(&self, what: &str, is_in_use: bool, calls: &str, inject: &str, trace: &Path) -> i32 {
        let what = format!("{:?}, {what}, in use: {is_in_use}", self.step);
        let (_parent, dir) = copy_of(self.dir.path(), "run");
        let process = is_in_use.then(|| living(&dir));
        let before = merged(&dir);
        let output = traced(calls, inject, trace, &dir).output().unwrap();
        let after = merged(&dir);
        if is_in_use {
            let others = |lines: &[Line]| by_process(without_removed(lines));
            assert_same(&what, &others(&after), &others(&before));
            compact(&dir);
            let whole = merged(&dir);
            assert_eq!(value(&whole, "jobs_total"), 14.0, "{what}");
            // A buried series is shown again when the compactor has seen that it is in use, with its whole total.
            for (family, _) in SERIES {
                let [before, after, whole] =
                    [&before, &after, &whole].map(|lines| removed_of(lines, family));
                let is_hidden = self.step == Step::Drop && after.is_empty();
                assert!(is_hidden || after == whole, "{what}: {after:?}, not {whole:?}");
                assert!(before.is_empty() || before == after, "{what}: {before:?}, then {after:?}");
            }
            drop(process);
        } else {
            assert_same(&what, &by_process(after), &by_process(self.hidden.clone()));
            for _ in 0..2 {
                compact(&dir);
                assert_same(&format!("{what}, completed"), &merged(&dir), &self.hidden);
            }
            assert_only_archive(&dir);
            let archive = fs::read(dir.join(ARCHIVE)).unwrap();
            let is_left = archive.windows(JOBS.len()).any(|it| it == JOBS.as_bytes());
            assert!(!is_left, "{what}: the archive has the series");
            // A process that has the series again begins at zero.
            let _living = living(&dir);
            assert_eq!(value(&merged(&dir), "jobs_total"), 2.0, "{what}");
        }
        // strace exits in the same way as the traced process.
        output.status.code().unwrap_or(KILLED)
    }
}

/// Number of concurrent runs, none of which waits.
const AT_A_TIME: usize = 4;

/// The status of a killed process.
const KILLED: i32 = -1;

#[test]
fn a_compactor_that_is_killed_at_any_call_neither_shows_a_removed_series_nor_lowers_a_total() {
    if !can_trace() {
        return;
    }
    for (step, is_in_use) in
        [(Step::Bury, false), (Step::Bury, true), (Step::Drop, false), (Step::Drop, true)]
    {
        let scene = Scene::new(step);
        let kills = for_each_number(AT_A_TIME, |number| {
            let inject = format!("signal=KILL:when={number}");
            let what = format!("kill {number}");
            let status = scene.run(&what, is_in_use, CALLS, &inject, Path::new("/dev/null"));
            assert!(matches!(status, KILLED | 0), "{what}: {status}");
            status == KILLED
        });
        assert!(kills >= 8, "{step:?}: {kills} kills");
    }
}

#[test]
fn a_failing_call_of_a_compactor_neither_shows_a_removed_series_nor_lowers_a_total() {
    if !can_trace() {
        return;
    }
    let traces = TestDir::new("traces");
    for step in [Step::Bury, Step::Drop] {
        let scene = Scene::new(step);
        let (_parent, dir) = copy_of(scene.dir.path(), "counts");
        let counts = counts_of_calls(&dir, &traces.path().join("counts"));
        let mut failures = Vec::new();
        for ((call, error), count) in FAILURES.into_iter().zip(counts) {
            failures.extend((1..=count).map(|number| (call, error, number)));
        }
        assert!(failures.len() > 30, "{failures:?}");
        let tried = for_each_number(AT_A_TIME, |job| {
            let Some((call, error, number)) = failures.get(job - 1) else {
                return false;
            };
            let inject = format!("error={error}:when={number}");
            let what = format!("{call} {number} gives {error}");
            let status = scene.run(&what, true, call, &inject, Path::new("/dev/null"));
            // 127: the program could not be started.
            assert!(matches!(status, 0 | 1 | 127), "{what}: {status}");
            true
        });
        assert_eq!(tried, failures.len());
    }
}

/// A file of the Python client that one compactor can read, but not take a lease on.
#[test]
fn a_series_of_a_process_whose_liveness_is_unknown_is_not_buried() {
    let user = 4711;
    let dir = TestDir::in_memory("unknown");
    let path = dir.path();
    let confined = ["--bounding-set=-all", "--inh-caps=-all", "true"];
    if !is_root() || !succeeds("setpriv", &confined) {
        skip("setpriv cannot drop capabilities here");
        return;
    }
    count(path, 4);
    mark_all(path);
    wait_for_deaths(path);
    let key = r#"["jobs", "jobs_total", {}, "Jobs done."]"#;
    let mut file = vec![0; 8];
    file.extend_from_slice(&(key.len() as u32).to_le_bytes());
    file.extend_from_slice(key.as_bytes());
    file.resize(file.len() + 8 - file.len() % 8, b' ');
    file.extend_from_slice(&7.0f64.to_le_bytes());
    file.extend_from_slice(&[0; 8]);
    let used = file.len() as u32;
    file[..4].copy_from_slice(&used.to_le_bytes());
    let python = path.join("counter_12.db");
    fs::write(&python, file).unwrap();
    chown(&python, Some(user), Some(user)).unwrap();
    wait_for_deaths(path);

    let total = || -> Option<f64> {
        merged(path).iter().find(|line| line.name == "jobs_total").map(Line::value)
    };
    assert_eq!(total(), None);
    for _ in 0..2 {
        let mut command = Command::new("setpriv");
        command.args(&confined[..2]).arg(multiprom().get_program());
        output_of(command.args(["compact", "--dir"]).arg(path));
        assert_eq!(records_in_archive(path, JOBS), (true, false));
    }
    assert_eq!(total(), None);
    // A compactor that may take leases sees that the process has ended, and absorbs its file. It has looked for the series
    // before, and the next one buries it.
    for records in [(true, false), (true, true), (false, false)] {
        compact(path);
        assert_eq!(records_in_archive(path, JOBS), records);
        assert_eq!(total(), None);
    }
}

fn jobs(registry: &Registry) -> Family<Counter> {
    let builder = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    builder.get_or_register(registry).unwrap()
}

#[test]
fn a_series_leaves_the_archive_when_the_last_process_that_had_it_has_ended() {
    let dir = TestDir::new("leaves");
    let path = dir.path();
    // The files of each registry are those of a process that ends when it is closed.
    let process = || {
        let backend = Backend::directory(path).unwrap();
        Registry::builder().backend(backend).build().unwrap()
    };
    let living = || {
        let files = list_files(path).unwrap();
        files.iter().filter(|file| file.liveness == Liveness::Alive).count()
    };
    // Each has one file.
    let end = |registry: &Registry| {
        let before = living();
        registry.close();
        wait_for("end of the writer", PATIENCE, || (living() < before).then_some(()));
    };
    let total = || -> Vec<f64> { merged(path).iter().map(Line::value).collect() };
    let key = r#"["jobs", "jobs_total", {"queue": "a"}"#;
    let (one, two) = (process(), process());
    jobs(&one).with(["a"]).inc_by(2.0);
    jobs(&two).with(["a"]).inc_by(3.0);
    jobs(&one).remove(["a"]);
    end(&one);
    assert_eq!(total(), [5.0]);
    compact(path);
    assert_eq!((total(), records_in_archive(path, key)), (vec![5.0], (true, false)));

    jobs(&two).remove(["a"]);
    for _ in 0..2 {
        compact(path);
        assert_eq!((total(), records_in_archive(path, key)), (vec![], (true, false)));
    }
    jobs(&two).with(["a"]).inc();
    assert_eq!(total(), [6.0]);
    jobs(&two).remove(["a"]);
    end(&two);
    compact(path);
    assert_eq!((total(), records_in_archive(path, key)), (vec![], (true, true)));

    // It comes back before the second commit, with the total that it had.
    let three = process();
    jobs(&three).with(["a"]).inc();
    assert!(total().is_empty());
    compact(path);
    assert_eq!((total(), records_in_archive(path, key)), (vec![7.0], (true, false)));

    jobs(&three).remove(["a"]);
    end(&three);
    compact(path);
    compact(path);
    assert_eq!((total(), records_in_archive(path, key)), (vec![], (false, false)));
    assert_only_archive(path);
    let four = process();
    jobs(&four).with(["a"]).inc();
    assert_eq!(total(), [1.0]);
    end(&four);
}
