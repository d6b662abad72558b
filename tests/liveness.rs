//! Liveness of writers, from the kernel: a writer that can still write never looks dead.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memmap2::MmapRaw;
use multiprom::GaugeMode;
use multiprom::inspect::{Liveness, list_files};

use crate::support::mount::{Mount, is_root};
use crate::support::process::{NOBODY, PATIENCE, Running, in_pid_namespace, is_alive, run, signal};
use crate::support::survivor::{ControlledWorker, merged, sum, survivor, value};
use crate::support::{self, SetOnDrop, TestDir, multiprom, output_of, root, skip, wait_for};

/// The liveness of the files in a directory, which must be the same for all files.
#[track_caller]
fn state(dir: &Path) -> Liveness {
    let files = list_files(dir).unwrap();
    let states: BTreeSet<String> = files.iter().map(|file| file.liveness.to_string()).collect();
    assert_eq!(states.len(), 1, "{files:#?}");
    files[0].liveness
}

/// A worker of multiprom that has recorded.
fn own(dir: &Path) -> ControlledWorker {
    let mut worker = ControlledWorker::new(dir);
    worker.execute("record");
    worker
}

/// A process of the real Python client that has recorded, and the rest of its line `ready`.
fn python(dir: &Path, how: &str) -> Option<(Running, String)> {
    let mut program = support::python("newest")?;
    program.arg(root().join("tests/python/counting.py")).arg(dir).args(["2", how]);
    let mut program = Running::start(&mut program);
    let rest = program.line_after("ready");
    Some((program, rest))
}

/// Waits until a process has ended, without reaping it.
fn wait_for_end(pid: u32) {
    wait_for("end", PATIENCE, || (!is_alive(pid)).then_some(()));
}

/// A process that is killed on drop.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        signal(self.0, "KILL");
    }
}

impl Orphan {
    /// Waits for its end, as only then all of its files are closed.
    fn end(self) {
        let pid = self.0;
        drop(self);
        wait_for_end(pid);
    }
}

#[test]
fn a_killed_worker_is_dead_before_it_is_reaped() {
    let dir = TestDir::new("killed");
    let mut worker = own(dir.path());
    assert_eq!(state(dir.path()), Liveness::Alive);
    worker.program.signal("KILL");
    wait_for_end(worker.program.id());
    let stat = fs::read_to_string(format!("/proc/{}/stat", worker.program.id())).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    assert_eq!(state(dir.path()), Liveness::Dead);
    worker.program.wait();
    assert_eq!(state(dir.path()), Liveness::Dead);
}

#[test]
fn a_killed_process_of_the_python_client_is_dead_before_it_is_reaped() {
    let dir = TestDir::new("killed-python");
    let Some((mut worker, _)) = python(dir.path(), "hold") else { return };
    assert_eq!(state(dir.path()), Liveness::Alive);
    worker.signal("KILL");
    wait_for_end(worker.id());
    assert_eq!(state(dir.path()), Liveness::Dead);
    worker.wait();
    assert_eq!(state(dir.path()), Liveness::Dead);
}

#[test]
fn live_gauges_disappear_when_a_worker_is_killed_and_stay_when_it_is_stopped() {
    let dir = TestDir::new("gauges");
    let dir = dir.path();
    let (killed, stopped) = (own(dir), own(dir));
    let python = [python(dir, "hold"), python(dir, "hold")];
    let gauges = |name: &str| {
        let text = merged(dir);
        text.lines().filter(|line| line.starts_with(&format!("{name}{{pid="))).count()
    };
    stopped.program.signal("STOP");
    wait_for("stop", PATIENCE, || {
        let path = format!("/proc/{}/stat", stopped.program.id());
        fs::read_to_string(path).unwrap().contains(") T ").then_some(())
    });
    assert_eq!(gauges("level_liveall"), 2);
    killed.program.signal("KILL");
    wait_for_end(killed.program.id());
    assert_eq!((gauges("level_liveall"), gauges("level_all")), (1, 2));
    if let [Some((killed, _)), Some((stopped, _))] = &python {
        stopped.signal("STOP");
        assert_eq!(gauges("py_queue_liveall_ratio"), 2);
        killed.signal("KILL");
        wait_for_end(killed.id());
        let of = |name: &str| gauges(&format!("py_queue_{name}_ratio"));
        assert_eq!((of("liveall"), of("all")), (1, 2));
        assert_eq!(sum(dir, "py_queue_livesum_ratio"), 2.0);
        stopped.signal("CONT");
    }
    stopped.program.signal("CONT");
    stopped.end();
}

#[test]
fn a_worker_that_executes_another_program_is_dead() {
    let dir = TestDir::new("exec");
    let mut worker = own(dir.path());
    let pid = worker.program.id();
    worker.send("exec");
    let is_other = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        (name == "cat\n").then_some(())
    };
    wait_for("another program", PATIENCE, || is_other(pid));
    // The kernel changes the name of the process first, and then closes the files of the former program.
    let is_dead = |dir: &TestDir| (state(dir.path()) == Liveness::Dead).then_some(());
    wait_for("death", PATIENCE, || is_dead(&dir));
    worker.end();
    let dir = TestDir::new("exec-python");
    let Some((worker, _)) = python(dir.path(), "exec") else { return };
    wait_for("another program", PATIENCE, || is_other(worker.id()));
    wait_for("death", PATIENCE, || is_dead(&dir));
}

/// A fork with handlers closes the files of multiprom: `fork::a_dead_parent_is_detected_although_its_child_lives`.
#[test]
fn children_that_keep_the_files_of_their_parent_open_keep_it_alive() {
    let dir = TestDir::new("clone");
    let mut worker = own(dir.path());
    worker.execute("clone");
    let child = Orphan(worker.program.line_after("cloned ").parse().unwrap());
    worker.program.signal("KILL");
    worker.program.wait();
    assert_eq!(state(dir.path()), Liveness::Alive);
    child.end();
    assert_eq!(state(dir.path()), Liveness::Dead);

    let dir = TestDir::new("fork-python");
    let Some((mut worker, child)) = python(dir.path(), "fork") else { return };
    let child = Orphan(child.parse().unwrap());
    worker.signal("KILL");
    worker.wait();
    assert_eq!(state(dir.path()), Liveness::Alive);
    child.end();
    assert_eq!(state(dir.path()), Liveness::Dead);
}

/// A worker in a new pid namespace.
fn in_namespace(dir: &Path) -> Option<ControlledWorker> {
    Some(ControlledWorker::start(&mut in_pid_namespace(&survivor("commands", dir))?))
}

#[test]
fn workers_of_two_pid_namespaces_share_a_directory_that_is_compacted() {
    let dir = TestDir::new("namespaces");
    let dir = dir.path();
    let compact = || output_of(multiprom().args(["compact", "--dir"]).arg(dir));
    let mut recorded = 0.0;
    for _ in 0..3 {
        let (Some(mut first), Some(mut second)) = (in_namespace(dir), in_namespace(dir)) else {
            return;
        };
        for worker in [&mut first, &mut second] {
            worker.execute("record");
            worker.execute("series a");
        }
        recorded += 2.0;
        let files = list_files(dir).unwrap();
        assert!(files.iter().all(|file| file.liveness == Liveness::Alive), "{files:#?}");
        compact();
        assert_eq!(list_files(dir).unwrap().len(), files.len());
        assert!(first.end().status.success());
        let is_over = || {
            let files = list_files(dir).unwrap();
            files.iter().any(|file| file.liveness == Liveness::Dead).then_some(())
        };
        wait_for("death of the first", PATIENCE, is_over);
        compact();
        second.execute("record");
        recorded += 1.0;
        assert_eq!(sum(dir, "plain_total"), recorded);
        assert_eq!(sum(dir, "times_count"), recorded);
        assert!(second.end().status.success());
        wait_for("death of the second", PATIENCE, || {
            compact();
            list_files(dir).unwrap().is_empty().then_some(())
        });
        assert_eq!(sum(dir, "plain_total"), recorded);
        assert_eq!(sum(dir, "sizes_sum"), recorded);
    }
    assert_eq!(value(&merged(dir), "labelled_total{label=\"a\"}"), 6.0);
}

#[test]
fn a_host_that_closed_all_descriptors_is_alive_where_the_mapping_keeps_the_lock() {
    let mut dirs: Vec<PathBuf> = Vec::new();
    let tmpfs = Mount::tmpfs("size=16m");
    dirs.extend(tmpfs.iter().map(|mount| mount.directory("app")));
    let disk = TestDir::new("lose");
    if multiprom::compact::Compactor::is_liveness_unreliable(disk.path()) {
        skip("the temporary directory is on overlayfs, where such a host looks dead");
    } else {
        dirs.push(disk.path().to_owned());
    }
    for dir in dirs {
        let mut worker = own(&dir);
        worker.execute("lose");
        assert_eq!(state(&dir), Liveness::Alive, "{}", dir.display());
        worker.program.signal("KILL");
        worker.program.wait();
        assert_eq!(state(&dir), Liveness::Dead, "{}", dir.display());
    }
}

#[test]
fn readers_do_not_make_a_dead_writer_look_alive() {
    let dir = TestDir::new("readers");
    own(dir.path()).end();
    python(dir.path(), "hold");
    wait_for("end of all writers", PATIENCE, || {
        let files = list_files(dir.path()).unwrap();
        files.iter().all(|file| file.liveness == Liveness::Dead).then_some(())
    });
    let files = list_files(dir.path()).unwrap();
    let open: Vec<File> = files.iter().map(|file| File::open(&file.path).unwrap()).collect();
    assert_eq!(state(dir.path()), Liveness::Dead);
    let maps: Vec<_> = open
        .iter()
        .map(|file| {
            let mut options = memmap2::MmapOptions::new();
            options.len(8).map_raw_read_only(file).unwrap()
        })
        .collect::<Vec<MmapRaw>>();
    drop(open);
    assert_eq!(state(dir.path()), Liveness::Dead);
    drop(maps);
}

#[test]
fn concurrent_liveness_checks_disturb_neither_each_other_nor_readers() {
    let (living, dead) = (TestDir::new("living"), TestDir::new("dead"));
    let worker = own(living.path());
    let living_python = python(living.path(), "hold");
    own(dead.path()).end();
    if let Some((mut program, _)) = python(dead.path(), "hold") {
        program.signal("KILL");
        program.wait();
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let _ending = SetOnDrop(&is_over);
                for _ in 0..150 {
                    assert_eq!(state(living.path()), Liveness::Alive);
                    assert_eq!(state(dead.path()), Liveness::Dead);
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for dir in [living.path(), dead.path()] {
                    for entry in fs::read_dir(dir).unwrap() {
                        File::open(entry.unwrap().path()).unwrap();
                    }
                }
            }
        });
    });
    drop(living_python);
    worker.end();
}

#[test]
fn another_user_relies_on_locks_and_reports_files_without_one_as_unknown() {
    let dir = TestDir::new("other");
    let dir = dir.path();
    if !is_root() || multiprom().arg("--version").uid(NOBODY).gid(NOBODY).output().is_err() {
        return skip("another user cannot run the command here");
    }
    let ended = own(dir);
    let pid = ended.program.id();
    ended.end();
    let living = own(dir);
    let python = python(dir, "hold");
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    for file in list_files(dir).unwrap() {
        fs::set_permissions(&file.path, Permissions::from_mode(0o644)).unwrap();
    }
    let outcome = run(multiprom().args(["ls", "--json", "--dir"]).arg(dir).uid(NOBODY).gid(NOBODY));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let mut counts = [0; 3];
    for line in outcome.stdout.lines() {
        let file: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, state) = (file["id"].as_str().unwrap(), &file["state"]);
        let (kind, wanted) = match id.split_once('-') {
            Some((process, _)) if process == pid.to_string() => (0, &["dead"][..]),
            Some(_) => (1, &["alive"][..]),
            // The kernel may refuse a lease to other users before it checks for writers.
            None => (2, &["unknown", "alive"][..]),
        };
        counts[kind] += 1;
        assert!(wanted.iter().any(|wanted| state == wanted), "{line}");
    }
    assert!(counts[0] == 8 && counts[1] == 8 && (counts[2] > 0) == python.is_some(), "{counts:?}");
    // Unknown files count as alive; a free lock hides live gauges.
    let outcome = run(multiprom().args(["dump", "--dir"]).arg(dir).uid(NOBODY).gid(NOBODY));
    assert_eq!(outcome.stdout.matches("level_liveall{").count(), 1, "{}", outcome.stdout);
    assert_eq!(outcome.stdout.contains("py_queue_livesum"), python.is_some(), "{}", outcome.stdout);
    living.end();
}

#[test]
fn mark_process_dead_spares_a_new_worker_with_the_same_pid() {
    let dir = TestDir::new("mark");
    let dir = dir.path();
    let named = || {
        let mut worker = ControlledWorker::start(survivor("commands", dir).arg("4711"));
        worker.execute("record");
        worker
    };
    let mark = |pids: &[String]| {
        let outcome = run(multiprom().arg("mark-process-dead").args(pids).arg("--dir").arg(dir));
        assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""));
    };
    let first = named();
    first.program.signal("KILL");
    wait_for_end(first.program.id());
    let second = named();
    let python = python(dir, "hold");
    let living = python.as_ref().map_or(4711, |(program, _)| program.id());
    let before = list_files(dir).unwrap().len();
    for _ in 0..2 {
        mark(&["4711".to_owned(), living.to_string()]);
        let files = list_files(dir).unwrap();
        // Only the live gauge of the first worker is removed.
        assert_eq!(files.len(), before - 1, "{files:#?}");
        assert_eq!(value(&merged(dir), "level_liveall{pid=\"4711\"}"), 1.0);
        assert_eq!(sum(dir, "plain_total"), 2.0);
    }
    if let Some((mut program, _)) = python {
        assert_eq!(sum(dir, "py_queue_livesum_ratio"), 2.0);
        program.signal("KILL");
        program.wait();
        mark(&[living.to_string()]);
        let is_same_id = |id: &str| id == living.to_string();
        let files = list_files(dir).unwrap();
        let live = |mode: Option<GaugeMode>| mode.is_some_and(GaugeMode::is_live);
        assert!(!files.iter().any(|file| is_same_id(&file.id) && live(file.mode)), "{files:#?}");
    }
    second.end();
}
