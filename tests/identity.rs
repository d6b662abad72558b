//! Process ids: chosen ones, equal ones, and reused pids.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use multiprom::compact::Compactor;
use multiprom::inspect::{Liveness, inspect_archive, list_files};
use multiprom::{Backend, DirectoryOptions, ErrorKind, GaugeMode};

use crate::support::process::{PATIENCE, in_pid_namespace};
use crate::support::survivor::{ControlledWorker, merged, sum, sum_of_all_files, survivor, value};
use crate::support::{TestDir, assert_success, output_of, python, root, skip, wait_for};

fn named(dir: &Path, name: &str) -> ControlledWorker {
    ControlledWorker::start(survivor("commands", dir).arg(name))
}

#[test]
fn a_chosen_process_id_is_in_file_names_and_in_the_label_pid() {
    let dir = TestDir::new("chosen");
    let mut worker = named(dir.path(), "web.3-a");
    worker.execute("record");
    let files = list_files(dir.path()).unwrap();
    assert!(files.iter().all(|file| file.id.starts_with("web.3-a-")), "{files:#?}");
    assert_eq!(value(&merged(dir.path()), "level_all{pid=\"web.3-a\"}"), 1.0);
    worker.end();
}

#[test]
fn unsafe_or_ambiguous_process_ids_are_rejected() {
    let dir = TestDir::new("refused");
    let try_name = |name: &str| {
        let name = name.to_owned();
        let options = DirectoryOptions::new().process_id(move || name.clone());
        Backend::directory_with(dir.path(), options)
    };
    let too_long = "x".repeat(65);
    for name in ["", "a_b", "a/b", "../b", "a b", "a\0b", "\u{e9}", &too_long] {
        assert_eq!(try_name(name).unwrap_err().kind(), ErrorKind::Usage, "{name:?}");
    }
    try_name(&"x".repeat(64)).unwrap();
    // In a process id, two dots do not name the parent directory.
    let mut worker = named(dir.path(), "..");
    worker.execute("record");
    assert!(list_files(dir.path()).unwrap().iter().all(|file| file.id.starts_with("..-")));
    assert_eq!(value(&merged(dir.path()), "plain_total"), 1.0);
    worker.end();
}

/// The values of the label `pid` of the samples with a name, and the number of samples, which must be distinct.
#[track_caller]
fn pids(exposition: &str, name: &str) -> (BTreeSet<String>, usize) {
    let lines: Vec<&str> = exposition.lines().filter(|line| line.starts_with(name)).collect();
    let series: BTreeSet<&str> = lines.iter().map(|it| it.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(series.len(), lines.len(), "a sample is repeated");
    let pid =
        |line: &&str| line.split_once("pid=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    (lines.iter().map(pid).collect(), lines.len())
}

#[test]
fn a_process_with_several_files_of_one_kind_is_one_process_to_every_reader() {
    let dir = TestDir::new("several");
    let mut worker = ControlledWorker::new(dir.path());
    let pid = BTreeSet::from([worker.program.id().to_string()]);
    worker.execute("levels 3");
    for (times, count) in [(1, 200), (2, 1000)] {
        worker.execute("lose");
        worker.execute(&format!("levels {count}"));
        let merged = merged(dir.path());
        assert_eq!(pids(&merged, "levels{"), (pid.clone(), count), "{times}");
    }
    let files = list_files(dir.path()).unwrap();
    let gauges: Vec<_> = files.iter().filter(|file| file.mode == Some(GaugeMode::All)).collect();
    let ids: BTreeSet<&str> = files.iter().map(|file| &*file.id).collect();
    assert_eq!((gauges.len(), ids.len()), (3, 1), "{files:#?}");
    if let Some(mut python) = python("newest") {
        let script = root().join("tests/python/collect.py");
        let text = output_of(python.arg(script).arg(dir.path()).arg("text"));
        let (pids, count) = pids(&text, "levels{");
        assert_eq!((pids.len(), count), (1, 1000), "{pids:?}");
        assert!(pids.iter().all(|id| ids.contains(&**id)), "{pids:?} {ids:?}");
    }
    worker.end();
    // In an archive, it is also one process.
    let compactor = Compactor::builder().directory(dir.path()).build().unwrap();
    compactor.run().unwrap();
    assert_eq!(pids(&merged(dir.path()), "levels{"), (pid, 1000));
    assert_eq!(inspect_archive(dir.path()).unwrap().unwrap().processes, 1);
}

#[test]
fn a_process_that_loses_one_of_several_files_exports_each_gauge_once() {
    for lost in 0..2 {
        let dir = TestDir::new("lost-one");
        let mut worker = ControlledWorker::new(dir.path());
        let pid = BTreeSet::from([worker.program.id().to_string()]);
        worker.execute("record");
        worker.execute("levels 3");
        worker.execute("lose");
        worker.execute("levels 200");
        let mut files = list_files(dir.path()).unwrap();
        files.retain(|file| file.mode == Some(GaugeMode::All));
        assert_eq!(files.len(), 2);
        fs::remove_file(&files[lost].path).unwrap();
        worker.execute("record");
        worker.execute("series new");
        worker.execute("levels 200");
        let merged = merged(dir.path());
        assert_eq!(pids(&merged, "levels{"), (pid.clone(), 200), "{lost}");
        assert_eq!(pids(&merged, "level_all{"), (pid.clone(), 1), "{lost}");
        assert_eq!(pids(&merged, "level_liveall{"), (pid, 1), "{lost}");
        worker.end();
    }
}

#[test]
fn two_processes_with_one_process_id_have_separate_files() {
    let dir = TestDir::new("same");
    let mut workers = [named(dir.path(), "web"), named(dir.path(), "web")];
    for (number, worker) in workers.iter_mut().enumerate() {
        (0..=number).for_each(|_| worker.execute("record"));
    }
    let text = merged(dir.path());
    assert_eq!((value(&text, "plain_total"), value(&text, "level_sum")), (3.0, 3.0));
    assert_eq!(text.lines().filter(|line| line.starts_with("level_all{pid=\"web-")).count(), 2);
    assert!(list_files(dir.path()).unwrap().iter().all(|file| file.liveness == Liveness::Alive));
    for worker in workers {
        assert!(worker.end().status.success());
    }
}

#[test]
fn a_reused_pid_resumes_no_files() {
    let dir = TestDir::new("reuse");
    let Some(mut command) = in_pid_namespace(&survivor("reuse", dir.path())) else { return };
    let output = command.output().unwrap();
    assert_success(&command, &output);
    let text = String::from_utf8(output.stdout).unwrap();
    if text.starts_with("refused") {
        return skip("the next pid cannot be chosen here");
    }
    assert_eq!(text, "pid 100\n".repeat(3));
    let files = list_files(dir.path()).unwrap();
    let ids: BTreeSet<&str> = files.iter().map(|file| &*file.id).collect();
    assert_eq!((files.len(), ids.len()), (6, 3), "{files:#?}");
    assert!(ids.iter().all(|id| id.starts_with("100-")));
    assert_eq!(sum(dir.path(), "rounds_total"), 3.0);
    // Rounds 1 and 3 set the gauge to their numbers, round 2 does not set it.
    assert_eq!(sum_of_all_files(dir.path(), "level"), 4.0);
}

#[test]
fn equal_pids_in_two_namespaces_share_a_directory_without_loss() {
    let dir = TestDir::new("namespaces");
    let Some(mut command) = in_pid_namespace(&survivor("commands", dir.path())) else { return };
    let mut workers =
        [ControlledWorker::start(&mut command), ControlledWorker::start(&mut command)];
    for worker in &mut workers {
        worker.execute("record");
        worker.execute("series a");
    }
    let files = list_files(dir.path()).unwrap();
    assert_eq!(files.len(), 16);
    assert!(files.iter().all(|file| file.id.starts_with("1-")), "{files:#?}");
    assert!(files.iter().all(|file| file.liveness == Liveness::Alive), "{files:#?}");
    let [first, mut second] = workers;
    assert!(first.end().status.success());
    let alive = || {
        let files = list_files(dir.path()).unwrap();
        files.iter().filter(|file| file.liveness == Liveness::Alive).count()
    };
    wait_for("death of the first", PATIENCE, || (alive() == 8).then_some(()));
    second.execute("record");
    assert_eq!(sum(dir.path(), "plain_total"), 3.0);
    assert_eq!(sum(dir.path(), "labelled_total"), 5.0);
    second.end();
}

#[test]
fn a_stale_file_of_a_python_process_with_the_same_pid_is_left_alone() {
    let dir = TestDir::new("stale");
    let mut worker = ControlledWorker::new(dir.path());
    let stale = dir.path().join(format!("counter_{}.db", worker.program.id()));
    let bytes = vec![0u8; 4096];
    fs::write(&stale, &bytes).unwrap();
    worker.execute("record");
    assert_eq!(fs::read(&stale).unwrap(), bytes);
    assert_eq!(value(&merged(dir.path()), "plain_total"), 1.0);
    worker.end();
    assert_eq!(fs::read(&stale).unwrap(), bytes);
}

#[test]
fn files_are_readable_by_the_owner_or_the_group_whatever_the_umask() {
    for (group, mode) in [("-", 0o600), ("group", 0o640)] {
        let dir = TestDir::new("mode");
        let program = survivor("commands", dir.path());
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 0; exec \"$@\"", "sh"]);
        shell.arg(program.get_program()).args(program.get_args()).args(["-", group]);
        let mut worker = ControlledWorker::start(&mut shell);
        worker.execute("record");
        for file in list_files(dir.path()).unwrap() {
            assert_eq!(file.path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        }
        worker.end();
    }
}
