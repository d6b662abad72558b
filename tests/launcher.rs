//! `run`: the launcher.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::http::{scrape, sum_of};
use crate::support::mount::Mount;
use crate::support::process::{PATIENCE, Running, Unread, is_alive, run};
use crate::support::services::own_host;
use crate::support::{TestDir, example, multiprom, output_of, skip, wait_for, wait_for_death};

fn launcher(flags: &[&str]) -> Command {
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).arg("--");
    command
}

/// A launcher that runs a shell script.
fn shell(script: &str) -> Command {
    let mut command = launcher(&[]);
    command.args(["sh", "-c", script]);
    command
}

/// The files of a directory, without the lock file of launchers.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".multiprom-run.lock").collect()
}

#[test]
fn the_status_of_the_command_is_passed_on() {
    let cases = [("exit 0", 0), ("exit 3", 3), ("exit 255", 255)];
    let killed = [("kill -s TERM $$", 143), ("kill -s KILL $$", 137), ("kill -s INT $$", 130)];
    for (script, status) in cases.into_iter().chain(killed) {
        let outcome = run(&mut shell(script));
        assert_eq!(outcome.status, status, "{script}: {}", outcome.stderr);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 3, "{}", outcome.stderr);
        assert!(lines[0].starts_with("multiprom: directory `/"), "{}", outcome.stderr);
        assert!(lines[1].starts_with("multiprom: compacting "), "{}", outcome.stderr);
        assert!(lines[2].starts_with("multiprom: serving http://127.0.0.1:"), "{}", outcome.stderr);
    }
}

#[test]
fn the_command_inherits_output_and_arguments() {
    let outcome = run(shell("echo \"$0 $*\"; echo word >&2").args(["-x", "--listen", "a b"]));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "-x --listen a b\n"));
    assert!(outcome.stderr.ends_with("\nword\n"), "{}", outcome.stderr);
}

#[test]
fn a_command_that_cannot_be_started_has_the_exit_status_of_shells() {
    let dir = TestDir::new("start");
    let plain = dir.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    for (path, status) in [(dir.path().join("missing"), 127), (plain, 126)] {
        let outcome = run(launcher(&[]).arg(&path));
        assert_eq!(outcome.status, status, "{}", outcome.stderr);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 4, "{}", outcome.stderr);
        assert!(lines[3].contains(path.to_str().unwrap()), "{}", outcome.stderr);
    }
}

#[test]
fn both_variables_of_the_command_name_a_private_directory() {
    let script = "echo \"$PROMETHEUS_MULTIPROC_DIR\"; echo \"$prometheus_multiproc_dir\"; \
                  cd \"$PROMETHEUS_MULTIPROC_DIR\" && pwd && stat -c %a .";
    let outcome = run(&mut shell(script));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!((outcome.status, lines.len()), (0, 4), "{}{}", outcome.stdout, outcome.stderr);
    assert!(lines[0].starts_with('/') && lines[0] == lines[1] && lines[0] == lines[2]);
    assert_eq!(lines[3], "700");
    assert!(!Path::new(lines[0]).exists(), "{} is left behind", lines[0]);
}

#[test]
fn what_the_command_records_is_served_while_it_runs() {
    let worker = example("test-counting");
    let mut command = shell("\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 5 hold");
    let mut launcher = Running::start(command.arg(worker.get_program()));
    let url = launcher.url();
    launcher.line_after("ready");
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    drop(launcher.stdin());
    assert_eq!(launcher.end().status.code(), Some(0));
}

#[test]
fn live_gauges_disappear_when_their_process_ends_and_counters_stay() {
    let worker = example("test-counting");
    let script = "\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 5; echo counted; read line";
    let mut launcher = Running::start(shell(script).arg(worker.get_program()));
    let url = launcher.url();
    launcher.line_after("counted");
    let text = wait_for("end of the live gauges", PATIENCE, || {
        let text = scrape(&url);
        (!text.contains("\nqueue_livesum_ratio")).then_some(text)
    });
    assert_eq!(sum_of(&text, "jobs_total"), 5.0);
    assert_eq!(sum_of(&text, "queue_sum_ratio"), 5.0);
    assert!(!text.contains("\nqueue_live"), "{text}");
    drop(launcher.stdin());
    launcher.end();
}

#[test]
fn the_launcher_waits_for_the_last_descendant() {
    let dir = TestDir::new("descendant");
    let gate = dir.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // The descendant is an orphan of an orphan, and has no descriptor of the launcher.
    let script = "(setsid sh -c 'read line < \"$0\"' \"$0\" >/dev/null 2>&1 &) & \
                  echo pid $$; exit 4";
    let mut launcher = Running::start(shell(script).arg(&gate));
    let url = launcher.url();
    let command: u32 = launcher.line_after("pid ").parse().unwrap();
    wait_for("end of the command", PATIENCE, || (!is_alive(command)).then_some(()));
    // After two searches for descendants, the launcher still runs.
    let first = std::time::Instant::now();
    wait_for("two seconds", PATIENCE, || {
        assert!(launcher.is_running(), "{}", launcher.stderr());
        scrape(&url);
        (first.elapsed().as_millis() > 1500).then_some(())
    });
    OpenOptions::new().write(true).open(&gate).unwrap();
    assert_eq!(launcher.end().status.code(), Some(4));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    for (at, name) in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"].into_iter().enumerate() {
        let status = 10 + at as i32;
        let script = format!(
            "sleep 60 & child=$!; trap \"kill $child; exit {status}\" {name}; echo ready; wait"
        );
        let mut launcher = Running::start(&mut shell(&script));
        launcher.line_after("ready");
        launcher.signal(name);
        assert_eq!(launcher.end().status.code(), Some(status), "{name}");
    }
}

#[test]
fn a_signal_after_the_end_of_the_command_reaches_its_orphans() {
    let script = "sh -c 'trap \"kill $!; exit\" TERM; sleep 60 & trap \"kill $!; exit\" TERM; \
                  echo ready; wait' & exit 6";
    let mut launcher = Running::start(&mut shell(script));
    launcher.line_after("ready");
    wait_for("end of the command", PATIENCE, || {
        let tasks = format!("/proc/{0}/task/{0}/children", launcher.id());
        let children = fs::read_to_string(tasks).unwrap_or_default();
        let command = children.split_whitespace().next()?.parse::<u32>().ok()?;
        let line = fs::read(format!("/proc/{command}/cmdline")).ok()?;
        // Only the script of the orphan does not end in `exit 6`.
        (!line.ends_with(b"exit 6\0")).then_some(())
    });
    launcher.signal("TERM");
    assert_eq!(launcher.end().status.code(), Some(6));
}

#[test]
fn a_missing_directory_is_created_and_kept() {
    let base = TestDir::new("made");
    let dir = base.path().join("a/b");
    let worker = example("test-counting");
    let mut command = launcher(&["--dir", dir.to_str().unwrap()]);
    command.args(["sh", "-c", "\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 5; stat -c %a ."]);
    let outcome = run(command.arg(worker.get_program()));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(names(&dir).iter().any(|name| name.starts_with("counter_")));
}

#[test]
fn a_full_standard_error_does_not_block_the_command() {
    let mut launcher = Unread::start(&mut shell("exit 3"));
    assert_eq!(launcher.wait().code(), Some(3));
}

#[test]
fn on_an_unsupported_file_system_the_launcher_compacts_nothing_by_default() {
    let Some(mount) = Mount::ramfs() else {
        return skip("a ramfs cannot be mounted here");
    };
    let dir = mount.path().join("app");
    let dir = dir.to_str().unwrap();
    let launch = |flags: &[&str]| run(launcher(&[&["--dir", dir], flags].concat()).arg("true"));
    let outcome = launch(&[]);
    assert!(
        outcome.status == 1 && outcome.stderr.contains("file system type"),
        "{}",
        outcome.stderr
    );
    let outcome = launch(&["--any-file-system"]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    // The liveness rules are not known to hold there.
    let outcome = launch(&["--any-file-system", "--compact=own"]);
    assert!(
        outcome.status == 1 && outcome.stderr.contains("file system type"),
        "{}",
        outcome.stderr
    );
}

/// The files that `test-counting` writes: one of each kind, and a companion.
const OWN_FILES: usize = 14;

#[test]
fn only_files_of_dead_processes_are_removed_at_the_start() {
    for (flags, keeps) in [(&[][..], false), (&["--keep-files", "--compact", "off"][..], true)] {
        let dir = TestDir::new("old");
        output_of(example("test-counting").arg(dir.path()).arg("5"));
        fs::write(dir.path().join("counter_7.db"), [8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        wait_for_death(&dir.path().join("counter_7.db"));
        let old = names(dir.path());
        assert_eq!(old.len(), OWN_FILES + 1);
        let mut worker = example("test-counting");
        let mut worker = Running::start(worker.arg(dir.path()).args(["2", "hold"]));
        worker.line_after("ready");
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        fs::write(dir.path().join("cache.db"), "mine").unwrap();
        fs::write(dir.path().join("counter.db"), "mine").unwrap();
        fs::create_dir(dir.path().join("counter_8.db")).unwrap();
        let all = names(dir.path());
        let flags = [&["--dir", dir.path().to_str().unwrap()], flags].concat();
        let outcome = run(launcher(&flags).arg("true"));
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let kept = if keeps { all } else { all.difference(&old).cloned().collect() };
        let left = names(dir.path());
        assert_eq!(left, kept, "keep: {keeps}");
        assert_eq!(left.len(), if keeps { OWN_FILES + 1 } else { 0 } + OWN_FILES + 4);
        drop(worker.stdin());
        assert!(worker.end().status.success());
    }
}

#[test]
fn a_command_runs_while_the_address_is_in_use_and_is_served_when_it_is_free() {
    let taken = TcpListener::bind((own_host(), 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let start = |script: &str| {
        let mut command = multiprom();
        command.args(["run", "--listen-optional", "--listen", &address, "--", "sh", "-c", script]);
        Running::start(command.arg(example("test-counting").get_program()))
    };
    let output = start("exit 7").end();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    let reason = format!("multiprom: cannot listen on {address}: ");
    assert!(lines.len() == 3 && lines[2].starts_with(&reason), "{stderr}");
    assert!(lines[2].contains("the command runs without an endpoint"), "{stderr}");

    let mut waiting = start("\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 5 hold");
    waiting.line_after("ready");
    assert!(!waiting.stderr().contains("serving"));
    drop(taken);
    let url = waiting.url();
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    drop(waiting.stdin());
    assert_eq!(waiting.end().status.code(), Some(0));
    // The launcher has released the address.
    TcpListener::bind(&address).unwrap();
}
