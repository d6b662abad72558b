//! `run` as process 1 of a pid namespace.

use std::fs;
use std::process::Command;

use super::launcher;
use crate::support::process::{PATIENCE, Running, can_unshare_pids, children, in_pid_namespace};
use crate::support::{skip, wait_for};

/// The launcher in a new namespace; `None` if none can be created. Signals are sent inside, where process 1 gets only those
/// for which it has a handler.
fn process_1(flags: &[&str], script: &str) -> Option<Running> {
    let inner = launcher(flags, script);
    let mut command = in_pid_namespace(&inner)?;
    Some(Running::start(&mut command))
}

/// Runs a script in the namespace of a launcher, as `docker exec` does.
fn enter(launcher: &Running, script: &str) {
    let mut command = Command::new("nsenter");
    let target = children(launcher.id())[0].to_string();
    command.args(["--target", &target, "--pid", "--mount", "sh", "-c", script]);
    // The script ends with the namespace if it ends process 1.
    command.status().unwrap();
}

#[test]
fn process_1_passes_signals_on_that_are_sent_inside_and_exits_with_the_status() {
    for (name, status) in [("TERM", 11), ("INT", 12), ("HUP", 13), ("USR1", 14), ("QUIT", 15)] {
        let script = format!(
            "trap 'exit {status}' {name}; test $PPID = 1 || exit 99; kill -s {name} 1; \
             while :; do sleep 0.1; done"
        );
        let Some(launcher) = process_1(&[], &script) else { return };
        assert_eq!(launcher.end().status.code(), Some(status), "{name}");
    }
    // A command that a signal ends.
    let Some(launcher) = process_1(&[], "kill -s TERM 1; exec sleep 600") else { return };
    assert_eq!(launcher.end().status.code(), Some(143));
    // A signal ends the wait for a scrape.
    let Some(mut launcher) = process_1(&["--linger", "600s"], "exit 5") else { return };
    launcher.line_after("serving until the next scrape");
    enter(&launcher, "kill -s TERM 1");
    assert_eq!(launcher.end().status.code(), Some(5));
}

#[test]
fn process_1_reaps_orphans_of_its_command_and_of_processes_that_enter_the_namespace() {
    if !can_unshare_pids() {
        return skip("no pid namespace can be created here");
    }
    // 50 orphans of the command end while it runs.
    let script = "i=0; while [ $i -lt 50 ]; do (sh -c 'exit 0' &); i=$((i+1)); done; echo started; \
                  read line; exit 3";
    let Some(mut running) = process_1(&[], script) else { return };
    running.line_after("started");
    enter(&running, "(sh -c 'sleep 0.1' &)");
    let inner = children(running.id())[0];
    wait_for("one child", PATIENCE, || {
        let left = children(inner);
        let is_command = left.len() == 1
            && fs::read_to_string(format!("/proc/{}/cmdline", left[0]))
                .is_ok_and(|line| line.contains("read line"));
        is_command.then_some(())
    });
    drop(running.stdin());
    assert_eq!(running.end().status.code(), Some(3));
}

#[test]
fn process_1_restarts_its_command() {
    let flags = ["--restart", "on-failure", "--restart-delay", "20ms", "--max-restarts", "2"];
    let Some(launcher) = process_1(&flags, "echo started; (sleep 0.01 &); kill -s KILL $$") else {
        return;
    };
    let output = launcher.end();
    assert_eq!(output.status.code(), Some(137));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n".repeat(3));
}

#[test]
fn process_1_with_a_terminal_continues_a_command_that_the_terminal_stops() {
    // `script` gives the launcher a terminal and a session.
    if !can_unshare_pids() {
        return skip("no pid namespace can be created here");
    }
    let program =
        launcher(&["--signal-group"], "trap 'echo continued' CONT; echo ready; read line; exit 4");
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let line: Vec<String> =
        words.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"))).collect();
    let inner =
        format!("unshare --pid --fork --kill-child --mount-proc setsid -c -w {}", line.join(" "));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &inner, "/dev/null"]);
    let mut running = Running::start(&mut command);
    running.line_after("ready");
    let mut keyboard = running.stdin();
    std::io::Write::write_all(&mut keyboard, b"\x1a").unwrap();
    running.line_after("continued");
    // OK because the command may have ended: some shells return from `read` when a trap has run.
    let _ = std::io::Write::write_all(&mut keyboard, b"x\n");
    assert_eq!(running.end().status.code(), Some(4));
}
