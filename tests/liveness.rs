//! Whether a writer lives, by the kernel's word: never dead for one that may still write.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memmap2::MmapRaw;
use multiprom::{GaugeMode, Liveness, list_files};

use crate::support::mount::{Mount, is_root, succeeds};
use crate::support::process::{PATIENCE, Running, is_alive, run, signal};
use crate::support::survivor::{Obedient, merged, sum, survivor, value};
use crate::support::{self, Ending, TestDir, multiprom, output_of, root, skip, wait_for};

/// The user of nobody.
const NOBODY: u32 = 65534;

/// What is said of the files of a directory, which is the same of all of them.
#[track_caller]
fn state(dir: &Path) -> Liveness {
    let files = list_files(dir).unwrap();
    let states: BTreeSet<String> = files.iter().map(|file| file.liveness.to_string()).collect();
    assert_eq!(states.len(), 1, "{files:#?}");
    files[0].liveness
}

/// A worker of ours that has recorded.
fn own(dir: &Path) -> Obedient {
    let mut worker = Obedient::new(dir);
    worker.tell("record");
    worker
}

/// One of the real Python client; what it printed follows its `ready`.
fn python(dir: &Path, how: &str) -> Option<(Running, String)> {
    let mut program = support::python("newest")?;
    program.arg(root().join("tests/python/counting.py")).arg(dir).args(["2", how]);
    let mut program = Running::start(&mut program);
    let said = program.line_after("ready");
    Some((program, said))
}

/// Waits until a process has ended, without asking for its status.
fn wait_for_end(pid: u32) {
    wait_for("end", PATIENCE, || (!is_alive(pid)).then_some(()));
}

/// A process that is killed when this is dropped.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        signal(self.0, "KILL");
    }
}

impl Orphan {
    /// Its files are closed one after the other, and all of them when it has ended.
    fn end(self) {
        let pid = self.0;
        drop(self);
        wait_for_end(pid);
    }
}

#[test]
fn a_killed_worker_is_dead_though_nobody_has_asked_for_its_status() {
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
fn a_killed_process_of_the_python_client_is_dead_though_nobody_has_asked_for_its_status() {
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
fn live_gauges_of_killed_workers_are_gone_at_the_next_scrape_and_those_of_stopped_ones_stay() {
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
fn a_worker_that_becomes_another_program_is_dead_under_the_same_pid() {
    let dir = TestDir::new("exec");
    let mut worker = own(dir.path());
    let pid = worker.program.id();
    worker.say("exec");
    let is_other = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        (name == "cat\n").then_some(())
    };
    wait_for("another program", PATIENCE, || is_other(pid));
    // The kernel closes the files of the former program when the new one begins to run, after it has its name.
    let is_dead = |dir: &TestDir| (state(dir.path()) == Liveness::Dead).then_some(());
    wait_for("death", PATIENCE, || is_dead(&dir));
    worker.end();
    let dir = TestDir::new("exec-python");
    let Some((worker, _)) = python(dir.path(), "exec") else { return };
    wait_for("another program", PATIENCE, || is_other(worker.id()));
    wait_for("death", PATIENCE, || is_dead(&dir));
}

/// Of ours they do not: `fork::the_end_of_a_parent_is_seen_although_its_child_lives`.
#[test]
fn children_that_keep_the_files_of_their_parent_open_keep_it_alive() {
    let dir = TestDir::new("clone");
    let mut worker = own(dir.path());
    worker.tell("clone");
    let child = Orphan(worker.program.line_after("cloned ").parse().unwrap());
    worker.program.signal("KILL");
    worker.program.wait();
    assert_eq!(state(dir.path()), Liveness::Alive);
    child.end();
    assert_eq!(state(dir.path()), Liveness::Dead);

    let dir = TestDir::new("fork-python");
    let Some((mut worker, said)) = python(dir.path(), "fork") else { return };
    let child = Orphan(said.parse().unwrap());
    worker.signal("KILL");
    worker.wait();
    assert_eq!(state(dir.path()), Liveness::Alive);
    child.end();
    assert_eq!(state(dir.path()), Liveness::Dead);
}

/// `unshare` into a pid namespace of its own, and the worker that obeys in it.
fn in_namespace(dir: &Path) -> Option<Obedient> {
    let options = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    if !is_root() || !succeeds("unshare", &[&options[..], &["true"]].concat()) {
        skip("a pid namespace needs root");
        return None;
    }
    let program = survivor("obey", dir);
    let mut command = Command::new("unshare");
    command.args(options).arg(program.get_program()).args(program.get_args());
    Some(Obedient::start(&mut command))
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
            worker.tell("record");
            worker.tell("series a");
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
        second.tell("record");
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
    if multiprom::Compactor::is_liveness_unreliable(disk.path()) {
        skip("on overlayfs it looks dead");
    } else {
        dirs.push(disk.path().to_owned());
    }
    for dir in dirs {
        let mut worker = own(&dir);
        worker.tell("lose");
        assert_eq!(state(&dir), Liveness::Alive, "{}", dir.display());
        worker.program.signal("KILL");
        worker.program.wait();
        assert_eq!(state(&dir), Liveness::Dead, "{}", dir.display());
    }
}

#[test]
fn readers_keep_nobody_alive() {
    let dir = TestDir::new("readers");
    own(dir.path()).end();
    python(dir.path(), "hold");
    wait_for("ends", PATIENCE, || {
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
fn many_who_ask_at_once_disturb_neither_each_other_nor_readers() {
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
                let _ending = Ending(&is_over);
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
fn another_user_goes_by_locks_and_says_unknown_of_files_without_one() {
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
    let said = run(multiprom().args(["ls", "--json", "--dir"]).arg(dir).uid(NOBODY).gid(NOBODY));
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    let mut counts = [0; 3];
    for line in said.stdout.lines() {
        let file: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, state) = (file["id"].as_str().unwrap(), &file["state"]);
        let (kind, wanted) = match id.split_once('-') {
            Some((process, _)) if process == pid.to_string() => (0, &["dead"][..]),
            Some(_) => (1, &["alive"][..]),
            // A lease that the kernel refuses to strangers before it looks for writers.
            None => (2, &["unknown", "alive"][..]),
        };
        counts[kind] += 1;
        assert!(wanted.iter().any(|wanted| state == wanted), "{line}");
    }
    assert!(counts[0] == 8 && counts[1] == 8 && (counts[2] > 0) == python.is_some(), "{counts:?}");
    // What is unknown counts as alive; a free lock hides live gauges.
    let said = run(multiprom().args(["dump", "--dir"]).arg(dir).uid(NOBODY).gid(NOBODY));
    assert_eq!(said.stdout.matches("level_liveall{").count(), 1, "{}", said.stdout);
    assert_eq!(said.stdout.contains("py_queue_livesum"), python.is_some(), "{}", said.stdout);
    living.end();
}

#[test]
fn marking_a_pid_dead_harms_no_new_worker_with_the_same_pid() {
    let dir = TestDir::new("mark");
    let dir = dir.path();
    let named = || {
        let mut worker = Obedient::start(survivor("obey", dir).arg("4711"));
        worker.tell("record");
        worker
    };
    let mark = |pids: &[String]| {
        let said = run(multiprom().arg("mark-process-dead").args(pids).arg("--dir").arg(dir));
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (0, "", ""));
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
        // Of the first its only live gauge.
        assert_eq!(files.len(), before - 1, "{files:#?}");
        assert_eq!(value(&merged(dir), "level_liveall{pid=\"4711\"}"), 1.0);
        assert_eq!(sum(dir, "plain_total"), 2.0);
    }
    if let Some((mut program, _)) = python {
        assert_eq!(sum(dir, "py_queue_livesum_ratio"), 2.0);
        program.signal("KILL");
        program.wait();
        mark(&[living.to_string()]);
        let ours = |id: &str| id == living.to_string();
        let files = list_files(dir).unwrap();
        let live = |mode: Option<GaugeMode>| mode.is_some_and(GaugeMode::is_live);
        assert!(!files.iter().any(|file| ours(&file.id) && live(file.mode)), "{files:#?}");
    }
    second.end();
}
